//! Recorded traces: a CSV file `time,sender,recipient,amount`, replayed at its own times.
//!
//! `time` is in seconds from any origin, with decimals; lines need not be sorted. Senders and recipients are any names
//! without commas; each name becomes an account. Amounts are in minor units. A first line that names the columns, empty lines and
//! lines that begin with # are passed over.

use std::collections::HashMap;

use super::{Transfer, TransferSource};

/// One payment of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// When, in nanoseconds after the first payment of the trace.
    pub at_ns: u64,
    /// What.
    pub transfer: Transfer,
}

/// A trace, sorted by time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    entries: Vec<TraceEntry>,
    accounts: u32,
    next: usize,
}

/// Why a trace is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceError {
    /// A line, from 1, that is no payment, and why.
    Line(usize, &'static str),
    /// No payment in it.
    Empty,
    /// The amounts sum to more than a token can have.
    Supply,
}

impl std::fmt::Display for TraceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TraceError::Line(line, why) => {
                write!(
                    f,
                    "line {line}: {why}; expected `seconds,sender,recipient,amount`, such as `0.25,alice,bob,100`"
                )
            }
            TraceError::Empty => f.write_str("there is no payment in it"),
            TraceError::Supply => f.write_str("its amounts sum to more than 64 bits hold; use larger units"),
        }
    }
}

impl std::error::Error for TraceError {}

impl Trace {
    /// Reads the text of a trace.
    ///
    /// # Errors
    /// Names the line.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut names: HashMap<&str, u32> = HashMap::new();
        let mut entries = Vec::new();
        let mut total = 0u64;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let &[time, sender, recipient, amount] = fields.as_slice() else {
                return Err(TraceError::Line(at + 1, "not four fields"));
            };
            if entries.is_empty() && time.eq_ignore_ascii_case("time") {
                continue;
            }
            let seconds: f64 = time.parse().map_err(|_| TraceError::Line(at + 1, "the time is no number"))?;
            if !seconds.is_finite() || seconds.abs() > SECONDS_MAX {
                return Err(TraceError::Line(at + 1, "the time is out of range"));
            }
            if sender.is_empty() || recipient.is_empty() {
                return Err(TraceError::Line(at + 1, "an account has no name"));
            }
            let amount: u64 = amount.parse().map_err(|_| TraceError::Line(at + 1, "the amount is no whole number"))?;
            if amount == 0 {
                return Err(TraceError::Line(at + 1, "the amount is zero"));
            }
            total = total.checked_add(amount).ok_or(TraceError::Supply)?;
            let mut number = |name| {
                let next = names.len() as u32;
                *names.entry(name).or_insert(next)
            };
            let (sender, recipient) = (number(sender), number(recipient));
            entries.push((seconds, Transfer { sender, recipient, amount }));
        }
        // Stable, so that payments of one time stay in the order of the file.
        entries.sort_by(|a, b| a.0.total_cmp(&b.0));
        let start = entries.first().ok_or(TraceError::Empty)?.0;
        let entries = entries
            .into_iter()
            .map(|(seconds, transfer)| TraceEntry { at_ns: ((seconds - start) * 1e9).round() as u64, transfer })
            .collect();
        Ok(Self { entries, accounts: names.len() as u32, next: 0 })
    }

    /// The payments, by time.
    pub fn entries(&self) -> &[TraceEntry] {
        &self.entries
    }

    /// How many accounts it names; they have the numbers from 0.
    pub fn accounts(&self) -> u32 {
        self.accounts
    }

    /// What each account needs at first so that none of its payments can fail, whatever the order of credits.
    pub fn spent_by(&self) -> Vec<u64> {
        let mut spent = vec![0; self.accounts as usize];
        for entry in &self.entries {
            spent[entry.transfer.sender as usize] += entry.transfer.amount;
        }
        spent
    }

    /// Keeps what happens before `limit_ns`.
    pub fn cut(&mut self, limit_ns: u64) {
        self.entries.retain(|entry| entry.at_ns < limit_ns);
    }

    /// Stretches or presses time so that the payments come at `per_second` on average.
    pub fn scale_to(&mut self, per_second: f64) {
        let Some(last) = self.entries.last() else { return };
        if last.at_ns == 0 {
            return;
        }
        let factor = self.entries.len() as f64 / per_second * 1e9 / last.at_ns as f64;
        for entry in &mut self.entries {
            entry.at_ns = (entry.at_ns as f64 * factor).round() as u64;
        }
    }
}

/// Longest time that a trace may name, in seconds: a century, so that nanoseconds fit.
const SECONDS_MAX: f64 = 3.2e9;

impl TransferSource for Trace {
    fn next_transfer(&mut self) -> Option<Transfer> {
        let entry = self.entries.get(self.next)?;
        self.next += 1;
        Some(entry.transfer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sorts_and_numbers() {
        let text = "time,sender,recipient,amount\n# a comment\n\n10.5,alice,bob,7\n10.25, bob , carol ,1\n10.75,alice,alice,2\n";
        let trace = Trace::parse(text).expect("well formed");
        assert_eq!(trace.accounts(), 3);
        let times: Vec<u64> = trace.entries().iter().map(|entry| entry.at_ns).collect();
        assert_eq!(times, [0, 250_000_000, 500_000_000]);
        let (alice, bob, carol) = (0, 1, 2);
        let transfers: Vec<Transfer> = trace.entries().iter().map(|entry| entry.transfer).collect();
        assert_eq!(
            transfers,
            [
                Transfer { sender: bob, recipient: carol, amount: 1 },
                Transfer { sender: alice, recipient: bob, amount: 7 },
                Transfer { sender: alice, recipient: alice, amount: 2 },
            ]
        );
        assert_eq!(trace.spent_by(), [9, 1, 0]);
    }

    #[test]
    fn refuses_by_line() {
        for (text, error) in [
            ("", TraceError::Empty),
            ("time,sender,recipient,amount\n", TraceError::Empty),
            ("0,a,b", TraceError::Line(1, "not four fields")),
            ("0,a,b,1\nx,a,b,1", TraceError::Line(2, "the time is no number")),
            ("inf,a,b,1", TraceError::Line(1, "the time is out of range")),
            ("0,,b,1", TraceError::Line(1, "an account has no name")),
            ("0,a,b,-1", TraceError::Line(1, "the amount is no whole number")),
            ("0,a,b,0", TraceError::Line(1, "the amount is zero")),
            ("0,a,b,18446744073709551615\n0,a,b,1", TraceError::Supply),
        ] {
            assert_eq!(Trace::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn scales_and_cuts() {
        let mut trace = Trace::parse("0,a,b,1\n1,a,b,1\n4,a,b,1\n").expect("well formed");
        trace.scale_to(1.5);
        assert_eq!(
            trace.entries().iter().map(|entry| entry.at_ns).collect::<Vec<_>>(),
            [0, 500_000_000, 2_000_000_000]
        );
        trace.cut(2_000_000_000);
        assert_eq!(trace.entries().len(), 2);
    }
}
