//! Which cores this thread, and whatever it starts, may run on.

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Does `work` with this thread tied to `cores`, and gives it back its cores afterwards. Threads and processes started by the work
/// inherit the tie and keep it.
///
/// # Errors
/// If there is no such core, or a container keeps it from us.
pub fn tied_to<T>(cores: &[usize], work: impl FnOnce() -> T) -> Result<T> {
    let before = sched_getaffinity(None).context("cannot read this thread's cores")?;
    let mut wanted = CpuSet::new();
    for core in cores {
        anyhow::ensure!(*core < CpuSet::MAX_CPU, "there is no core {core}");
        wanted.set(*core);
    }
    sched_setaffinity(None, &wanted).with_context(|| format!("cannot use cores {cores:?}"))?;
    let result = work();
    sched_setaffinity(None, &before).context("cannot give this thread its cores back")?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_what_is_started_and_only_for_as_long() {
        let before = sched_getaffinity(None).expect("our cores");
        let inside = tied_to(&[0], || std::thread::spawn(|| sched_getaffinity(None)).join()).expect("core 0 exists");
        let inside = inside.expect("no panic").expect("its cores");
        assert!(inside.is_set(0) && inside.count() == 1);
        assert_eq!(sched_getaffinity(None).expect("our cores"), before);
        assert!(tied_to(&[usize::MAX], || ()).is_err());
    }
}
