//! What an attacker may make of a signature: each way has a name, so that a test can count what it has tried.

use super::{Case, below, bytes, small_order_encodings};
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::scalar::Scalar;
use rand_chacha::rand_core::Rng;

/// A way to change a signature, its key or its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The signature as it was made.
    None,
    /// Bits of the message are flipped.
    MessageBits,
    /// The message is cut or continued, up to three blocks of SHA-512.
    MessageLength,
    /// Another signature's message.
    MessageOfAnother,
    /// Bits of R are flipped.
    RBits,
    /// Another signature's R.
    ROfAnother,
    /// -R.
    RNegated,
    /// R is of small order, in one of its 14 encodings.
    RSmallOrder,
    /// The y of R is within a few of the field prime, above it not canonical.
    RNearPrime,
    /// Any R.
    RRandom,
    /// Bits of s are flipped.
    SBits,
    /// Another signature's s.
    SOfAnother,
    /// l - s.
    SNegated,
    /// s + l, s + 2l, ..., the malleable twins that a canonical s forbids.
    SPlusOrder,
    /// s is near a multiple of l or a power of two.
    SBoundary,
    /// One of the three bits above l is set.
    SHighBit,
    /// A byte of the signature is all zeros or all ones.
    ByteFilled,
    /// R and s have changed places.
    HalvesSwapped,
    /// Any signature.
    Random,
    /// Bits of the key are flipped.
    KeyBits,
    /// Another signature's key.
    KeyOfAnother,
    /// -A.
    KeyNegated,
    /// A is of small order, in one of its 14 encodings.
    KeySmallOrder,
    /// The y of A is within a few of the field prime, above it not canonical.
    KeyNearPrime,
    /// Any key.
    KeyRandom,
    /// A and R have changed places.
    KeyAndRSwapped,
    /// A and R of small order and s = 0: valid, whatever was signed.
    SmallOrderEverywhere,
    /// A of small order, s near a boundary, and R = sB plus a point of small order: valid if s is canonical.
    SmallOrderKeyBoundaryS,
}

impl Mutation {
    /// Those that leave the key as it is, which known keys can meet.
    pub const OF_KNOWN_KEYS: [Self; 19] = [
        Self::None,
        Self::MessageBits,
        Self::MessageLength,
        Self::MessageOfAnother,
        Self::RBits,
        Self::ROfAnother,
        Self::RNegated,
        Self::RSmallOrder,
        Self::RNearPrime,
        Self::RRandom,
        Self::SBits,
        Self::SOfAnother,
        Self::SNegated,
        Self::SPlusOrder,
        Self::SBoundary,
        Self::SHighBit,
        Self::ByteFilled,
        Self::HalvesSwapped,
        Self::Random,
    ];
    /// All.
    pub const ALL: [Self; 28] = {
        let mut all = [Self::None; 28];
        let mut at = 0;
        while at < Self::OF_KNOWN_KEYS.len() {
            all[at] = Self::OF_KNOWN_KEYS[at];
            at += 1;
        }
        let of_keys = [
            Self::KeyBits,
            Self::KeyOfAnother,
            Self::KeyNegated,
            Self::KeySmallOrder,
            Self::KeyNearPrime,
            Self::KeyRandom,
            Self::KeyAndRSwapped,
            Self::SmallOrderEverywhere,
            Self::SmallOrderKeyBoundaryS,
        ];
        while at < all.len() {
            all[at] = of_keys[at - Self::OF_KNOWN_KEYS.len()];
            at += 1;
        }
        all
    };

