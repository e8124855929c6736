//! Every implementation does the same: in every place of a call, for calls of every size, for messages of every length. What attackers make of signatures is
//! in `mutations`.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod support;

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use meshpay_crypto::{Check, KeyError, KnownCheck, KnownKey, SigningKey};
use rand_chacha::rand_core::Rng;
use sha2::{Digest, Sha512};
use support::committee::Committee;
use support::{Case, below, bytes, paths, seeded};

/// One bad signature spoils its own answer and no other, wherever it stands and however many there are.
#[test]
fn every_place_in_a_call_of_every_size() {
    let mut rng = seeded(3);
    let committee = Committee::new(5, &mut rng);
    let cases: Vec<(usize, Case)> = (0..40)
        .map(|i| {
            let signer = SigningKey::from_seed(&committee.seeds[i % 5]);
            let message = bytes::<32>(&mut rng).to_vec();
            (i % 5, Case { key: signer.public_key(), signature: signer.sign(&message), message })
        })
        .collect();
    for path in paths() {
        for size in (0..cases.len()).step_by(path.share.min(7)) {
            // No bad place, then each place in turn; for larger calls, the places of the last two groups of eight.
            for bad in
                std::iter::once(None).chain((size.saturating_sub(16)..size).map(Some)).step_by(path.share.min(11))
            {
                let mut cases = cases[..size].to_vec();
                if let Some(bad) = bad {
                    cases[bad].1.signature[32] ^= 1;
                }
                let expected: Vec<bool> = (0..size).map(|i| Some(i) != bad).collect();
                let mut valid = vec![bad.is_none(); size];
                let checks: Vec<Check<'_>> = cases.iter().map(|(_, case)| case.check()).collect();
                (path.verify_many)(&checks, &mut valid);
                assert_eq!(valid, expected, "{}, size {size}, bad {bad:?}", path.name);
                let mut valid = vec![bad.is_none(); size];
                let checks: Vec<KnownCheck<'_>> =
                    cases.iter().map(|(member, case)| committee.check(*member, case)).collect();
                (path.verify_many_known_keys)(&checks, &mut valid);
                assert_eq!(valid, expected, "known keys, {}, size {size}, bad {bad:?}", path.name);
            }
        }
    }
}

#[test]
fn signatures_are_those_of_ed25519_dalek() {
    use ed25519_dalek::Signer;
    let mut rng = seeded(4);
    for size in (0..70).chain([200]) {
        let seed = bytes(&mut rng);
        let key = SigningKey::from_seed(&seed);
        let reference = ed25519_dalek::SigningKey::from_bytes(&seed);
        assert_eq!(key.public_key(), reference.verifying_key().to_bytes());
        // Digests, and in every other call messages of lengths that take one, two or three blocks of SHA-512.
        let length = |rng: &mut _| if size % 2 == 0 { 32 } else { below(rng, 300) };
        let messages: Vec<Vec<u8>> =
            (0..size).map(|_| (0..length(&mut rng)).map(|_| rng.next_u32() as u8).collect()).collect();
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        for path in paths().iter().filter(|path| size % path.share.min(10) == 0) {
            let mut signatures = vec![[0; 64]; size];
            (path.sign_many)(&key, &messages, &mut signatures);
            for (message, signature) in messages.iter().zip(&signatures) {
                assert_eq!(*signature, reference.sign(message).to_bytes(), "{}, size {size}", path.name);
            }
        }
    }
}

/// Messages of any length, of several lengths in one call.
#[test]
fn messages_of_every_length() {
    let mut rng = seeded(5);
    let committee = Committee::new(3, &mut rng);
    let cases: Vec<(usize, Case)> = (0..300)
        .map(|length| {
            let signer = SigningKey::from_seed(&committee.seeds[length % 3]);
            let message: Vec<u8> = (0..length).map(|_| rng.next_u32() as u8).collect();
            (length % 3, Case { key: signer.public_key(), signature: signer.sign(&message), message })
        })
        .collect();
    for path in paths() {
        let mut valid = [false; 300];
        let checks: Vec<Check<'_>> = cases.iter().map(|(_, case)| case.check()).collect();
        (path.verify_many)(&checks, &mut valid);
        assert_eq!(valid, [true; 300], "{}", path.name);
        let mut valid = [false; 300];
        let checks: Vec<KnownCheck<'_>> = cases.iter().map(|(member, case)| committee.check(*member, case)).collect();
        (path.verify_many_known_keys)(&checks, &mut valid);
        assert_eq!(valid, [true; 300], "{}", path.name);
    }
}

#[test]
fn digests_are_truncated_sha_512() {
    let mut rng = seeded(6);
    for size in 0..40 {
        let inputs: Vec<Vec<u8>> =
            (0..size).map(|_| (0..below(&mut rng, 600)).map(|_| rng.next_u32() as u8).collect()).collect();
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        for path in paths() {
            let mut digests = vec![[0; 32]; size];
            (path.digest_many)(&inputs, &mut digests);
            for (input, digest) in inputs.iter().zip(&digests) {
                assert_eq!(digest[..], Sha512::digest(input)[..32], "{}, {} bytes", path.name, input.len());
            }
        }
    }
}

#[test]
fn known_keys_refuse_what_no_honest_key_is() {
    let honest = SigningKey::from_seed(&[7; 32]).public_key();
    let key = KnownKey::new(&honest).unwrap();
    assert_eq!(*key.key(), honest);

    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(KnownKey::new(&identity).unwrap_err(), KeyError::NotInPrimeOrderGroup);
    let mut identity_again = [0xff; 32]; // y = p + 1
    (identity_again[0], identity_again[31]) = (0xee, 0x7f);
    assert_eq!(KnownKey::new(&identity_again).unwrap_err(), KeyError::NotCanonical);
    let not_a_point =
        (0..=255).map(|byte| [byte; 32]).find(|key| KnownKey::new(key).err() == Some(KeyError::NotAPoint));
    assert!(not_a_point.is_some());
    for torsion in &EIGHT_TORSION[1..] {
        let mixed = (ED25519_BASEPOINT_POINT + torsion).compress().to_bytes();
        assert_eq!(KnownKey::new(&mixed).unwrap_err(), KeyError::NotInPrimeOrderGroup);
    }
}

#[test]
fn secrets_are_not_printed() {
    let key = SigningKey::from_seed(&[7; 32]);
    let expected = format!("SigningKey {{ public_key: {:?}, .. }}", key.public_key());
    assert_eq!(format!("{key:?}"), expected);
}

#[test]
#[should_panic(expected = "one answer for each check")]
fn unequal_slices_are_the_callers_mistake() {
    meshpay_crypto::verify_many(&[], &mut [false]);
}
