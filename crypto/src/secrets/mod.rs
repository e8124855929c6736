//! Tests that secrets leave no trace: none in the time that signing takes (`undefined`), none on the stack afterwards (`leftovers`).
//!
//! They need what lies inside the crate: where a key's secrets are, and the lanes without assertions. What is shown beside them, outside of the crate:
//! `cargo xtask secrets` reads the disassembly of the vector lanes, and the example `dudect` takes their times.

mod leftovers;
mod memcheck;
mod undefined;

use crate::SigningKey;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A seed of a key, and messages of which the first are digests.
fn seed_and_messages(count: usize, generator_seed: u64) -> ([u8; 32], Vec<Vec<u8>>) {
    let mut rng = ChaCha8Rng::seed_from_u64(generator_seed);
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    let messages = (0..count).map(|_| (0..32).map(|_| rng.next_u32() as u8).collect()).collect();
    (seed, messages)
}

/// The two secrets of a key: scalar and prefix.
fn secrets_of(key: &SigningKey) -> [&[u8; 32]; 2] {
    [key.secret.scalar.as_bytes(), &key.secret.hash_prefix]
}
