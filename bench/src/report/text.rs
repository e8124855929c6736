//! The report for people.

use std::fmt::Write as _;

use super::{LoadReport, Percentiles, RunReport};
use crate::daemons::SyncTimes;
use crate::scenario::{P50_OVER_SYNC_MAX_US, P99_OVER_SYNC_MAX_US, Promise};

/// A whole number with its thousands apart.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Microseconds in the unit that reads best, with three digits.
pub fn time(us: f64) -> String {
    let (value, unit) = match us {
        us if us >= 1e6 => (us / 1e6, "s"),
        us if us >= 1e3 => (us / 1e3, "ms"),
        us => (us, "\u{b5}s"),
    };
    let digits = if value.fract().abs() < 0.005 || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// The ground of a run in one line.
pub fn one_line(report: &RunReport) -> String {
    format!(
        "{} | kernel {} | durability {} | {} | {} signatures | commit {}",
        report.machine.processor,
        report.machine.kernel,
        report.durability,
        report.link_kind,
        report.signatures,
        report.commit
    )
}

/// The text of all runs.
pub fn report_text(reports: &[&RunReport]) -> String {
    let mut text = String::from("MeshPay benchmark\n=================\n\n");
    if let Some(report) = reports.first() {
        ground(&mut text, report);
    }
    for report in reports {
        run(&mut text, report);
    }
    how_to_read(&mut text, reports);
    text
}

/// One aligned line. Writing to a string cannot fail.
fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "  {name:<22} {value}");
}

fn ground(text: &mut String, report: &RunReport) {
    let machine = &report.machine;
    let is_virtual = if machine.is_virtual { ", virtual machine" } else { "" };
    line(
        text,
        "machine",
        format!("{}, {} cores{is_virtual}, {} MiB", machine.processor, machine.cores, thousands(machine.memory_mib)),
    );
    line(text, "kernel", &machine.kernel);
    line(text, "commit", &report.commit);
    line(text, "signatures", &report.signatures);
    let sync = report.fdatasync_us;
    line(
        text,
        "journals on",
        format!(
            "{}; fdatasync of 64 KiB: p50 {} us, p99 {} us",
            report.filesystem,
            thousands(sync.p50),
            thousands(sync.p99)
        ),
    );
    text.push('\n');
}

fn run(text: &mut String, report: &RunReport) {
    let title = format!("{}: {}", report.scenario, report.result.to_uppercase());
    let _ = writeln!(text, "{title}\n{}", "-".repeat(title.len()));
    line(text, "settled per second", thousands(report.settled_per_second.round() as u64));
    line(
        text,
        "CPU per settled",
        format!("{:.2} us of the authorities' {}", report.cpu_us_per_settled, cores(&report.cores.of_authorities())),
    );
    line(text, "finality", percentiles(&report.finality_us));
    line(text, "settlement", percentiles(&report.settlement_us));
    line(
        text,
        "offered per second",
        format!(
            "{}, {} for {:.1} s",
            thousands(report.offered_per_second.round() as u64),
            match report.rate_from.as_str() {
                "searched" => "the highest that was sustained,",
                "trace" => "as recorded,",
                _ => "as asked for,",
            },
            report.measured_seconds
        ),
    );
    line(
        text,
        "lost, retried",
        format!("{} payments lost, {} requests repeated", thousands(report.lost), thousands(report.retries)),
    );
    line(text, "audit", &report.audit);
    line(text, "durability", durability(report));
    packet_io(text, report);
    let authorities = match report.scenario.as_str() {
        "single" => format!("1 of {} runs, the others' votes are signed beforehand", report.committee),
        _ => format!("all {} run", report.committee),
    };
    line(text, "authorities", format!("{authorities}, on {}", cores(&report.cores.of_authorities())));
    line(text, "accounts", thousands(report.accounts as u64));
    line(
        text,
        "generator",
        format!(
            "core {}, {} address-port pairs, {}",
            report.cores.generator,
            thousands(report.sources as u64),
            match report.bundle {
                1 => "one request per datagram".to_owned(),
                most => format!("relays that put up to {most} requests into a datagram"),
            }
        ),
    );
    line(text, "  lateness", percentiles(&report.generator_lateness_us));
    let check = &report.generator_check;
    line(
        text,
        "  by itself",
        format!(
            "{}: {} of {} a second with a null server ({:.1} times the rate), lateness p99 {} us",
            if check.passed { "keeps up" } else { "CANNOT KEEP UP" },
            thousands(check.settled_per_second.round() as u64),
            thousands(check.offered_per_second.round() as u64),
            check.offered_per_second / report.offered_per_second,
            thousands(check.lateness_p99_us)
        ),
    );
    line(
        text,
        "  CPU per settled",
        format!("{:.2} us of its thread and of the one that receives for it", report.cpu.generator_us_per_settled),
    );
    loads(text, report);
    cpu(text, report);
    details(text, report);
    for failure in &report.failures {
        line(text, "FAILED", failure);
    }
    text.push('\n');
}

