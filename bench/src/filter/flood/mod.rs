//! Payments while somebody floods: an authority at half of what it can do, and ten times as many packets beside the payments.
//!
//! | file | what |
//! |---|---|
//! | `traffic` | what the attacker sends, and how |
//! | `mod` | what that does to payments |
//!
//! What always holds: calm and flooded runs take turns on the same daemon at the same rate, which was measured on it beforehand, so that
//! what was settled in one can be compared with the other; the flood lasts from before the measured part to its end.

mod traffic;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use meshpay_net::Rung;
use meshpay_wire::SignedOrder;
use serde::{Deserialize, Serialize};
use traffic::{Ingredients, Traffic};

use super::loaded::Host;
use super::median;
use crate::generator::{Outcome, Pacing, Schedule, WindowEdge};
use crate::link::attacker::Attacker;
use crate::progress::Console;
use crate::scenario::{
    CpuAccount, LinkChoice, Options, Scenario, Session, Stage, closed_loop, measure as run_batch, seconds_ns,
};
use crate::workload::{Batch, Wallets};

/// Without the filter, and with it on the best rung that veth has.
const RUNGS: [Rung; 2] = [Rung::Udp, Rung::XskCopy];

/// Share of the capacity at which payments are offered.
const LOAD: f64 = 0.5;

/// Share of the payments due that must be settled without a flood, or there is nothing to compare with.
const CALM_MIN: f64 = 0.95;

/// Packets of the flood for each packet that the generator sends.
const FLOOD_FACTOR: f64 = 10.0;

/// Packets that a payment takes: order and certificate.
const PACKETS_OF_PAYMENT: f64 = 2.0;

/// Payments of the closed loop that finds the capacity: two to three seconds' worth, most of which every client needs to get its token.
const CLOSED_PAYMENTS: usize = 60_000;

/// Before figures are taken: the flood has begun, queues are as they will be.
const WARM_UP_SECONDS: f64 = 1.0;

/// Accounts that pay nobody, and are named in orders with bad signatures.
const QUIET_ACCOUNTS: usize = 64;

/// The attackers' addresses among those of the generator's side, far from its clients' (`generator::ADDRESSES`).
const FIRST_SOURCE: u16 = 8_192;

/// Payments in one measured part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Settled a second.
    pub settled_per_second: f64,
    /// Payments settled by those that were due in the measured part, at most 1: what waited when it began is no merit.
    pub kept_up: f64,
    /// Median of finality, microseconds.
    pub finality_p50_us: f64,
    /// 99th percentile of finality, microseconds.
    pub finality_p99_us: f64,
    /// 99th percentile of what the generator itself was late, microseconds; a part of finality.
    pub lateness_p99_us: f64,
    /// Share of payments that needed a repeated request.
    pub retry_share: f64,
    /// Payments that were never settled, after all repetitions.
    pub lost: f64,
    /// Share of the authority's core that the worker used, drain included.
    pub worker_busy: f64,
    /// Share of it that the thread used which receives for the authority, with the filter, likewise.
    pub receiving_busy: f64,
    /// Share of the generator's core that the generator and the thread used which receives for it.
    pub generator_busy: f64,
}

/// One rung's figures; medians of the rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FloodFigures {
    /// The rung asked for.
    pub rung: String,
    /// The rung reached.
    pub reached: String,
    /// Settled a second in a closed loop.
    pub capacity_per_second: f64,
    /// Payments offered a second.
    pub offered_per_second: f64,
    /// Packets of the flood a second that were sent.
    pub flood_sent_per_second: f64,
    /// And that came to the authority's interface.
    pub flood_arrived_per_second: f64,
    /// Share of the generator's core that the flood's sending thread used.
    pub flood_sender_busy: f64,
    /// Without the flood.
    pub calm: Level,
    /// With it.
    pub flooded: Level,
    /// How far the authority kept up with the flood by how far it did without: the median of the rounds' ratios.
    pub goodput: f64,
    /// What the filter said of all frames of the flooded runs, the payments' own among them; empty without a filter.
    pub outcomes: BTreeMap<String, u64>,
    /// What became of frames at the AF_XDP rings in the flooded runs; empty without them.
    pub rings: BTreeMap<String, u64>,
    /// What made the measurement a failed one.
    pub failures: Vec<String>,
}

