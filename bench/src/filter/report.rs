//! What `meshpay-bench filter` leaves behind: `filter.json`, and the same for people, `filter.txt`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{DropFigures, EchoFigures, FloodFigures, Goal, Level, PaymentFigures, Request, VerdictFigures};
use crate::machine::Machine;

/// All figures. Parts that were not measured are empty. Fields may be added; names and meanings stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilterReport {
    /// The machine.
    pub machine: Machine,
    /// Source tree: `git describe --always --dirty`.
    pub commit: String,
    /// Seconds of each measurement of packets.
    pub seconds: f64,
    /// Rounds, of which figures are medians.
    pub rounds: usize,
    /// Nanoseconds for each verdict.
    pub verdicts: Vec<VerdictFigures>,
    /// Packets dropped a second.
    pub drops: Vec<DropFigures>,
    /// Packets answered a second.
    pub echo: Vec<EchoFigures>,
    /// Payments settled a second.
    pub payments: Vec<PaymentFigures>,
    /// Payments settled while somebody floods.
    #[serde(default)]
    pub flood: Vec<FloodFigures>,
    /// What should have been reached, by what was measured.
    #[serde(default)]
    pub goals: Vec<Goal>,
}

impl FilterReport {
    pub(super) fn new(machine: &Machine, commit: String, request: &Request) -> Self {
        Self {
            machine: machine.clone(),
            commit,
            seconds: request.seconds,
            rounds: request.rounds,
            verdicts: Vec::new(),
            drops: Vec::new(),
            echo: Vec::new(),
            payments: Vec::new(),
            flood: Vec::new(),
            goals: Vec::new(),
        }
    }

    /// The rung on which most payments were settled, by the ratios to `udp`; nothing if there were no payments.
    pub fn winner(&self) -> Option<&PaymentFigures> {
        self.payments.iter().max_by(|one, other| one.ratio.total_cmp(&other.ratio))
    }
}

