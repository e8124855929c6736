//! The JSON of a run: an interface for CI. Names and meanings of fields do not change; fields may be added.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::link::LinkKind;
use crate::machine::{Machine, SyncTime};
use crate::scenario::{Cores, CpuAccount, GeneratorCheck, Measured, Search, Trial};

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Median.
    pub p50: u64,
    /// 95th percentile.
    pub p95: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Largest.
    pub max: u64,
}

impl Percentiles {
    /// Of a histogram of microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99), p999: at(0.999), max: histogram.max() }
    }
}

/// Packets that did not arrive, by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropReport {
    /// On the link, towards the authorities.
    pub link_to_authorities: u64,
    /// On the link, towards the generator.
    pub link_to_generator: u64,
    /// At the generator's sockets.
    pub generator_socket: u64,
    /// Requests that the generator's kernel refused to send.
    pub generator_refused: u64,
}

/// The audit in figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Records read, of all authorities together.
    pub records: u64,
    /// Orders locked, likewise.
    pub locks: u64,
    /// Certificates executed, likewise.
    pub executions: u64,
    /// Whether every balance was compared with the bench's own books.
    pub balances_compared: bool,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// "single" or "committee".
    pub scenario: String,
    /// Payments settled a second in the measured part.
    pub settled_per_second: f64,
    /// Microseconds of the authorities' cores that were not idle, per settled payment.
    pub cpu_us_per_settled: f64,
    /// From the intended send time to a verified quorum of votes.
    pub finality_us: Percentiles,
    /// Payments offered a second in the measured part.
    pub offered_per_second: f64,
    /// Payments not settled at the end, after all repetitions.
    pub lost: u64,
    /// Requests repeated because no answer came in time.
    pub retries: u64,
    /// What the daemon said of its durability.
    pub durability: String,
    /// How the daemon does packet I/O.
    pub rung: String,
    /// The link in words.
    pub link: String,
    /// File system and device of the journals.
    pub filesystem: String,
    /// Accounts in the genesis.
    pub accounts: usize,
    /// Authorities in the committee.
    pub committee: usize,
    /// Who ran where.
    pub cores: Cores,
    /// "passed", or what failed.
    pub audit: String,
    /// Source tree: `git describe --always --dirty`.
    pub commit: String,

    /// "passed" or "failed".
    pub result: String,
    /// What makes the run a failed one.
    pub failures: Vec<String>,
    /// Length of the measured part.
    pub measured_seconds: f64,
    /// "given", "searched" or "trace".
    pub rate_from: String,
    /// The search for the rate, if it was searched for.
    pub search: Option<Search>,
    /// Runs at the rate found that did not sustain it for the whole time; the figures are those of a lower rate.
    pub stepped_down: Vec<Trial>,
    /// From the intended send time to a quorum of acknowledgements.
    pub settlement_us: Percentiles,
    /// From the intended to the real send time.
    pub generator_lateness_us: Percentiles,
    /// The generator against a null server.
    pub generator_check: GeneratorCheck,
    /// Who used the authorities' cores.
    pub cpu: CpuAccount,
    /// "veth" or "loopback".
    pub link_kind: String,
    /// Address-port pairs that the generator sent from.
    pub sources: usize,
    /// Payments sent, warm-up included.
    pub payments: u64,
    /// Payments not settled yet when the last one was due.
    pub backlog_at_end: u64,
    /// Payments whose wallet waited for its payment before.
    pub held: u64,
    /// Answers that differ from what they must be.
    pub wrong_answers: u64,
    /// Refusals by code.
    pub refusals: BTreeMap<String, u64>,
    /// Packets that did not arrive.
    pub drops: DropReport,
    /// The audit in figures.
    pub audit_figures: CheckReport,
    /// How long the disk takes to sync 64 KiB.
    pub fdatasync_us: SyncTime,
    /// The machine.
    pub machine: Machine,
    /// Implementation of signatures.
    pub signatures: String,
}

