//! Figures and dates as people read them.

/// A rate or a count as a whole number with its thousands apart.
pub fn whole(value: f64) -> String {
    if value.is_finite() { super::super::text::thousands(value.max(0.0).round() as u64) } else { "\u{2013}".to_owned() }
}

/// Microseconds with two digits below 100 and none above, where they tell nothing.
pub fn us(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { whole(value) }
}

/// Percent of a capacity, with a digit only where there is one.
pub fn percent(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0} %") } else { format!("{value:.1} %") }
}

/// Seconds since 1970 as a date and a time of day, UTC.
///
/// Days into year, month and day by Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day is the last.
pub fn date(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400 + 719_468, unix_s % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year_of_era + next_year;
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3_600, second / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, words) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_790_000_000, "2026-09-21 14:13 UTC"),
        ] {
            assert_eq!(date(unix_s), words);
        }
    }

    #[test]
    fn figures_have_the_digits_that_tell_something() {
        assert_eq!([whole(46_230.6), whole(f64::NAN), us(21.554), us(1_234.5)], ["46,231", "–", "21.55", "1,235"]);
        assert_eq!([percent(10.0), percent(2.5)], ["10 %", "2.5 %"]);
    }
}
