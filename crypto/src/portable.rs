//! The path for every CPU, over `curve25519-dalek`: the same answers as the eight-lane path, one signature at a time.
//!
//! Public so that tests and benches can compare the paths; users call the functions of the crate's root.
//!
//! Both verifiers first compute `R' = [s]B - [k]A` and compare its canonical encoding with the bytes of `R`. Equal bytes
//! mean `R = R'`, and so the cofactored equation holds. That is how every honest signature passes, and it needs one inversion
//! for a whole group where decoding `R` would need a square root for each. Bytes that differ prove nothing (R may be encoded
//! otherwise, or differ by a point of small order): then R is decoded and the equation itself decides.

use crate::{Check, KnownCheck, Signature, SigningKey, stack};
use curve25519_dalek::constants::ED25519_BASEPOINT_TABLE;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{BasepointTable, Identity, IsIdentity};
use ed25519_dalek::hazmat::raw_sign;
use sha2::{Digest, Sha512};

/// How many signatures share one inversion.
const GROUP: usize = 16;

/// See [`crate::verify_many`].
pub fn verify_many(checks: &[Check<'_>], valid: &mut [bool]) {
    for (checks, valid) in checks.chunks(GROUP).zip(valid.chunks_mut(GROUP)) {
        decide_group(valid, |i| {
            let check = &checks[i];
            let s = canonical_scalar(check.signature)?;
            let key = CompressedEdwardsY(*check.key).decompress()?;
            let k = challenge(check.signature, check.key, check.message);
            let expected_r = EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-key, &s);
            Some((expected_r, encoded_r(check.signature)))
        });
    }
}

/// See [`crate::verify_many_known_keys`].
pub fn verify_many_known_keys(checks: &[KnownCheck<'_>], valid: &mut [bool]) {
    for (checks, valid) in checks.chunks(GROUP).zip(valid.chunks_mut(GROUP)) {
        decide_group(valid, |i| {
            let check = &checks[i];
            let s = canonical_scalar(check.signature)?;
            let k = challenge(check.signature, check.key.key(), check.message);
            let expected_r = ED25519_BASEPOINT_TABLE.mul_base(&s) + check.key.negated_table.mul_base(&k);
            Some((expected_r, encoded_r(check.signature)))
        });
    }
}

/// See [`crate::sign_many`].
pub fn sign_many<M: AsRef<[u8]>>(key: &SigningKey, messages: &[M], signatures: &mut [Signature]) {
    for (message, signature) in messages.iter().zip(signatures) {
        *signature = raw_sign::<Sha512>(&key.secret, message.as_ref(), &key.public).to_bytes();
    }
    stack::wipe();
}

/// See [`crate::digest_many`].
pub fn digest_many(inputs: &[&[u8]], digests: &mut [[u8; 32]]) {
    for (input, digest) in inputs.iter().zip(digests) {
        digest.copy_from_slice(&Sha512::digest(input)[..32]);
    }
}

/// Decides up to [`GROUP`] entries. `prepare` gives for an entry the point `[s]B - [k]A` and the bytes of `R`, or
/// nothing where the signature is invalid already.
fn decide_group(valid: &mut [bool], prepare: impl Fn(usize) -> Option<(EdwardsPoint, CompressedEdwardsY)>) {
    let mut expected = [EdwardsPoint::identity(); GROUP];
    let mut claimed = [None; GROUP];
    for i in 0..valid.len() {
        if let Some((point, encoded)) = prepare(i) {
            expected[i] = point;
            claimed[i] = Some(encoded);
        }
    }
    let encodings = match valid.len() {
        1 => [expected[0].compress(); GROUP],
        _ => EdwardsPoint::compress_batch(&expected),
    };
    for (i, valid) in valid.iter_mut().enumerate() {
        *valid = claimed[i].is_some_and(|r| r.0 == encodings[i].0 || differs_by_small_order(&expected[i], &r));
    }
}

/// The cofactored equation itself: whether `[8](expected - R)` is the identity.
fn differs_by_small_order(expected: &EdwardsPoint, encoded: &CompressedEdwardsY) -> bool {
    encoded.decompress().is_some_and(|r| (expected - r).mul_by_cofactor().is_identity())
}

fn encoded_r(signature: &Signature) -> CompressedEdwardsY {
    let mut r = [0; 32];
    r.copy_from_slice(&signature[..32]);
    CompressedEdwardsY(r)
}

/// The scalar `s` of a signature, if it is below the group order.
fn canonical_scalar(signature: &Signature) -> Option<Scalar> {
    let mut s = [0; 32];
    s.copy_from_slice(&signature[32..]);
    Scalar::from_canonical_bytes(s).into_option()
}

/// `k = SHA-512(R | A | M)` modulo the group order, over the bytes as they were received.
fn challenge(signature: &Signature, key: &[u8; 32], message: &[u8]) -> Scalar {
    let hash = Sha512::new().chain_update(&signature[..32]).chain_update(key).chain_update(message).finalize();
    Scalar::from_bytes_mod_order_wide(&hash.into())
}