/// A row for each load, the run itself as the last, and what became of the promise.
fn loads(text: &mut String, report: &RunReport) {
    if report.loads.is_empty() {
        if let Some(syncs) = report.journal_sync_us {
            line(text, "journal's syncs", format!("p50 {} us   p99 {} us", thousands(syncs.p50), thousands(syncs.p99)));
        }
        return;
    }
    line(text, "latency by load", "of finality, and of the journal's own fdatasync meanwhile, us");
    line(text, "", "offered/s      p50      p95      p99     p99.9   sync p50 sync p99");
    for load in &report.loads {
        let mut words = load_row(load.offered_per_second, &load.finality_us, load.journal_sync_us.as_ref());
        if load.lost > 0 || load.retries > 0 {
            let _ = write!(words, "   {} lost, {} repeated", thousands(load.lost), thousands(load.retries));
        }
        line(text, &format!("  {:>5} %", load.percent), words);
    }
    let row = load_row(report.offered_per_second, &report.finality_us, report.journal_sync_us.as_ref());
    line(text, "  the run", row);
    for (load, promise) in report.loads.iter().filter_map(|load| Some((load, load.promise.as_ref()?))) {
        line(text, &format!("promise at {} %", load.percent), promise_words(load, promise));
    }
}

fn load_row(offered_per_second: f64, finality: &Percentiles, syncs: Option<&SyncTimes>) -> String {
    let Percentiles { p50, p95, p99, p999, .. } = *finality;
    let [offered, p50, p95, p99, p999] = [offered_per_second.round() as u64, p50, p95, p99, p999].map(thousands);
    let [sync50, sync99] =
        syncs.map_or(["-".to_owned(), "-".to_owned()], |syncs| [syncs.p50, syncs.p99].map(thousands));
    format!("{offered:>9} {p50:>8} {p95:>8} {p99:>8} {p999:>9}   {sync50:>8} {sync99:>8}")
}

/// Whether a promise was kept, in words.
pub fn promise_words(load: &LoadReport, promise: &Promise) -> String {
    let part = |name: &str, found: u64, limit: u64, over: u64, missed: u64| {
        let verdict = if missed == 0 { "met".to_owned() } else { format!("missed by {} us", thousands(missed)) };
        format!(
            "{name} {} us, promised {} (fdatasync's + {}): {verdict}",
            thousands(found),
            thousands(limit),
            thousands(over)
        )
    };
    let found = &load.finality_us;
    let (p50, p99) = (promise.p50_limit_us, promise.p99_limit_us);
    let disturbed = if load.strangers > STRANGERS_NOTED {
        format!("; but other programs had {:.0} % of the authority's core meanwhile", load.strangers * 100.0)
    } else {
        String::new()
    };
    format!(
        "{}; {}{disturbed}",
        part("p50", found.p50, p50, P50_OVER_SYNC_MAX_US, promise.p50_missed_by_us),
        part("p99", found.p99, p99, P99_OVER_SYNC_MAX_US, promise.p99_missed_by_us)
    )
}

/// The rung, why it is no better one, and what filter and rings counted.
fn packet_io(text: &mut String, report: &RunReport) {
    let found = &report.packet_io;
    let mode = found.mode.as_ref().map(|mode| format!(" ({mode} XDP)")).unwrap_or_default();
    line(text, "packet I/O", format!("{}{mode}; {}", report.rung, report.link));
    for reason in &found.not_higher {
        line(text, "  no better, since", reason);
    }
    for (name, counts) in [("  filter's verdicts", &found.outcomes), ("  AF_XDP rings", &found.rings)] {
        if !counts.is_empty() {
            let words: Vec<String> =
                counts.iter().map(|(what, count)| format!("{what} {}", thousands(*count))).collect();
            line(text, name, words.join(", "));
        }
    }
}