/// Measures every rung.
pub(super) fn measure(
    options: &Options,
    rounds: usize,
    stop: &AtomicBool,
    console: &Console,
) -> Result<Vec<FloodFigures>> {
    let wallets =
        Wallets::from_seed(options.seed, options.accounts + QUIET_ACCOUNTS, |_| {}).with_quiet(QUIET_ACCOUNTS);
    RUNGS
        .into_iter()
        .map(|rung| {
            let options = Options { rung: Some(rung), link: LinkChoice::Veth, ..options.clone() };
            let console = console.part(&format!("flood, {rung}"));
            measure_rung(rung, &options, &wallets, rounds, stop, &console)
                .with_context(|| format!("a flood on the rung {rung}"))
        })
        .collect()
}

fn measure_rung(
    rung: Rung,
    options: &Options,
    wallets: &Wallets,
    rounds: usize,
    stop: &AtomicBool,
    console: &Console,
) -> Result<FloodFigures> {
    let stage = Stage::build(Scenario::Single, options, console)?;
    let attacker = Attacker::join(&stage.link)?;
    let mut session = Session::start(stage.request(options, wallets, None, stop, console))?;
    let (first, outcome) = closed_loop(&mut session, CLOSED_PAYMENTS)?;
    let capacity = outcome.settled_per_second();
    ensure!(capacity > 0.0, "no payment was settled without a flood");
    let executed = first.payments().first().context("no payment was signed")?.order;
    let mut scene = Scene { session, attacker, stage: &stage, executed, rate: LOAD * capacity, options };
    let reached = scene.session.packet_io().rung;
    let (mut calm, mut flooded): (Vec<Level>, Vec<Flooded>) = (Vec::new(), Vec::new());
    for round in 0..rounds as u64 {
        calm.push(scene.calm(2 * round)?);
        flooded.push(scene.flooded(2 * round + 1)?);
        let share = flooded[round as usize].level.kept_up / calm[round as usize].kept_up;
        console.say(&format!("goodput {:.1} % of what it is without a flood", 100.0 * share));
    }
    let auditing = scene.session.end()?.audit();
    let mut failures = Vec::new();
    if !auditing.failures.is_empty() {
        failures.push(format!("the audit failed: {}", auditing.result()));
    }
    failures.extend(flooded.iter().flat_map(|flooded| flooded.wrong.clone()));
    failures.extend(calm.iter().filter(|calm| calm.kept_up < CALM_MIN).map(|calm| {
        format!(
            "without the flood it kept up with {:.0} % only: somebody else uses this machine, and goodput says nothing",
            100.0 * calm.kept_up
        )
    }));
    Ok(figures(rung, reached, capacity, &calm, &flooded, failures))
}

/// A daemon under load, and somebody who may flood it.
struct Scene<'a> {
    session: Session<'a>,
    attacker: Attacker,
    stage: &'a Stage,
    executed: SignedOrder,
    rate: f64,
    options: &'a Options,
}

/// A measured part with a flood.
#[derive(Clone, Debug, Default)]
struct Flooded {
    level: Level,
    sent_per_second: f64,
    arrived_per_second: f64,
    sender_busy: f64,
    outcomes: BTreeMap<String, u64>,
    rings: BTreeMap<String, u64>,
    wrong: Option<String>,
}

