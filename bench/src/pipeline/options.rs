//! What can be asked of the pipeline.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use meshpay_authority::journal::JournalConfig;
use meshpay_authority::state::known_kinds;

use crate::scenario::Durability;
use crate::slowdown::Slowdown;

/// All that decides a run.
#[derive(Clone, Debug)]
pub struct PipelineOptions {
    /// Workers, each a thread on a core of its own.
    pub workers: usize,
    /// Cores for the workers and for the journal's threads; empty: the machine's first cores, one for each worker.
    pub cores: Vec<usize>,
    /// Accounts in the genesis.
    pub accounts: usize,
    /// Voting weights of the committee, by place. The authority that is driven has place 0.
    pub weights: Vec<u32>,
    /// Payments in all, warm-up included.
    pub payments: usize,
    /// Payments under way at once, per worker.
    pub in_flight: usize,
    /// What every answer waits for.
    pub durability: Durability,
    /// Sizes of the journal.
    pub journal: JournalSizes,
    /// Whether the authority is killed after the run and started again.
    pub restart: bool,
    /// Folder for the journal and the account table, in a directory of their own that is removed.
    pub work: PathBuf,
    /// Seed of accounts and transfers.
    pub seed: u64,
    /// For tests of what judges the figures.
    pub slowdown: Slowdown,
}

/// Sizes of a journal; those of the daemon by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalSizes {
    /// Bytes of a segment file.
    pub segment_bytes: u64,
    /// Bytes of the buffer that the workers fill while the one before is written. When it is full, requests are put off.
    pub frame_bytes: usize,
}

impl Default for JournalSizes {
    fn default() -> Self {
        let daemon = JournalConfig::new(known_kinds());
        Self { segment_bytes: daemon.segment_bytes, frame_bytes: daemon.frame_bytes }
    }
}

/// Least payments: fewer would be over before they were measured.
const PAYMENTS_MIN: usize = 1_000;
/// Most payments under way at once per worker: what its queues can hold, so that nothing is dropped.
const IN_FLIGHT_MAX: usize = 2_048;
/// Most accounts that pay; the rest are only paid. Their keys cost memory and time to make.
const PAYERS_MAX: usize = 1 << 20;

impl PipelineOptions {
    /// Checks every bound.
    ///
    /// # Errors
    /// If one does not hold; the message says which.
    pub fn check(&self) -> Result<()> {
        ensure!((1..=64).contains(&self.workers), "--workers must be 1 to 64");
        ensure!(
            self.cores.is_empty() || self.cores.len() >= self.workers,
            "--cores names {} cores for {} workers; name one for each",
            self.cores.len(),
            self.workers
        );
        ensure!(self.accounts >= 2 * self.workers, "--accounts must be at least twice the workers");
        ensure!(self.accounts <= 1 << 28, "--accounts must be at most {}", 1 << 28);
        ensure!((PAYMENTS_MIN..=1 << 27).contains(&self.payments), "--payments must be {PAYMENTS_MIN} to {}", 1 << 27);
        ensure!((1..=IN_FLIGHT_MAX).contains(&self.in_flight), "--in-flight must be 1 to {IN_FLIGHT_MAX}");
        ensure!(!self.weights.is_empty(), "a committee needs a member");
        Ok(())
    }

    /// Accounts that pay.
    pub fn payers(&self) -> usize {
        self.accounts.min(self.payments).min(PAYERS_MAX)
    }

    /// Cores for workers and journal.
    pub fn cores(&self) -> Vec<usize> {
        if self.cores.is_empty() { (0..self.workers).collect() } else { self.cores[..self.workers].to_vec() }
    }
}
