//! The pipeline in process: every payment settles, nothing on the hot path allocates, the stages add up, and a restart reads what was written.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use meshpay_bench::allocations::{self, CountingAllocator};
use meshpay_bench::pipeline::{self, JournalSizes, PipelineOptions, PipelineReport};
use meshpay_bench::progress::Console;
use meshpay_bench::scenario::Durability;
use meshpay_bench::slowdown::Slowdown;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn options(work: &Path) -> PipelineOptions {
    PipelineOptions {
        workers: 1,
        cores: Vec::new(),
        accounts: 500,
        weights: vec![1; 4],
        payments: 3_000,
        in_flight: 200,
        durability: Durability::Process,
        journal: JournalSizes::default(),
        restart: false,
        work: work.to_owned(),
        seed: 1,
        slowdown: Slowdown::default(),
    }
}

fn run(options: &PipelineOptions) -> PipelineReport {
    pipeline::run(options, &AtomicBool::new(false), &Console::silent()).expect("the run passes")
}

fn refusal(options: &PipelineOptions) -> String {
    let error = pipeline::run(options, &AtomicBool::new(false), &Console::silent()).expect_err("it is refused");
    format!("{error:#}")
}

#[test]
fn one_worker_settles_without_allocating_and_its_stages_add_up() {
    let work = tempfile::tempdir().expect("a folder");
    let options = PipelineOptions { durability: Durability::PowerLoss, restart: true, ..options(work.path()) };
    let report = run(&options);
    assert!(allocations::are_counted());
    assert_eq!(report.allocations, Some(0));
    assert!(report.settled > 1_000 && report.settled_per_second > 0.0);
    let stages = report.cpu_us_per_settled;
    let sum: f64 = stages.entries().iter().map(|(_, us)| us).sum();
    assert!((sum - stages.total).abs() < 0.01 * stages.total, "{sum} {stages:?}");
    assert!(stages.entries().iter().all(|(_, us)| *us >= 0.0) && stages.orders > 0.0 && stages.certificates > 0.0);
    let quiet = report.quiet_cpu_us_per_settled.expect("enough slices");
    assert!(quiet > 0.0 && quiet <= 1.5 * stages.total, "{quiet} {stages:?}");
    // The genesis record, and for each payment a lock and an execution.
    assert_eq!(report.restart_records, Some(1 + 2 * 3_000));
    assert_eq!(report.crossing_share, 0.0);
    assert_eq!(std::fs::read_dir(work.path()).expect("it exists").count(), 0, "nothing is left behind");
    let text = report.text();
    assert!(text.contains("allocations per payment 0, counted") && text.contains("restart after a kill"), "{text}");
}

#[test]
fn two_workers_pay_each_other() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return println!("skipped: needs two cores");
    }
    let work = tempfile::tempdir().expect("a folder");
    const PAYMENTS: usize = 12_000;
    let report = run(&PipelineOptions { workers: 2, restart: true, payments: PAYMENTS, ..options(work.path()) });
    assert_eq!((report.workers.len(), report.allocations), (2, Some(0)));
    assert!((0.4..=0.6).contains(&report.crossing_share), "{}", report.crossing_share);
    // A credit to the other worker's account is linked by a record of its own.
    let crossing = (report.crossing_share * PAYMENTS as f64).round() as u64;
    assert_eq!(report.restart_records, Some(1 + 2 * PAYMENTS as u64 + crossing));
}

/// What the journal has no room for is put off; a run goes on as a client would, says how often, and loses nothing.
#[test]
fn what_is_put_off_is_asked_again_and_settles() {
    let work = tempfile::tempdir().expect("a folder");
    // The first burst of orders alone is longer than this buffer.
    let journal = JournalSizes { segment_bytes: 1 << 20, frame_bytes: 64 << 10 };
    let in_flight = 1_000;
    let report = run(&PipelineOptions { journal, in_flight, accounts: 4_000, restart: true, ..options(work.path()) });
    assert!(report.settled > 1_000 && report.retried > 0, "{} were put off", report.retried);
    assert_eq!(report.restart_records, Some(1 + 2 * 3_000));
    assert!(report.text().contains("put off and asked again"), "{}", report.text());
}

#[test]
fn committees_of_any_size_and_weight() {
    let work = tempfile::tempdir().expect("a folder");
    for (weights, signatures) in [(vec![1; 7], 5.0), (vec![1; 20], 14.0), (vec![10, 1, 1, 1], 1.0)] {
        let report = run(&PipelineOptions { weights: weights.clone(), ..options(work.path()) });
        assert_eq!(report.signatures_per_certificate, signatures, "{weights:?}");
        assert_eq!(report.weights, weights);
    }
}

#[test]
fn bounds_are_told() {
    let work = tempfile::tempdir().expect("a folder");
    let base = options(work.path());
    assert!(refusal(&PipelineOptions { payments: 10, ..base.clone() }).contains("--payments"));
    assert!(refusal(&PipelineOptions { in_flight: 5_000, ..base.clone() }).contains("--in-flight"));
    assert!(refusal(&PipelineOptions { workers: 2, cores: vec![0], ..base.clone() }).contains("--cores"));
    assert!(refusal(&PipelineOptions { weights: vec![0, 1], ..base }).contains("weight"));
}

#[test]
fn the_program_writes_the_report_that_the_library_reads() {
    let work = tempfile::tempdir().expect("a folder");
    let json = work.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_meshpay-bench"))
        .args(["pipeline", "--payments", "2000", "--accounts", "500", "--durability", "process", "--in-flight", "100"])
        .arg("--work")
        .arg(work.path())
        .arg("--json")
        .arg(&json)
        .env("MESHPAY_BENCH_SLOWDOWN_PERCENT", "10")
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(json).expect("a report");
    let report: PipelineReport = serde_json::from_str(&text).expect("of this form");
    assert_eq!((report.slowdown_percent, report.allocations), (10, Some(0)));
    assert!(String::from_utf8_lossy(&output.stdout).contains("SLOWED DOWN ON COMMAND"));
}
