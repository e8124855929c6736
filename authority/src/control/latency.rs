//! A histogram fine enough to read percentiles from, for durations on which promises rest.
//!
//! What always holds: it is as large at the end as at the start, has one writer and any number of readers, and its buckets never
//! change, so that two readings of the metrics page can be subtracted.

use crate::pipeline::counters::Counter;

/// Buckets to each doubling of the duration: a percentile is read to within an eighth, interpolated to much less.
const PER_DOUBLING: u64 = 8;
const PER_DOUBLING_LOG2: u32 = PER_DOUBLING.ilog2();

/// What is shorter than this shares one bucket: 2^4 microseconds.
const SHORTEST_LOG2: u32 = 4;

/// What is as long as this or longer shares the last bucket: 2^22 microseconds, four seconds.
const LONGEST_LOG2: u32 = 22;

/// All buckets, with the first and the last.
const BUCKETS: usize = ((LONGEST_LOG2 - SHORTEST_LOG2) as u64 * PER_DOUBLING) as usize + 2;

/// Durations in microseconds.
#[derive(Debug)]
pub struct LatencyHistogram {
    buckets: [Counter; BUCKETS],
    sum_us: Counter,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Counter::default()), sum_us: Counter::default() }
    }
}

impl LatencyHistogram {
    /// Enters a duration.
    pub fn record_us(&self, us: u64) {
        self.buckets[bucket_of(us)].add(1);
        self.sum_us.add(us);
    }

    /// Upper bound of each bucket in microseconds, none of the last, and how many durations are below it and not below the bound before.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        self.buckets.iter().enumerate().map(|(at, count)| (bound_of(at), count.get()))
    }

    /// Sum of all durations in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us.get()
    }
}

/// Each doubling is cut into equal parts: the bits behind the highest one say which.
fn bucket_of(us: u64) -> usize {
    if us < 1 << SHORTEST_LOG2 {
        return 0;
    }
    if us >= 1 << LONGEST_LOG2 {
        return BUCKETS - 1;
    }
    let doubling = us.ilog2();
    let part = us >> (doubling - PER_DOUBLING_LOG2) & (PER_DOUBLING - 1);
    (u64::from(doubling - SHORTEST_LOG2) * PER_DOUBLING + part) as usize + 1
}

/// Durations in bucket `at` are shorter than this.
fn bound_of(at: usize) -> Option<u64> {
    match at {
        0 => Some(1 << SHORTEST_LOG2),
        at if at == BUCKETS - 1 => None,
        at => {
            let (doubling, part) = ((at as u64 - 1) / PER_DOUBLING, (at as u64 - 1) % PER_DOUBLING);
            Some((PER_DOUBLING + part + 1) << (doubling + u64::from(SHORTEST_LOG2 - PER_DOUBLING_LOG2)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_below_its_bound_and_not_below_the_one_before() {
        let interesting = (0..64).map(|shift| 1u64 << shift).flat_map(|power| [power - 1, power, power + power / 3]);
        for us in interesting.chain(0..100_000).chain([u64::MAX]) {
            let at = bucket_of(us);
            assert!(bound_of(at).is_none_or(|bound| us < bound), "{us} in bucket {at}");
            assert!(at == 0 || bound_of(at - 1).is_some_and(|bound| us >= bound), "{us} in bucket {at}");
        }
    }

    #[test]
    fn bounds_rise_by_at_most_an_eighth() {
        let bounds: Vec<u64> = (0..BUCKETS - 1).map_while(bound_of).collect();
        assert_eq!((bounds.len(), bounds[0], bounds[BUCKETS - 2]), (BUCKETS - 1, 16, 1 << LONGEST_LOG2));
        assert!(bounds.windows(2).all(|pair| pair[1] > pair[0] && pair[1] - pair[0] <= pair[0] / PER_DOUBLING));
    }

    #[test]
    fn counts_and_sum_are_of_what_was_entered() {
        let histogram = LatencyHistogram::default();
        for us in [3, 230, 231, 9_500, 5_000_000] {
            histogram.record_us(us);
        }
        let filled: Vec<_> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(Some(16), 1), (Some(240), 2), (Some(10_240), 1), (None, 1)]);
        assert_eq!(histogram.sum_us(), 5_009_964);
    }
}
