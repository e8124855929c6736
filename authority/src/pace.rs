//! How work that can wait shares a core and a disk with work that cannot.
//!
//! What always holds: who works by a gentle pace, and asks it often enough, has core and disk for [`TURN`] at a stretch and then sleeps several times as
//! long. A low priority does less: a receiving thread under SCHED_BATCH never interrupts a thread of a process, whatever that one's priority, but waits for the
//! end of its slice (sched(7)), and a disk knows no priorities at all unless told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest work without a rest, as far as whoever works asks in time. A request that comes meanwhile waits so long at worst.
pub const TURN: Duration = Duration::from_micros(150);
/// Rests are so many times as long as the work before them took.
const REST_TIMES: u32 = 3;
/// Longest rest, so that one hiccup of the disk does not stop the work for good.
const REST_MAX: Duration = Duration::from_millis(100);

/// The pace of one thread.
pub struct Pace {
    rest_times: u32,
    start: Instant,
    /// When the last rest ended, in nanoseconds after `start`.
    rested_ns: AtomicU64,
}

impl Pace {
    /// For work beside that of others.
    pub fn gentle() -> Self {
        Self { rest_times: REST_TIMES, start: Instant::now(), rested_ns: AtomicU64::new(0) }
    }

    /// Without rests, where nobody waits for anything else.
    pub fn hurried() -> Self {
        Self { rest_times: 0, ..Self::gentle() }
    }

    /// To be called between small pieces of work: rests if the pieces since the last rest took a turn together. Returns whether it did.
    pub fn rest_if_due(&self) -> bool {
        if self.rest_times == 0 {
            return false;
        }
        let worked = self.start.elapsed().saturating_sub(Duration::from_nanos(self.rested_ns.load(Ordering::Relaxed)));
        if worked < TURN {
            return false;
        }
        sleep((worked * self.rest_times).min(REST_MAX));
        let now_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.rested_ns.store(now_ns, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_are_longer_than_the_work_and_come_only_when_due() {
        let pace = Pace::gentle();
        sleep(TURN);
        let begun = Instant::now();
        assert!(pace.rest_if_due());
        assert!(begun.elapsed() >= TURN * REST_TIMES);
        let hurried = Pace::hurried();
        sleep(TURN);
        assert!(!hurried.rest_if_due());
    }

    #[test]
    fn a_long_wait_before_is_not_rested_for_as_long() {
        let pace = Pace {
            start: Instant::now().checked_sub(Duration::from_secs(60)).expect("a machine that has run for a minute"),
            ..Pace::gentle()
        };
        let begun = Instant::now();
        assert!(pace.rest_if_due());
        assert!(begun.elapsed() < Duration::from_secs(60), "{REST_MAX:?} were enough");
    }
}
