//! The measurement of the filter, run shortly on the real kernel. Needs root.

use std::process::Command;

use meshpay_bench::filter::FilterReport;

#[test]
fn a_short_run_measures_verdicts_drops_and_every_rung() {
    if !meshpay_bench::link::has_rights() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must run the privileged tests: run it as root");
        eprintln!("skipped: needs CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let done = Command::new(env!("CARGO_BIN_EXE_meshpay-bench"))
        .args(["filter", "--parts", "verdicts,drops,echo", "--seconds", "0.2", "--rounds", "1", "--report"])
        .arg(folder.path())
        .output()
        .expect("the program starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let json = std::fs::read_to_string(folder.path().join("filter.json")).expect("a report");
    let report: FilterReport = serde_json::from_str(&json).expect("its form");
    assert!(report.verdicts.len() > 15 && report.verdicts.iter().all(|figure| figure.ns > 0.0));
    let inputs: Vec<&str> = report.drops.iter().map(|figure| figure.input.as_str()).collect();
    assert_eq!(inputs, ["skb", "skb", "xdp_frame", "xdp_frame"]);
    let rungs: Vec<&str> = report.echo.iter().take(4).map(|figure| figure.rung.as_str()).collect();
    assert_eq!(rungs, ["udp", "xdp-udp", "xdp-udp-xsk-out", "xsk-copy"]);
    assert!(report.echo.iter().all(|figure| figure.answered_per_second > 0.0));
    let text = std::fs::read_to_string(folder.path().join("filter.txt")).expect("the same for people");
    assert!(text.contains("Nanoseconds per verdict") && text.contains("beside a bare XDP_DROP"), "{text}");
}
