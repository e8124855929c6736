//! What the tests share: the implementations side by side, the oracle, signatures that are good, and what an attacker makes of them (`mutation`).
#![allow(dead_code)] // each test binary uses its own part

pub mod committee;
pub mod mutation;

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use meshpay_crypto::{Check, KnownCheck, PublicKey, Signature, SigningKey, model, portable};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha512};

/// One implementation of the crate's bulk calls.
pub struct Path {
    pub name: &'static str,
    /// Runs one of so many bursts: the model is slow.
    pub share: usize,
    pub verify_many: fn(&[Check<'_>], &mut [bool]),
    pub verify_many_known_keys: fn(&[KnownCheck<'_>], &mut [bool]),
    pub sign_many: fn(&SigningKey, &[&[u8]], &mut [Signature]),
    pub digest_many: fn(&[&[u8]], &mut [[u8; 32]]),
}

macro_rules! path {
    ($name:expr, $share:expr, $module:ident) => {
        Path {
            name: $name,
            share: $share,
            verify_many: $module::verify_many,
            verify_many_known_keys: $module::verify_many_known_keys,
            sign_many: |key, messages, signatures| $module::sign_many(key, messages, signatures),
            digest_many: $module::digest_many,
        }
    };
}

/// What the CPU chose, the portable path, and the eight-lane kernels on plain integers. On a CPU without the eight-lane instructions the first two
/// are the same.
pub fn paths() -> [Path; 3] {
    println!("this CPU's implementation: {}", meshpay_crypto::implementation());
    [
        path!(meshpay_crypto::implementation(), 1, meshpay_crypto),
        path!("portable", 1, portable),
        path!("model", 40, model),
    ]
}

/// The oracle's verdict: `ed25519-zebra`, whose rule is ZIP 215.
pub fn oracle(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    ed25519_zebra::VerificationKey::try_from(*key)
        .and_then(|key| key.verify(&ed25519_zebra::Signature::from(*signature), message))
        .is_ok()
}

/// How many generated cases a test runs: so many times `usual` as `MESHPAY_TEST_SCALE` says, once where it is not set.
pub fn cases(usual: usize) -> usize {
    usual
        * std::env::var("MESHPAY_TEST_SCALE").map_or(1, |scale| scale.parse().expect("MESHPAY_TEST_SCALE is a number"))
}

/// The seed that `MESHPAY_SEED` sets, or the test's own; printed, so that a failure can be replayed.
pub fn seed(default_seed: u64) -> u64 {
    let seed = match std::env::var("MESHPAY_SEED") {
        Ok(seed) => seed.parse().expect("MESHPAY_SEED is a number"),
        Err(_) => default_seed,
    };
    println!("replay with MESHPAY_SEED={seed}");
    seed
}

/// A generator from [`seed`].
pub fn seeded(default_seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed(default_seed))
}

pub fn bytes<const N: usize>(rng: &mut impl Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

pub fn below(rng: &mut impl Rng, bound: usize) -> usize {
    rng.next_u32() as usize % bound
}

/// A signature in question.
#[derive(Clone, Debug)]
pub struct Case {
    pub key: PublicKey,
    pub message: Vec<u8>,
    pub signature: Signature,
}

impl Case {
    pub fn check(&self) -> Check<'_> {
        Check { key: &self.key, message: &self.message, signature: &self.signature }
    }

    pub fn oracle(&self) -> bool {
        oracle(&self.key, &self.message, &self.signature)
    }

    /// An honest signature of a random digest.
    pub fn honest(rng: &mut impl Rng) -> Self {
        let key = SigningKey::from_seed(&bytes(rng));
        let message = bytes::<32>(rng).to_vec();
        Self { key: key.public_key(), signature: key.sign(&message), message }
    }

    /// A signature whose key and `R` are off the prime-order group by points of small order, made so that ZIP 215 accepts
    /// it where a cofactorless check refuses most.
    pub fn of_mixed_order(rng: &mut impl Rng) -> Self {
        let secret = Scalar::from_bytes_mod_order_wide(&bytes(rng));
        let key = ED25519_BASEPOINT_POINT * secret + EIGHT_TORSION[below(rng, 8)];
        Self::with_r_of_mixed_order(&secret, key.compress().to_bytes(), rng)
    }

    /// A signature by an honest key, whose owner put its `R` off the prime-order group by a point of small order.
    pub fn honest_key_with_r_of_mixed_order(seed: &[u8; 32], rng: &mut impl Rng) -> Self {
        let secret = ExpandedSecretKey::from(seed).scalar;
        let key = ED25519_BASEPOINT_POINT * secret;
        Self::with_r_of_mixed_order(&secret, key.compress().to_bytes(), rng)
    }

    fn with_r_of_mixed_order(secret: &Scalar, key: PublicKey, rng: &mut impl Rng) -> Self {
        let nonce = Scalar::from_bytes_mod_order_wide(&bytes(rng));
        let r = (ED25519_BASEPOINT_POINT * nonce + EIGHT_TORSION[below(rng, 8)]).compress().to_bytes();
        let message = bytes::<32>(rng).to_vec();
        let hash = Sha512::new().chain_update(r).chain_update(key).chain_update(&message).finalize();
        let s = nonce + Scalar::from_bytes_mod_order_wide(&hash.into()) * secret;
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice(s.as_bytes());
        Self { key, message, signature }
    }
}

/// Every encoding of the eight points of small order: eight canonical, six not (ZIP 215).
pub fn small_order_encodings() -> [[u8; 32]; 14] {
    let mut encodings = [[0; 32]; 14];
    for (encoding, point) in encodings.iter_mut().zip(EIGHT_TORSION) {
        *encoding = point.compress().to_bytes();
    }
    let with_sign = |mut y: [u8; 32]| {
        y[31] |= 0x80;
        y
    };
    let mut prime = [0xff; 32];
    (prime[0], prime[31]) = (0xed, 0x7f);
    let mut prime_plus_one = prime;
    prime_plus_one[0] += 1;
    let mut prime_minus_one = prime;
    prime_minus_one[0] -= 1;
    let mut one = [0; 32];
    one[0] = 1;
    encodings[8] = with_sign(one);
    encodings[9] = with_sign(prime_minus_one);
    encodings[10] = prime;
    encodings[11] = with_sign(prime);
    encodings[12] = prime_plus_one;
    encodings[13] = with_sign(prime_plus_one);
    encodings
}