impl RunReport {
    /// The report of a run.
    pub fn new(measured: &Measured, machine: &Machine, commit: &str, is_trace: bool) -> Self {
        let outcome = &measured.outcome;
        let rate_from = match (is_trace, &measured.search) {
            (true, _) => "trace",
            (false, Some(_)) => "searched",
            (false, None) => "given",
        };
        Self {
            scenario: measured.scenario.name().to_owned(),
            settled_per_second: outcome.settled_per_second(),
            cpu_us_per_settled: measured.cpu.us_per_settled,
            finality_us: Percentiles::of(&outcome.finality_us),
            offered_per_second: measured.offered_per_second,
            lost: outcome.lost,
            retries: outcome.retries,
            durability: measured.durability.clone(),
            rung: measured.rung.clone(),
            link: measured.link.clone(),
            filesystem: measured.file_system.to_string(),
            accounts: measured.accounts,
            committee: measured.committee,
            cores: measured.cores.clone(),
            audit: measured.auditing.result(),
            commit: commit.to_owned(),
            result: if measured.failures.is_empty() { "passed" } else { "failed" }.to_owned(),
            failures: measured.failures.clone(),
            measured_seconds: outcome.window_seconds,
            rate_from: rate_from.to_owned(),
            search: measured.search.clone(),
            stepped_down: measured.stepped_down.clone(),
            settlement_us: Percentiles::of(&outcome.settlement_us),
            generator_lateness_us: Percentiles::of(&outcome.lateness_us),
            generator_check: measured.generator_check.clone(),
            cpu: measured.cpu.clone(),
            link_kind: match measured.link_kind {
                LinkKind::Veth => "veth",
                LinkKind::Loopback => "loopback",
            }
            .to_owned(),
            sources: measured.sources,
            payments: outcome.progress.len() as u64,
            backlog_at_end: outcome.backlog_at_end,
            held: outcome.held,
            wrong_answers: outcome.wrong_answers,
            refusals: outcome.refusals.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            drops: DropReport {
                link_to_authorities: measured.link_drops[0],
                link_to_generator: measured.link_drops[1],
                generator_socket: outcome.dropped_at_socket,
                generator_refused: outcome.refused_by_kernel,
            },
            audit_figures: CheckReport {
                records: measured.auditing.records,
                locks: measured.auditing.locks,
                executions: measured.auditing.executions,
                balances_compared: measured.auditing.balances_compared,
            },
            fdatasync_us: measured.sync_time,
            machine: machine.clone(),
            signatures: meshpay_crypto::implementation().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::sample;
    use super::{Percentiles, RunReport};

    /// The names that a CI relies on: taking one away, or changing what it is, breaks them.
    #[test]
    fn the_interface_is_stable() {
        let report = sample::report();
        let array = serde_json::to_value(vec![&report]).expect("plain data");
        let run = &array[0];
        for name in ["scenario", "durability", "rung", "link", "filesystem", "audit", "commit", "result"] {
            assert!(run[name].is_string(), "{name}: {}", run[name]);
        }
        for name in ["settled_per_second", "cpu_us_per_settled", "offered_per_second"] {
            assert!(run[name].is_f64(), "{name}: {}", run[name]);
        }
        for name in ["lost", "retries", "accounts", "committee"] {
            assert!(run[name].is_u64(), "{name}: {}", run[name]);
        }
        for name in ["p50", "p95", "p99", "p999"] {
            assert!(run["finality_us"][name].is_u64(), "{name}: {}", run["finality_us"]);
        }
        assert_eq!(run["cores"], serde_json::json!({"authority": [1], "generator": 0}));
        assert_eq!((&run["audit"], &run["result"]), (&Value::from("passed"), &Value::from("passed")));
    }

    #[test]
    fn percentiles_are_those_of_the_histogram() {
        let report = sample::report();
        let Percentiles { p50, p95, p99, p999, max } = report.finality_us;
        // 1 to 1,000 microseconds, once each.
        assert_eq!((p50, p95, p99, p999, max), (500, 950, 990, 999, 1_000));
    }

    #[test]
    fn comes_back_from_json() {
        let report = sample::report();
        let text = serde_json::to_string(&report).expect("plain data");
        assert_eq!(serde_json::from_str::<RunReport>(&text).expect("the same form"), report);
    }
}
