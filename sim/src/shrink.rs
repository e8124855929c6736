//! Makes a failing run smaller: fewer operations, then fewer faults, as long as the same promise is still broken.

use std::time::{Duration, Instant};

use crate::campaign::run_caught;
use crate::setting::Request;
use crate::world::Outcome;

/// Runs that are tried at most.
const TRIES_MAX: u32 = 200;

/// The smallest failing run that was found within `patience`.
pub fn shrink(failed: &Outcome, request: &Request, patience: Duration) -> (Request, Outcome) {
    let promise = failed.violation.as_ref().map(|violation| violation.promise);
    let started = Instant::now();
    let mut best = Request { verbose: false, ..request.clone() };
    let mut outcome = failed.clone();
    let mut tries = 0;
    let mut try_it = |candidate: &Request| {
        tries += 1;
        if tries > TRIES_MAX || started.elapsed() > patience {
            return None;
        }
        let outcome = run_caught(candidate);
        let same = outcome.violation.as_ref().map(|violation| violation.promise) == promise;
        same.then_some(outcome)
    };
    while best.operations > 50 {
        let smaller = Request { operations: best.operations / 2, ..best.clone() };
        let Some(found) = try_it(&smaller) else { break };
        (best, outcome) = (smaller, found);
    }
    let mut keep = outcome.faults.clone();
    if best.keep.as_ref().is_none_or(|keep| keep.contains(&crate::faults::CHEATS)) {
        keep.insert(0, crate::faults::CHEATS);
    }
    // Halves first, then smaller and smaller parts, down to single faults.
    let mut part = keep.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        while at < keep.len() {
            let mut fewer = keep.clone();
            fewer.drain(at..(at + part).min(keep.len()));
            let candidate = Request { keep: Some(fewer.clone()), ..best.clone() };
            match try_it(&candidate) {
                Some(found) => (keep, best, outcome) = (fewer, candidate, found),
                None => at += part,
            }
        }
        part /= 2;
    }
    (best, outcome)
}
