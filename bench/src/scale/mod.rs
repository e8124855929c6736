//! How an authority scales, in one run: `meshpay-bench scale`.
//!
//! | file | what |
//! |---|---|
//! | `turns` | several pipelines in process, each settling a round in turn, and medians of the rounds |
//! | `workers` | two workers on two cores beside one worker on one |
//! | `accounts` | what a payment costs among a thousand accounts and among ten million |
//! | `restart` | the daemon from exec to ready, with a million accounts and a million records behind the checkpoint |
//! | `cache` | files taken out of the page cache, for a start as after a boot |
//! | `committees` | certificates executed a second by the size of the committee, and with unequal weights |
//! | `report` | what is printed and written, and the goals |
//!
//! What always holds: what is compared is measured in turns within one run and all of it stays in memory meanwhile, so that a noisy neighbour meets all alike;
//! every payment settles and every account is compared with the bench's own books before a figure is reported; the load of the machine stands beside
//! the figures.

mod accounts;
mod cache;
mod committees;
mod report;
mod restart;
mod turns;
mod workers;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};

pub use accounts::{AccountsReport, SizeFigures};
pub use committees::CommitteeFigures;
pub use report::ScaleReport;
pub use restart::{RestartReport, StartFigures};
pub use turns::Figures;
pub use workers::WorkersReport;

use crate::generator::Interrupted;
use crate::pipeline::{JournalSizes, PipelineOptions};
use crate::progress::Console;
use crate::scenario::Durability;
use crate::slowdown::Slowdown;

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Two workers on two cores beside one on one.
    Workers,
    /// Cost of a payment by the number of accounts.
    Accounts,
    /// Starts of the daemon.
    Restart,
    /// Certificates a second by committee.
    Committees,
}

impl Part {
    /// All, in their order.
    pub const ALL: [Part; 4] = [Part::Workers, Part::Accounts, Part::Restart, Part::Committees];
}

/// What is measured, and how much of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which parts.
    pub parts: Vec<Part>,
    /// Rounds in which everything takes its turn.
    pub rounds: u32,
    /// Payments of each pipeline in each round, per worker.
    pub payments: usize,
    /// Accounts by which the cost of a payment is compared; the first is what the others are compared with.
    pub accounts: Vec<usize>,
    /// Accounts of the authority that is started again and again.
    pub restart_accounts: usize,
    /// Payments behind its checkpoint; each leaves two records.
    pub restart_payments: usize,
    /// Committees, as voting weights by place; the first is the authority that is measured.
    pub committees: Vec<Vec<u32>>,
    /// What every answer waits for.
    pub durability: Durability,
    /// Folder for directories that are removed afterwards; must be on a disk.
    pub work: PathBuf,
    /// The daemon.
    pub authority_binary: PathBuf,
    /// Seed of accounts and transfers.
    pub seed: u64,
}

impl Request {
    /// The sizes that the project's goals name.
    pub fn new(work: PathBuf, authority_binary: PathBuf) -> Self {
        Self {
            parts: Part::ALL.to_vec(),
            rounds: 5,
            payments: 40_000,
            accounts: vec![1_000, 100_000, 1_000_000, 10_000_000],
            restart_accounts: 1_000_000,
            restart_payments: 500_000,
            committees: [4, 7, 10, 20].map(|size| vec![1; size]).into_iter().chain([(1..=10).collect()]).collect(),
            durability: Durability::PowerLoss,
            work,
            authority_binary,
            seed: 1,
        }
    }

    /// A pipeline of one worker on the first core, with payments for all rounds.
    fn pipeline(&self) -> PipelineOptions {
        PipelineOptions {
            workers: 1,
            cores: Vec::new(),
            accounts: 100_000,
            weights: vec![1; 4],
            payments: self.payments * self.rounds as usize,
            in_flight: IN_FLIGHT,
            durability: self.durability,
            journal: JournalSizes::default(),
            restart: false,
            work: self.work.clone(),
            seed: self.seed,
            slowdown: Slowdown::default(),
        }
    }
}

/// Payments under way at once per worker: below the smallest number of accounts, since an account has one order under way at a time.
const IN_FLIGHT: usize = 768;

/// Measures what was asked for.
///
/// # Errors
/// If something cannot be started, an answer is wrong, an account differs from the books, or the user interrupts.
pub fn run(request: &Request, stop: &AtomicBool, console: &Console) -> Result<ScaleReport> {
    ensure!((1..=100).contains(&request.rounds), "--rounds must be 1 to 100");
    let wants = |part| request.parts.contains(&part);
    let check_stop = || -> Result<()> {
        ensure!(!stop.load(Ordering::Relaxed), Interrupted);
        Ok(())
    };
    let mut report = ScaleReport::new(request);
    if wants(Part::Workers) {
        report.workers = Some(workers::measure(request, stop, &console.part("workers"))?);
        check_stop()?;
    }
    if wants(Part::Accounts) {
        report.accounts = Some(accounts::measure(request, stop, &console.part("accounts"))?);
        check_stop()?;
    }
    if wants(Part::Restart) {
        report.restart = Some(restart::measure(request, stop, &console.part("restart"))?);
        check_stop()?;
    }
    if wants(Part::Committees) {
        report.committees = committees::measure(request, stop, &console.part("committees"))?;
    }
    report.close();
    Ok(report)
}

/// The median of figures; 0 of none.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([]), 0.0);
    }
}
