//! Ed25519 eight signatures at a time, each in a lane of its own, on CPUs with AVX-512 IFMA.
//!
//! Read from the bottom up:
//!
//! | file | what |
//! |---|---|
//! | `lanes` | what the kernels ask of eight words: a trait |
//! | `avx512`, `model` | the trait by vector instructions, and by plain integers with every bound asserted |
//! | `field`, `point`, `scalar`, `sha512` | arithmetic |
//! | `table` | multiples of points, and how lanes pick from them |
//! | `halve` | scalars of half the length, for verification |
//! | `verify`, `sign` | a group of eight |
//!
//! This file cuts bursts into groups. A group that is not full is filled with copies of its first entry, whose answers nobody reads.

// Limbs, lanes and digits are numbered, and several arrays are read at one number.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
mod avx512;
mod field;
mod halve;
mod lanes;
pub(crate) mod model;
mod point;
mod scalar;
mod sha512;
mod sign;
mod table;
mod verify;

use crate::{Check, KnownCheck, PublicKey, Signature, SigningKey, portable, stack};
use field::Element;
use lanes::{ALL, Lanes, compiled_apart};
use point::{MAX_GROUPS, decode};
#[cfg(test)]
pub(crate) use scalar::limbs_of_bytes as scalar_limbs;
use std::marker::PhantomData;
use std::sync::OnceLock;
use table::{Comb, SecretComb};
use verify::{Group, Verdicts};

/// Passes through the table of the base point when a signature by any key is decided: as many as 128 doublings allow.
const VERIFY_PASSES: usize = 16;
/// Passes through the tables of known keys: see the figures in `Comb`.
const KNOWN_KEY_PASSES: usize = 2;

/// Multiples of the negative of a known key.
pub(crate) type KeyTable = Comb<KNOWN_KEY_PASSES>;

/// Multiples of the base point.
pub(crate) struct BaseTables {
    verify: Comb<VERIFY_PASSES>,
    known: Comb<KNOWN_KEY_PASSES>,
    sign: SecretComb,
}

/// The bulk calls by one kind of lanes. That a value exists is the proof that the CPU can execute them.
pub(crate) struct EightLanes<L> {
    base: BaseTables,
    lanes: PhantomData<L>,
}

#[cfg(target_arch = "x86_64")]
impl EightLanes<avx512::Avx512> {
    /// The vector instructions, if this CPU has them. The first call makes the tables.
    pub(crate) fn of_this_cpu() -> Option<&'static Self> {
        static CHOSEN: OnceLock<Option<EightLanes<avx512::Avx512>>> = OnceLock::new();
        CHOSEN.get_or_init(|| avx512::available().then(Self::new)).as_ref()
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl EightLanes<model::Model> {
    /// No other CPU has vector instructions that we know how to use.
    pub(crate) fn of_this_cpu() -> Option<&'static Self> {
        None
    }
}

impl EightLanes<model::Model> {
    /// Plain integers, for tests.
    pub(crate) fn model() -> &'static Self {
        static MODEL: OnceLock<EightLanes<model::Model>> = OnceLock::new();
        MODEL.get_or_init(Self::new)
    }
}

impl<L: Lanes> EightLanes<L> {
    /// Callers have made sure that the CPU can execute the kernels.
    pub(crate) fn new() -> Self {
        Self { base: base_tables::<L>(), lanes: PhantomData }
    }

    /// The table of a key that encodes a point.
    pub(crate) fn key_table(&self, key: &PublicKey) -> KeyTable {
        key_table::<L>(key)
    }