/// Writes both files into `folder`.
///
/// # Errors
/// If one cannot be written.
pub fn write(folder: &Path, report: &FilterReport) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let json = serde_json::to_string_pretty(report)? + "\n";
    for (name, text) in [("filter.json", json), ("filter.txt", report_text(report))] {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The report for people. Writing to a string cannot fail.
pub fn report_text(report: &FilterReport) -> String {
    let mut text = String::from("The filter and the rungs of packet I/O\n======================================\n\n");
    let machine = &report.machine;
    let is_virtual = if machine.is_virtual { ", virtual machine" } else { "" };
    let _ = writeln!(text, "{}, {} cores{is_virtual}, kernel {}", machine.processor, machine.cores, machine.kernel);
    let _ = writeln!(text, "commit {}; medians of {} rounds of {} s", report.commit, report.rounds, report.seconds);
    if !report.verdicts.is_empty() {
        verdicts(&mut text, &report.verdicts);
    }
    if !report.drops.is_empty() {
        drops(&mut text, &report.drops);
    }
    if !report.echo.is_empty() {
        echo(&mut text, &report.echo);
    }
    if !report.payments.is_empty() {
        payments(&mut text, report);
    }
    if !report.flood.is_empty() {
        flood(&mut text, &report.flood);
    }
    if !report.goals.is_empty() {
        goals(&mut text, &report.goals);
    }
    text
}

fn heading(text: &mut String, title: &str) {
    let _ = writeln!(text, "\n{title}\n{}", "-".repeat(title.len()));
}

fn verdicts(text: &mut String, figures: &[VerdictFigures]) {
    heading(text, "Nanoseconds per verdict (test run, state frozen)");
    for figure in figures {
        let VerdictFigures { packet, outcome, bytes, ns, ns_min } = figure;
        let _ = writeln!(text, "  {packet:<40} {outcome:<20} {bytes:>5} bytes {ns:>6.0} ns, least {ns_min:.0}");
    }
}

fn drops(text: &mut String, figures: &[DropFigures]) {
    heading(text, "Packets dropped a second on veth, beside a bare XDP_DROP");
    let _ = writeln!(
        text,
        "  {:<10} {:<20} {:>11} {:>11} {:>6}   receiving thread, ns per packet",
        "input", "packet", "bare/s", "filter/s", "ratio"
    );
    for figure in figures {
        let DropFigures { input, packet, bare, filter, ratio } = figure;
        let _ = writeln!(
            text,
            "  {input:<10} {packet:<20} {:>11.0} {:>11.0} {ratio:>6.2}   {:.0} bare, {:.0} filter",
            bare.per_second, filter.per_second, bare.receiver_ns, filter.receiver_ns
        );
    }
}

fn echo(text: &mut String, figures: &[EchoFigures]) {
    heading(text, "Packets answered a second, microseconds of the server's core per packet");
    let _ = writeln!(
        text,
        "  {:<16} {:<7} {:>10} {:>6} {:>7} {:>6} {:>7} {:>7} {:>9} {:>7} {:>7}",
        "rung", "NAPI", "answered/s", "ratio", "lost", "burst", "thread", "of it", "to flush", "NAPI", "sum"
    );
    let _ = writeln!(text, "  {:>72}", "user");
    for figure in figures {
        let _ = writeln!(
            text,
            "  {:<16} {:<7} {:>10.0} {:>6.2} {:>7.4} {:>6.0} {:>7.2} {:>7.2} {:>9.3} {:>7.2} {:>7.2}",
            figure.rung,
            if figure.napi_batch { "batch" } else { "normal" },
            figure.answered_per_second,
            figure.ratio,
            figure.lost,
            figure.burst,
            figure.thread_us,
            figure.user_us,
            figure.to_flush_us,
            figure.napi_us,
            figure.thread_us + figure.napi_us
        );
    }
}

fn payments(text: &mut String, report: &FilterReport) {
    heading(text, "Payments settled a second by one authority on one core");
    let _ =
        writeln!(text, "  {:<16} {:>10} {:>6} {:>14} {:>6}", "rung", "settled/s", "ratio", "worker+NAPI us", "ratio");
    for figure in &report.payments {
        let _ = writeln!(
            text,
            "  {:<16} {:>10.0} {:>6.2} {:>14.2} {:>6.2}",
            figure.rung, figure.settled_per_second, figure.ratio, figure.cpu_us_per_settled, figure.cpu_ratio
        );
        if figure.reached.iter().any(|reached| *reached != figure.rung) {
            let _ = writeln!(text, "    was not reached; it ran on {}", figure.reached.join(", "));
        }
        for failure in &figure.failures {
            let _ = writeln!(text, "    FAILED {failure}");
        }
    }
    if let Some(winner) = report.winner() {
        let _ = writeln!(text, "  most payments: {}, {:.2} times those of udp", winner.rung, winner.ratio);
    }
}

fn flood(text: &mut String, figures: &[FloodFigures]) {
    heading(text, "Payments at half of the capacity while somebody floods with ten times as many packets");
    for figure in figures {
        let _ = writeln!(
            text,
            "  {}: {:.0} payments/s offered, {:.0} settled in a closed loop before",
            figure.rung, figure.offered_per_second, figure.capacity_per_second
        );
        if figure.reached != figure.rung {
            let _ = writeln!(text, "    was not reached; it ran on {}", figure.reached);
        }
        let _ = writeln!(
            text,
            "    {:<8} {:>10} {:>10} {:>10} {:>10} {:>8} {:>6}   authority's core: {:>7} {:>9}   generator's: {:>9}",
            "", "settled/s", "p50 us", "p99 us", "late us", "retried", "lost", "worker", "receiving", "generator"
        );
        for (name, level) in [("calm", &figure.calm), ("flooded", &figure.flooded)] {
            let Level {
                settled_per_second, finality_p50_us, finality_p99_us, lateness_p99_us, retry_share, lost, ..
            } = level;
            let _ = writeln!(
                text,
                "    {name:<8} {settled_per_second:>10.0} {finality_p50_us:>10.0} {finality_p99_us:>10.0} {lateness_p99_us:>10.0} {:>6.2} % {lost:>6.0} {:>24.0} % {:>7.0} % {:>22.0} %",
                100.0 * retry_share,
                100.0 * level.worker_busy,
                100.0 * level.receiving_busy,
                100.0 * level.generator_busy
            );
        }
        let _ = writeln!(text, "    goodput  {:.1} % of what it is without the flood", 100.0 * figure.goodput);
        let _ = writeln!(
            text,
            "    flood    {:.0} packets/s sent on the generator's core ({:.0} % of it to send, handing them on not counted), {:.0} arrived",
            figure.flood_sent_per_second,
            100.0 * figure.flood_sender_busy,
            figure.flood_arrived_per_second
        );
        for (name, counts) in [("verdicts", &figure.outcomes), ("rings", &figure.rings)] {
            if !counts.is_empty() {
                let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
                let _ = writeln!(text, "    {name:<8} {}", counts.join(", "));
            }
        }
        for failure in &figure.failures {
            let _ = writeln!(text, "    FAILED {failure}");
        }
    }
}

fn goals(text: &mut String, goals: &[Goal]) {
    heading(text, "Goals, each beside its figure");
    for goal in goals {
        let Goal { what, figure, goal: wanted, at_least, unit } = goal;
        let judged = if goal.is_met() { "met" } else { "MISSED" };
        let bound = if *at_least { "at least" } else { "at most" };
        let digits = if *wanted < 10.0 { 2 } else { 0 };
        let _ = writeln!(text, "  {judged:<7} {what:<80} {figure:>9.digits$} {unit}, {bound} {wanted:.digits$}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::drops::DropRate;
    use super::*;

    fn sample() -> FilterReport {
        let rate = |per_second, receiver_ns| DropRate { per_second, receiver_ns };
        let payments = |rung: &str, ratio| PaymentFigures {
            rung: rung.to_owned(),
            reached: vec!["udp".to_owned()],
            settled_per_second: 40_000.0 * ratio,
            cpu_us_per_settled: 20.0,
            ratio,
            cpu_ratio: 1.0,
            failures: Vec::new(),
        };
        let verdict = VerdictFigures {
            packet: "echo".to_owned(),
            outcome: "echo".to_owned(),
            bytes: 354,
            ns: 214.0,
            ns_min: 190.0,
        };
        FilterReport {
            machine: Machine {
                processor: "an imaginary processor".to_owned(),
                cores: 2,
                is_virtual: false,
                kernel: "6.18".to_owned(),
                memory_mib: 1,
            },
            commit: "0123".to_owned(),
            seconds: 1.0,
            rounds: 3,
            verdicts: vec![verdict],
            drops: vec![DropFigures {
                input: "xdp_frame".to_owned(),
                packet: "garbage".to_owned(),
                bare: rate(4e6, 40.0),
                filter: rate(3e6, 90.0),
                ratio: 0.75,
            }],
            echo: vec![EchoFigures { rung: "xsk-copy".to_owned(), napi_batch: true, ..EchoFigures::default() }],
            payments: vec![payments("udp", 1.0), payments("xsk-copy", 1.5)],
            flood: vec![FloodFigures {
                rung: "xsk-copy".to_owned(),
                reached: "xsk-copy".to_owned(),
                goodput: 0.97,
                rings: std::collections::BTreeMap::from([("kernel_ring_full".to_owned(), 3)]),
                outcomes: std::collections::BTreeMap::from([("echo".to_owned(), 7)]),
                ..FloodFigures::default()
            }],
            goals: vec![Goal {
                what: "slowest verdict".to_owned(),
                figure: 251.0,
                goal: 250.0,
                at_least: false,
                unit: "ns".to_owned(),
            }],
        }
    }

    #[test]
    fn people_find_every_part() {
        let text = report_text(&sample());
        for part in [
            "medians of 3 rounds",
            "214 ns, least 190",
            "3000000   0.75   40 bare, 90 filter",
            "xsk-copy         batch",
            "was not reached; it ran on udp",
            "most payments: xsk-copy, 1.50 times those of udp",
            "goodput  97.0 % of",
            "rings    kernel_ring_full 3",
            "251 ns, at most 250",
            "verdicts echo 7",
        ] {
            assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        }
        let nothing = FilterReport {
            verdicts: vec![],
            drops: vec![],
            echo: vec![],
            payments: vec![],
            flood: vec![],
            goals: vec![],
            ..sample()
        };
        assert!(!report_text(&nothing).contains("---"));
    }

    #[test]
    fn comes_back_from_json() {
        let report = sample();
        let text = serde_json::to_string(&report).expect("plain data");
        assert_eq!(serde_json::from_str::<FilterReport>(&text).expect("the same form"), report);
    }
}
