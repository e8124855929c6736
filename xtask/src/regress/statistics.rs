//! How it is decided whether a figure has become worse: ratios within pairs, an interval by bootstrap, a verdict.
//!
//! What always holds:
//! - a pair is two runs next to each other in time, so what changes slowly (heat, a neighbour, a fuller disk) is in both and not in their
//!   ratio; and the order within pairs is balanced ([`schedule`]), so what changes from one run to the next cancels over two pairs;
//! - nothing here reads a clock or draws a random number that a seed does not give: the same samples get the same verdict;
//! - a verdict of `Worse` needs the whole interval beyond the tolerance, not the estimate alone.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Resamples of the bootstrap.
const RESAMPLES: usize = 4_000;
/// Share of the pairs that the trimmed mean leaves out at either end: one run that a neighbour has disturbed does not decide.
const TRIM: f64 = 0.2;
/// The normal distribution's 97.5th percentile: intervals hold the truth in 95 of 100 cases.
const Z: f64 = 1.959_964;
/// Fewest pairs on which anything is decided.
pub const PAIRS_MIN: usize = 5;

/// Which way a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// A cost, such as microseconds.
    Lower,
    /// A yield, such as payments a second.
    Higher,
}

/// How the new side compares: what a unit of the figure costs there, as a multiple of what it costs in the base. Above 1 is worse,
/// whichever way the figure is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The estimate.
    pub estimate: f64,
    /// Lower end of the 95 percent interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What is made of a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Worse by more than the tolerance, with confidence.
    Worse,
    /// Better by more than the tolerance, with confidence.
    Better,
    /// Not worse by more than the tolerance, with confidence.
    Same,
    /// The interval holds the tolerance: more pairs would tell.
    Open,
}

/// Which side of a pair runs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The base.
    Base,
    /// What is judged.
    New,
}

/// The order within each of `pairs` pairs: every two pairs hold both orders, which one comes first is drawn. So a drift that is even
/// over four runs cancels exactly, and nothing that repeats every second run can side with one build.
pub fn schedule(pairs: usize, seed: u64) -> Vec<First> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut order = Vec::with_capacity(pairs + 1);
    while order.len() < pairs {
        let block = if random.next_u64() & 1 == 0 { [First::Base, First::New] } else { [First::New, First::Base] };
        order.extend(block);
    }
    order.truncate(pairs);
    order
}

/// Compares pairs of (base, new) values, above 0; or, of a cost that the base does not have at all, 0 there. Nothing for fewer than [`PAIRS_MIN`], and
/// nothing where a ratio does not exist.
///
/// The estimate is the trimmed mean of the logarithms of the pairs' ratios, the interval a percentile bootstrap over pairs, widened for small
/// samples as in Hesterberg, What Teachers Should Know About the Bootstrap (2014), section 4.
pub fn compare(pairs: &[(f64, f64)], better: Better, seed: u64) -> Option<Ratio> {
    if pairs.len() < PAIRS_MIN {
        return None;
    }
    // What was counted as none: nothing more is the same, anything more is infinitely worse.
    if better == Better::Lower && pairs.iter().all(|(base, _)| *base == 0.0) {
        let more = pairs.iter().filter(|(_, new)| *new > 0.0).count();
        let estimate = if 2 * more > pairs.len() { f64::INFINITY } else { 1.0 };
        return Some(Ratio { estimate, low: estimate, high: estimate });
    }
    let logs: Vec<f64> = pairs
        .iter()
        .map(|(base, new)| match better {
            Better::Lower => (new / base).ln(),
            Better::Higher => (base / new).ln(),
        })
        .collect();
    if logs.iter().any(|log| !log.is_finite()) {
        return None;
    }
    let estimate = trimmed_mean(&mut logs.clone());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut resample = vec![0.0; logs.len()];
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for value in &mut resample {
                *value = logs[below(&mut random, logs.len())];
            }
            trimmed_mean(&mut resample)
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |part: f64| means[((RESAMPLES as f64 * part) as usize).min(RESAMPLES - 1)];
    let widen = small_sample_factor(logs.len());
    let low = estimate + (at(0.025) - estimate) * widen;
    let high = estimate + (at(0.975) - estimate) * widen;
    Some(Ratio { estimate: estimate.exp(), low: low.exp(), high: high.exp() })
}

/// What a ratio means under a tolerance, 0.05 for 5 percent.
pub fn judge(ratio: &Ratio, tolerance: f64) -> Verdict {
    let limit = 1.0 + tolerance;
    if ratio.low > limit {
        Verdict::Worse
    } else if ratio.high < 1.0 / limit {
        Verdict::Better
    } else if ratio.high <= limit {
        Verdict::Same
    } else {
        Verdict::Open
    }
}

