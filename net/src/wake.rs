//! Waiting: how long, as the kernel wants it, and the waker that ends it.

use rustix::event::Timespec;
use std::time::Duration;

pub use meshpay_sync::Waker;

/// A duration as poll(2) wants it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
