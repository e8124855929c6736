//! Points at which tests stop the wallet as a power cut would. Nothing of it is in a normal build.

/// Kills this process at once where the environment variable `MESHPAY_FAULT` says `kill-at:NAME`, in builds for tests only.
pub(crate) fn reached(point: &str) {
    #[cfg(feature = "fault-injection")]
    if std::env::var("MESHPAY_FAULT").is_ok_and(|wanted| wanted.strip_prefix("kill-at:") == Some(point)) {
        // As kill -9: no destructor runs, nothing is flushed.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    #[cfg(not(feature = "fault-injection"))]
    let _ = point;
}
