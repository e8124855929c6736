//! Known keys with the secrets behind them, and what their owners sign.

use super::{Case, below, bytes};
use meshpay_crypto::{KnownCheck, KnownKey, SigningKey};
use rand_chacha::rand_core::Rng;

/// Known keys and the seeds they come from.
pub struct Committee {
    pub seeds: Vec<[u8; 32]>,
    pub keys: Vec<KnownKey>,
}

impl Committee {
    pub fn new(size: usize, rng: &mut impl Rng) -> Self {
        let seeds: Vec<[u8; 32]> = (0..size).map(|_| bytes(rng)).collect();
        let key = |seed| KnownKey::new(&SigningKey::from_seed(seed).public_key()).expect("an honest key");
        let keys = seeds.iter().map(key).collect();
        Self { seeds, keys }
    }

    /// A signature by a member, and whose it is: honest, or, one in four, with an `R` that only ZIP 215 accepts.
    pub fn vote(&self, rng: &mut impl Rng) -> (usize, Case) {
        let member = below(rng, self.seeds.len());
        if below(rng, 4) == 0 {
            return (member, Case::honest_key_with_r_of_mixed_order(&self.seeds[member], rng));
        }
        let signer = SigningKey::from_seed(&self.seeds[member]);
        let message = bytes::<32>(rng).to_vec();
        (member, Case { key: signer.public_key(), signature: signer.sign(&message), message })
    }

    pub fn check<'a>(&'a self, member: usize, case: &'a Case) -> KnownCheck<'a> {
        KnownCheck { key: &self.keys[member], message: &case.message, signature: &case.signature }
    }
}
