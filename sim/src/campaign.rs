//! Many seeds: over all cores, with a progress bar, and over many sittings with a file of results.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::checker::Violation;
use crate::setting::Request;
use crate::shrink::shrink;
use crate::world::{Outcome, Totals, run};

/// How long a failing run is made smaller.
const SHRINK_MAX: Duration = Duration::from_secs(120);

/// The commit that runs, as `cargo xtask sim` tells.
pub fn commit() -> String {
    std::env::var("MESHPAY_COMMIT").unwrap_or_else(|_| "unknown".to_owned())
}

/// Runs a seed; a panic of the code under test is a broken promise like any other.
pub fn run_caught(request: &Request) -> Outcome {
    let failed = |what: String| Outcome {
        seed: request.seed,
        totals: Totals::default(),
        trace_hash: String::new(),
        violation: Some(Violation { promise: "nothing panics", what }),
        faults: Vec::new(),
        lines: Vec::new(),
        mesh: None,
    };
    match catch_unwind(AssertUnwindSafe(|| run(request))) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => failed(format!("the simulation itself failed: {error:#}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            failed(format!("panicked: {}", text.unwrap_or("without a word")))
        }
    }
}

/// The command that runs a request again.
pub fn command_of(request: &Request) -> String {
    let mut command = format!("cargo xtask sim --seed {} --ops {}", request.seed, request.operations);
    if let Some(canary) = request.canary {
        command += &format!(" --canary {}", canary.name());
    }
    if let Some(keep) = &request.keep {
        let keep: Vec<String> = keep.iter().map(u64::to_string).collect();
        // Something must stand there also where no fault is kept.
        command += &format!(" --keep {}", if keep.is_empty() { "none".to_owned() } else { keep.join(",") });
    }
    command
}

/// What somebody who sees a failure needs: seed, commit, what broke, the smallest run found, its trace, and the command that replays it.
pub fn report(request: &Request, outcome: &Outcome) -> String {
    let (small, shrunk) = shrink(outcome, request, SHRINK_MAX);
    let told = run_caught(&Request { verbose: true, ..small.clone() });
    let violation = shrunk.violation.as_ref().or(outcome.violation.as_ref());
    let (promise, what) = violation.map_or(("?", "?"), |violation| (violation.promise, violation.what.as_str()));
    let kept = small.keep.as_ref().map_or(shrunk.faults.len(), Vec::len);
    let mut text = format!(
        "seed {} of commit {} breaks a promise: {promise}\n  {what}\n  smallest run found: {} operations, {kept} faults of {}\n  trace:\n",
        request.seed,
        commit(),
        small.operations,
        outcome.faults.len() + 1,
    );
    for line in &told.lines {
        text += &format!("    {line}\n");
    }
    text + &format!("  replay it with: {}\n", command_of(&small))
}

/// One line of a file of results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The commit that ran.
    pub commit: String,
    /// The seed.
    pub seed: u64,
    /// Orders and certificates that reached honest authorities.
    pub operations: u64,
    /// Hash of the trace.
    pub trace: String,
    /// Power cuts.
    pub power_cuts: u64,
    /// Faults of all kinds.
    pub faults: u64,
    /// What broke, if anything did.
    pub violation: Option<String>,
}

/// Sums over many seeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Seeds.
    pub seeds: u64,
    /// Operations.
    pub operations: u64,
    /// Payments of honest wallets that became final.
    pub certified: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Faults of all kinds.
    pub faults: u64,
    /// Seeds that broke a promise.
    pub failed: u64,
}

/// What a campaign shall do.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Seeds.
    pub seeds: Range<u64>,
    /// Operations of each.
    pub operations: u64,
    /// Threads.
    pub jobs: usize,
    /// Ends early when so many operations were done.
    pub enough: Option<u64>,
}

impl Campaign {
    /// Runs the seeds that `done` does not hold, over all threads; every outcome goes to `each`.
    pub fn run(
        &self,
        done: &BTreeSet<u64>,
        mut each: impl FnMut(&Request, &Outcome) -> Result<()> + Send,
    ) -> Result<Sum> {
        let seeds = self.seeds.end - self.seeds.start;
        let bar = ProgressBar::new(self.enough.unwrap_or_else(|| seeds.saturating_mul(self.operations)));
        bar.set_style(ProgressStyle::with_template(
            "{elapsed_precise} {bar:40} {human_pos}/{human_len} operations, {per_sec}, {eta} left {msg}",
        )?);
        let next = AtomicU64::new(self.seeds.start);
        let ended = AtomicBool::new(false);
        let shared = Mutex::new((Sum::default(), Ok(()), &mut each));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while !ended.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.seeds.end {
                            return;
                        }
                        if done.contains(&seed) {
                            continue;
                        }
                        let request = Request::new(seed, self.operations);
                        let outcome = run_caught(&request);
                        let mut guard = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        let (sum, result, each) = &mut *guard;
                        sum.seeds += 1;
                        sum.operations += outcome.totals.operations;
                        sum.certified += outcome.totals.certified;
                        sum.power_cuts += outcome.totals.power_cuts;
                        sum.faults += outcome.totals.faults;
                        sum.failed += u64::from(outcome.violation.is_some());
                        bar.inc(outcome.totals.operations);
                        if sum.failed > 0 {
                            bar.set_message(format!("({} failed)", sum.failed));
                        }
                        if let Err(error) = each(&request, &outcome) {
                            *result = Err(error);
                            ended.store(true, Ordering::Relaxed);
                        }
                        if self.enough.is_some_and(|enough| sum.operations >= enough) {
                            ended.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        bar.finish_and_clear();
        let (sum, result, _) = shared.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        result.map(|()| sum)
    }
}

/// Reads a file of results: the seeds that were run, and their operations. A last line that was cut off is passed over.
///
/// # Errors
/// If the file cannot be read.
pub fn read_results(path: &Path) -> Result<Vec<Line>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut lines = Vec::new();
    for line in BufReader::new(file).lines() {
        if let Ok(line) = serde_json::from_str(&line?) {
            lines.push(line);
        }
    }
    Ok(lines)
}

/// Appends to a file of results.
pub struct Results(File);

impl Results {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn append_to(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(file.with_context(|| format!("cannot write {}", path.display()))?))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, outcome: &Outcome) -> Result<()> {
        let line = Line {
            commit: commit(),
            seed: outcome.seed,
            operations: outcome.totals.operations,
            trace: outcome.trace_hash.clone(),
            power_cuts: outcome.totals.power_cuts,
            faults: outcome.totals.faults,
            violation: outcome.violation.as_ref().map(|violation| format!("{}: {}", violation.promise, violation.what)),
        };
        let text = serde_json::to_string(&line)? + "\n";
        Ok(self.0.write_all(text.as_bytes())?)
    }
}
