//! Tests that need what this machine may lack: visibly skipped, and a failure in CI.

/// Why a test cannot run here, if so: it needs root, to mount a file system of its own.
pub fn without_root() -> Option<&'static str> {
    (!rustix::process::geteuid().is_root()).then_some("CAP_SYS_ADMIN (run as root)")
}

/// Says that a test is skipped.
///
/// # Panics
/// In CI, where every test must run.
pub fn skipped(needs: &str) {
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!ci, "in CI no test may be skipped, but this one needs {needs}");
    eprintln!("skipped: needs {needs}");
}
