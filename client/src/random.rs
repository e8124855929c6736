//! Randomness as a port: request ids and jitter come from a seed that is handed in, so that a simulator can replay a run.

use meshpay_wire::truncate_sha512;

/// An unpredictable sequence of bytes from a 32-byte seed: SHA-512 of seed and counter.
#[derive(Clone)]
pub struct Randomness {
    seed: [u8; 32],
    counter: u64,
}

impl std::fmt::Debug for Randomness {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Randomness").field("drawn", &self.counter).finish_non_exhaustive()
    }
}

impl Randomness {
    /// The sequence of a seed. Two machines must not share a seed: their request ids would be the same.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0 }
    }

    /// A sequence that nobody can predict, from the kernel's entropy.
    ///
    /// # Errors
    /// Where the kernel gives none.
    pub fn from_system() -> Result<Self, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Ok(Self::new(seed))
    }

    /// The next 8 bytes.
    pub fn next_bytes(&mut self) -> [u8; 8] {
        let mut input = [0; 40];
        input[..32].copy_from_slice(&self.seed);
        input[32..].copy_from_slice(&self.counter.to_le_bytes());
        self.counter += 1;
        let digest = truncate_sha512(&input);
        let mut out = [0; 8];
        out.copy_from_slice(&digest[..8]);
        out
    }

    /// A number below `bound`, which is small; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { u64::from_le_bytes(self.next_bytes()) % bound }
    }

    /// A seed for another machine.
    pub fn split(&mut self) -> Self {
        let mut seed = [0; 32];
        for part in seed.chunks_exact_mut(8) {
            part.copy_from_slice(&self.next_bytes());
        }
        Self::new(seed)
    }
}
