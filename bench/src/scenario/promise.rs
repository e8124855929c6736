//! What the project promises of latency, and whether a measurement keeps it. Reported, never a reason for a run to fail: a latency is
//! the disk's and the machine's as much as ours.
//!
//! What always holds: a promise is one above the same measurement's own syncs, read from the daemon that was measured, so a slow disk
//! neither excuses nor condemns.

use serde::{Deserialize, Serialize};

use crate::daemons::SyncTimes;

/// The load at which latency is promised, in percent of the capacity.
pub const PROMISED_LOAD_PERCENT: f64 = 10.0;

/// By how much the median of finality may lie above the median sync, in microseconds.
pub const P50_OVER_SYNC_MAX_US: u64 = 800;

/// By how much the 99th percentile of finality may lie above that of the syncs, in microseconds.
pub const P99_OVER_SYNC_MAX_US: u64 = 2_000;

/// A promise held against a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// Whether both limits are kept.
    pub met: bool,
    /// What the median may be at most.
    pub p50_limit_us: u64,
    /// By how much it is above; 0 if it is not.
    pub p50_missed_by_us: u64,
    /// What the 99th percentile may be at most.
    pub p99_limit_us: u64,
    /// By how much it is above; 0 if it is not.
    pub p99_missed_by_us: u64,
}

impl Promise {
    /// Judges finality's median and 99th percentile by the syncs of the same time.
    pub fn judge(finality_p50_us: u64, finality_p99_us: u64, syncs: &SyncTimes) -> Self {
        let p50_limit_us = syncs.p50 + P50_OVER_SYNC_MAX_US;
        let p99_limit_us = syncs.p99 + P99_OVER_SYNC_MAX_US;
        Self {
            met: finality_p50_us <= p50_limit_us && finality_p99_us <= p99_limit_us,
            p50_limit_us,
            p50_missed_by_us: finality_p50_us.saturating_sub(p50_limit_us),
            p99_limit_us,
            p99_missed_by_us: finality_p99_us.saturating_sub(p99_limit_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNCS: SyncTimes = SyncTimes { count: 1_000, p50: 230, p99: 9_500 };

    #[test]
    fn both_limits_count_and_are_kept_when_reached() {
        let kept = Promise::judge(1_030, 11_500, &SYNCS);
        assert!(kept.met && kept.p50_missed_by_us == 0 && kept.p99_missed_by_us == 0);
        let median = Promise::judge(1_031, 11_500, &SYNCS);
        assert_eq!((median.met, median.p50_missed_by_us, median.p99_missed_by_us), (false, 1, 0));
        let tail = Promise::judge(300, 12_000, &SYNCS);
        assert_eq!((tail.met, tail.p50_missed_by_us, tail.p99_missed_by_us), (false, 0, 500));
    }
}
