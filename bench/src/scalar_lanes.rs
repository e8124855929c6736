//! Does one kernel of crypto's scalar lanes so many times, and nothing else: what `cargo xtask regress --instructions` counts under callgrind.
//!
//! The scalar lanes are the vector path's own kernels over plain integers (`meshpay_crypto::model`), chosen here by name and not by the build:
//! valgrind executes no AVX-512. Keys and messages are fixed, so that two runs execute the same instructions.

use meshpay_crypto::{Check, KnownCheck, KnownKey, Message, Signature, SigningKey, model, portable};
use std::hint::black_box;

/// A kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kernel {
    /// Signatures by any keys
    Verify,
    /// Signatures by known keys
    VerifyKnownKey,
    /// Signing
    Sign,
    /// SHA-512 of inputs as long as an order
    Digest,
}

const LANES: usize = 8;
/// Of a digest: the bytes of an order.
const INPUT_BYTES: usize = 220;

/// Does `groups` groups of eight.
///
/// # Panics
/// If a signature that must be valid is not: then a count would be of nothing.
pub fn run(kernel: Kernel, groups: usize) {
    let keys: Vec<SigningKey> = (0..LANES as u8).map(|lane| SigningKey::from_seed(&[lane + 1; 32])).collect();
    let public: Vec<[u8; 32]> = keys.iter().map(SigningKey::public_key).collect();
    let messages: Vec<Message> = (0..LANES as u8).map(|lane| [lane; 32]).collect();
    let mut signatures: [Signature; LANES] = [[0; 64]; LANES];
    for lane in 0..LANES {
        let mut one = [[0; 64]];
        portable::sign_many(&keys[lane], &messages[lane..=lane], &mut one);
        signatures[lane] = one[0];
    }
    let mut valid = [false; LANES];
    match kernel {
        Kernel::Verify => {
            let checks: Vec<Check<'_>> = (0..LANES)
                .map(|lane| Check { key: &public[lane], message: &messages[lane], signature: &signatures[lane] })
                .collect();
            (0..groups).for_each(|_| model::verify_many(black_box(&checks), &mut valid));
            assert!(groups == 0 || valid == [true; LANES], "all are valid");
        }
        Kernel::VerifyKnownKey => {
            let known: Vec<KnownKey> = public.iter().map(|key| KnownKey::new(key).expect("an honest key")).collect();
            let checks: Vec<KnownCheck<'_>> = (0..LANES)
                .map(|lane| KnownCheck { key: &known[lane], message: &messages[lane], signature: &signatures[lane] })
                .collect();
            (0..groups).for_each(|_| model::verify_many_known_keys(black_box(&checks), &mut valid));
            assert!(groups == 0 || valid == [true; LANES], "all are valid");
        }
        Kernel::Sign => (0..groups).for_each(|_| model::sign_many(&keys[0], black_box(&messages), &mut signatures)),
        Kernel::Digest => {
            let inputs: Vec<Vec<u8>> = (0..LANES as u8).map(|lane| vec![lane; INPUT_BYTES]).collect();
            let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
            let mut digests = [[0; 32]; LANES];
            (0..groups).for_each(|_| model::digest_many(black_box(&inputs), &mut digests));
        }
    }
    black_box((valid, signatures));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn every_kernel_runs_and_accepts_what_is_valid() {
        for kernel in Kernel::value_variants() {
            run(*kernel, 1);
        }
    }
}
