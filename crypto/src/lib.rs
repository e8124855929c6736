//! Ed25519 in bulk, under one acceptance rule.
//!
//! The rule is ZIP 215 (<https://zips.z.cash/zip-0215>): the cofactored equation
//! `[8]([s]B - [k]A - R) = 0`, every encoding of a point accepted for `A` and `R`, and `s` below the group order.
//! It is the rule by which single, batch and eight-lane checks agree, so that no two authorities can be made to
//! disagree about a signature. Nothing in this crate decides by another rule, and nothing in it knows what a payment is.
//!
//! What always holds:
//! - every entry of a call is decided by itself: a forged signature costs its sender's share and spoils no other entry;
//! - the calls on bursts (`verify_many`, `verify_many_known_keys`, `sign_many`, `digest_many`) never allocate;
//! - the bytes that a peer chooses (keys, messages, signatures) cannot panic; slices of unequal length are the
//!   caller's mistake and do;
//! - signing has no branch and no memory index that depends on a secret, and secrets are erased when dropped;
//! - signatures are those of RFC 8032, byte for byte.
//!
//! What is shown of that, and how to run it:
//!
//! ```text
//! cargo test -p meshpay-crypto                                             vectors, a million mutations against ed25519-zebra, what is left on the stack
//! MESHPAY_TEST_SCALE=10 cargo test -p meshpay-crypto --test mutations      ten million
//! cargo xtask secrets                                                      branches and indices by secrets: scalar lanes and portable path under valgrind, machine code
//! cargo run --release -p meshpay-crypto --example dudect                   times of signing on this CPU by fixed and by random secrets
//! cargo bench -p meshpay-crypto                                            microseconds per signature, beside other libraries
//! ```
//!
//! | where | what |
//! |---|---|
//! | `eight_lanes` | the path for CPUs with AVX-512 IFMA, eight signatures at a time |
//! | `model` | the same kernels on plain integers, for tests |
//! | `portable` | the path for every CPU, over `curve25519-dalek` |
//! | `known_key` | a committee's key with its tables |
//! | `signing_key` | a secret key |
//! | `stack` | erases what work with secrets leaves on the stack |
//! | `secrets` | tests that secrets leave no trace in time or memory |

mod eight_lanes;
mod known_key;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod portable;
#[cfg(test)]
mod secrets;
mod signing_key;
mod stack;

use eight_lanes::EightLanes;
pub use known_key::{KeyError, KnownKey};
pub use signing_key::SigningKey;

/// An encoded Ed25519 public key (RFC 8032, section 5.1.5).
pub type PublicKey = [u8; 32];
/// What MeshPay signs: a 32-byte digest.
pub type Message = [u8; 32];
/// An encoded Ed25519 signature: `R`, then `s` (RFC 8032, section 5.1.6).
pub type Signature = [u8; 64];

/// One question to [`verify_many`]: is this the key's signature of the message?
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// The signer's key; any 32 bytes.
    pub key: &'a PublicKey,
    /// What was signed: a [`Message`], or bytes of any length. Up to 47 bytes cost the least.
    pub message: &'a [u8],
    /// The signature in question; any 64 bytes.
    pub signature: &'a Signature,
}

/// One question to [`verify_many_known_keys`].
#[derive(Clone, Copy, Debug)]
pub struct KnownCheck<'a> {
    /// The signer's prepared key.
    pub key: &'a KnownKey,
    /// What was signed: a [`Message`], or bytes of any length. Up to 47 bytes cost the least.
    pub message: &'a [u8],
    /// The signature in question; any 64 bytes.
    pub signature: &'a Signature,
}

/// Decides one signature. The answer is the one that [`verify_many`] gives.
pub fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    let mut valid = [false];
    verify_many(&[Check { key, message, signature }], &mut valid);
    valid[0]
}

/// Decides many signatures, each by itself: `valid[i]` answers `checks[i]`.
///
/// # Panics
/// If the slices differ in length.
pub fn verify_many(checks: &[Check<'_>], valid: &mut [bool]) {
    assert_eq!(checks.len(), valid.len(), "one answer for each check");
    match EightLanes::of_this_cpu() {
        Some(lanes) => lanes.verify_many(checks, valid),
        None => portable::verify_many(checks, valid),
    }
}

/// Decides many signatures by keys that were prepared once; the answers are those of [`verify_many`].
///
/// # Panics
/// If the slices differ in length.
pub fn verify_many_known_keys(checks: &[KnownCheck<'_>], valid: &mut [bool]) {
    assert_eq!(checks.len(), valid.len(), "one answer for each check");
    match EightLanes::of_this_cpu() {
        Some(lanes) => lanes.verify_many_known_keys(checks, valid),
        None => portable::verify_many_known_keys(checks, valid),
    }
}

/// Signs many messages with one key: `signatures[i]` signs `messages[i]`, deterministically (RFC 8032).
///
/// # Panics
/// If the slices differ in length.
pub fn sign_many<M: AsRef<[u8]>>(key: &SigningKey, messages: &[M], signatures: &mut [Signature]) {
    assert_eq!(messages.len(), signatures.len(), "one signature for each message");
    match EightLanes::of_this_cpu() {
        Some(lanes) => lanes.sign_many(key, messages, signatures),
        None => portable::sign_many(key, messages, signatures),
    }
}

/// Digests many inputs: `digests[i]` is the first 32 bytes of SHA-512 of `inputs[i]`.
///
/// # Panics
/// If the slices differ in length.
pub fn digest_many(inputs: &[&[u8]], digests: &mut [[u8; 32]]) {
    assert_eq!(inputs.len(), digests.len(), "one digest for each input");
    match EightLanes::of_this_cpu() {
        Some(lanes) => lanes.digest_many(inputs, digests),
        None => portable::digest_many(inputs, digests),
    }
}

/// Which implementation this CPU gets, for logs and reports.
pub fn implementation() -> &'static str {
    if EightLanes::of_this_cpu().is_some() { "ifma-x8" } else { "portable" }
}
