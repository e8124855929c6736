//! A network namespace that lives as long as one closure, and nothing left of it afterwards.

use std::process::Command;

/// Runs `scene` in a thread that is alone in a new network namespace; the namespace goes with the thread, also when `scene` panics.
/// Says 'skipped' where this process may not make one, and fails there in CI.
pub(crate) fn in_namespace(scene: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!ci, "in CI no test may be skipped, but this one needs CAP_SYS_ADMIN");
        eprintln!("skipped: needs CAP_SYS_ADMIN (run as root)");
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: a network namespace is a thread's own; no memory or descriptor is affected.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
                .expect("a network namespace");
            scene();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs `ip` with these words in the calling thread's namespace.
pub(crate) fn ip(words: &str) {
    let done = Command::new("ip").args(words.split_whitespace()).output().expect("the command ip (package iproute2)");
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}
