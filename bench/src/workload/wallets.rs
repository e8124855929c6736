//! The keys of the accounts that pay. They come from a seed, so that a run can be repeated byte for byte.

use meshpay_crypto::SigningKey;
use meshpay_wire::{PublicKey, truncate_sha512};
use rayon::prelude::*;

/// Accounts by number.
pub struct Wallets {
    keys: Vec<SigningKey>,
    public: Vec<PublicKey>,
}

impl Wallets {
    /// Makes `count` key pairs on all cores; about 12 microseconds each. `made` is called with every so many that are done.
    pub fn from_seed(seed: u64, count: usize, made: impl Fn(u64) + Sync) -> Self {
        const CHUNK: usize = 1024;
        let keys: Vec<SigningKey> = (0..count)
            .into_par_iter()
            .with_min_len(CHUNK)
            .map(|number| {
                if number % CHUNK == 0 {
                    made(CHUNK.min(count - number) as u64);
                }
                SigningKey::from_seed(&derive(b"account", seed, number as u64))
            })
            .collect();
        let public = keys.iter().map(SigningKey::public_key).collect();
        Self { keys, public }
    }

    /// How many accounts there are.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// The key with which an account signs.
    pub fn key(&self, number: u32) -> &SigningKey {
        &self.keys[number as usize]
    }

    /// An account's name.
    pub fn public_key(&self, number: u32) -> &PublicKey {
        &self.public[number as usize]
    }

    /// All names, by number.
    pub fn public_keys(&self) -> &[PublicKey] {
        &self.public
    }
}

/// 32 bytes that depend on all three arguments.
pub(super) fn derive(what: &[u8], seed: u64, number: u64) -> [u8; 32] {
    let mut input = b"meshpay-bench/".to_vec();
    input.extend(what);
    input.extend(seed.to_le_bytes());
    input.extend(number.to_le_bytes());
    truncate_sha512(&input)
}
