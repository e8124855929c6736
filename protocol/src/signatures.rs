//! The signature port: real Ed25519 in production, anything that keeps the contract in a simulator.

use meshpay_crypto::{Check, KnownCheck, KnownKey, SigningKey};
use meshpay_wire::{PublicKey, Signature};

use crate::{Committee, CommitteeError};

/// A sender's signature to be checked.
#[derive(Clone, Copy, Debug)]
pub struct SenderCheck<'a> {
    /// The sender.
    pub key: &'a PublicKey,
    /// Order digest.
    pub message: &'a [u8; 32],
    /// Signature over it.
    pub signature: &'a Signature,
}

/// An authority's signature to be checked.
#[derive(Clone, Copy, Debug)]
pub struct VoteCheck<'a> {
    /// Place in the committee; the caller has made sure that it exists.
    pub place: usize,
    /// Vote digest.
    pub message: &'a [u8; 32],
    /// Signature over it.
    pub signature: &'a Signature,
}

/// Verifies and signs many at once. Each result depends on its own check only (DESIGN 4): one forged signature costs no other.
pub trait Signatures {
    /// Checks senders; `valid` has the length of `checks`.
    fn verify_senders(&mut self, checks: &[SenderCheck<'_>], valid: &mut [bool]);
    /// Checks votes; `valid` has the length of `checks`.
    fn verify_votes(&mut self, checks: &[VoteCheck<'_>], valid: &mut [bool]);
    /// Signs vote digests with this authority's key; `signatures` has the length of `messages`.
    fn sign_votes(&mut self, messages: &[[u8; 32]], signatures: &mut [Signature]);
}

/// Ed25519 under ZIP 215, in bulk.
pub struct Ed25519Signatures {
    committee: Vec<KnownKey>,
    key: SigningKey,
}

/// Signatures are handed to the kernels in groups of this many, so that nothing is allocated.
const GROUP: usize = 64;

impl Ed25519Signatures {
    /// Prepares tables for the committee's keys.
    ///
    /// # Errors
    /// If a key is no canonical point, which [`Committee::new`] has excluded.
    pub fn new(committee: &Committee, key: SigningKey) -> Result<Self, CommitteeError> {
        let committee = committee
            .members()
            .iter()
            .map(|member| KnownKey::new(&member.key).map_err(|_| CommitteeError::BadKey(member.name.clone())))
            .collect::<Result<_, _>>()?;
        Ok(Self { committee, key })
    }
}

impl Signatures for Ed25519Signatures {
    fn verify_senders(&mut self, checks: &[SenderCheck<'_>], valid: &mut [bool]) {
        assert_eq!(checks.len(), valid.len());
        for (group, valid) in checks.chunks(GROUP).zip(valid.chunks_mut(GROUP)) {
            let first = group[0];
            let fill = Check { key: first.key, message: first.message, signature: first.signature };
            let mut prepared = [fill; GROUP];
            for (to, from) in prepared.iter_mut().zip(group) {
                *to = Check { key: from.key, message: from.message, signature: from.signature };
            }
            meshpay_crypto::verify_many(&prepared[..group.len()], valid);
        }
    }

    fn verify_votes(&mut self, checks: &[VoteCheck<'_>], valid: &mut [bool]) {
        assert_eq!(checks.len(), valid.len());
        for (group, valid) in checks.chunks(GROUP).zip(valid.chunks_mut(GROUP)) {
            let prepare = |check: &VoteCheck<'_>| check.place;
            let first = &group[0];
            let fill =
                KnownCheck { key: &self.committee[prepare(first)], message: first.message, signature: first.signature };
            let mut prepared = [fill; GROUP];
            for (to, from) in prepared.iter_mut().zip(group) {
                *to = KnownCheck { key: &self.committee[from.place], message: from.message, signature: from.signature };
            }
            meshpay_crypto::verify_many_known_keys(&prepared[..group.len()], valid);
        }
    }

    fn sign_votes(&mut self, messages: &[[u8; 32]], signatures: &mut [Signature]) {
        meshpay_crypto::sign_many(&self.key, messages, signatures);
    }
}
