//! A million mutated signatures, ten million in long tests: the CPU's lanes, the portable path and the oracle decide every one of them, by keys that come with
//! them and by known keys, and agree. So does the model on a share of them, since it is slow.
//!
//! What always holds: calls are of every size from one entry to several groups, so that every fill of a group from 1 to 8 and every place in it is met, both by
//! what is accepted and by what is refused; that, and how often each kind of mutation was tried, is counted and asserted. Work is cut into chunks, each with a
//! seed of its own, which a failure names.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod support;

use meshpay_crypto::{Check, KnownCheck};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::sync::atomic::{AtomicU64, Ordering};
use support::committee::Committee;
use support::mutation::Mutation;
use support::{Case, Path, below, cases, paths};

/// Mutated signatures of an ordinary run, of each test: together a million.
const MUTATED: usize = 500_000;
/// Mutated signatures of a chunk: enough that making its pool costs little, and few enough to replay quickly.
const CHUNK: usize = 5_000;
/// Honest signatures and those of mixed order from which a chunk's cases are made.
const POOL: usize = 96;
const LANES: usize = 8;
/// Most whole groups before a call's last one.
const WHOLE_GROUPS_MAX: usize = 6;
/// One call of so many is decided by the model too.
const MODEL_SHARE: usize = 60;
/// One case of so many stays as it was.
const HONEST_SHARE: usize = 16;

/// What has been tried, and with which end.
struct Tally {
    /// Of each kind of mutation: refused, accepted.
    mutations: [[u64; 2]; Mutation::ALL.len()],
    /// Of each fill of a group less one, and each lane in it: refused, accepted.
    places: [[[u64; 2]; LANES]; LANES],
    /// Decided by the model too.
    by_model: u64,
}

impl Tally {
    const NOTHING: Self =
        Self { mutations: [[0; 2]; Mutation::ALL.len()], places: [[[0; 2]; LANES]; LANES], by_model: 0 };

    fn note(&mut self, size: usize, at: usize, mutation: Mutation, accepted: bool) {
        let fill = (size - at / LANES * LANES).min(LANES);
        self.places[fill - 1][at % LANES][usize::from(accepted)] += 1;
        let kind = Mutation::ALL.iter().position(|kind| *kind == mutation).unwrap();
        self.mutations[kind][usize::from(accepted)] += 1;
    }

    fn add(&mut self, other: &Self) {
        for (sum, more) in self.mutations.iter_mut().flatten().zip(other.mutations.iter().flatten()) {
            *sum += more;
        }
        for (sum, more) in self.places.iter_mut().flatten().flatten().zip(other.places.iter().flatten().flatten()) {
            *sum += more;
        }
        self.by_model += other.by_model;
    }

    /// Prints what was tried, and asserts that nothing was left out.
    fn check(&self, kinds: &[Mutation]) {
        for (kind, [refused, accepted]) in Mutation::ALL.iter().zip(self.mutations) {
            if kinds.contains(kind) {
                println!("{kind:?}: {refused} refused, {accepted} accepted");
                assert!(refused + accepted > 1_000, "{kind:?} was hardly tried");
            }
        }
        println!("{} of them decided by the model too", self.by_model);
        assert!(self.by_model > 1_000);
        for fill in 1..=LANES {
            for lane in 0..fill {
                let [refused, accepted] = self.places[fill - 1][lane];
                assert!(
                    refused > 200 && accepted > 50,
                    "lane {lane} of {fill}: {refused} refused, {accepted} accepted"
                );
            }
        }
    }
}