impl Scene<'_> {
    /// The next payments, and when they are due.
    fn batch(&mut self, run: u64) -> Result<(Batch, Schedule)> {
        let (warm_up, measured) = (seconds_ns(WARM_UP_SECONDS), seconds_ns(self.options.seconds));
        let mut schedule = Schedule::poisson(self.options.seed + run, self.rate, warm_up, measured);
        let batch = self.session.sign(schedule.len())?;
        schedule.truncate(batch.len());
        Ok((batch, schedule))
    }

    fn calm(&mut self, run: u64) -> Result<Level> {
        let (batch, schedule) = self.batch(run)?;
        let what = format!("{:.0} payments a second, calm", self.rate);
        let (outcome, cpu) = run_batch(&mut self.session, &what, &batch, Pacing::Open(schedule), |_| {})?;
        Ok(level(&outcome, &cpu))
    }

    fn flooded(&mut self, run: u64) -> Result<Flooded> {
        let (batch, schedule) = self.batch(run)?;
        let (link, core) = (&self.stage.link, self.stage.cores.generator);
        let traffic = Traffic::new(
            &self.attacker,
            &Ingredients {
                rules: &self.session.network().rules,
                executed: &self.executed,
                forged: &self.forged(),
                authority: (Host::of(&link.authority)?, link.authority.ipv4()),
                first_source: link.generator.ipv4_further(FIRST_SOURCE),
            },
        )?;
        let per_second = FLOOD_FACTOR * PACKETS_OF_PAYMENT * self.rate;
        let before = (self.session.packet_io(), link.authority.received()?);
        let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let began = Instant::now();
        let what = format!("{:.0} payments a second, with {per_second:.0} packets a second of a flood", self.rate);
        let (attacker, session) = (&self.attacker, &mut self.session);
        // Everybody else's packets come on after the flood has ended, so its length is taken when it ends.
        let mut lasted = Duration::ZERO;
        let (run, sender_us) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                attacker.inside(|| traffic.send(per_second, core, &over, &sent)).map_err(anyhow::Error::from)?
            });
            let run = run_batch(session, &what, &batch, Pacing::Open(schedule), |edge| {
                if edge == WindowEdge::End {
                    over.store(true, Ordering::Relaxed);
                    lasted = began.elapsed();
                }
            });
            over.store(true, Ordering::Relaxed);
            let sender = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (run, sender)
        });
        let (outcome, cpu) = run?;
        let sender_us = sender_us.context("the attacker could not send")?;
        let seconds = lasted.as_secs_f64().max(1e-3);
        let after = self.session.packet_io();
        let arrived = (link.authority.received()? - before.1).saturating_sub(outcome.sent);
        Ok(Flooded {
            level: level(&outcome, &cpu),
            sent_per_second: sent.load(Ordering::Relaxed) as f64 / seconds,
            arrived_per_second: arrived as f64 / seconds,
            sender_busy: sender_us as f64 / 1e6 / seconds,
            outcomes: since(&before.0.outcomes, &after.outcomes),
            rings: since(&before.0.rings, &after.rings),
            wrong: (outcome.wrong_answers > 0)
                .then(|| format!("{} wrong answers; the first: {:?}", outcome.wrong_answers, outcome.first_wrong)),
        })
    }

    /// Orders that look right until their signatures are verified: the first sequences of funded accounts that pay nobody.
    fn forged(&self) -> Vec<SignedOrder> {
        let wallets = self.session.request().wallets;
        let forge = |account: usize| {
            let mut order = self.executed;
            order.body.sender = *wallets.public_key(account as u32);
            order.body.sequence = 0.into();
            order.signature = std::array::from_fn(|at| (at * 29 + account) as u8);
            order
        };
        (wallets.payers()..wallets.count()).map(forge).collect()
    }
}

fn level(outcome: &Outcome, cpu: &CpuAccount) -> Level {
    // Threads' figures are of the whole batch.
    let share = |name: &str| {
        let threads = cpu.threads.iter().filter(|share| share.thread.starts_with(name));
        let us_per_settled: f64 = threads.map(|share| share.us_per_settled).sum();
        us_per_settled * outcome.settled as f64 / (outcome.elapsed_seconds * 1e6).max(1.0)
    };
    Level {
        settled_per_second: outcome.settled_per_second(),
        kept_up: (outcome.settled_in_window as f64 / outcome.offered_in_window.max(1) as f64).min(1.0),
        finality_p50_us: outcome.finality_us.value_at_quantile(0.5) as f64,
        finality_p99_us: outcome.finality_us.value_at_quantile(0.99) as f64,
        lateness_p99_us: outcome.lateness_us.value_at_quantile(0.99) as f64,
        retry_share: outcome.retry_share(),
        lost: outcome.lost as f64,
        worker_busy: share("worker-"),
        receiving_busy: share("napi/"),
        generator_busy: cpu.generator_us_per_settled * outcome.settled_per_second() / 1e6,
    }
}