    /// See [`crate::verify_many`].
    pub(crate) fn verify_many(&self, checks: &[Check<'_>], valid: &mut [bool]) {
        for (checks, valid) in checks.chunks(8).zip(valid.chunks_mut(8)) {
            let check = |lane: usize| checks.get(lane).unwrap_or(&checks[0]);
            let group = Group {
                keys: std::array::from_fn(|lane| check(lane).key),
                messages: std::array::from_fn(|lane| check(lane).message),
                signatures: std::array::from_fn(|lane| check(lane).signature),
            };
            answer(checks, &verify::decide::<L>(&self.base.verify, &group), valid);
        }
    }

    /// See [`crate::verify_many_known_keys`].
    pub(crate) fn verify_many_known_keys(&self, checks: &[KnownCheck<'_>], valid: &mut [bool]) {
        for (checks, valid) in checks.chunks(8 * MAX_GROUPS).zip(valid.chunks_mut(8 * MAX_GROUPS)) {
            let check = |group: usize, lane: usize| checks.get(8 * group + lane).unwrap_or(&checks[0]);
            let groups: [Group<'_>; MAX_GROUPS] = std::array::from_fn(|group| Group {
                keys: std::array::from_fn(|lane| check(group, lane).key.key()),
                messages: std::array::from_fn(|lane| check(group, lane).message),
                signatures: std::array::from_fn(|lane| check(group, lane).signature),
            });
            let tables: [[&KeyTable; 8]; MAX_GROUPS] =
                std::array::from_fn(|group| std::array::from_fn(|lane| check(group, lane).key.table()));
            let used = checks.len().div_ceil(8);
            let mut verdicts = [0; MAX_GROUPS];
            verify::decide_known::<L>(&self.base.known, &groups[..used], &tables[..used], &mut verdicts[..used]);
            for (i, valid) in valid.iter_mut().enumerate() {
                *valid = verdicts[i / 8] >> (i % 8) & 1 == 1;
            }
        }
    }

    /// See [`crate::sign_many`].
    pub(crate) fn sign_many<M: AsRef<[u8]>>(&self, key: &SigningKey, messages: &[M], signatures: &mut [Signature]) {
        let mut signed = [[[0; 64]; 8]; MAX_GROUPS];
        for (messages, signatures) in messages.chunks(8 * MAX_GROUPS).zip(signatures.chunks_mut(8 * MAX_GROUPS)) {
            let message = |i: usize| messages.get(i).unwrap_or(&messages[0]).as_ref();
            let groups: [[&[u8]; 8]; MAX_GROUPS] =
                std::array::from_fn(|group| std::array::from_fn(|lane| message(8 * group + lane)));
            let used = messages.len().div_ceil(8);
            sign::sign::<L>(&self.base.sign, key, &groups[..used], &mut signed[..used]);
            signatures.copy_from_slice(&signed.as_flattened()[..signatures.len()]);
        }
        stack::wipe();
    }

    /// See [`crate::digest_many`].
    pub(crate) fn digest_many(&self, inputs: &[&[u8]], digests: &mut [[u8; 32]]) {
        for (inputs, digests) in inputs.chunks(8).zip(digests.chunks_mut(8)) {
            let group = std::array::from_fn(|lane| [*inputs.get(lane).unwrap_or(&inputs[0]), &[], &[]]);
            digests.copy_from_slice(&digest::<L>(&group)[..digests.len()]);
        }
    }
}

/// What the tests of secrets need from inside.
#[cfg(test)]
impl<L: Lanes> EightLanes<L> {
    /// Signs a group and leaves the stack as it is.
    pub(crate) fn sign_without_wiping(&self, key: &SigningKey, groups: &[[&[u8]; 8]; 1]) {
        let mut signed = [[[0; 64]; 8]; 1];
        sign::sign::<L>(&self.base.sign, key, groups, &mut signed);
    }

