//! The second gate: instructions of crypto's scalar lanes, counted by callgrind. No noise, so one run decides.
//!
//! What is counted is the kernels over plain integers (`meshpay_crypto::model`): the same source as the vector path, lane by lane, since no
//! valgrind executes AVX-512. So the counts are not the cost of the vector path; they change when its arithmetic changes.
//! `meshpay-bench scalar-lanes` does so many groups of eight; the count of a group is the difference between runs with three and with one,
//! which leaves out start and tables.

use super::fresh_directory;
use super::sides::{Side, Sides};
use crate::{setup, shell};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// What the program can do.
const KERNELS: [&str; 4] = ["verify", "verify-known-key", "sign", "digest"];
/// Signatures in a group.
const LANES: f64 = 8.0;
/// Groups in the shorter and in the longer run.
const GROUPS: [u32; 2] = [1, 3];

/// A kernel on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// Its name.
    pub kernel: String,
    /// Instructions per lane in the base, where that has the program.
    pub base: Option<f64>,
    /// Instructions per lane.
    pub new: f64,
    tolerance: f64,
}

impl Counted {
    /// Whether there are more than the tolerance allows.
    pub fn is_worse(&self) -> bool {
        self.base.is_some_and(|base| self.new > base * (1.0 + self.tolerance))
    }
}

/// Builds and counts on both sides.
///
/// # Errors
/// If there is no valgrind, or the new side cannot be counted.
pub fn compare(sides: &Sides, tolerance: f64) -> Result<Vec<Counted>> {
    setup::require("valgrind", "valgrind", "counting instructions")?;
    let directory = fresh_directory("instructions")?;
    let new = count(&sides.new, &directory)?;
    let base = count(&sides.base, &directory);
    if let Err(error) = &base {
        eprintln!("note: the base cannot be counted, so nothing is judged: {error:#}");
    }
    let base = base.ok();
    let counted = KERNELS.iter().enumerate().map(|(at, kernel)| Counted {
        kernel: (*kernel).to_owned(),
        base: base.map(|base| base[at]),
        new: new[at],
        tolerance,
    });
    Ok(counted.collect())
}

/// A line for each kernel.
pub fn text(sides: &Sides, results: &[Counted]) -> String {
    let mut text = format!("base {}\nnew  {}\n\n", sides.base.name, sides.new.name);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:<18}  {:>12}  {:>12}  {:>9}  verdict", "scalar lanes", "base", "new", "change");
    for result in results {
        let (base, change) = match result.base {
            Some(base) => (format!("{base:.0}"), format!("{:+.2} %", (result.new / base - 1.0) * 100.0)),
            None => (String::new(), String::new()),
        };
        let verdict = match (result.base, result.is_worse()) {
            (None, _) => "new only, not judged",
            (_, true) => "WORSE",
            (_, false) => "passes",
        };
        let _ = writeln!(text, "{:<18}  {base:>12}  {:>12.0}  {change:>9}  {verdict}", result.kernel, result.new);
    }
    text.push_str("\nInstructions per lane, by callgrind.\n");
    text
}

fn count(side: &Side, directory: &Path) -> Result<[f64; KERNELS.len()]> {
    let program = side.program("meshpay-bench")?;
    let mut counts = [0.0; KERNELS.len()];
    for (count, kernel) in counts.iter_mut().zip(KERNELS) {
        let mut totals = [0_u64; GROUPS.len()];
        for (total, groups) in totals.iter_mut().zip(GROUPS) {
            let out = directory.join(format!("callgrind-{kernel}-{groups}"));
            let mut command = Command::new("valgrind");
            command.args(["--quiet", "--tool=callgrind"]).arg(format!("--callgrind-out-file={}", out.display()));
            command.arg(&program).args(["scalar-lanes", kernel, &groups.to_string()]);
            shell::output(&mut command)?;
            let said = std::fs::read_to_string(&out).with_context(|| format!("callgrind left no {}", out.display()))?;
            *total = total_of(&said).with_context(|| format!("{} holds no total", out.display()))?;
        }
        *count = (totals[1] - totals[0]) as f64 / f64::from(GROUPS[1] - GROUPS[0]) / LANES;
    }
    Ok(counts)
}

/// The sum in callgrind's output: a line `summary: N` or `totals: N` (Callgrind Format Specification, 'summary' and 'totals').
fn total_of(text: &str) -> Option<u64> {
    let line = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
    line("totals:").or_else(|| line("summary:"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrinds_total_is_read() {
        assert_eq!(total_of("version: 1\nsummary: 17\n\nfn=(1)\n1 2\n\ntotals: 4711\n"), Some(4711));
        assert_eq!(total_of("summary: 17 3\n"), Some(17));
        assert_eq!(total_of("nothing\n"), None);
    }

    #[test]
    fn more_than_the_tolerance_is_worse() {
        let counted = |base, new| Counted { kernel: "verify".to_owned(), base, new, tolerance: 0.01 };
        assert!(counted(Some(1_000.0), 1_011.0).is_worse());
        assert!(!counted(Some(1_000.0), 1_010.0).is_worse());
        assert!(!counted(None, 1_010.0).is_worse());
        let sides = Sides { base: Side::default(), new: Side::default() };
        let text = text(&sides, &[counted(Some(1_000.0), 1_011.0), counted(None, 5.0)]);
        assert!(text.contains("+1.10 %  WORSE") && text.contains("new only"), "{text}");
    }
}
