//! Signing many messages with one key, eight at a time (RFC 8032, section 5.1.6).
//!
//! No branch and no address depends on the key or on a nonce; only the number and the lengths of the messages show. Vectors with secrets are spilled to the
//! stack wherever the compiler likes, so the caller wipes the stack as a whole ([`crate::stack::wipe`]).

use super::lanes::{Lanes, compiled_apart};
use super::point::{Extended, MAX_GROUPS, encode};
use super::scalar::{Scalar, limbs_of_bytes};
use super::sha512;
use super::table::SecretComb;
use super::verify::digests;
use crate::{Signature, SigningKey};

compiled_apart! {
    /// Signs up to [`MAX_GROUPS`] groups of eight messages; they share one inversion.
    pub(crate) fn sign<L: Lanes>(
        base: &SecretComb,
        key: &SigningKey,
        groups: &[[&[u8]; 8]],
        signatures: &mut [[Signature; 8]],
    ) {
        let public = key.public.as_bytes();
        let prefix = &key.secret.hash_prefix;
        let secret = Scalar::<L>::splat(limbs_of_bytes(key.secret.scalar.as_bytes()));

        let mut nonces = [secret; MAX_GROUPS];
        let mut points = [Extended::<L>::identity(); MAX_GROUPS];
        for (i, messages) in groups.iter().enumerate() {
            nonces[i] = Scalar::from_wide_words(match digests(messages) {
                Some(digests) => sha512::digest_words([L::from_byte_rows([prefix; 8]), L::from_byte_rows(digests)]),
                None => {
                    let mut inputs: [sha512::Parts<'_>; 8] = [[&[]; 3]; 8];
                    for lane in 0..8 {
                        inputs[lane] = [prefix, messages[lane], &[]];
                    }
                    sha512::digest(&inputs)
                }
            });
            points[i] = multiply_base(base, &nonces[i]);
        }
        let mut encodings = [[L::splat(0); 4]; MAX_GROUPS];
        encode(&points[..groups.len()], &mut encodings[..groups.len()]);
        for (i, messages) in groups.iter().enumerate() {
            let encoded_rs = bytes_of(L::to_rows(encodings[i]));
            let k = Scalar::from_wide_words(match digests(messages) {
                Some(digests) => {
                    sha512::digest_words([encodings[i], L::from_byte_rows([public; 8]), L::from_byte_rows(digests)])
                }
                None => {
                    let mut inputs: [sha512::Parts<'_>; 8] = [[&[]; 3]; 8];
                    for lane in 0..8 {
                        inputs[lane] = [&encoded_rs[lane], public, messages[lane]];
                    }
                    sha512::digest(&inputs)
                }
            });
            let s = bytes_of(L::to_rows(k.mul_add(&secret, &nonces[i]).to_words()));
            for lane in 0..8 {
                signatures[i][lane][..32].copy_from_slice(&encoded_rs[lane]);
                signatures[i][lane][32..].copy_from_slice(&s[lane]);
            }
        }
    }
}

/// A multiple of the base point, by secret scalars.
#[inline(always)]
fn multiply_base<L: Lanes>(base: &SecretComb, scalar: &Scalar<L>) -> Extended<L> {
    let digits = scalar.to_odd_digits();
    let mut sum = Extended::identity();
    let mut next = base.pick(0, digits.digit(0));
    for window in 1..SecretComb::WINDOWS {
        let addend = next;
        next = base.pick(window, digits.digit(window));
        sum.add_affine(&addend);
    }
    sum.add_affine(&next);
    sum
}

fn bytes_of(rows: [[u64; 4]; 8]) -> [[u8; 32]; 8] {
    let mut bytes = [[0; 32]; 8];
    for (bytes, row) in bytes.iter_mut().zip(rows) {
        for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(row) {
            *bytes = word.to_le_bytes();
        }
    }
    bytes
}