/// The median; not a number of nothing.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// A quantile, between neighbours in proportion.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = part * last as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

fn trimmed_mean(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let cut = (values.len() as f64 * TRIM) as usize;
    let kept = &values[cut..values.len() - cut];
    kept.iter().sum::<f64>() / kept.len() as f64
}

/// By how much a percentile bootstrap of `count` samples is too narrow: Student's t over the normal's quantile (by the expansion of
/// Cornish and Fisher), and the bias of the bootstrap's variance.
fn small_sample_factor(count: usize) -> f64 {
    let (n, freedom) = (count as f64, count as f64 - 1.0);
    let second = (Z.powi(3) + Z) / (4.0 * freedom);
    let third = (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / (96.0 * freedom * freedom);
    (Z + second + third) / Z * (n / freedom).sqrt()
}

fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    ((u128::from(random.next_u64()) * bound as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: f64 = 0.05;
    const TRIALS: u64 = 200;
    const PAIRS: usize = 10;

    /// A machine that is made up: a true cost, noise of a run, a drift from run to run, and now and then a disturbed run.
    #[derive(Clone, Copy)]
    struct Machine {
        noise: f64,
        drift_per_run: f64,
        disturbed_share: f64,
    }

    const QUIET: Machine = Machine { noise: 0.02, drift_per_run: 0.0, disturbed_share: 0.0 };
    const NOISY: Machine = Machine { noise: 0.08, drift_per_run: 0.0, disturbed_share: 0.1 };
    /// Twice as slow after thirty runs.
    const DRIFTING: Machine = Machine { noise: 0.02, drift_per_run: 0.035, disturbed_share: 0.0 };

    fn uniform(random: &mut ChaCha8Rng) -> f64 {
        (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Roughly normal, of variance 1: the sum of twelve uniform numbers.
    fn normal(random: &mut ChaCha8Rng) -> f64 {
        (0..12).map(|_| uniform(random)).sum::<f64>() - 6.0
    }

    impl Machine {
        fn run(&self, random: &mut ChaCha8Rng, cost: f64, at: usize) -> f64 {
            let disturbed = if uniform(random) < self.disturbed_share { 1.0 + uniform(random) } else { 1.0 };
            cost * disturbed * (self.noise * normal(random) + self.drift_per_run * at as f64).exp()
        }

        /// Pairs as they are really taken.
        fn pairs(&self, slower: f64, pairs: usize, seed: u64) -> Vec<(f64, f64)> {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            schedule(pairs, seed)
                .iter()
                .enumerate()
                .map(|(at, first)| {
                    let (mut early, mut late) = (30.0, 30.0 * slower);
                    if *first == First::New {
                        std::mem::swap(&mut early, &mut late);
                    }
                    let early = self.run(&mut random, early, 2 * at);
                    let late = self.run(&mut random, late, 2 * at + 1);
                    if *first == First::Base { (early, late) } else { (late, early) }
                })
                .collect()
        }

        /// In how many of the trials a verdict is reached.
        fn count(&self, slower: f64, wanted: Verdict) -> u64 {
            let verdict = |seed| {
                let pairs = self.pairs(slower, PAIRS, seed);
                judge(&compare(&pairs, Better::Lower, seed).expect("enough pairs"), TOLERANCE)
            };
            (0..TRIALS).filter(|seed| verdict(*seed) == wanted).count() as u64
        }
    }

    #[test]
    fn same_against_same_passes() {
        assert_eq!(QUIET.count(1.0, Verdict::Worse), 0);
        assert!(QUIET.count(1.0, Verdict::Same) >= TRIALS * 95 / 100);
    }

    #[test]
    fn ten_percent_slower_fails() {
        assert!(QUIET.count(1.1, Verdict::Worse) >= TRIALS * 95 / 100, "{}", QUIET.count(1.1, Verdict::Worse));
    }

    #[test]
    fn ten_percent_faster_is_named_and_passes() {
        assert!(QUIET.count(1.0 / 1.1, Verdict::Better) >= TRIALS * 90 / 100);
        assert_eq!(QUIET.count(1.0 / 1.1, Verdict::Worse), 0);
    }

    #[test]
    fn noise_alone_does_not_fail() {
        assert!(NOISY.count(1.0, Verdict::Worse) <= TRIALS / 20, "{}", NOISY.count(1.0, Verdict::Worse));
    }

    #[test]
    fn what_noise_hides_is_left_open_and_not_passed() {
        assert!(NOISY.count(1.1, Verdict::Same) <= TRIALS / 20, "{}", NOISY.count(1.1, Verdict::Same));
    }

    #[test]
    fn drift_alone_does_not_fail_and_does_not_hide() {
        assert_eq!(DRIFTING.count(1.0, Verdict::Worse), 0);
        let pairs = DRIFTING.pairs(1.1, 20, 1);
        let ratio = compare(&pairs, Better::Lower, 1).expect("enough pairs");
        assert_eq!(judge(&ratio, TOLERANCE), Verdict::Worse, "{ratio:?}");
        assert!((ratio.estimate / 1.1 - 1.0).abs() < 0.02, "{ratio:?}");
    }

    /// The canary: the same drift does fail what runs all of one side first. So the test above tests something.
    #[test]
    fn drift_fails_runs_that_are_not_interleaved() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let runs: Vec<f64> = (0..2 * PAIRS).map(|at| DRIFTING.run(&mut random, 30.0, at)).collect();
        let pairs: Vec<(f64, f64)> = (0..PAIRS).map(|at| (runs[at], runs[PAIRS + at])).collect();
        assert_eq!(judge(&compare(&pairs, Better::Lower, 1).expect("enough pairs"), TOLERANCE), Verdict::Worse);
    }

    #[test]
    fn intervals_hold_the_truth_nearly_as_often_as_they_say() {
        for pairs in [6, 10, 20] {
            let machine = Machine { noise: 0.05, drift_per_run: 0.0, disturbed_share: 0.0 };
            let holds = |seed: &u64| {
                let ratio = compare(&machine.pairs(1.03, pairs, *seed), Better::Lower, *seed).expect("enough pairs");
                (ratio.low..=ratio.high).contains(&1.03)
            };
            let held = (0..400).filter(holds).count();
            assert!((360..=396).contains(&held), "{pairs} pairs: {held} of 400");
        }
    }

    #[test]
    fn a_yield_is_judged_the_other_way_round() {
        let pairs = QUIET.pairs(1.1, PAIRS, 3);
        let turned: Vec<(f64, f64)> = pairs.iter().map(|(base, new)| (1e6 / base, 1e6 / new)).collect();
        let (cost, gain) = (compare(&pairs, Better::Lower, 3), compare(&turned, Better::Higher, 3));
        let (cost, gain) = (cost.expect("enough"), gain.expect("enough"));
        assert!((cost.estimate - gain.estimate).abs() < 1e-9 && cost.estimate > 1.05);
    }

    #[test]
    fn few_or_broken_samples_decide_nothing() {
        assert_eq!(compare(&[(1.0, 9.0); PAIRS_MIN - 1], Better::Lower, 1), None);
        assert_eq!(compare(&[(0.0, 1.0); PAIRS_MIN], Better::Higher, 1), None);
        assert_eq!(compare(&[(1.0, 0.0); PAIRS_MIN], Better::Lower, 1), None);
        assert_eq!(compare(&[(f64::NAN, 1.0); PAIRS_MIN], Better::Lower, 1), None);
        assert!(median(&[]).is_nan());
        assert_eq!((median(&[3.0, 1.0, 2.0]), quantile(&[1.0, 2.0], 0.25)), (2.0, 1.25));
    }

    #[test]
    fn a_cost_that_was_none_must_stay_none() {
        let verdict = |new| judge(&compare(&[(0.0, new); PAIRS_MIN], Better::Lower, 1).expect("enough"), TOLERANCE);
        assert_eq!((verdict(0.0), verdict(0.001)), (Verdict::Same, Verdict::Worse));
    }

    #[test]
    fn a_seed_repeats_and_orders_are_balanced() {
        let pairs = NOISY.pairs(1.02, PAIRS, 9);
        assert_eq!(compare(&pairs, Better::Lower, 4), compare(&pairs, Better::Lower, 4));
        for pairs in [2, 6, 10] {
            let order = schedule(pairs, 7);
            assert_eq!(order.iter().filter(|first| **first == First::Base).count(), pairs / 2);
        }
        assert_ne!(schedule(20, 1), schedule(20, 2));
    }

    /// Samples of a real machine (see the file's head), each judged as it was when they were taken.
    #[test]
    fn recorded_samples_are_judged_as_they_were() {
        for sample in crate::regress::recorded::samples() {
            let ratio = compare(&sample.pairs, Better::Lower, 1).expect("enough pairs");
            assert_eq!(judge(&ratio, TOLERANCE), sample.verdict, "{}: {ratio:?}", sample.name);
        }
    }
}
