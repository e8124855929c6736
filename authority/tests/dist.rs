//! What `authority/dist` installs is what systemd understands, and grants what the daemon asks for, no more.

use std::path::{Path, PathBuf};
use std::process::Command;

use meshpay_net::host::Capability;

fn dist(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist").join(name)
}

fn unit() -> String {
    std::fs::read_to_string(dist("meshpay-authority.service")).expect("the unit")
}

/// The values of a setting, in order.
fn settings<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

/// Says 'skipped' and returns false where a tool is not installed; fails then in CI.
fn installed(tool: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok();
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(there || !ci, "in CI no test may be skipped, but this one needs {tool}");
    if !there {
        eprintln!("skipped: needs {tool}");
    }
    there
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    if !installed("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    // The program that is installed later must be there to be found; everything else stays.
    let program = env!("CARGO_BIN_EXE_meshpay-authority");
    let copy = folder.path().join("meshpay-authority.service");
    std::fs::write(&copy, unit().replace("/usr/bin/meshpay-authority", program)).expect("a copy");
    let done =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output().expect("systemd-analyze");
    let complaints = String::from_utf8_lossy(&done.stderr);
    let about_ours: Vec<&str> = complaints.lines().filter(|line| line.contains("meshpay")).collect();
    assert!(done.status.success() && about_ours.is_empty(), "{complaints}");
}

#[test]
fn it_grants_what_the_daemon_asks_for_and_no_more() {
    let unit = unit();
    let needed = Capability::NEEDED.map(Capability::name).join(" ");
    assert_eq!(settings(&unit, "AmbientCapabilities"), [needed.as_str()]);
    assert_eq!(settings(&unit, "CapabilityBoundingSet"), [needed.as_str()]);
    assert_eq!(settings(&unit, "User"), ["meshpay"]);
    assert_eq!(settings(&unit, "LimitMEMLOCK"), ["infinity"]);
    let families = settings(&unit, "RestrictAddressFamilies")[0];
    assert!(families.contains("AF_XDP") && families.contains("AF_NETLINK") && !families.contains("AF_PACKET"));
}

#[test]
fn the_user_and_its_directory_are_made() {
    let root = tempfile::tempdir().expect("a folder");
    if !installed("systemd-sysusers") || !rustix::process::geteuid().is_root() {
        return;
    }
    std::fs::create_dir(root.path().join("etc")).expect("a folder");
    let run = |tool: &str, arguments: &[&str], file: &str| {
        let done = Command::new(tool)
            .arg(format!("--root={}", root.path().display()))
            .args(arguments)
            .arg(dist(file))
            .output()
            .expect(tool);
        assert!(done.status.success(), "{tool}: {}", String::from_utf8_lossy(&done.stderr));
    };
    run("systemd-sysusers", &[], "meshpay.sysusers");
    let users = std::fs::read_to_string(root.path().join("etc/passwd")).expect("users");
    assert!(users.lines().any(|line| line.starts_with("meshpay:")), "{users}");
    run("systemd-tmpfiles", &["--create"], "meshpay.tmpfiles");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(root.path().join("var/lib/meshpay")).expect("the directory").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