    /// Changes a signature; fields of another come from `other`.
    pub fn apply(self, case: &mut Case, other: &Case, rng: &mut impl Rng) {
        match self {
            Self::None => {}
            Self::MessageBits => flip_bits(&mut case.message, rng),
            Self::MessageLength => case.message.resize(below(rng, 300), rng.next_u32() as u8),
            Self::MessageOfAnother => case.message.clone_from(&other.message),
            Self::RBits => flip_bits(&mut case.signature[..32], rng),
            Self::ROfAnother => case.signature[..32].copy_from_slice(&other.signature[..32]),
            Self::RNegated => case.signature[31] ^= 0x80,
            Self::RSmallOrder => case.signature[..32].copy_from_slice(&small_order(rng)),
            Self::RNearPrime => case.signature[..32].copy_from_slice(&near_the_field_prime(rng)),
            Self::RRandom => case.signature[..32].copy_from_slice(&bytes::<32>(rng)),
            Self::SBits => flip_bits(&mut case.signature[32..], rng),
            Self::SOfAnother => case.signature[32..].copy_from_slice(&other.signature[32..]),
            Self::SNegated => {
                let s = Scalar::from_bytes_mod_order(s_of(case));
                set_s(case, (-s).to_bytes());
            }
            Self::SPlusOrder => set_s(case, sum(s_of(case), multiple_of_order(1 + below(rng, 15)))),
            Self::SBoundary => set_s(case, boundary(rng)),
            Self::SHighBit => case.signature[63] |= 0x20 << below(rng, 3),
            Self::ByteFilled => case.signature[below(rng, 64)] = if below(rng, 2) == 0 { 0 } else { 0xff },
            Self::HalvesSwapped => case.signature.rotate_left(32),
            Self::Random => case.signature = bytes(rng),
            Self::KeyBits => flip_bits(&mut case.key, rng),
            Self::KeyOfAnother => case.key = other.key,
            Self::KeyNegated => case.key[31] ^= 0x80,
            Self::KeySmallOrder => case.key = small_order(rng),
            Self::KeyNearPrime => case.key = near_the_field_prime(rng),
            Self::KeyRandom => case.key = bytes(rng),
            Self::KeyAndRSwapped => case.key.swap_with_slice(&mut case.signature[..32]),
            Self::SmallOrderEverywhere => {
                case.key = small_order(rng);
                case.signature[..32].copy_from_slice(&small_order(rng));
                set_s(case, [0; 32]);
            }
            Self::SmallOrderKeyBoundaryS => {
                case.key = small_order(rng);
                let s = boundary(rng);
                let r = ED25519_BASEPOINT_POINT * Scalar::from_bytes_mod_order(s) + EIGHT_TORSION[below(rng, 8)];
                case.signature[..32].copy_from_slice(r.compress().as_bytes());
                set_s(case, s);
            }
        }
    }
}

/// Flips one to three bits.
fn flip_bits(field: &mut [u8], rng: &mut impl Rng) {
    if field.is_empty() {
        return;
    }
    for _ in 0..1 + below(rng, 3) {
        field[below(rng, field.len())] ^= 1 << below(rng, 8);
    }
}

fn small_order(rng: &mut impl Rng) -> [u8; 32] {
    small_order_encodings()[below(rng, 14)]
}

/// An encoding whose `y` lies within a few of the field prime, below or above it, with either sign.
fn near_the_field_prime(rng: &mut impl Rng) -> [u8; 32] {
    let mut y = [0xff; 32];
    y[0] = 0xed - 20 + below(rng, 39) as u8; // p ends in 0xed; 0xff is the largest
    y[31] = if below(rng, 2) == 0 { 0x7f } else { 0xff };
    y
}

fn s_of(case: &Case) -> [u8; 32] {
    let mut s = [0; 32];
    s.copy_from_slice(&case.signature[32..]);
    s
}

fn set_s(case: &mut Case, s: [u8; 32]) {
    case.signature[32..].copy_from_slice(&s);
}

/// Within two of 0 to 15 times l or of a power of two, modulo 2^256.
fn boundary(rng: &mut impl Rng) -> [u8; 32] {
    let near = match below(rng, 2) {
        0 => multiple_of_order(below(rng, 16)),
        _ => {
            // Of the powers the last ones count most: canonical or not is decided there.
            let power = if below(rng, 2) == 0 { 250 + below(rng, 6) } else { below(rng, 256) };
            let mut bytes = [0; 32];
            bytes[power / 8] = 1 << (power % 8);
            bytes
        }
    };
    let mut distance = [0; 32];
    match below(rng, 5) {
        0 => distance = [0xff; 32], // -1
        1 => {
            distance = [0xff; 32];
            distance[0] = 0xfe;
        }
        positive => distance[0] = positive as u8 - 2,
    }
    sum(near, distance)
}

/// So many times l, modulo 2^256.
fn multiple_of_order(times: usize) -> [u8; 32] {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    (0..times).fold([0; 32], |multiple, _| sum(multiple, ORDER))
}

/// The sum of two little-endian numbers modulo 2^256.
fn sum(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
    let mut carry = 0;
    std::array::from_fn(|i| {
        let column = u16::from(a[i]) + u16::from(b[i]) + carry;
        carry = column >> 8;
        column as u8
    })
}
