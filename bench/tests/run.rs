//! A run of `single` from nothing to its report, with loads, against the real daemon: short, so its figures mean nothing and only their
//! presence is tested. Needs root for the link, and the daemon that `cargo xtask test` builds.

use std::path::PathBuf;
use std::process::Command;

use meshpay_bench::report::RunReport;

/// The daemon, where there is one.
fn authority() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_BIN_EXE_meshpay-bench")).with_file_name("meshpay-authority");
    let path = std::env::var_os("MESHPAY_TEST_AUTHORITY").map_or_else(beside, PathBuf::from);
    path.is_file().then_some(path)
}

#[test]
fn each_load_has_its_latency_and_its_syncs_and_the_page_shows_them() {
    let (has_rights, authority) = (meshpay_bench::link::has_rights(), authority());
    let Some(authority) = authority.filter(|_| has_rights) else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must run this: as root, by `cargo xtask test`");
        eprintln!("skipped: needs CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF, and a built meshpay-authority");
        return;
    };
    // Below the target directory, which is on a disk: a journal refuses memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let report_folder = folder.path().join("report");
    let done = Command::new(env!("CARGO_BIN_EXE_meshpay-bench"))
        .args(["run", "--scenario", "single", "--link", "veth", "--accounts", "500", "--rate", "400"])
        .args(["--seconds", "0.5", "--loads", "10,50", "--load-seconds", "0.5", "--authority-binary"])
        .arg(&authority)
        .arg("--work")
        .arg(folder.path().join("work"))
        .arg("--report")
        .arg(&report_folder)
        .output()
        .expect("the program starts");
    let words = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let read = |name: &str| {
        std::fs::read_to_string(report_folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}\n{words}"))
    };
    let reports: Vec<RunReport> = serde_json::from_str(&read("report.json")).expect("its form");
    let [report] = reports.as_slice() else { panic!("one run was asked for: {words}") };
    // Whether the generator kept up is the machine's affair; whether the books agree is not.
    assert_eq!((report.lost, report.wrong_answers, report.audit.as_str()), (0, 0, "passed"), "{words}");
    assert!(report.audit_figures.balances_compared, "the loads' payments are in the books too");
    let percents: Vec<f64> = report.loads.iter().map(|load| load.percent).collect();
    assert_eq!(percents, [10.0, 50.0]);
    for load in &report.loads {
        let syncs = load.journal_sync_us.expect("the daemon counts its syncs");
        assert!(syncs.count > 0 && syncs.p50 <= syncs.p99, "{syncs:?}");
        assert!(load.finality_us.p50 > 0 && !load.finality_curve_us.is_empty() && load.lost == 0, "{load:?}");
    }
    assert!(report.loads[0].promise.is_some() && report.loads[1].promise.is_none());
    assert!(report.journal_sync_us.is_some_and(|syncs| syncs.count > 0));
    let page = read("report.html");
    assert!(page.contains("Promise at 10 % load") && page.contains("Settled against offered"), "{page}");

    // The page can be made again from the JSON alone.
    std::fs::remove_file(report_folder.join("report.html")).expect("it was there");
    let again = Command::new(env!("CARGO_BIN_EXE_meshpay-bench"))
        .arg("page")
        .arg(report_folder.join("report.json"))
        .status()
        .expect("the program starts");
    assert!(again.success());
    assert_eq!(read("report.html"), page);
}
