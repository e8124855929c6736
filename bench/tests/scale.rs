//! Every part of `meshpay-bench scale` in small. Each settles all of its payments and compares all accounts with the books, or fails; what anything costs
//! is not looked at here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use meshpay_bench::progress::Console;
use meshpay_bench::scale::{self, Part, Request, ScaleReport};
use meshpay_bench::scenario::Durability;

/// The daemon: named by `cargo xtask test`, or built here.
fn authority() -> PathBuf {
    if let Some(named) = std::env::var_os("MESHPAY_TEST_AUTHORITY") {
        return named.into();
    }
    let built = Path::new(env!("CARGO_BIN_EXE_meshpay-bench")).with_file_name("meshpay-authority");
    let target = built.parent().and_then(Path::parent).expect("cargo puts programs below a target directory");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "meshpay-authority", "--bins", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(status.expect("cargo starts").success(), "the daemon cannot be built");
    built
}

fn request(work: &Path, part: Part) -> Request {
    let authority_binary = if part == Part::Restart { authority() } else { PathBuf::new() };
    Request {
        parts: vec![part],
        rounds: 2,
        payments: 2_000,
        accounts: vec![1_000, 20_000],
        restart_accounts: 2_000,
        restart_payments: 1_500,
        committees: vec![vec![1; 4], vec![1; 7], (1..=10).collect()],
        durability: Durability::Process,
        ..Request::new(work.to_owned(), authority_binary)
    }
}

fn run(part: Part) -> ScaleReport {
    let work = tempfile::tempdir().expect("a folder");
    let report = scale::run(&request(work.path(), part), &AtomicBool::new(false), &Console::silent());
    let report = report.expect("everything settles, and all accounts are those of the books");
    assert_eq!(std::fs::read_dir(work.path()).expect("it exists").count(), 0, "nothing is left behind");
    let json = serde_json::to_string(&report).expect("JSON");
    let again = serde_json::from_str::<ScaleReport>(&json).expect("of this form");
    assert_eq!(again, report);
    report
}

#[test]
fn two_workers_take_turns_with_one() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return println!("skipped: needs two cores");
    }
    let report = run(Part::Workers);
    let workers = report.workers.as_ref().expect("it was asked for");
    assert_eq!((workers.one.rounds.len(), workers.two.rounds.len()), (2, 2));
    assert_eq!((workers.one.worker_cpu_us_per_settled.len(), workers.two.worker_cpu_us_per_settled.len()), (1, 2));
    assert!(workers.speedup > 0.0 && workers.speedup_by_cpu > 0.0);
    assert_eq!(report.goals.len(), 1);
    assert!(report.text().contains("two by one"), "{}", report.text());
}

#[test]
fn tables_of_all_sizes_take_turns() {
    let report = run(Part::Accounts);
    let accounts = report.accounts.as_ref().expect("it was asked for");
    let sizes: Vec<(usize, usize)> = accounts.sizes.iter().map(|size| (size.accounts, size.payers)).collect();
    assert_eq!(sizes, [(1_000, 1_000), (20_000, 4_000)]);
    assert!(accounts.spread >= 1.0 && accounts.quiet_spread >= 1.0);
    assert!(report.workers.is_none() && report.restart.is_none() && report.committees.is_empty());
}

#[test]
fn the_daemon_starts_after_kills_and_stops_with_what_was_settled() {
    let report = run(Part::Restart);
    let restart = report.restart.as_ref().expect("it was asked for");
    assert_eq!((restart.accounts, restart.records), (2_000, 3_000));
    let starts: Vec<(&str, bool, usize)> =
        restart.starts.iter().map(|start| (start.after.as_str(), start.warm, start.rounds.len())).collect();
    assert_eq!(starts, [("kill", true, 2), ("kill", false, 2), ("stop", true, 2), ("stop", false, 2)]);
    assert_eq!(report.goals.len(), 4);
}

#[test]
fn committees_execute_certificates_of_minimal_quorums() {
    let report = run(Part::Committees);
    let quorums: Vec<(usize, u64)> =
        report.committees.iter().map(|committee| (committee.weights.len(), committee.quorum)).collect();
    assert_eq!(quorums, [(4, 3), (7, 5), (10, 37)]);
    let signatures: Vec<f64> = report.committees.iter().map(|committee| committee.signatures_per_certificate).collect();
    assert_eq!(signatures[..2], [3.0, 5.0]);
    // The four heaviest of 1 to 10 weigh 34, five may weigh 37; the six lightest weigh 21, and nine at least 45.
    assert!((5.0..9.0).contains(&signatures[2]), "{signatures:?}");
    assert!(report.text().contains("10 of weights"), "{}", report.text());
}

#[test]
fn the_program_prints_the_table_and_writes_json() {
    let work = tempfile::tempdir().expect("a folder");
    let json = work.path().join("scale.json");
    let output = Command::new(env!("CARGO_BIN_EXE_meshpay-bench"))
        .args(["scale", "--parts", "accounts", "--accounts", "1000", "--payments", "1000", "--rounds", "1"])
        .args(["--durability", "process", "--work"])
        .arg(work.path())
        .arg("--json")
        .arg(&json)
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: ScaleReport =
        serde_json::from_str(&std::fs::read_to_string(json).expect("a report")).expect("its form");
    assert_eq!(report.rounds, 1);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Accounts") && text.contains("load average"), "{text}");
}

#[test]
fn an_impossible_request_is_refused() {
    let work = tempfile::tempdir().expect("a folder");
    let request = Request { rounds: 0, ..request(work.path(), Part::Accounts) };
    let error = scale::run(&request, &AtomicBool::new(false), &Console::silent()).expect_err("no rounds");
    assert!(format!("{error:#}").contains("--rounds"), "{error:#}");
}
