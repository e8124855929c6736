//! Signing with secrets that memcheck takes for undefined, which is how Langley's ctgrind finds branches and table indices that depend on a secret: memcheck follows
//! undefined bits through all arithmetic and reports when one decides a jump or an address. Since no valgrind executes AVX-512, the lanes are the
//! plain integers, whose kernels are the same source.
//!
//! Only `cargo xtask secrets` runs these tests, in a release build: overflow checks are branches, and ours and those of curve25519-dalek must be out. Canaries show that what
//! leaks is found.

use super::{memcheck, secrets_of, seed_and_messages};
use crate::eight_lanes::{EightLanes, model::Model};
use crate::{Signature, SigningKey, portable};
use std::hint::black_box;

/// Errors that memcheck reports during some work on a secret.
fn errors_in<T>(work: impl FnOnce() -> T) -> (usize, T) {
    assert!(memcheck::is_running(), "this test means nothing outside of valgrind; `cargo xtask secrets` runs it");
    if cfg!(debug_assertions) {
        panic!("overflow checks are branches: this test needs a release build, as `cargo xtask secrets` makes");
    }
    let before = memcheck::errors();
    let result = work();
    (memcheck::errors() - before, result)
}

type SignMany<'a> = dyn Fn(&SigningKey, &[&[u8]], &mut [Signature]) + 'a;

/// Signs with an undefined key, and asserts that nothing was decided by it although everything came from it.
fn check(name: &str, sign_many: &SignMany<'_>) {
    for (count, length) in [(1, 32), (8, 32), (11, 32), (9, 150)] {
        let (seed, mut messages) = seed_and_messages(count, 1);
        messages.iter_mut().for_each(|message| message.resize(length, 7));
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let mut expected = vec![[0; 64]; count];
        let key = SigningKey::from_seed(&seed);
        portable::sign_many(&key, &messages, &mut expected);

        secrets_of(&key).iter().for_each(|secret| memcheck::make_undefined(*secret));
        let mut signatures = vec![[0; 64]; count];
        let (errors, ()) = errors_in(|| sign_many(&key, &messages, &mut signatures));
        let undefined = memcheck::count_undefined(signatures.as_flattened());
        memcheck::make_defined(signatures.as_flattened());
        secrets_of(&key).iter().for_each(|secret| memcheck::make_defined(*secret));
        assert_eq!(errors, 0, "{name}: a branch or an address depends on a secret; memcheck's reports above say where");
        assert_eq!(undefined, 64 * count, "{name}: the secrets did not reach the signatures");
        assert_eq!(signatures, expected);
    }
}

#[test]
#[ignore = "needs valgrind: cargo xtask secrets"]
fn signing_in_lanes_decides_nothing_by_a_secret() {
    let lanes = EightLanes::<Model<false>>::new();
    check("lanes", &|key, messages, signatures| lanes.sign_many(key, messages, signatures));
}

#[test]
#[ignore = "needs valgrind: cargo xtask secrets"]
fn signing_on_the_portable_path_decides_nothing_by_a_secret() {
    check("portable", &|key, messages, signatures| portable::sign_many(key, messages, signatures));
}

#[test]
#[ignore = "needs valgrind: cargo xtask secrets"]
fn expanding_a_seed_decides_nothing_by_it() {
    let (seed, _) = seed_and_messages(0, 2);
    let expected = SigningKey::from_seed(&seed).public_key();
    memcheck::make_undefined(&seed);
    let (errors, key) = errors_in(|| SigningKey::from_seed(&seed));
    let public = key.public_key();
    memcheck::make_defined(&seed);
    secrets_of(&key).iter().for_each(|secret| memcheck::make_defined(*secret));
    memcheck::make_defined(&public);
    assert_eq!((errors, public), (0, expected));
}

/// A canary for branches.
#[test]
#[ignore = "needs valgrind: cargo xtask secrets"]
fn a_branch_on_a_secret_is_found() {
    let (seed, _) = seed_and_messages(0, 3);
    memcheck::make_undefined(&seed);
    let (errors, ()) = errors_in(|| {
        if black_box(seed[0]) & 1 == 1 {
            black_box("odd");
        }
    });
    memcheck::make_defined(&seed);
    assert!(errors > 0, "memcheck missed a branch");
}

/// A canary for table indices: the tables of verification, whose digits must be public, read by the digits of a secret scalar.
#[test]
#[ignore = "needs valgrind: cargo xtask secrets"]
fn a_table_index_from_a_secret_is_found() {
    let lanes = EightLanes::<Model<false>>::new();
    let (seed, _) = seed_and_messages(0, 4);
    let key = SigningKey::from_seed(&seed);
    let read = || lanes.read_public_table(key.secret.scalar.as_bytes());
    let (errors, ()) = errors_in(read);
    assert_eq!(errors, 0, "by a public scalar nothing is wrong with it");
    memcheck::make_undefined(key.secret.scalar.as_bytes());
    let (errors, ()) = errors_in(read);
    memcheck::make_defined(key.secret.scalar.as_bytes());
    assert!(errors > 0, "memcheck missed a table index");
}
