//! What `meshpay-bench scale` prints and writes. The JSON is an interface for CI: names and meanings of fields do not change; fields may be added.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{AccountsReport, CommitteeFigures, Figures, Request, RestartReport, WorkersReport, committees};
use crate::filter::Goal;
use crate::machine::{self, FileSystem, Machine};

/// Least that two workers bring, in payments settled a second by those of one.
const SPEEDUP: f64 = 1.9;
/// Most that a payment among many accounts costs, by what it costs among few.
const SPREAD: f64 = 1.3;
/// Most seconds of a start.
const START_S: f64 = 2.3;

/// All figures. Parts that were not measured are empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleReport {
    /// Two workers on two cores.
    pub workers: Option<WorkersReport>,
    /// Cost of a payment by the number of accounts.
    pub accounts: Option<AccountsReport>,
    /// Starts of the daemon.
    pub restart: Option<RestartReport>,
    /// Certificates a second by committee.
    pub committees: Vec<CommitteeFigures>,
    /// What should have been reached, by what was measured.
    pub goals: Vec<Goal>,
    /// Rounds, of which figures are medians.
    pub rounds: u32,
    /// What every answer waited for.
    pub durability: String,
    /// File system and device of the journal.
    pub filesystem: String,
    /// Load average of the last minute before anything was started, and at the end: beyond the cores that the measurement used itself, other programs ran.
    pub load_average: [f64; 2],
    /// Seconds that all of it took.
    pub seconds: f64,
    /// Implementation of signatures.
    pub signatures: String,
    /// Source tree.
    pub commit: String,
    /// The machine.
    pub machine: Machine,
    #[serde(skip)]
    begun: Begun,
}

/// When it began. Two reports are the same whenever they were made.
#[derive(Clone, Copy, Debug)]
struct Begun(std::time::Instant);

impl Default for Begun {
    fn default() -> Self {
        Self(std::time::Instant::now())
    }
}

impl PartialEq for Begun {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl ScaleReport {
    /// An empty report, begun now.
    pub(super) fn new(request: &Request) -> Self {
        Self {
            workers: None,
            accounts: None,
            restart: None,
            committees: Vec::new(),
            goals: Vec::new(),
            rounds: request.rounds,
            durability: request.durability.name().to_owned(),
            filesystem: "unknown".to_owned(),
            load_average: [load_average(), 0.0],
            seconds: 0.0,
            signatures: meshpay_crypto::implementation().to_owned(),
            commit: machine::commit(),
            machine: Machine::this(),
            begun: Begun::default(),
        }
        .on_file_system_of(request)
    }

    fn on_file_system_of(mut self, request: &Request) -> Self {
        // The folder may not exist before a part has made it; its parent tells as much.
        let found = request.work.ancestors().find_map(|path| FileSystem::of(path).ok());
        self.filesystem = found.map_or_else(|| "unknown".to_owned(), |it| it.to_string());
        self
    }

