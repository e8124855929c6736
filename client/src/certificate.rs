//! Certificates that a wallet holds, and how votes become one.
//!
//! A [`Certificate`] exists only where every signature in it was checked: [`crate::Verifier::check_certificate`] and
//! [`VoteCollector`] are its only makers.

use std::sync::Arc;

use meshpay_wire::{CertificateHead, CertificateView, Digest, Signature, SignedOrder, Vote};

use crate::{Verifier, VoteError};

/// A certificate all of whose signatures were checked by this wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    head: CertificateHead,
    signatures: Vec<Signature>,
    digest: Digest,
}

impl Certificate {
    pub(crate) fn from_verified(view: &CertificateView<'_>, digest: Digest) -> Self {
        Self { head: *view.head, signatures: view.signatures.to_vec(), digest }
    }

    /// As the wire functions take it.
    pub fn view(&self) -> CertificateView<'_> {
        CertificateView { head: &self.head, signatures: &self.signatures }
    }

    /// Its bytes, as on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        self.view().parts().concat()
    }

    /// The certified order.
    pub fn order(&self) -> &SignedOrder {
        &self.head.order
    }

    /// Digest of the certified order.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Account that paid.
    pub fn sender(&self) -> [u8; 32] {
        self.head.order.body.sender
    }

    /// Sequence at which it paid.
    pub fn sequence(&self) -> u64 {
        self.head.order.body.sequence.get()
    }

    /// Account that was paid.
    pub fn recipient(&self) -> [u8; 32] {
        self.head.order.body.recipient
    }

    /// Token that was paid.
    pub fn token(&self) -> u32 {
        self.head.order.body.token.get()
    }

    /// Amount that was paid, in minor units.
    pub fn amount_minor(&self) -> u64 {
        self.head.order.body.amount.get()
    }

    /// Committee places that signed, as bits.
    pub fn signers(&self) -> u32 {
        self.head.signers.get()
    }
}

/// Gathers votes for one order until they make a certificate. Each vote is checked before it counts.
#[derive(Clone, Debug)]
pub struct VoteCollector {
    verifier: Arc<Verifier>,
    order: SignedOrder,
    digest: Digest,
    votes: Vec<Option<Signature>>,
}

impl VoteCollector {
    /// Begins with no votes.
    pub fn new(verifier: Arc<Verifier>, order: SignedOrder) -> Self {
        let digest = verifier.order_digest(&order);
        let votes = vec![None; verifier.authorities()];
        Self { verifier, order, digest, votes }
    }

    /// The order that is voted for.
    pub fn order(&self) -> &SignedOrder {
        &self.order
    }

    /// Digest of the order.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Checks a vote and counts it; returns the voter's place. A second vote of the same authority changes nothing.
    ///
    /// # Errors
    /// Where it is no vote for this order.
    pub fn add(&mut self, vote: &Vote) -> Result<usize, VoteError> {
        let place = self.verifier.check_vote(vote, &self.digest)?;
        self.votes[place].get_or_insert(vote.signature);
        Ok(place)
    }

    /// Who has voted, as bits of committee places.
    pub fn voters(&self) -> u32 {
        self.votes.iter().enumerate().filter(|(_, vote)| vote.is_some()).fold(0, |bits, (place, _)| bits | 1 << place)
    }

    /// The certificate, once a quorum has voted: a minimal quorum of the votes.
    pub fn certificate(&self) -> Option<Certificate> {
        let signers = self.verifier.rules().committee.minimal_quorum_of(self.voters())?;
        let signatures = (0..self.votes.len())
            .filter(|place| signers >> place & 1 == 1)
            .filter_map(|place| self.votes[place])
            .collect::<Vec<_>>();
        let head = CertificateHead { order: self.order, signers: signers.into(), reserved: 0.into() };
        Some(Certificate { head, signatures, digest: self.digest })
    }
}
