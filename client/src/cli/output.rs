//! What commands print: text for people, or one JSON object, from the same facts.

use meshpay_client::{Certificate, Verifier, format_amount, format_minor};
use meshpay_wire::SignedOrder;
use serde::Serialize;
use serde_json::{Value, json};

use super::failure::Failure;

/// What a command has to say.
pub struct Output {
    pub text: String,
    pub json: Value,
    pub exit_code: u8,
}

impl Output {
    pub fn new(exit_code: u8, text: String, json: &impl Serialize) -> Self {
        // Only maps with keys that are no strings cannot be written, and there are none.
        Self { text, json: serde_json::to_value(json).unwrap_or(Value::Null), exit_code }
    }
}

/// Prints on standard output. A closed pipe is no failure: what was to be done is done.
pub fn print(output: &Output, json: bool) {
    use std::io::Write;
    let line = if json { output.json.to_string() } else { output.text.trim_end().to_owned() };
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a failure: on standard error for people, on standard output as JSON.
pub fn print_failure(failure: &Failure, as_json: bool) {
    use std::io::Write;
    if as_json {
        let (kind, message, exit_code) = (failure.kind(), failure.message(), failure.exit_code());
        let line = json!({ "error": { "kind": kind, "message": message, "exit_code": exit_code } });
        let _ = writeln!(std::io::stdout(), "{line}");
    } else {
        let _ = writeln!(std::io::stderr(), "meshpay: {}", failure.message());
    }
}

/// An order as JSON shows it. Amounts are strings, because JSON numbers are not exact in many languages.
#[derive(Debug, Serialize)]
pub struct OrderJson {
    pub digest: String,
    pub sender: String,
    pub recipient: String,
    pub sequence: u64,
    pub epoch: u32,
    pub token: u32,
    pub symbol: String,
    pub amount_minor: String,
    pub amount: String,
    /// As text where it is text, else nothing.
    pub memo: Option<String>,
    pub memo_hex: String,
}

impl OrderJson {
    pub fn new(verifier: &Verifier, order: &SignedOrder) -> Self {
        let body = &order.body;
        let token = verifier.rules().token(body.token.get());
        let minor = i128::from(body.amount.get());
        Self {
            digest: hex::encode(verifier.order_digest(order).0),
            sender: hex::encode(body.sender),
            recipient: hex::encode(body.recipient),
            sequence: body.sequence.get(),
            epoch: body.epoch.get(),
            token: body.token.get(),
            symbol: token.map_or_else(String::new, |token| token.symbol.clone()),
            amount_minor: minor.to_string(),
            amount: format_minor(minor, token.map_or(0, |token| token.decimals)),
            memo: memo_text(&body.memo),
            memo_hex: hex::encode(body.memo),
        }
    }
}

/// The memo as text, where it is printable text and not empty.
pub fn memo_text(memo: &[u8; 32]) -> Option<String> {
    let length = memo.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = std::str::from_utf8(&memo[..length]).ok()?;
    // Control characters in somebody else's memo must not reach a terminal.
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// An order's amount for people.
pub fn amount_text(verifier: &Verifier, order: &SignedOrder) -> String {
    let minor = i128::from(order.body.amount.get());
    match verifier.rules().token(order.body.token.get()) {
        Some(token) => format_amount(minor, token),
        None => format!("{minor} minor units of unknown token {}", order.body.token.get()),
    }
}

/// Names of the authorities whose bits are set.
pub fn names(verifier: &Verifier, places: u32) -> Vec<String> {
    let named = (0..verifier.authorities()).filter(|place| places >> place & 1 == 1);
    named.map(|place| verifier.authority_name(place).to_owned()).collect()
}

/// As [`names`], for people.
pub fn names_text(verifier: &Verifier, places: u32) -> String {
    let names = names(verifier, places);
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// Label and value, aligned.
pub fn line(label: &str, value: impl std::fmt::Display) -> String {
    format!("  {label:<13}{value}\n")
}

/// The lines that describe a certificate.
pub fn certificate_lines(verifier: &Verifier, certificate: &Certificate) -> String {
    let body = &certificate.order().body;
    let mut text = line("amount", amount_text(verifier, certificate.order()));
    text += &line("from", hex::encode(body.sender));
    text += &line("to", hex::encode(body.recipient));
    text += &line("sequence", body.sequence.get());
    if let Some(memo) = memo_text(&body.memo) {
        text += &line("memo", memo);
    }
    text += &line("signed by", names_text(verifier, certificate.signers()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memos_are_shown_only_where_they_are_harmless_text() {
        let memo = |text: &[u8]| {
            let mut memo = [0; 32];
            memo[..text.len()].copy_from_slice(text);
            memo_text(&memo)
        };
        assert_eq!(memo(b"rent"), Some("rent".to_owned()));
        assert_eq!(memo("caf\u{e9}".as_bytes()), Some("caf\u{e9}".to_owned()));
        assert_eq!(memo(b""), None);
        assert_eq!(memo(b"\x1b[2J"), None);
        assert_eq!(memo(b"\xff\xfe"), None);
    }
}
