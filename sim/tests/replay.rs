//! The same seed gives the same trace, and ordinary seeds break no promise.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use meshpay_sim::campaign::{report, run_caught};
use meshpay_sim::{Request, run};

/// How many times more than usual; set by `cargo xtask test --long`.
fn scale() -> u64 {
    std::env::var("MESHPAY_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [0, 1, 36, 70] {
        let request = Request::new(seed, 2_000);
        let (first, second) = (run(&request).unwrap(), run(&request).unwrap());
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
        assert_eq!(first.totals.operations, second.totals.operations);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_with_real_signatures() {
    let request = Request::new(99, 600);
    assert_eq!(run(&request).unwrap().trace_hash, run(&request).unwrap().trace_hash);
}

#[test]
fn a_trace_is_the_same_on_every_machine() {
    // Whoever changes what an authority or a wallet does changes this too: `cargo xtask sim --seed 0 --ops 500` prints the new one.
    let outcome = run(&Request::new(0, 500)).unwrap();
    assert_eq!(outcome.trace_hash, TRACE_OF_SEED_0, "seed 0 went another way than when this was written");
}

/// See [`a_trace_is_the_same_on_every_machine`].
const TRACE_OF_SEED_0: &str = "63044d9ff0848d913e4651400990d930";

#[test]
fn ordinary_seeds_break_no_promise() {
    for seed in 0..12 * scale() {
        let request = Request::new(seed, 2_000);
        let outcome = run_caught(&request);
        assert!(outcome.violation.is_none(), "{}", report(&request, &outcome));
    }
}

/// Once, a cheat that recorded a datagram of no bytes could not cut it shorter, and the simulator panicked in it.
#[test]
fn seeds_that_once_broke_something_break_nothing() {
    let request = Request::new(27, 10_000);
    let outcome = run_caught(&request);
    assert!(outcome.violation.is_none(), "{}", report(&request, &outcome));
}

#[test]
fn crowded_seeds_reach_the_reserves() {
    let crowded = |seed: &u64| meshpay_sim::setting::Setting::of(&Request::new(*seed, 1)).crowded;
    let seed = (0..).find(crowded).unwrap();
    // Without faults, nothing but a table that is full puts a request off.
    let request = Request { keep: Some(vec![0]), ..Request::new(seed, 24_000) };
    let outcome = run(&request).unwrap();
    assert!(outcome.violation.is_none(), "{}", report(&request, &outcome));
    assert!(outcome.totals.put_off > 0, "seed {seed} never came near the end of a table");
}

#[test]
fn a_fault_left_out_leaves_the_others_as_they_are() {
    let setting = meshpay_sim::setting::Setting::of(&Request::new(5, 1));
    let (mut at, mut times) = (0, Vec::new());
    for number in 1..20 {
        let planned = meshpay_sim::faults::plan(&setting, number, at);
        at = planned.at_us;
        times.push(format!("{:?}", planned.fault));
    }
    let again = meshpay_sim::faults::plan(&setting, 7, 123);
    assert_eq!(format!("{:?}", again.fault), times[6]);
}