/// What counters have gained.
fn since(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let gained = |(name, count): (&String, &u64)| (name.clone(), count - before.get(name).copied().unwrap_or(0));
    after.iter().map(gained).filter(|(_, count)| *count > 0).collect()
}

fn figures(
    rung: Rung,
    reached: String,
    capacity: f64,
    calm: &[Level],
    flooded: &[Flooded],
    failures: Vec<String>,
) -> FloodFigures {
    let of = |pick: fn(&Flooded) -> f64| median(flooded.iter().map(pick));
    let flooded_levels: Vec<Level> = flooded.iter().map(|flooded| flooded.level).collect();
    let sum = |pick: fn(&Flooded) -> &BTreeMap<String, u64>| {
        let mut sums = BTreeMap::new();
        for (name, count) in flooded.iter().flat_map(pick) {
            *sums.entry(name.clone()).or_default() += count;
        }
        sums
    };
    FloodFigures {
        rung: rung.name().to_owned(),
        reached,
        capacity_per_second: capacity,
        offered_per_second: LOAD * capacity,
        flood_sent_per_second: of(|flooded| flooded.sent_per_second),
        flood_arrived_per_second: of(|flooded| flooded.arrived_per_second),
        flood_sender_busy: of(|flooded| flooded.sender_busy),
        calm: median_level(calm),
        flooded: median_level(&flooded_levels),
        goodput: median(calm.iter().zip(flooded).map(|(calm, flooded)| flooded.level.kept_up / calm.kept_up)),
        outcomes: sum(|flooded| &flooded.outcomes),
        rings: sum(|flooded| &flooded.rings),
        failures,
    }
}

fn median_level(levels: &[Level]) -> Level {
    let of = |pick: fn(&Level) -> f64| median(levels.iter().map(pick));
    Level {
        settled_per_second: of(|level| level.settled_per_second),
        kept_up: of(|level| level.kept_up),
        finality_p50_us: of(|level| level.finality_p50_us),
        finality_p99_us: of(|level| level.finality_p99_us),
        lateness_p99_us: of(|level| level.lateness_p99_us),
        retry_share: of(|level| level.retry_share),
        lost: of(|level| level.lost),
        worker_busy: of(|level| level.worker_busy),
        receiving_busy: of(|level| level.receiving_busy),
        generator_busy: of(|level| level.generator_busy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodput_is_a_ratio_of_one_round() {
        let level = |kept_up| Level { kept_up, ..Level::default() };
        let flooded = |kept_up| Flooded {
            level: level(kept_up),
            outcomes: BTreeMap::from([("echo".to_owned(), 5)]),
            ..Flooded::default()
        };
        // In the second round somebody else took half of the machine, in the third still more.
        let calm = [level(1.0), level(0.5), level(0.2)];
        let flooded = [flooded(0.9), flooded(0.45), flooded(0.19)];
        let figures = figures(Rung::Udp, "udp".to_owned(), 200.0, &calm, &flooded, Vec::new());
        assert_eq!((figures.goodput, figures.calm.kept_up), (0.9, 0.5));
        assert_eq!(figures.outcomes["echo"], 15);
    }

    #[test]
    fn counters_are_compared_with_those_before() {
        let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let gained = since(&counts(&[("echo", 5), ("off", 1)]), &counts(&[("echo", 9), ("off", 1), ("stale", 2)]));
        assert_eq!(gained, counts(&[("echo", 4), ("stale", 2)]));
    }
}
