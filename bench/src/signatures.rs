//! What signatures cost on this machine, beside the library that a reader would otherwise reach for: a third of a second, so that each
//! report has it. `cargo bench -p meshpay-crypto` compares more libraries, with statistics.
//!
//! What always holds: time is that of the thread on its core; all are measured in turns, and figures are medians of the rounds. The
//! library's `verify` decides without the cofactor (we decide by ZIP 215), so it stands here for its speed alone.

use std::hint::black_box;

use anyhow::{Context as _, Result, ensure};
use ed25519_dalek::{Signer as _, Verifier as _};
use meshpay_crypto::{Check, KnownCheck, KnownKey, Message, Signature, SigningKey};
use serde::{Deserialize, Serialize};

use crate::cpu::current_thread_ns;

/// Signatures in a group: as many as the authority's stages carry at a time.
pub const GROUP: usize = 64;

/// Keys among which a group of known keys is mixed: a quorum of a committee of four.
const KNOWN_KEYS: usize = 3;

/// How often everything is measured.
const ROUNDS: usize = 31;

/// Groups of ours per round, so that a round is long against the clock's own cost.
const GROUPS_PER_ROUND: usize = 4;

/// Microseconds of a core per signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignatureTimes {
    /// Implementation of ours.
    pub implementation: String,
    /// Signatures in a group.
    pub group: usize,
    /// Ours: verifying, each by a key of its own.
    pub verify_us: f64,
    /// Ours: verifying by keys prepared beforehand, as a committee's are.
    pub known_key_us: f64,
    /// Ours: signing.
    pub sign_us: f64,
    /// The library.
    pub library: String,
    /// The library's `verify`, one at a time, its key decompressed beforehand.
    pub library_verify_us: f64,
    /// The library's `sign`, one at a time.
    pub library_sign_us: f64,
}

/// What is signed and by whom.
struct Signed {
    key: [u8; 32],
    message: Message,
    signature: Signature,
}

fn signed(signers: usize) -> Vec<Signed> {
    let bytes = |tag: u8, at: usize| {
        let mut bytes = [tag; 32];
        bytes[0] = at as u8;
        bytes
    };
    let sign = |at: usize| {
        let (key, message) = (SigningKey::from_seed(&bytes(1, at % signers)), bytes(2, at));
        Signed { key: key.public_key(), message, signature: key.sign(&message) }
    };
    (0..GROUP).map(sign).collect()
}

/// Measures on the calling thread.
///
/// # Errors
/// If a signature that is valid is refused: then no figure of this machine is worth anything.
pub fn measure() -> Result<SignatureTimes> {
    let (own, by_committee) = (signed(GROUP), signed(KNOWN_KEYS));
    let checks: Vec<Check<'_>> =
        own.iter().map(|s| Check { key: &s.key, message: &s.message, signature: &s.signature }).collect();
    let keys: Vec<KnownKey> = by_committee[..KNOWN_KEYS]
        .iter()
        .map(|s| KnownKey::new(&s.key).map_err(|error| anyhow::anyhow!("a key of our own: {error}")))
        .collect::<Result<_>>()?;
    let known: Vec<KnownCheck<'_>> = by_committee
        .iter()
        .enumerate()
        .map(|(at, s)| KnownCheck { key: &keys[at % KNOWN_KEYS], message: &s.message, signature: &s.signature })
        .collect();
    let signer = SigningKey::from_seed(&[3; 32]);
    let messages: Vec<Message> = own.iter().map(|s| s.message).collect();
    let library_keys: Vec<ed25519_dalek::VerifyingKey> = own
        .iter()
        .map(|s| ed25519_dalek::VerifyingKey::from_bytes(&s.key).context("the library refuses a key"))
        .collect::<Result<_>>()?;
    let library_signatures: Vec<ed25519_dalek::Signature> =
        own.iter().map(|s| ed25519_dalek::Signature::from_bytes(&s.signature)).collect();
    let library_signer = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);

    let (mut valid, mut library_valid) = ([false; GROUP], [false; GROUP]);
    let mut made = [[0; 64]; GROUP];
    let mut rounds: [Vec<f64>; 5] = Default::default();
    for _ in 0..ROUNDS {
        rounds[0].push(per_signature_us(GROUPS_PER_ROUND, || {
            meshpay_crypto::verify_many(black_box(&checks), &mut valid);
        }));
        ensure!(valid.iter().all(|valid| *valid), "a valid signature was refused");
        rounds[1].push(per_signature_us(GROUPS_PER_ROUND, || {
            meshpay_crypto::verify_many_known_keys(black_box(&known), &mut valid);
        }));
        ensure!(valid.iter().all(|valid| *valid), "a valid signature by a known key was refused");
        rounds[2].push(per_signature_us(GROUPS_PER_ROUND, || {
            meshpay_crypto::sign_many(&signer, black_box(&messages), &mut made);
        }));
        rounds[3].push(per_signature_us(1, || {
            for at in 0..GROUP {
                library_valid[at] = black_box(&library_keys[at]).verify(&messages[at], &library_signatures[at]).is_ok();
            }
        }));
        rounds[4].push(per_signature_us(1, || {
            for message in &messages {
                black_box(library_signer.sign(black_box(message)));
            }
        }));
    }
    ensure!(library_valid.iter().all(|valid| *valid), "the library refuses a valid signature");
    ensure!(made[0] == library_signer.sign(&messages[0]).to_bytes(), "the library signs otherwise");
    let [verify_us, known_key_us, sign_us, library_verify_us, library_sign_us] = rounds.map(median);
    Ok(SignatureTimes {
        implementation: meshpay_crypto::implementation().to_owned(),
        group: GROUP,
        verify_us,
        known_key_us,
        sign_us,
        library: "ed25519-dalek".to_owned(),
        library_verify_us,
        library_sign_us,
    })
}

/// Microseconds of this thread per signature, of so many groups.
fn per_signature_us(groups: usize, mut group: impl FnMut()) -> f64 {
    let before_ns = current_thread_ns();
    for _ in 0..groups {
        group();
    }
    (current_thread_ns() - before_ns) as f64 / 1e3 / (groups * GROUP) as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_agree_and_all_took_time() {
        let times = measure().expect("valid signatures");
        let all = [times.verify_us, times.known_key_us, times.sign_us, times.library_verify_us, times.library_sign_us];
        assert!(all.iter().all(|us| us.is_finite() && *us > 0.0), "{times:?}");
    }
}
