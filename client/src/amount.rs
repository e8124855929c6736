//! Amounts as people write them: decimal notation with the token's decimal places, no rounding ever.

use meshpay_protocol::Token;

/// Why text is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not digits with at most one point.
    #[error("{0:?} is not an amount; write digits with at most one decimal point, for example 12.50")]
    Syntax(String),
    /// More decimal places than the token has.
    #[error("{text:?} has more decimal places than {symbol}, which has {decimals}")]
    Places {
        /// What was written.
        text: String,
        /// The token's symbol.
        symbol: String,
        /// The token's decimal places.
        decimals: u8,
    },
    /// More than 64 bits of minor units.
    #[error("{0:?} is more than any account can hold")]
    TooLarge(String),
    /// Zero.
    #[error("the amount must be more than zero")]
    Zero,
}

/// Reads an amount in the token's decimal notation and returns minor units, at least 1.
///
/// # Errors
/// See [`AmountError`].
pub fn parse_amount(text: &str, token: &Token) -> Result<u64, AmountError> {
    let syntax = || AmountError::Syntax(text.to_owned());
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(syntax()),
        None => (text, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(syntax());
    }
    let decimals = usize::from(token.decimals);
    if fraction.len() > decimals {
        return Err(AmountError::Places {
            text: text.to_owned(),
            symbol: token.symbol.clone(),
            decimals: token.decimals,
        });
    }
    let mut digits = whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', decimals - fraction.len()));
    let minor = digits
        .try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .ok_or_else(|| AmountError::TooLarge(text.to_owned()))?;
    if minor == 0 { Err(AmountError::Zero) } else { Ok(minor) }
}

/// Reads minor units, at least 1.
///
/// # Errors
/// See [`AmountError`].
pub fn parse_minor_units(text: &str) -> Result<u64, AmountError> {
    match text.parse() {
        Ok(0) => Err(AmountError::Zero),
        Ok(minor) => Ok(minor),
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(AmountError::TooLarge(text.to_owned()))
        }
        Err(_) => Err(AmountError::Syntax(text.to_owned())),
    }
}

/// Writes minor units in decimal notation, without the symbol.
pub fn format_minor(minor: i128, decimals: u8) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let digits = minor.unsigned_abs().to_string();
    let decimals = usize::from(decimals);
    if decimals == 0 {
        return format!("{sign}{digits}");
    }
    let digits = format!("{digits:0>width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    format!("{sign}{whole}.{fraction}")
}

/// Writes minor units of a token for people: `12.50 EUR`.
pub fn format_amount(minor: i128, token: &Token) -> String {
    format!("{} {}", format_minor(minor, token.decimals), token.symbol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(decimals: u8) -> Token {
        Token { id: 1, symbol: "EUR".to_owned(), decimals, supply: u64::MAX }
    }

    #[test]
    fn reads_what_people_write() {
        assert_eq!(parse_amount("12.50", &token(2)), Ok(1250));
        assert_eq!(parse_amount("12.5", &token(2)), Ok(1250));
        assert_eq!(parse_amount("12", &token(2)), Ok(1200));
        assert_eq!(parse_amount("0.01", &token(2)), Ok(1));
        assert_eq!(parse_amount("7", &token(0)), Ok(7));
        assert_eq!(parse_amount("184467440737095516.15", &token(2)), Ok(u64::MAX));
    }

    #[test]
    fn refuses_what_is_no_amount() {
        for text in ["", ".", ".5", "5.", "-1", "+1", "1,50", "1.2.3", "1e3", "٣", " 1"] {
            assert!(matches!(parse_amount(text, &token(2)), Err(AmountError::Syntax(_))), "{text:?}");
        }
        assert!(matches!(parse_amount("1.234", &token(2)), Err(AmountError::Places { .. })));
        assert!(matches!(parse_amount("184467440737095516.16", &token(2)), Err(AmountError::TooLarge(_))));
        assert_eq!(parse_amount("0.00", &token(2)), Err(AmountError::Zero));
        assert_eq!(parse_minor_units("0"), Err(AmountError::Zero));
        assert!(matches!(parse_minor_units("99999999999999999999"), Err(AmountError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(minor in 1u64.., decimals in 0u8..=20) {
            let token = token(decimals);
            prop_assert_eq!(parse_amount(&format_minor(i128::from(minor), decimals), &token), Ok(minor));
        }

        #[test]
        fn no_text_panics(text in ".{0,30}", decimals in 0u8..) {
            let _ = parse_amount(&text, &token(decimals));
        }
    }
}
