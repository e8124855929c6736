//! The eight-lane kernels on plain integers, with every bound asserted: far too slow to use, and what the vector path is tested against.

use crate::eight_lanes::EightLanes;
use crate::{Check, KnownCheck, Signature, SigningKey};

/// See [`crate::verify_many`].
pub fn verify_many(checks: &[Check<'_>], valid: &mut [bool]) {
    EightLanes::model().verify_many(checks, valid);
}

/// See [`crate::verify_many_known_keys`].
pub fn verify_many_known_keys(checks: &[KnownCheck<'_>], valid: &mut [bool]) {
    EightLanes::model().verify_many_known_keys(checks, valid);
}

/// See [`crate::sign_many`].
pub fn sign_many<M: AsRef<[u8]>>(key: &SigningKey, messages: &[M], signatures: &mut [Signature]) {
    EightLanes::model().sign_many(key, messages, signatures);
}

/// See [`crate::digest_many`].
pub fn digest_many(inputs: &[&[u8]], digests: &mut [[u8; 32]]) {
    EightLanes::model().digest_many(inputs, digests);
}