/// Runs chunks until so many mutated signatures are decided, on as many threads as there are cores.
fn run_chunks(default_seed: u64, chunk: impl Fn(&mut ChaCha8Rng, &mut Tally) + Sync) -> Tally {
    let seed = support::seed(default_seed);
    let chunks = cases(MUTATED).div_ceil(CHUNK) as u64;
    let next = AtomicU64::new(0);
    let work = || {
        let mut tally = Tally::NOTHING;
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= chunks {
                return tally;
            }
            let seed = seed.wrapping_add(at);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| chunk(&mut rng, &mut tally)));
            if let Err(panic) = result {
                println!("chunk {at} failed: the first chunk of MESHPAY_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut sum = Tally::NOTHING;
        for worker in workers {
            match worker.join() {
                Ok(tally) => sum.add(&tally),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        sum
    })
}

/// The size of a call: up to [`WHOLE_GROUPS_MAX`] groups and one that holds 1 to 8; and how many that last one holds.
fn call_size(rng: &mut ChaCha8Rng) -> (usize, usize) {
    let fill = 1 + below(rng, LANES);
    (LANES * below(rng, WHOLE_GROUPS_MAX + 1) + fill, fill)
}

fn draw(kinds: &[Mutation], rng: &mut ChaCha8Rng) -> Mutation {
    // The first is `None`.
    if below(rng, HONEST_SHARE) == 0 { Mutation::None } else { kinds[1 + below(rng, kinds.len() - 1)] }
}

/// The implementations that decide every case, and the model. Without the CPU's lanes the first of `paths` is the portable one again.
fn split(paths: &[Path; 3]) -> (&[Path], &Path) {
    let first = usize::from(paths[0].name == paths[1].name);
    (&paths[first..2], &paths[2])
}

#[test]
fn keys_that_come_with_their_signatures() {
    let paths = paths();
    let (always, model) = split(&paths);
    let tally = run_chunks(1, |rng, tally| {
        let pool: Vec<Case> =
            (0..POOL).map(|i| if i % 2 == 0 { Case::honest(rng) } else { Case::of_mixed_order(rng) }).collect();
        let mut mutated = 0;
        while mutated < CHUNK {
            let (size, fill) = call_size(rng);
            let (burst, kinds): (Vec<Case>, Vec<Mutation>) = (0..size)
                .map(|_| {
                    let (mut case, other) = (pool[below(rng, POOL)].clone(), &pool[below(rng, POOL)]);
                    let kind = draw(&Mutation::ALL, rng);
                    kind.apply(&mut case, other, rng);
                    (case, kind)
                })
                .unzip();
            mutated += kinds.iter().filter(|kind| **kind != Mutation::None).count();
            let expected: Vec<bool> = burst.iter().map(Case::oracle).collect();
            let checks: Vec<Check<'_>> = burst.iter().map(Case::check).collect();
            let decide = |path: &Path, from: usize| {
                // Answers that are wrong at first, so that one which is not written is found.
                let mut valid: Vec<bool> = expected[from..].iter().map(|valid| !valid).collect();
                (path.verify_many)(&checks[from..], &mut valid);
                for (at, valid) in (from..).zip(valid) {
                    let (case, kind) = (&burst[at], kinds[at]);
                    assert_eq!(valid, expected[at], "{} at {at} of {size}, {kind:?}: {case:?}", path.name);
                }
            };
            always.iter().for_each(|path| decide(path, 0));
            if below(rng, MODEL_SHARE) == 0 {
                decide(model, size - fill);
                tally.by_model += fill as u64;
            }
            (0..size).for_each(|at| tally.note(size, at, kinds[at], expected[at]));
        }
    });
    tally.check(&Mutation::ALL);
}

#[test]
fn known_keys() {
    let paths = paths();
    let (always, model) = split(&paths);
    // As large as committees are, so that lanes of one group read many tables.
    let committee = Committee::new(20, &mut support::seeded(2));
    let tally = run_chunks(2, |rng, tally| {
        let pool: Vec<(usize, Case)> = (0..POOL).map(|_| committee.vote(rng)).collect();
        let mut mutated = 0;
        while mutated < CHUNK {
            let (size, fill) = call_size(rng);
            let (burst, kinds): (Vec<(usize, Case)>, Vec<Mutation>) = (0..size)
                .map(|_| {
                    let (mut vote, other) = (pool[below(rng, POOL)].clone(), &pool[below(rng, POOL)].1);
                    let kind = draw(&Mutation::OF_KNOWN_KEYS, rng);
                    kind.apply(&mut vote.1, other, rng);
                    (vote, kind)
                })
                .unzip();
            mutated += kinds.iter().filter(|kind| **kind != Mutation::None).count();
            let expected: Vec<bool> = burst.iter().map(|(_, case)| case.oracle()).collect();
            let checks: Vec<KnownCheck<'_>> =
                burst.iter().map(|(member, case)| committee.check(*member, case)).collect();
            let decide = |path: &Path, from: usize| {
                let mut valid: Vec<bool> = expected[from..].iter().map(|valid| !valid).collect();
                (path.verify_many_known_keys)(&checks[from..], &mut valid);
                for (at, valid) in (from..).zip(valid) {
                    let (case, kind) = (&burst[at], kinds[at]);
                    assert_eq!(valid, expected[at], "{} at {at} of {size}, {kind:?}: {case:?}", path.name);
                }
            };
            always.iter().for_each(|path| decide(path, 0));
            if below(rng, MODEL_SHARE) == 0 {
                decide(model, size - fill);
                tally.by_model += fill as u64;
            }
            (0..size).for_each(|at| tally.note(size, at, kinds[at], expected[at]));
        }
    });
    tally.check(&Mutation::OF_KNOWN_KEYS);
}
