//! Who can sign what: Ed25519, or a keyed hash behind the same ports, for speed.
//!
//! What always holds: a signature is made only by whoever holds a [`Signer`]. The keyed hash takes its key from a secret that no simulated
//! party reads, so an adversary forges one no better than it forges Ed25519.

use std::sync::Arc;

use meshpay_client::SignatureChecks;
use meshpay_crypto::{KnownCheck, KnownKey, SigningKey};
use meshpay_protocol::{Committee, Ed25519Signatures, SenderCheck, Signatures, VoteCheck};
use meshpay_wire::{PublicKey, Signature};

/// How everybody in a run signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Ed25519 as in production.
    Ed25519,
    /// A keyed hash.
    KeyedHash,
}

/// What all parties sign and check with.
#[derive(Clone, Debug)]
pub struct Scribe {
    scheme: Scheme,
    secret: [u8; 32],
}

impl Scribe {
    /// The signatures of one run.
    pub fn new(scheme: Scheme, seed: u64) -> Self {
        let secret = *blake3::hash(&[&b"scribe"[..], &seed.to_le_bytes()].concat()).as_bytes();
        Self { scheme, secret }
    }

    /// Which kind.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn hash(&self, key: &PublicKey, message: &[u8; 32]) -> Signature {
        let mut input = [0; 64];
        input[..32].copy_from_slice(key);
        input[32..].copy_from_slice(message);
        let hash = blake3::keyed_hash(&self.secret, &input);
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(hash.as_bytes());
        signature[32..].copy_from_slice(hash.as_bytes());
        signature
    }

    /// Whether a signature is that key's.
    pub fn is_valid(&self, key: &PublicKey, message: &[u8; 32], signature: &Signature) -> bool {
        match self.scheme {
            Scheme::Ed25519 => meshpay_crypto::verify(key, message, signature),
            Scheme::KeyedHash => self.hash(key, message) == *signature,
        }
    }

    /// A client's key, in a shard of choice where the scheme lets one choose.
    pub fn client(&self, seed: [u8; 32], shard: Option<u8>) -> Signer {
        match self.scheme {
            Scheme::Ed25519 => self.signer(seed),
            Scheme::KeyedHash => {
                let mut key = seed;
                if let Some(shard) = shard {
                    key[0] = shard;
                }
                Signer { scribe: self.clone(), key, seed, secret: None }
            }
        }
    }

    /// An authority's key: always a real one, since committees take no others.
    pub fn signer(&self, seed: [u8; 32]) -> Signer {
        let secret = SigningKey::from_seed(&seed);
        Signer { scribe: self.clone(), key: secret.public_key(), seed, secret: Some(Arc::new(secret)) }
    }
}

/// Somebody's secret key.
#[derive(Clone)]
pub struct Signer {
    scribe: Scribe,
    key: PublicKey,
    seed: [u8; 32],
    secret: Option<Arc<SigningKey>>,
}

impl Signer {
    /// The public key.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Signs a digest.
    pub fn sign(&self, message: &[u8; 32]) -> Signature {
        match (self.scribe.scheme, &self.secret) {
            (Scheme::Ed25519, Some(secret)) => secret.sign(message),
            _ => self.scribe.hash(&self.key, message),
        }
    }
}

/// The signature port of an authority.
pub struct AuthoritySignatures {
    kind: Kind,
    /// A build that counts a member's vote in every place where it stands: see [`crate::Canary::DuplicateSigners`].
    any_member: bool,
    committee: Vec<PublicKey>,
    scribe: Scribe,
}

enum Kind {
    Ed25519(Box<Ed25519Signatures>),
    KeyedHash(Signer),
}

impl AuthoritySignatures {
    /// For the authority with this key.
    ///
    /// # Panics
    /// If the committee has a key that is none, which its maker has excluded.
    pub fn new(committee: &Committee, scribe: &Scribe, signer: &Signer, any_member: bool) -> Self {
        let keys = committee.members().iter().map(|member| member.key).collect();
        let kind = match scribe.scheme {
            Scheme::Ed25519 => {
                let real = Ed25519Signatures::new(committee, SigningKey::from_seed(&signer.seed));
                Kind::Ed25519(Box::new(real.expect("a committee's keys are checked")))
            }
            Scheme::KeyedHash => Kind::KeyedHash(signer.clone()),
        };
        Self { kind, any_member, committee: keys, scribe: scribe.clone() }
    }
}

impl Signatures for AuthoritySignatures {
    fn verify_senders(&mut self, checks: &[SenderCheck<'_>], valid: &mut [bool]) {
        match &mut self.kind {
            Kind::Ed25519(real) => real.verify_senders(checks, valid),
            Kind::KeyedHash(_) => {
                for (check, valid) in checks.iter().zip(valid) {
                    *valid = self.scribe.is_valid(check.key, check.message, check.signature);
                }
            }
        }
    }

    fn verify_votes(&mut self, checks: &[VoteCheck<'_>], valid: &mut [bool]) {
        if self.any_member {
            for (check, valid) in checks.iter().zip(valid) {
                *valid = self.committee.iter().any(|key| self.scribe.is_valid(key, check.message, check.signature));
            }
            return;
        }
        match &mut self.kind {
            Kind::Ed25519(real) => real.verify_votes(checks, valid),
            Kind::KeyedHash(_) => {
                for (check, valid) in checks.iter().zip(valid) {
                    *valid = self.scribe.is_valid(&self.committee[check.place], check.message, check.signature);
                }
            }
        }
    }

    fn sign_votes(&mut self, messages: &[[u8; 32]], signatures: &mut [Signature]) {
        match &mut self.kind {
            Kind::Ed25519(real) => real.sign_votes(messages, signatures),
            Kind::KeyedHash(signer) => {
                for (message, signature) in messages.iter().zip(signatures) {
                    *signature = signer.sign(message);
                }
            }
        }
    }
}

/// The signature port of wallets.
#[derive(Debug)]
pub struct WalletSignatures {
    scribe: Scribe,
    committee: Vec<PublicKey>,
    known: Vec<KnownKey>,
}

impl WalletSignatures {
    /// For the wallets of a network.
    pub fn new(committee: &Committee, scribe: &Scribe) -> Self {
        let committee: Vec<PublicKey> = committee.members().iter().map(|member| member.key).collect();
        let known = committee.iter().filter_map(|key| KnownKey::new(key).ok()).collect();
        Self { scribe: scribe.clone(), committee, known }
    }
}

impl SignatureChecks for WalletSignatures {
    fn sender_is_valid(&self, check: &SenderCheck<'_>) -> bool {
        self.scribe.is_valid(check.key, check.message, check.signature)
    }

    fn check_votes(&self, checks: &[VoteCheck<'_>], valid: &mut [bool]) {
        if self.scribe.scheme == Scheme::Ed25519 {
            let checks: Vec<KnownCheck<'_>> = checks
                .iter()
                .map(|check| KnownCheck {
                    key: &self.known[check.place],
                    message: check.message,
                    signature: check.signature,
                })
                .collect();
            return meshpay_crypto::verify_many_known_keys(&checks, valid);
        }
        for (check, valid) in checks.iter().zip(valid) {
            *valid = self.scribe.is_valid(&self.committee[check.place], check.message, check.signature);
        }
    }
}
