//! The JSON of a run: an interface for CI. Names and meanings of fields do not change; fields may be added.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::daemons::{PacketIo, SyncTimes};
use crate::link::LinkKind;
use crate::machine::{Machine, SyncTime};
use crate::scenario::{
    Cores, CpuAccount, GeneratorCheck, Load, Measured, PROMISED_LOAD_PERCENT, Promise, Scenario, Search, Trial,
};
use crate::signatures::SignatureTimes;

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

/// Quantiles of a curve: enough to draw it on a scale on which each further nine is as wide as the one before.
const CURVE_QUANTILES: [f64; 22] = [
    0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999,
    0.9995, 0.9999,
];

/// A point of a curve: a quantile from 0 to 1, and the value there in microseconds.
pub type CurvePoint = (f64, u64);

/// The curve of a histogram of microseconds, as far as it holds enough values for each point to be more than chance; ends with the largest.
fn curve(histogram: &Histogram<u64>) -> Vec<CurvePoint> {
    let told = |quantile: &f64| (1.0 - quantile) * histogram.len() as f64 >= 1.0;
    let at = |quantile: f64| (quantile, histogram.value_at_quantile(quantile));
    let mut curve: Vec<CurvePoint> = CURVE_QUANTILES.into_iter().filter(told).map(at).collect();
    if !histogram.is_empty() {
        curve.push((1.0, histogram.max()));
    }
    curve
}

/// Latency at a share of the capacity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Percent of the rate of the run.
    pub percent: f64,
    /// Payments offered a second.
    pub offered_per_second: f64,
    /// Payments settled a second.
    pub settled_per_second: f64,
    /// Length of the measured part.
    pub measured_seconds: f64,
    /// From the intended send time to a verified quorum of votes.
    pub finality_us: Percentiles,
    /// The same as a curve.
    pub finality_curve_us: Vec<CurvePoint>,
    /// From the intended send time to a quorum of acknowledgements.
    pub settlement_us: Percentiles,
    /// Syncs of the journals meanwhile.
    pub journal_sync_us: Option<SyncTimes>,
    /// What is promised at this load, if anything is.
    pub promise: Option<Promise>,
    /// Microseconds of the authorities' cores that were not idle, per settled payment.
    pub cpu_us_per_settled: f64,
    /// Share of the cores' time that was not idle.
    pub busy: f64,
    /// Share of the cores' time that programs took which are no part of the run. They make answers late, and that is not the authority's doing.
    #[serde(default)]
    pub strangers: f64,
    /// 99th percentile of the generator's lateness.
    pub generator_lateness_p99_us: u64,
    /// Payments not settled at the end.
    pub lost: u64,
    /// Requests repeated.
    pub retries: u64,
}

impl LoadReport {
    fn new(load: &Load, scenario: Scenario) -> Self {
        let outcome = &load.outcome;
        let finality_us = Percentiles::of(&outcome.finality_us);
        let is_promised = scenario == Scenario::Single && load.percent == PROMISED_LOAD_PERCENT;
        let judge = |syncs: SyncTimes| Promise::judge(finality_us.p50, finality_us.p99, &syncs);
        Self {
            percent: load.percent,
            offered_per_second: load.offered_per_second,
            settled_per_second: outcome.settled_per_second(),
            measured_seconds: outcome.window_seconds,
            finality_us,
            finality_curve_us: curve(&outcome.finality_us),
            settlement_us: Percentiles::of(&outcome.settlement_us),
            journal_sync_us: load.syncs,
            promise: load.syncs.filter(|_| is_promised).map(judge),
            cpu_us_per_settled: load.cpu.us_per_settled,
            busy: load.cpu.busy,
            strangers: load.cpu.busy * load.cpu.strangers_us_per_settled
                / load.cpu.us_per_settled.max(f64::MIN_POSITIVE),
            generator_lateness_p99_us: outcome.lateness_us.value_at_quantile(0.99),
            lost: outcome.lost,
            retries: outcome.retries,
        }
    }
}

/// What is known beside the measurements: where and by what they were taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The machine.
    pub machine: Machine,
    /// Source tree: `git describe --always --dirty`.
    pub commit: String,
    /// The command line, for who wants to repeat it.
    pub command_line: String,
    /// Seconds since 1970, UTC, when it began.
    pub began_unix_s: u64,
    /// What signatures cost on this machine.
    pub signature_us: Option<SignatureTimes>,
    /// Whether a trace was replayed.
    pub is_trace: bool,
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
    /// The first authority's packet I/O: why it is on no better rung, what its filter and its AF_XDP rings counted in all.
    #[serde(default)]
    pub packet_io: PacketIo,
    /// "veth" or "loopback".
    pub link_kind: String,
    /// Address-port pairs that the generator sent from.
    pub sources: usize,
    /// Most requests that shared a datagram.
    pub bundle: usize,
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
    /// Latency at shares of the rate.
    #[serde(default)]
    pub loads: Vec<LoadReport>,
    /// Syncs of the journals in the measured part, as the daemons timed them.
    #[serde(default)]
    pub journal_sync_us: Option<SyncTimes>,
    /// Finality as a curve.
    #[serde(default)]
    pub finality_curve_us: Vec<CurvePoint>,
    /// What signatures cost on this machine, beside a library's.
    #[serde(default)]
    pub signature_us: Option<SignatureTimes>,
    /// The command line.
    #[serde(default)]
    pub command_line: String,
    /// Seconds since 1970, UTC, when the program began.
    #[serde(default)]
    pub began_unix_s: u64,
}

impl RunReport {
    /// The report of a run.
    pub fn new(measured: &Measured, setting: &Setting) -> Self {
        let outcome = &measured.outcome;
        let rate_from = match (setting.is_trace, &measured.search) {
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
            commit: setting.commit.clone(),
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
            packet_io: measured.packet_io.clone(),
            link_kind: match measured.link_kind {
                LinkKind::Veth => "veth",
                LinkKind::Loopback => "loopback",
            }
            .to_owned(),
            sources: measured.sources,
            bundle: measured.bundle,
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
            machine: setting.machine.clone(),
            signatures: meshpay_crypto::implementation().to_owned(),
            loads: measured.loads.iter().map(|load| LoadReport::new(load, measured.scenario)).collect(),
            journal_sync_us: measured.journal_syncs,
            finality_curve_us: curve(&outcome.finality_us),
            signature_us: setting.signature_us.clone(),
            command_line: setting.command_line.clone(),
            began_unix_s: setting.began_unix_s,
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