fn cpu(text: &mut String, report: &RunReport) {
    let cpu = &report.cpu;
    line(
        text,
        "CPU, us per settled",
        format!(
            "user {:.2}, kernel {:.2}, taken by the hypervisor {:.2}; cores busy {:.0} %, generator's {:.0} %",
            cpu.user_us_per_settled,
            cpu.system_us_per_settled,
            cpu.steal_us_per_settled,
            cpu.busy * 100.0,
            cpu.generator_busy * 100.0
        ),
    );
    if is_disturbed(report) {
        line(
            text,
            "  CAUTION",
            format!(
                "other programs ran on the authorities' cores: about {:.2} us per settled are theirs; repeat on a quiet machine",
                cpu.strangers_us_per_settled
            ),
        );
    }
    for share in cpu.threads.iter().filter(|share| share.us_per_settled >= 0.01) {
        let count = if share.count > 1 { format!(" ({} threads)", share.count) } else { String::new() };
        line(text, &format!("  {}", share.thread), format!("{:.2}{count}", share.us_per_settled));
    }
}

fn details(text: &mut String, report: &RunReport) {
    let drops = &report.drops;
    line(
        text,
        "packets dropped",
        format!(
            "link to authorities {}, link to generator {}, generator's sockets {}, not sent {}",
            thousands(drops.link_to_authorities),
            thousands(drops.link_to_generator),
            thousands(drops.generator_socket),
            thousands(drops.generator_refused)
        ),
    );
    if !report.refusals.is_empty() {
        let refusals: Vec<String> = report.refusals.iter().map(|(code, count)| format!("{code} {count}")).collect();
        line(text, "refusals", refusals.join(", "));
    }
    if report.held > 0 {
        line(
            text,
            "held",
            format!("{} payments waited for their sender's payment before them", thousands(report.held)),
        );
    }
    let figures = &report.audit_figures;
    line(
        text,
        "audited",
        format!(
            "{} records, {} orders locked, {} certificates executed{}",
            thousands(figures.records),
            thousands(figures.locks),
            thousands(figures.executions),
            if figures.balances_compared { "; every balance equals the generator's own books" } else { "" }
        ),
    );
    if let Some(search) = &report.search {
        let trials: Vec<String> = search
            .trials
            .iter()
            .chain(&report.stepped_down)
            .map(|trial| {
                let verdict = if trial.sustained { "yes" } else { "no" };
                format!("{} {verdict}", thousands(trial.offered_per_second.round() as u64))
            })
            .collect();
        line(
            text,
            "rate searched",
            format!(
                "closed loop {}; sustained at: {}",
                thousands(search.closed_loop_per_second.round() as u64),
                trials.join(", ")
            ),
        );
    }
}

/// Share of the CPU figure, or of a core, above which time used by other programs is pointed out.
const STRANGERS_NOTED: f64 = 0.03;

/// Whether other programs took so much of the authorities' cores that the figures are doubtful.
pub fn is_disturbed(report: &RunReport) -> bool {
    report.cpu.strangers_us_per_settled > STRANGERS_NOTED * report.cpu.us_per_settled
}

/// What stands under every report, a note each.
const NOTES: &[&str] = &[
    "Settled: order voted for, certificate executed and acknowledged: by the one authority in `single`, by a quorum in `committee`.",
    "Finality: from the intended send time to a quorum of votes checked at the client (in `single`: its one vote). Votes are compared with bytes computed beforehand, which is stricter than verifying them. Settlement: likewise to the acknowledgements.",
    "Latency by load: each a run of its own at that share of the rate, in an open loop; fdatasync as the daemon's journal timed its own syncs then.",
    "Payments come at random (exponential gaps), or as recorded in a trace, and never wait for the authority: no coordinated omission.",
    "CPU: all time of the authorities' cores that was not idle, whoever used it: daemon, receiving thread of the interface, kernel workers. User and kernel time are sampled by the timer; threads are accounted exactly, over warm-up and drain too.",
    "A rate is sustained if no payment is lost, at most 0.1 % need a repeated request (first timeout 500 ms), and at least 98 % of what is offered within the measured part is settled within it.",
    "Excluded: the clients' work (orders, and in `single` the other authorities' votes, are signed beforehand), and a real network's delay and loss.",
];

/// How to read these runs, a note each.
pub fn notes(reports: &[&RunReport]) -> Vec<String> {
    let mut notes: Vec<String> = NOTES.iter().map(|note| (*note).to_owned()).collect();
    if reports.iter().any(|report| report.link_kind == "loopback") {
        notes.push("On loopback the sender's core pays for the receiver's part of the network stack: CPU per settled is a rough figure.".to_owned());
    }
    if reports.iter().any(|report| report.durability != "power-loss") {
        notes.push("Durability `process` does not survive a power cut: not a figure for real money.".to_owned());
    }
    notes
}

/// Longest line of a note.
const NOTE_WIDTH: usize = 128;

