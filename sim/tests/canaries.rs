//! Builds with a fault in them: each must be found within its budget of seeds, else the checker sees too little.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use meshpay_sim::{Canary, Request, run};

/// Operations of each seed.
const OPERATIONS: u64 = 3_000;

/// Runs seeds until the canary is found, and says by which broken promise.
fn found(canary: Canary, budget: u64) -> &'static str {
    for seed in 0..budget {
        let request = Request { canary: Some(canary), ..Request::new(seed, OPERATIONS) };
        if let Some(violation) = run(&request).unwrap().violation {
            println!("{}: found at seed {seed}: {}: {}", canary.name(), violation.promise, violation.what);
            return violation.promise;
        }
    }
    panic!("{} was not found within {budget} seeds of {OPERATIONS} operations", canary.name());
}

#[test]
fn liars_above_the_tolerated_weight_make_two_certificates() {
    assert_eq!(found(Canary::TooManyLiars, 10), "one certificate per sequence");
}

#[test]
fn a_build_that_answers_before_the_sync_loses_what_it_acknowledged() {
    assert_eq!(found(Canary::AnswersBeforeSync, 20), "what was acknowledged survives");
}

#[test]
fn a_build_that_forgets_locks_at_a_restart() {
    found(Canary::ForgetsLocks, 10);
}

#[test]
fn a_build_that_counts_a_signer_twice() {
    // The forged certificate names votes of honest authorities: one executes it, or knows better and stops voting.
    found(Canary::DuplicateSigners, 10);
}

#[test]
fn a_build_that_applies_a_credit_twice() {
    found(Canary::CreditsTwice, 10);
}

#[test]
fn a_build_that_saturates_instead_of_refusing() {
    found(Canary::Saturates, 10);
}

#[test]
fn a_build_that_lets_a_lock_stop_a_certificate() {
    assert_eq!(found(Canary::LockStopsCertificate, 20), "everything settles after the last fault");
}

#[test]
fn a_build_that_answers_a_query_ahead_of_the_disk() {
    assert_eq!(found(Canary::QueriesAheadOfDisk, 60), "what was acknowledged survives");
}

#[test]
fn a_build_that_trusts_the_image_after_a_crash() {
    found(Canary::TrustsImage, 20);
}
