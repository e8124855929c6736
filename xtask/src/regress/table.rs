//! What a person reads, and the samples behind it.

use super::compare::Compared;
use super::statistics::{Verdict, median};
use std::fmt::Write as _;

/// A line for each figure.
pub fn text(base: &str, new: &str, tolerance: f64, results: &[Compared]) -> String {
    let mut text = format!("base {base}\nnew  {new}\n\n");
    let width = results.iter().map(|it| it.name.chars().count()).max().unwrap_or(0).max(6);
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        text,
        "{:<width$}  {:>10}  {:>10}  {:>8}  {:>18}  {:>5}  verdict",
        "figure", "base", "new", "change", "95 % interval", "pairs"
    );
    for result in results {
        let (change, interval) = match &result.ratio {
            Some(ratio) => (percent(ratio.estimate), format!("{} to {}", percent(ratio.low), percent(ratio.high))),
            None => ("".to_owned(), "".to_owned()),
        };
        let _ = writeln!(
            text,
            "{:<width$}  {:>10}  {:>10}  {change:>8}  {interval:>18}  {:>5}  {}",
            result.name,
            value(&result.base),
            value(&result.new),
            result.base.len().min(result.new.len()),
            verdict(result)
        );
    }
    let _ = writeln!(
        text,
        "\nMedians; change is what a unit costs, above 0 is worse. Worse than {:+.1} % with confidence fails. Units: {}.",
        tolerance * 100.0,
        units(results)
    );
    text
}

/// The samples, a line for each figure that both sides have: verdict, name without spaces, pairs as `base,new`. This is the form of `recorded.txt`.
pub fn samples(results: &[Compared]) -> String {
    let mut text = String::new();
    for result in results.iter().filter(|result| result.ratio.is_some() && result.base.len() == result.new.len()) {
        let word = match result.verdict {
            Some(Verdict::Worse) => "worse",
            Some(Verdict::Better) => "better",
            Some(Verdict::Same) => "same",
            Some(Verdict::Open) => "open",
            None => "shown",
        };
        let pairs = result.base.iter().zip(&result.new).map(|(base, new)| format!(" {base:.4},{new:.4}"));
        let _ = writeln!(text, "{word} {}{}", result.name.replace(' ', "_"), pairs.collect::<String>());
    }
    text
}

fn verdict(result: &Compared) -> &'static str {
    match (result.verdict, result.is_judged) {
        (Some(Verdict::Worse), _) => "WORSE",
        (Some(Verdict::Better), _) => "better",
        (Some(Verdict::Same), _) => "same",
        (Some(Verdict::Open), _) => "undecided",
        (None, _) if result.base.is_empty() => "new only, not judged",
        (None, _) if result.new.is_empty() => "base only, not judged",
        (None, true) => "too few pairs",
        (None, false) => "shown, not judged",
    }
}

fn units(results: &[Compared]) -> String {
    let mut units: Vec<(&str, &str)> = Vec::new();
    for result in results {
        let part = result.name.split('/').next().unwrap_or_default();
        if !units.contains(&(part, result.unit)) {
            units.push((part, result.unit));
        }
    }
    units.iter().map(|(part, unit)| format!("{part}: {unit}")).collect::<Vec<_>>().join("; ")
}

fn percent(ratio: f64) -> String {
    if ratio.is_infinite() {
        return "from 0".to_owned();
    }
    format!("{:+.1} %", (ratio - 1.0) * 100.0)
}

fn value(values: &[f64]) -> String {
    let median = median(values);
    match median {
        median if median.is_nan() => String::new(),
        median if median >= 1_000.0 => format!("{median:.0}"),
        median => format!("{median:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::made_up;
    use super::*;

    #[test]
    fn verdicts_stand_beside_their_figures() {
        let results = [
            made_up("stages/total", &[30.0; 10], &[36.0; 10]),
            made_up("stages/orders", &[10.0; 10], &[10.1; 10]),
            made_up("stages/allocations", &[0.0; 10], &[0.5; 10]),
            made_up("stages/new", &[], &[1.0; 10]),
        ];
        let text = text("aaa", "bbb", 0.05, &results);
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(line("stages/total").ends_with("WORSE") && line("stages/total").contains("+20.0 %"), "{text}");
        assert!(line("stages/orders").ends_with("same"), "{text}");
        let samples = samples(&results);
        assert_eq!(samples.lines().count(), 3, "what one side lacks has no pairs");
        assert!(samples.starts_with("worse stages/total 30.0000,36.0000 "), "{samples}");
        assert!(
            line("stages/allocations").ends_with("WORSE") && line("stages/allocations").contains("from 0"),
            "{text}"
        );
        assert!(line("stages/new").ends_with("new only, not judged"), "{text}");
    }
}
