//! How long a daemon's journal took to sync, by its own histogram: two readings, subtracted.
//!
//! What always holds: counts are cumulative and only grow, so a difference is that of the time between the readings. A daemon that does
//! not sync, or serves no such metric, has no [`SyncTimes`], never zeros.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::ReadyLine;
use super::metrics::metrics_page;
use crate::link::Side;

/// The metric, a histogram in microseconds.
const METRIC: &str = "meshpay_journal_sync_microseconds";

/// Syncs so far: how many were shorter than each bound in microseconds. The last bound, `u64::MAX`, has them all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncCounts(BTreeMap<u64, u64>);

/// Syncs of the journal within a time, in microseconds. Percentiles are interpolated within buckets of an eighth of a doubling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncTimes {
    /// How many.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
}

impl SyncCounts {
    /// Asks a running daemon.
    ///
    /// # Errors
    /// If it does not answer, or has no such metric.
    pub fn ask(ready: &ReadyLine, side: &Side) -> Result<Self> {
        Self::of_page(&metrics_page(ready, side)?).with_context(|| format!("its metrics have no {METRIC}"))
    }

    fn of_page(page: &str) -> Option<Self> {
        let bucket = |line: &str| {
            let (bound, count) = line.strip_prefix(METRIC)?.strip_prefix("_bucket{le=\"")?.split_once("\"} ")?;
            let bound = if bound == "+Inf" { u64::MAX } else { bound.parse().ok()? };
            Some((bound, count.trim().parse().ok()?))
        };
        let counts: BTreeMap<u64, u64> = page.lines().filter_map(bucket).collect();
        counts.contains_key(&u64::MAX).then_some(Self(counts))
    }

    /// Adds another daemon's.
    pub fn add(&mut self, other: &Self) {
        for (bound, count) in &other.0 {
            *self.0.entry(*bound).or_default() += count;
        }
    }

    /// The syncs from this reading to a later one; nothing where there were none.
    pub fn until(&self, later: &Self) -> Option<SyncTimes> {
        let since = |bound: &u64, count: &u64| count.saturating_sub(self.0.get(bound).copied().unwrap_or(0));
        let counts: Vec<(u64, u64)> = later.0.iter().map(|(bound, count)| (*bound, since(bound, count))).collect();
        let count = counts.last().map_or(0, |(_, all)| *all);
        (count > 0).then(|| SyncTimes { count, p50: percentile(&counts, 0.5), p99: percentile(&counts, 0.99) })
    }
}

/// The value below which a share of all lies, on a straight line from bound to bound. Beyond the last finite bound: that bound.
fn percentile(cumulative: &[(u64, u64)], share: f64) -> u64 {
    let all = cumulative.last().map_or(0, |(_, all)| *all);
    let wanted = share * all as f64;
    let (mut low_us, mut below) = (0, 0);
    for &(bound_us, count) in cumulative {
        if count as f64 >= wanted {
            if bound_us == u64::MAX {
                return low_us;
            }
            let part = if count > below { (wanted - below as f64) / (count - below) as f64 } else { 1.0 };
            return low_us + ((bound_us - low_us) as f64 * part).round() as u64;
        }
        (low_us, below) = (bound_us, count);
    }
    low_us
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(counts: &[(&str, u64)]) -> String {
        let lines: Vec<String> =
            counts.iter().map(|(bound, count)| format!("{METRIC}_bucket{{le=\"{bound}\"}} {count}\n")).collect();
        format!("# TYPE {METRIC} histogram\n{}{METRIC}_sum 1\n{METRIC}_count 1\nother 2\n", lines.concat())
    }

    #[test]
    fn percentiles_are_of_the_time_between_two_readings() {
        let before = SyncCounts::of_page(&page(&[("100", 1_000), ("200", 1_000), ("400", 1_000), ("+Inf", 1_000)]));
        let after = SyncCounts::of_page(&page(&[("100", 1_000), ("200", 1_080), ("400", 1_100), ("+Inf", 1_100)]));
        let (before, after) = (before.expect("a page"), after.expect("a page"));
        // Eighty between 100 and 200, twenty between 200 and 400: the 50th of a hundred, and the 99th.
        assert_eq!(before.until(&after), Some(SyncTimes { count: 100, p50: 163, p99: 390 }));
        assert_eq!(after.until(&after), None);
    }

    #[test]
    fn several_daemons_are_added_up() {
        let one = SyncCounts::of_page(&page(&[("100", 10), ("+Inf", 10)])).expect("a page");
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!(SyncCounts::default().until(&sum).map(|times| times.count), Some(20));
    }

    #[test]
    fn syncs_beyond_the_last_bound_count_as_that_bound() {
        let slow = SyncCounts::of_page(&page(&[("100", 0), ("4000", 1), ("+Inf", 100)])).expect("a page");
        assert_eq!(SyncCounts::default().until(&slow).map(|times| (times.p50, times.p99)), Some((4_000, 4_000)));
    }

    #[test]
    fn a_page_without_the_metric_is_none() {
        assert_eq!(SyncCounts::of_page("meshpay_voting 1\n"), None);
        assert_eq!(SyncCounts::default().until(&SyncCounts::default()), None);
    }
}
