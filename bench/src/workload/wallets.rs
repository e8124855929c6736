//! The accounts: the keys of those that pay, the names of those that are only paid. All come from a seed, so that a run can be
//! repeated byte for byte.

use meshpay_crypto::SigningKey;
use meshpay_wire::{PublicKey, truncate_sha512};
use rayon::prelude::*;

/// Accounts by number.
pub struct Wallets {
    keys: Vec<SigningKey>,
    public: Vec<PublicKey>,
    payers: usize,
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
        Self { keys, public, payers: count }
    }

    /// As [`Wallets::from_seed`] for the first `payers`; the rest, up to `count` accounts, are names without a key behind them, 30 times
    /// cheaper. They can be paid, which is all that a table of ten million needs of most.
    pub fn with_receivers(seed: u64, payers: usize, count: usize, made: impl Fn(u64) + Sync) -> Self {
        let mut wallets = Self::from_seed(seed, payers.min(count), made);
        let names =
            (wallets.public.len()..count).into_par_iter().map(|number| derive(b"receiver", seed, number as u64));
        wallets.public.par_extend(names);
        wallets
    }

    /// Has the last so many of those that can pay do nothing of the kind.
    pub fn with_quiet(self, quiet: usize) -> Self {
        let payers = self.payers.saturating_sub(quiet);
        Self { payers, ..self }
    }

    /// How many accounts there are.
    pub fn count(&self) -> usize {
        self.public.len()
    }

    /// How many of them pay: the first ones.
    pub fn payers(&self) -> usize {
        self.payers
    }

    /// The key with which an account signs: one of those that pay, or could.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_have_names_of_their_own_and_payers_keep_theirs() {
        let (plain, wider) = (Wallets::from_seed(3, 5, |_| {}), Wallets::with_receivers(3, 5, 50, |_| {}));
        assert_eq!((plain.count(), wider.count(), wider.payers()), (5, 50, 5));
        assert_eq!(plain.public_keys(), &wider.public_keys()[..5]);
        let distinct: std::collections::HashSet<_> = wider.public_keys().iter().collect();
        assert_eq!(distinct.len(), 50);
    }
}
