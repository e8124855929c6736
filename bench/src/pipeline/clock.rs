//! The worker's clock: wall time as it is, and for its histograms the time that the thread has run on its core.
//!
//! A worker reads its monotonic clock at the borders of its stages and nowhere else, so this turns its histograms into an account of
//! CPU time, in which neither waiting for the disk nor another process on the core counts. Reading it is a system call of about
//! 0.2 microseconds, eight times a turn.

use std::time::{SystemTime, UNIX_EPOCH};

use meshpay_authority::pipeline::Clock;

use crate::slowdown::thread_time;

/// See the module.
pub struct ThreadClock;

impl Clock for ThreadClock {
    fn now_ms(&self) -> u64 {
        now_ms()
    }

    fn monotonic_ns(&self) -> u64 {
        thread_time().as_nanos() as u64
    }
}

/// Milliseconds since 1970 UTC.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
