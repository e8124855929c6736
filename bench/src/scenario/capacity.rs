//! The search for the highest rate that an authority sustains.
//!
//! First a closed loop, whose throughput is a good guess; then trials in an open loop, upwards from there while the rate is
//! sustained, downwards while it is not, and then halving the gap. The figure itself is taken afterwards, in a longer run at the
//! rate found.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::session::Session;
use crate::generator::{Outcome, Pacing, Schedule};
use crate::workload::Batch;

/// A rate is sustained if nothing is lost, at most this share of payments needed a repeated request...
pub const SUSTAINED_RETRY_SHARE_MAX: f64 = 0.001;

/// ...and at least this share of what was offered within the measured part was settled within it, so no queue grew, at whichever
/// side. The rest is for chance: payments come at random.
pub const SUSTAINED_SETTLED_SHARE_MIN: f64 = 0.98;

/// Payments under way in the closed loop: enough to fill every burst while others wait for the disk, twice for each payment. What does not
/// fit an interface's queue waits at the sender.
const CLOSED_IN_FLIGHT: usize = 1_024;

/// Payments of the closed loop: about a second's worth.
const CLOSED_PAYMENTS: usize = 24_000;

const TRIAL_SECONDS: f64 = 1.5;
const TRIAL_WARM_UP_SECONDS: f64 = 0.5;

/// Most trials from the first one on whose rate was not sustained.
const TRIALS_MAX: usize = 7;

/// Most trials before one is not sustained: after them the rate is far beyond what a guess could be wrong by.
const CLIMBS_MAX: usize = 16;

/// How much higher the next rate is while all were sustained: at first by a little, as the guess is mostly good, then by more.
const CLIMB: [f64; 3] = [1.12, 1.12, 1.25];

/// The search ends when the lowest rate that was not sustained is within this factor of the highest that was.
const CLOSE_ENOUGH: f64 = 1.04;

/// One trial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Payments offered a second.
    pub offered_per_second: f64,
    /// Payments settled a second.
    pub settled_per_second: f64,
    /// Share of payments that needed a repeated request.
    pub retry_share: f64,
    /// Payments lost.
    pub lost: u64,
    /// 99th percentile of finality.
    pub finality_p99_us: u64,
    /// Whether the rate was sustained.
    pub sustained: bool,
}

/// What was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// Settled a second in the closed loop.
    pub closed_loop_per_second: f64,
    /// The trials, in their order.
    pub trials: Vec<Trial>,
    /// The rate found.
    pub rate: f64,
}

/// What to do after some trials.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Try this rate.
    Try(f64),
    /// This is it.
    Found(f64),
}

impl Trial {
    pub(super) fn of(offered_per_second: f64, outcome: &Outcome) -> Self {
        let retry_share = outcome.retry_share();
        Self {
            offered_per_second,
            settled_per_second: outcome.settled_per_second(),
            retry_share,
            lost: outcome.lost,
            finality_p99_us: outcome.finality_us.value_at_quantile(0.99),
            sustained: outcome.lost == 0
                && retry_share <= SUSTAINED_RETRY_SHARE_MAX
                && outcome.settled_per_second() >= SUSTAINED_SETTLED_SHARE_MIN * offered_per_second,
        }
    }
}

/// Decides from a first guess and the trials so far.
pub fn next_rate(guess: f64, trials: &[Trial]) -> Verdict {
    let good = trials.iter().filter(|trial| trial.sustained).map(|trial| trial.offered_per_second).fold(0.0, f64::max);
    // A rate above which a higher one was sustained was bad by accident; the higher one counts.
    let bad = trials
        .iter()
        .filter(|trial| !trial.sustained && trial.offered_per_second > good)
        .map(|trial| trial.offered_per_second)
        .fold(f64::INFINITY, f64::min);
    let climbs = trials.iter().take_while(|trial| trial.sustained).count();
    let ended = trials.len() - climbs >= TRIALS_MAX || climbs >= CLIMBS_MAX;
    match (good > 0.0, bad.is_finite()) {
        (false, false) => Verdict::Try(guess),
        (true, false) if ended => Verdict::Found(good),
        (true, false) => Verdict::Try(good * CLIMB[climbs.clamp(1, CLIMB.len()) - 1]),
        (true, true) if ended || bad / good <= CLOSE_ENOUGH => Verdict::Found(good),
        (true, true) => Verdict::Try((good * bad).sqrt()),
        // Nothing was ever sustained: the run itself will show it.
        (false, true) if ended => Verdict::Found(bad * 0.8),
        (false, true) => Verdict::Try(bad * 0.8),
    }
}

