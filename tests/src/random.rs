//! Random choices that replay: every run prints its seed, and `MESHPAY_TEST_SEED` brings it back.

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A seeded source of choices.
#[derive(Clone)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// Seeded by `MESHPAY_TEST_SEED`, or by the kernel; the seed is printed with the test's output.
    ///
    /// # Errors
    /// If the seed given is no number, or the kernel has no randomness.
    pub fn new(what_for: &str) -> Result<Self> {
        let seed = match std::env::var("MESHPAY_TEST_SEED") {
            Ok(text) => text.parse().context("MESHPAY_TEST_SEED must be a number below 2^64")?,
            Err(_) => getrandom::u64().context("drawing a seed")?,
        };
        println!("{what_for}: replay with MESHPAY_TEST_SEED={seed}");
        Ok(Self(ChaCha8Rng::seed_from_u64(seed)))
    }

    /// A source whose choices are the same in every run.
    pub fn fixed(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound as u64) as usize
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Fills a buffer.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}
