//! Published vectors, through every implementation: RFC 8032, Wycheproof, and the small-order cases of ZIP 215.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod support;

use meshpay_crypto::{Check, KnownCheck, KnownKey, SigningKey};
use support::{Path, oracle, paths, small_order_encodings};
use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

/// RFC 8032, section 7.1: seed, public key, message, signature. (Its longest vector is among Wycheproof's.)
const RFC_8032: [[&str; 4]; 4] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
    [
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ],
];

fn array<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

/// One signature in a call of its own, by an arbitrary key.
fn verify(path: &Path, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let mut valid = [false];
    (path.verify_many)(&[Check { key, message, signature }], &mut valid);
    valid[0]
}

/// One signature in a call of its own, by a known key.
fn verify_known(path: &Path, key: &KnownKey, message: &[u8], signature: &[u8; 64]) -> bool {
    let mut valid = [false];
    (path.verify_many_known_keys)(&[KnownCheck { key, message, signature }], &mut valid);
    valid[0]
}

#[test]
fn rfc_8032() {
    for path in paths() {
        for [seed, public, message, signature] in RFC_8032 {
            let key = SigningKey::from_seed(&array(seed));
            let public = array(public);
            let message = hex::decode(message).unwrap();
            let expected: [u8; 64] = array(signature);
            assert_eq!(key.public_key(), public);
            let mut signatures = [[0; 64]];
            (path.sign_many)(&key, &[&message], &mut signatures);
            assert_eq!(signatures[0], expected, "{}", path.name);
            assert!(verify(&path, &public, &message, &expected), "{}", path.name);
            assert!(verify_known(&path, &KnownKey::new(&public).unwrap(), &message, &expected), "{}", path.name);
        }
    }
}

/// Wycheproof marks one signature invalid that ZIP 215 accepts: tcId 151, whose R encodes y = 1 with the sign bit set.
/// RFC 8032 refuses that encoding because x is 0; ZIP 215 accepts every encoding of a point, and this one means the
/// identity, for which the equation holds. We accept it, and so must every authority.
const ACCEPTED_BY_ZIP_215: [usize; 1] = [151];

#[test]
fn wycheproof() {
    let vectors = TestSet::load(TestName::Ed25519).unwrap();
    for path in paths() {
        let mut decided = 0;
        for group in &vectors.test_groups {
            let key: [u8; 32] = group.key.pk.as_ref().try_into().unwrap();
            let known = KnownKey::new(&key).unwrap();
            for test in &group.tests {
                // A signature of another length never gets as far as this crate: the type says 64 bytes.
                let Ok(signature) = <[u8; 64]>::try_from(test.sig.as_ref()) else {
                    assert_eq!(test.result, TestResult::Invalid, "tcId {}", test.tc_id);
                    continue;
                };
                let expected = test.result == TestResult::Valid || ACCEPTED_BY_ZIP_215.contains(&test.tc_id);
                let place = format!("{}, tcId {}: {}", path.name, test.tc_id, test.comment);
                assert_eq!(oracle(&key, &test.msg, &signature), expected, "oracle, {place}");
                assert_eq!(verify(&path, &key, &test.msg, &signature), expected, "{place}");
                assert_eq!(verify_known(&path, &known, &test.msg, &signature), expected, "known key, {place}");
                decided += 1;
            }
        }
        assert!(decided > 100, "only {decided} vectors of a plausible length");
    }
}

/// With A and R of small order and s = 0, both sides of the cofactored equation are the identity whatever the message:
/// all 14 x 14 pairs of encodings are accepted.
#[test]
fn small_order_cases_of_zip_215() {
    let encodings = small_order_encodings();
    let pairs: Vec<([u8; 32], [u8; 64])> = encodings
        .iter()
        .flat_map(|key| {
            encodings.iter().map(|r| {
                let mut signature = [0; 64];
                signature[..32].copy_from_slice(r);
                (*key, signature)
            })
        })
        .collect();
    assert_eq!(pairs.len(), 196);
    for path in paths() {
        let checks: Vec<Check<'_>> =
            pairs.iter().map(|(key, signature)| Check { key, message: b"Zcash", signature }).collect();
        let mut valid = [false; 196];
        (path.verify_many)(&checks, &mut valid);
        for (i, check) in checks.iter().enumerate() {
            assert!(valid[i], "{} refuses A {} R {}", path.name, i / 14, i % 14);
            assert!(oracle(check.key, check.message, check.signature));
        }
    }
}

/// Such keys are refused where keys are made known beforehand: no member of a committee has one.
#[test]
fn keys_of_small_order_are_not_known_keys() {
    for key in small_order_encodings() {
        assert!(KnownKey::new(&key).is_err());
    }
}