    /// Reads the table of known keys' verification by a scalar that should be public.
    pub(crate) fn read_public_table(&self, scalar: &[u8; 32]) {
        let digits = scalar::Scalar::<L>::splat(scalar_limbs(scalar)).to_signed_bytes();
        std::hint::black_box(self.base.known.pick(0, digits.digit(0)).xyd.0[0].to_array());
    }
}

/// Writes out the verdicts of a group; the portable path decides what the lanes could not.
fn answer(checks: &[Check<'_>], verdicts: &Verdicts, valid: &mut [bool]) {
    for (lane, valid) in valid.iter_mut().enumerate() {
        *valid = verdicts.valid >> lane & 1 == 1;
        if verdicts.undecided >> lane & 1 == 1 {
            portable::verify_many(&checks[lane..=lane], std::slice::from_mut(valid));
        }
    }
}

compiled_apart! {
    fn base_tables<L: Lanes>() -> BaseTables {
        // The base point is the one whose y is 4/5 and whose x is even (RFC 8032, section 5.1).
        let y = Element::<L>::splat([4, 0, 0, 0, 0]).mul(&Element::splat([5, 0, 0, 0, 0]).invert());
        let ([base], [_]) = decode(&[y.to_words()]);
        BaseTables { verify: Comb::new(&base), known: Comb::new(&base), sign: SecretComb::new(&base) }
    }

    fn key_table<L: Lanes>(key: &PublicKey) -> KeyTable {
        let ([point], [_]) = decode(&[L::from_byte_rows([key; 8])]);
        Comb::new(&point.negate_where(ALL))
    }

    fn digest<L: Lanes>(inputs: &[sha512::Parts<'_>; 8]) -> [[u8; 32]; 8] {
        let [a, b, c, d, ..] = sha512::digest::<L>(inputs);
        let mut digests = [[0; 32]; 8];
        for (digest, words) in digests.iter_mut().zip(L::to_rows([a, b, c, d])) {
            for (bytes, word) in digest.as_chunks_mut::<8>().0.iter_mut().zip(words) {
                *bytes = word.to_le_bytes();
            }
        }
        digests
    }
}

#[cfg(test)]
mod tests {
    //! What the tests of the kernels share.

    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    /// Runs a check over each kind of lanes that this CPU can execute.
    macro_rules! check_all_lanes {
        ($($name:ident),* $(,)?) => {$(
            #[test]
            fn $name() {
                use $crate::eight_lanes::{EightLanes, model::Model};
                super::checks::$name::<Model>();
                #[cfg(target_arch = "x86_64")]
                if EightLanes::of_this_cpu().is_some() {
                    super::checks::$name::<$crate::eight_lanes::avx512::Avx512>();
                } else {
                    println!("skipped: this CPU has no AVX-512 IFMA; only the model was checked");
                }
            }
        )*};
    }
    pub(crate) use check_all_lanes;

    /// Scalars that cannot be halved are too rare to meet, so this pretends to have met some.
    #[test]
    fn undecided_lanes_are_decided_by_the_portable_path() {
        let key = SigningKey::from_seed(&[1; 32]);
        let signature = key.sign(b"a message");
        let checks: Vec<(PublicKey, Signature)> = (0..8)
            .map(|lane| {
                let mut signature = signature;
                signature[0] ^= u8::from(lane % 2 == 1);
                (key.public_key(), signature)
            })
            .collect();
        let checks: Vec<Check<'_>> =
            checks.iter().map(|(key, signature)| Check { key, message: b"a message", signature }).collect();
        let mut valid = [false; 8];
        answer(&checks, &Verdicts { valid: 0b1010_0000, undecided: 0b0000_1111 }, &mut valid);
        assert_eq!(valid, [true, false, true, false, false, true, false, true]);
    }

    pub(crate) fn seeded(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    /// Words of which many are near the ends of their range, where carries run far.
    pub(crate) fn words(rng: &mut impl Rng) -> [u64; 8] {
        std::array::from_fn(|_| match rng.next_u32() % 8 {
            0 => 0,
            1 => u64::MAX,
            2 => u64::MAX << (rng.next_u32() % 64),
            3 => u64::MAX >> (rng.next_u32() % 64),
            4 => 1 << (rng.next_u32() % 64),
            _ => rng.next_u64(),
        })
    }
}