    /// Ends the measurement: what should have been reached, and how long it took.
    pub(super) fn close(&mut self) {
        self.load_average[1] = load_average();
        self.seconds = self.begun.0.elapsed().as_secs_f64();
        if let Some(workers) = &self.workers {
            self.goals.push(Goal::at_least("two workers by one", workers.speedup, SPEEDUP, "times"));
        }
        if let Some(accounts) = &self.accounts {
            self.goals.push(Goal::at_most("cost among many accounts by few", accounts.spread, SPREAD, "times"));
        }
        for start in self.restart.iter().flat_map(|restart| &restart.starts) {
            let what = format!("start after a {}, {}", start.after, warmth(start.warm));
            self.goals.push(Goal::at_most(what, start.seconds, START_S, "s"));
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::from("How it scales\n=============\n");
        // Writing to a string cannot fail, here and below.
        if let Some(workers) = &self.workers {
            text.push_str("\nWorkers, half of the payments across\n");
            figures_header(&mut text, "workers");
            figures_line(&mut text, "1", &workers.one);
            figures_line(&mut text, "2", &workers.two);
            let each: Vec<String> = workers.two.worker_cpu_us_per_settled.iter().map(|us| format!("{us:.2}")).collect();
            let _ = writeln!(
                text,
                "  two by one: {:.2} times ({:.2} within rounds; {:.2} by CPU per payment: one worker {:.2} us, each of two {} us)",
                workers.speedup,
                workers.speedup_of_rounds,
                workers.speedup_by_cpu,
                workers.one.worker_cpu_us_per_settled.first().copied().unwrap_or(0.0),
                each.join(" and "),
            );
        }
        if let Some(accounts) = &self.accounts {
            text.push_str("\nAccounts\n");
            figures_header(&mut text, "accounts");
            for size in &accounts.sizes {
                figures_line(&mut text, &size.accounts.to_string(), &size.figures);
            }
            let _ = writeln!(
                text,
                "  dearest by cheapest: {:.2} times by CPU per payment, {:.2} when quiet",
                accounts.spread, accounts.quiet_spread
            );
        }
        if let Some(restart) = &self.restart {
            let _ = writeln!(
                text,
                "\nStart of the daemon, exec to ready: {} accounts, {} records behind the checkpoint",
                restart.accounts, restart.records
            );
            for start in &restart.starts {
                let rounds: Vec<String> = start.rounds.iter().map(|seconds| format!("{seconds:.2}")).collect();
                let _ = writeln!(
                    text,
                    "  after a {}, {}  {:>6.2} s   {:>5.2} s of CPU   of {}",
                    start.after,
                    warmth(start.warm),
                    start.seconds,
                    start.cpu_seconds,
                    rounds.join(" ")
                );
            }
        }
        if !self.committees.is_empty() {
            text.push_str("\nCommittees\n");
            let _ = writeln!(
                text,
                "  {:<34}{:>7}{:>11}{:>15}{:>17}{:>10}",
                "authorities", "quorum", "signatures", "certificates/s", "by CPU alone/s", "CPU us"
            );
            for committee in &self.committees {
                let _ = writeln!(
                    text,
                    "  {:<34}{:>7}{:>11.2}{:>15.0}{:>17.0}{:>10.2}",
                    committees::name(&committee.weights),
                    committee.quorum,
                    committee.signatures_per_certificate,
                    committee.figures.settled_per_second,
                    committee.certificates_per_core_second,
                    committee.figures.cpu_us_per_settled
                );
            }
        }
        text.push_str("\nGoals\n");
        for goal in &self.goals {
            let (bound, verdict) =
                (if goal.at_least { "at least" } else { "at most" }, if goal.is_met() { "met" } else { "MISSED" });
            let _ = writeln!(
                text,
                "  {:<34}{:>8.2} {:<6} {bound} {:<5}{verdict}",
                goal.what, goal.figure, goal.unit, goal.goal
            );
        }
        let _ = writeln!(
            text,
            "\n  medians of {} rounds in turns, durability {}, {}, signatures {}\n  load average {:.2} before, {:.2} at the end, on {} cores; took {:.0} s; commit {}",
            self.rounds,
            self.durability,
            self.filesystem,
            self.signatures,
            self.load_average[0],
            self.load_average[1],
            self.machine.cores,
            self.seconds,
            self.commit
        );
        text
    }
}

fn figures_header(text: &mut String, what: &str) {
    let _ = writeln!(
        text,
        "  {what:>10}{:>11}{:>9}{:>9}{:>9}{:>10}{:>9}{:>11}{:>9}{:>9}",
        "settled/s", "CPU us", "quiet", "journal", "process", "running", "displaced", "waiting", "retried"
    );
}

fn figures_line(text: &mut String, what: &str, figures: &Figures) {
    let _ = writeln!(
        text,
        "  {what:>10}{:>11.0}{:>9.2}{:>9.2}{:>9.2}{:>10.2}{:>8.0}%{:>10.0}%{:>8.0}%{:>9}",
        figures.settled_per_second,
        figures.cpu_us_per_settled,
        figures.quiet_cpu_us_per_settled,
        figures.journal_cpu_us_per_settled,
        figures.process_cpu_us_per_settled,
        figures.running_share * 100.0,
        figures.displaced_share * 100.0,
        figures.waiting_share * 100.0,
        figures.retried
    );
}

fn warmth(warm: bool) -> &'static str {
    if warm { "warm" } else { "cold" }
}

/// Programs that wanted to run or waited for a disk, on average of the last minute (proc_loadavg(5)); 0 where the kernel does not say.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}