/// Settles so many payments as fast as the authority can: a good guess of its capacity.
///
/// # Errors
/// If a daemon ends, or the user interrupts.
pub fn closed_loop(session: &mut Session<'_>, payments: usize) -> Result<(Batch, Outcome)> {
    let batch = session.sign(payments)?;
    let pacing = Pacing::Closed { in_flight: CLOSED_IN_FLIGHT };
    let what = format!("first estimate, {CLOSED_IN_FLIGHT} payments under way at a time");
    let outcome = session.run(&what, &batch, pacing, |_| {})?;
    Ok((batch, outcome))
}

/// Searches on a running session.
///
/// # Errors
/// If a daemon ends, or the user interrupts.
pub fn search(session: &mut Session<'_>) -> Result<Search> {
    // A committee shares the cores that a single authority has for itself.
    let (_, outcome) = closed_loop(session, CLOSED_PAYMENTS / session.request().cores.authority.len())?;
    let closed_loop_per_second = outcome.settled_per_second();
    let guess = (closed_loop_per_second * 0.95).max(10.0);
    let mut trials = Vec::new();
    loop {
        let rate = match next_rate(guess, &trials) {
            Verdict::Found(rate) => return Ok(Search { closed_loop_per_second, trials, rate }),
            Verdict::Try(rate) => rate,
        };
        let seed = session.request().options.seed + trials.len() as u64 + 1;
        let mut schedule = Schedule::poisson(seed, rate, seconds_ns(TRIAL_WARM_UP_SECONDS), seconds_ns(TRIAL_SECONDS));
        let batch = session.sign(schedule.len())?;
        schedule.truncate(batch.len());
        let offered_per_second = schedule.offered_per_second();
        let what = format!("trial {} at {rate:.0} payments a second", trials.len() + 1);
        let outcome = session.run(&what, &batch, Pacing::Open(schedule), |_| {})?;
        trials.push(Trial { offered_per_second: rate, ..Trial::of(offered_per_second, &outcome) });
    }
}

/// Seconds as nanoseconds.
pub fn seconds_ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where the truth is known.
    fn find(capacity: f64, guess: f64) -> (f64, usize) {
        let mut trials = Vec::new();
        loop {
            match next_rate(guess, &trials) {
                Verdict::Found(rate) => return (rate, trials.len()),
                Verdict::Try(rate) => trials.push(Trial {
                    offered_per_second: rate,
                    settled_per_second: rate.min(capacity),
                    retry_share: 0.0,
                    lost: 0,
                    finality_p99_us: 0,
                    sustained: rate <= capacity,
                }),
            }
        }
    }

    #[test]
    fn finds_the_capacity_from_guesses_on_either_side() {
        for guess in [0.5, 0.8, 0.95, 1.0, 1.2, 1.6] {
            let (rate, trials) = find(20_000.0, 20_000.0 * guess);
            assert!((20_000.0 / CLOSE_ENOUGH / 1.12..=20_000.0).contains(&rate), "guess {guess}: {rate}");
            assert!(trials <= TRIALS_MAX + CLIMBS_MAX, "guess {guess}: {trials} trials");
            if (0.8..1.3).contains(&guess) {
                assert!(rate >= 20_000.0 / CLOSE_ENOUGH, "guess {guess}: {rate}");
            }
        }
    }

    #[test]
    fn climbs_from_a_guess_far_below_until_a_rate_is_not_sustained() {
        // As where the closed loop waited for a slow disk: its guess was a fifth of what the authority can do.
        let (rate, trials) = find(20_000.0, 4_000.0);
        assert!((20_000.0 / CLOSE_ENOUGH..=20_000.0).contains(&rate), "{rate}");
        assert!(trials <= TRIALS_MAX + CLIMBS_MAX, "{trials} trials");
    }

    #[test]
    fn ends_when_everything_is_sustained() {
        let (rate, trials) = find(f64::INFINITY, 20_000.0);
        assert!(trials == CLIMBS_MAX && rate.is_finite());
    }

    #[test]
    fn ends_when_nothing_is_sustained() {
        let (rate, trials) = find(1.0, 20_000.0);
        assert!(trials == TRIALS_MAX && rate > 0.0);
    }

    #[test]
    fn an_accident_below_a_sustained_rate_is_overruled() {
        let trial = |rate, sustained| Trial {
            offered_per_second: rate,
            settled_per_second: rate,
            retry_share: 0.0,
            lost: 0,
            finality_p99_us: 0,
            sustained,
        };
        let trials = [trial(100.0, false), trial(110.0, true), trial(113.0, false)];
        assert_eq!(next_rate(100.0, &trials), Verdict::Found(110.0));
    }
}
