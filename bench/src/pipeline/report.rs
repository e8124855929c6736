//! Figures of a pipeline run. The JSON is an interface for CI: names and meanings of fields do not change; fields may be added.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::drive::{STAGES, WorkerOutcome};
use super::options::PipelineOptions;
use super::supply::Scene;
use crate::allocations;
use crate::machine::{self, FileSystem, Machine};

/// Microseconds of CPU per settled payment, by stage. Their sum is `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageTimes {
    /// Taking datagrams, decoding, screening, queueing by source.
    pub receive: f64,
    /// Certificates: screen, verify, append, apply.
    pub certificates: f64,
    /// Orders: digest, screen, verify, append, lock.
    pub orders: f64,
    /// Signing votes.
    pub sign: f64,
    /// Composing and handing over answers.
    pub reply: f64,
    /// What the worker does between its stages: credits from other workers, waking the journal, sleeping and waking up.
    pub between: f64,
    /// The journal's thread: hashing, writing, syncing.
    pub journal: f64,
    /// All of it.
    pub total: f64,
}

impl StageTimes {
    /// Names and values without the sum, in the order of the data path.
    pub fn entries(&self) -> [(&'static str, f64); 7] {
        [
            ("receive", self.receive),
            ("certificates", self.certificates),
            ("orders", self.orders),
            ("sign", self.sign),
            ("reply", self.reply),
            ("between", self.between),
            ("journal", self.journal),
        ]
    }
}

/// One worker.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerFigures {
    /// Its core.
    pub core: usize,
    /// Payments settled a second, by the clock on the wall.
    pub settled_per_second: f64,
    /// Microseconds on its core per payment.
    pub cpu_us_per_settled: f64,
    /// Datagrams per turn that did something.
    pub datagrams_per_turn: f64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelineReport {
    /// Payments settled while it was measured.
    pub settled: u64,
    /// Measured seconds, of the worker that was measured longest.
    pub seconds: f64,
    /// Payments settled a second by all workers together, by the clock on the wall.
    pub settled_per_second: f64,
    /// The same, per core.
    pub settled_per_second_per_core: f64,
    /// Requests that the authority put off with 'retry later', since its journal was busy, and that were offered again.
    #[serde(default)]
    pub retried: u64,
    /// Microseconds of CPU per settled payment.
    pub cpu_us_per_settled: StageTimes,
    /// Microseconds of the workers' CPU per settled payment in the quieter quarter of the run: a quarter of its slices, of a thirty-second of the payments
    /// each, cost less. What other programs do to caches and to a shared core is mostly outside of it. Nothing where there were too few slices.
    #[serde(default)]
    pub quiet_cpu_us_per_settled: Option<f64>,
    /// Allocations of workers and journal thread per settled payment; nothing where they were not counted.
    pub allocations_per_settled: Option<f64>,
    /// Allocations in all.
    pub allocations: Option<u64>,
    /// Certificates executed a second by all workers.
    pub certificates_per_second: f64,
    /// Signatures in a certificate, on average.
    pub signatures_per_certificate: f64,
    /// Share of all payments whose recipient belongs to another worker.
    pub crossing_share: f64,
    /// Payments per commit of the journal.
    pub settled_per_commit: f64,
    /// Microseconds that a sync took, on average.
    pub sync_us: f64,
    /// Seconds that the start after a kill took.
    pub restart_seconds: Option<f64>,
    /// Records that it read.
    pub restart_records: Option<u64>,
    /// The workers.
    pub workers: Vec<WorkerFigures>,
    /// Accounts in the table.
    pub accounts: usize,
    /// Voting weights by place.
    pub weights: Vec<u32>,
    /// Payments under way at once, per worker.
    pub in_flight: usize,
    /// What every answer waited for.
    pub durability: String,
    /// File system and device of the journal.
    pub filesystem: String,
    /// Percent by which the run was slowed down on command; 0 in every run that counts.
    pub slowdown_percent: u32,
    /// Implementation of signatures.
    pub signatures: String,
    /// Source tree.
    pub commit: String,
    /// The machine.
    pub machine: Machine,
}

impl PipelineReport {
    /// The report of a run.
    pub(super) fn new(
        options: &PipelineOptions,
        scene: &Scene,
        workers: &[WorkerOutcome],
        restart: Option<(f64, u64)>,
    ) -> Self {
        let settled: u64 = workers.iter().map(|worker| worker.settled).sum();
        let per_settled_us = |ns: u64| ns as f64 / 1e3 / settled as f64;
        let stage = |name: &str| {
            let at = STAGES.iter().position(|stage| *stage == name).unwrap_or(0);
            per_settled_us(workers.iter().map(|worker| worker.stages_ns[at]).sum())
        };
        // All workers see one journal; the one that was measured longest saw most of it.
        let longest = workers.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds)).cloned().unwrap_or_default();
        let workers_us = per_settled_us(workers.iter().map(|worker| worker.cpu_ns).sum());
        let in_stages: f64 = STAGES.iter().map(|name| stage(name)).sum();
        let journal = per_settled_us(longest.journal_cpu_ns);
        let cpu_us_per_settled = StageTimes {
            receive: stage("receive"),
            certificates: stage("certificates"),
            orders: stage("orders"),
            sign: stage("sign"),
            reply: stage("reply"),
            between: (workers_us - in_stages).max(0.0) + stage("queries"),
            journal,
            total: workers_us + journal,
        };
        let made = workers.iter().map(|worker| worker.allocations).sum::<u64>() + longest.journal_allocations;
        let allocations = allocations::are_counted().then_some(made);
        let settled_per_second: f64 = workers.iter().map(|worker| worker.settled as f64 / worker.seconds).sum();
        let payments: u64 = scene.supplies.iter().map(|supply| supply.payments.len() as u64).sum();
        let commits = longest.commits.max(1) as f64;
        let cores = options.cores();
        Self {
            settled,
            seconds: longest.seconds,
            settled_per_second,
            settled_per_second_per_core: settled_per_second / workers.len() as f64,
            retried: workers.iter().map(|worker| worker.retried).sum(),
            cpu_us_per_settled,
            quiet_cpu_us_per_settled: quiet_quarter(
                workers.iter().flat_map(|worker| worker.slices_us.iter().copied()).collect(),
            ),
            allocations_per_settled: allocations.map(|count| count as f64 / settled as f64),
            allocations,
            certificates_per_second: settled_per_second,
            signatures_per_certificate: scene.signatures as f64 / payments as f64,
            crossing_share: scene.crossing as f64 / payments as f64,
            settled_per_commit: settled as f64 / commits,
            sync_us: longest.sync_us as f64 / commits,
            restart_seconds: restart.map(|(seconds, _)| seconds),
            restart_records: restart.map(|(_, records)| records),
            workers: workers
                .iter()
                .zip(cores)
                .map(|(worker, core)| WorkerFigures {
                    core,
                    settled_per_second: worker.settled as f64 / worker.seconds,
                    cpu_us_per_settled: worker.cpu_ns as f64 / 1e3 / worker.settled as f64,
                    datagrams_per_turn: worker.datagrams as f64 / worker.turns.max(1) as f64,
                })
                .collect(),
            accounts: options.accounts,
            weights: options.weights.clone(),
            in_flight: options.in_flight,
            durability: options.durability.name().to_owned(),
            filesystem: FileSystem::of(&options.work).map_or_else(|_| "unknown".to_owned(), |it| it.to_string()),
            slowdown_percent: options.slowdown.percent,
            signatures: meshpay_crypto::implementation().to_owned(),
            commit: machine::commit(),
            machine: Machine::this(),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail, here and below.
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<24}{value}");
        };
        let workers = self.workers.len();
        let cores: Vec<String> = self.workers.iter().map(|worker| worker.core.to_string()).collect();
        line("settled per second", &format!("{:.0}", self.settled_per_second));
        line(
            "per core",
            &format!(
                "{:.0}, {workers} worker{} on core {}",
                self.settled_per_second_per_core,
                plural(workers),
                cores.join(", ")
            ),
        );
        line("CPU per settled", &format!("{:.2} us", self.cpu_us_per_settled.total));
        if let Some(quiet) = self.quiet_cpu_us_per_settled {
            line("    workers, when quiet", &format!("{quiet:.2} us, or less in a quarter of the run"));
        }
        let total = self.cpu_us_per_settled.total.max(f64::MIN_POSITIVE);
        for (stage, us) in self.cpu_us_per_settled.entries() {
            let share = us / total;
            let bar = "#".repeat((share * 40.0).round() as usize);
            line(&format!("    {stage}"), format!("{us:6.2} us {:3.0} %  {bar}", share * 100.0).trim_end());
        }
        match (self.allocations_per_settled, self.allocations) {
            (Some(_), Some(0)) => line("allocations per payment", "0, counted"),
            (Some(share), Some(count)) => line("allocations per payment", &format!("{share:.6} ({count} in all)")),
            _ => line("allocations per payment", "not counted"),
        }
        line("signatures", &format!("{:.1} in a certificate, by {}", self.signatures_per_certificate, self.signatures));
        if workers > 1 {
            line("across workers", &format!("{:.1} % of all payments", self.crossing_share * 100.0));
        }
        line(
            "journal",
            &format!(
                "{}, {:.0} payments a commit, a sync takes {:.0} us, {}",
                self.durability, self.settled_per_commit, self.sync_us, self.filesystem
            ),
        );
        let turns: Vec<String> =
            self.workers.iter().map(|worker| format!("{:.0}", worker.datagrams_per_turn)).collect();
        line("datagrams a turn", &format!("{}; {} payments under way at once", turns.join(", "), self.in_flight));
        line("accounts", &self.accounts.to_string());
        line("committee", &committee(&self.weights));
        if self.retried > 0 {
            line("put off and asked again", &format!("{} requests: the journal was busy", self.retried));
        }
        line("measured", &format!("{} payments in {:.2} s", self.settled, self.seconds));
        if let (Some(seconds), Some(records)) = (self.restart_seconds, self.restart_records) {
            line("restart after a kill", &format!("{seconds:.2} s, {records} records"));
        }
        if self.slowdown_percent > 0 {
            line("SLOWED DOWN ON COMMAND", &format!("by {} percent", self.slowdown_percent));
        }
        line("commit", &self.commit);
        text
    }
}

/// The lower quartile of at least eight slices.
fn quiet_quarter(mut slices: Vec<f64>) -> Option<f64> {
    slices.sort_by(f64::total_cmp);
    (slices.len() >= 8).then(|| slices[slices.len() / 4])
}

fn committee(weights: &[u32]) -> String {
    let equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
    if equal { format!("{} of equal weight", weights.len()) } else { format!("{}, weights {weights:?}", weights.len()) }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
