//! When each payment is meant to be sent. Decided before the run and never revised by how the run goes: that is what makes the
//! loop open, and latencies honest.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::workload::Trace;

/// Intended send times in nanoseconds after the start, rising.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    intended_ns: Vec<u64>,
    window_ns: Range<u64>,
}

impl Schedule {
    /// Independent clients: the gaps between payments are exponentially distributed, `per_second` payments on average.
    /// Covers `warm_up_ns` that is not measured and then `measured_ns` that is.
    pub fn poisson(seed: u64, per_second: f64, warm_up_ns: u64, measured_ns: u64) -> Self {
        assert!(per_second > 0.0, "a rate is above zero");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let end_ns = warm_up_ns + measured_ns;
        let mean_gap_ns = 1e9 / per_second;
        let mut intended_ns = Vec::with_capacity((end_ns as f64 / mean_gap_ns * 1.01) as usize + 16);
        let mut at = 0.0f64;
        loop {
            // Uniform in (0, 1], so the logarithm is finite.
            let uniform = ((random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
            at -= uniform.ln() * mean_gap_ns;
            if at >= end_ns as f64 {
                break;
            }
            intended_ns.push(at as u64);
        }
        Self { intended_ns, window_ns: warm_up_ns..end_ns }
    }

    /// The times of a trace; all of it is measured.
    pub fn of_trace(trace: &Trace) -> Self {
        let intended_ns: Vec<u64> = trace.entries().iter().map(|entry| entry.at_ns).collect();
        let end_ns = intended_ns.last().map_or(1, |last| last + 1);
        Self { intended_ns, window_ns: 0..end_ns }
    }

    /// Intended send times, rising.
    pub fn intended_ns(&self) -> &[u64] {
        &self.intended_ns
    }

    /// How many payments.
    pub fn len(&self) -> usize {
        self.intended_ns.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.intended_ns.is_empty()
    }

    /// Keeps the first `count`.
    pub fn truncate(&mut self, count: usize) {
        self.intended_ns.truncate(count);
    }

    /// The part of the run that is measured.
    pub fn window_ns(&self) -> Range<u64> {
        self.window_ns.clone()
    }

    /// Payments that are meant to be sent within the measured part.
    pub fn offered_in_window(&self) -> usize {
        self.intended_ns.iter().filter(|at| self.window_ns.contains(at)).count()
    }

    /// Those payments a second.
    pub fn offered_per_second(&self) -> f64 {
        let length_ns = self.window_ns.end - self.window_ns.start;
        self.offered_in_window() as f64 / (length_ns as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_has_its_rate_and_its_spread() {
        let schedule = Schedule::poisson(3, 10_000.0, 1_000_000_000, 9_000_000_000);
        // 100,000 events: the standard deviation of their number is 316.
        assert!((98_000..102_000).contains(&schedule.len()), "{}", schedule.len());
        assert!((schedule.offered_per_second() - 10_000.0).abs() < 200.0);
        assert!(schedule.intended_ns().is_sorted());
        let gaps: Vec<f64> = schedule.intended_ns().windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
        // An exponential distribution's standard deviation is its mean.
        assert!((deviation / mean - 1.0).abs() < 0.03, "{deviation} {mean}");
    }

    #[test]
    fn the_window_leaves_out_the_warm_up() {
        let schedule = Schedule { intended_ns: vec![0, 5, 10, 15, 20], window_ns: 10..20 };
        assert_eq!(schedule.offered_in_window(), 2);
        assert_eq!(schedule.offered_per_second(), 2.0 / 1e-8);
    }

    #[test]
    fn a_trace_keeps_its_times() {
        let trace = Trace::parse("5,a,b,1\n5.5,b,a,1").expect("well formed");
        let schedule = Schedule::of_trace(&trace);
        assert_eq!(schedule.intended_ns(), [0, 500_000_000]);
        assert_eq!(schedule.offered_in_window(), 2);
    }
}