/// Writes the notes, broken into lines.
fn how_to_read(text: &mut String, reports: &[&RunReport]) {
    text.push_str("How to read this\n----------------\n");
    for note in notes(reports) {
        let mut line = "-".to_owned();
        for word in note.split(' ') {
            if line.len() + 1 + word.len() > NOTE_WIDTH {
                let _ = writeln!(text, "{line}");
                line = " ".to_owned();
            }
            let _ = write!(line, " {word}");
        }
        let _ = writeln!(text, "{line}");
    }
}

fn durability(report: &RunReport) -> String {
    match report.durability.as_str() {
        "power-loss" => "power-loss: every answer waits until the disk has it".to_owned(),
        "process" => "process: survives a killed process, NOT a power cut".to_owned(),
        other => other.to_owned(),
    }
}

fn percentiles(percentiles: &Percentiles) -> String {
    let Percentiles { p50, p95, p99, p999, max } = *percentiles;
    let [p50, p95, p99, p999, max] = [p50, p95, p99, p999, max].map(thousands);
    format!("p50 {p50:>7} us   p95 {p95:>7} us   p99 {p99:>7} us   p99.9 {p999:>7} us   max {max:>7} us")
}

fn cores(cores: &[usize]) -> String {
    let list: Vec<String> = cores.iter().map(usize::to_string).collect();
    format!("{} {}", if cores.len() == 1 { "core" } else { "cores" }, list.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn says_what_the_figures_were_taken_on() {
        let report = sample::report();
        let text = report_text(&[&report]);
        for part in [
            "an imaginary processor, 2 cores, 24,105 MiB",
            "single: PASSED",
            "settled per second     14,990",
            "41.50 us of the authorities' core 1",
            "power-loss: every answer waits until the disk has it",
            "ext4 on /dev/vda; fdatasync of 64 KiB: p50 230 us, p99 9,500 us",
            "veth, as it should be",
            "0123456789ab",
            "2,048 address-port pairs",
            "(1.5 times the rate)",
            "Excluded:",
            "retry_later 3",
            "every balance equals the generator's own books",
            "(native XDP)",
            "no better, since     xsk-copy: no memory may be locked",
            "filter's verdicts    delivered 40,000, echo 2",
            "AF_XDP rings         kicks 1,234",
        ] {
            assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        }
        assert!(!text.contains("FAILED") && !text.contains("CAUTION") && !text.contains("loopback"));
    }

    #[test]
    fn each_load_has_its_row_and_the_promise_its_verdict() {
        let mut report = RunReport::new(&sample::searched(), &sample::setting());
        let text = report_text(&[&report]);
        let rows: Vec<&str> = text.lines().filter(|line| line.contains(" % ") && line.contains("9,500")).collect();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(rows[0]), "10 % 1,500 500 950 990 999 230 9,500", "{text}");
        assert_eq!(words(rows[1]), "95 % 14,250 2,000 3,801 3,961 3,997 230 9,500", "{text}");
        let heads = text.lines().find(|line| line.contains("sync p99")).expect("a heading");
        assert!(rows[..2].iter().all(|row| row.len() == heads.len()), "columns end below their headings:\n{text}");
        for part in [
            "the run",
            "p50 500 us, promised 1,030 (fdatasync's + 800): met; p99 990 us, promised 11,500 (fdatasync's + 2,000): met",
        ] {
            assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        }
        report.loads[0].strangers = 0.25;
        report.loads[0].promise = Some(Promise {
            met: false,
            p50_limit_us: 400,
            p50_missed_by_us: 100,
            p99_limit_us: 11_500,
            p99_missed_by_us: 0,
        });
        let text = report_text(&[&report]);
        assert!(text.contains("promised 400 (fdatasync's + 800): missed by 100 us; p99 990 us"));
        assert!(
            text.contains("(fdatasync's + 2,000): met; but other programs had 25 % of the authority's core meanwhile")
        );
    }

    #[test]
    fn says_what_is_wrong() {
        let mut report = sample::report();
        report.result = "failed".to_owned();
        report.failures = vec!["the audit failed: money was made".to_owned()];
        report.durability = "process".to_owned();
        report.link_kind = "loopback".to_owned();
        report.cpu.strangers_us_per_settled = 10.0;
        let text = report_text(&[&report]);
        for part in
            ["single: FAILED", "money was made", "NOT a power cut", "On loopback the sender's core pays", "CAUTION"]
        {
            assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        }
    }

    #[test]
    fn times_read_well() {
        assert_eq!(
            [1.0, 250.0, 1_000.0, 2_345.0, 23_450.0, 234_500.0, 1.5e6].map(time),
            ["1 µs", "250 µs", "1 ms", "2.35 ms", "23.4 ms", "234 ms", "1.50 s"]
        );
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
