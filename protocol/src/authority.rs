//! The four operations of the customer's specification, one message at a time, over any table and any signatures.
//!
//! The daemon's pipeline does the same in bursts with the same functions; this is the reference that tests and tools use, and
//! it keeps no journal: positions are counted from 1.

use meshpay_wire::{CertificateView, Digest, RefusalCode, SignedOrder, Vote, order_digest, vote_digest};

use crate::{
    Accounts, CertificateDecision, CertificateScreen, OrderDecision, PendingCertificate, PendingOrder, Refusal, Rules,
    Signatures, VerifiedCertificate, VerifiedOrder, apply, decide_certificate, decide_order, order::RETRY_LATER_MS,
    screen_certificate, screen_order, verify_certificates, verify_orders,
};

/// An authority without network and disk.
pub struct Authority<A, S> {
    /// What the network has agreed on.
    pub rules: Rules,
    /// Its accounts.
    pub accounts: A,
    signatures: S,
    place: u8,
    position: u64,
}

/// What applying a certificate came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Executed now.
    Now(Digest),
    /// That sequence was executed before; nothing changed.
    Before,
}

impl<A: Accounts, S: Signatures> Authority<A, S> {
    /// An authority at a place of the committee.
    pub fn new(rules: Rules, accounts: A, signatures: S, place: u8) -> Self {
        Self { rules, accounts, signatures, place, position: 0 }
    }

    /// Checks an order; it may then be voted for by [`Authority::sign_vote`]. Nothing where its sequence was executed before.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn verify_transfer<'a>(
        &mut self,
        order: &'a SignedOrder,
        now_ms: u64,
    ) -> Result<Option<VerifiedOrder<'a>>, Refusal> {
        let pending = PendingOrder { order, digest: order_digest(&self.rules.genesis, &order.body) };
        if screen_order(&self.rules, &self.accounts, &pending, now_ms)? == OrderDecision::ExecutedBefore {
            return Ok(None);
        }
        let mut result = None;
        verify_orders(&mut self.signatures, &[pending], &mut [false], |_, verified| result = verified);
        let verified = result.ok_or(Refusal::new(RefusalCode::BadSignature))?;
        match decide_order(&self.rules, &self.accounts, &verified, now_ms)? {
            OrderDecision::Conflict => Err(Refusal::new(RefusalCode::Conflict)),
            _ => Ok(Some(verified)),
        }
    }

    /// Locks a verified order and votes for it.
    ///
    /// # Errors
    /// The refusal to answer with, where the account changed since it was verified.
    pub fn sign_vote(&mut self, verified: &VerifiedOrder<'_>, now_ms: u64) -> Result<Vote, Refusal> {
        match decide_order(&self.rules, &self.accounts, verified, now_ms)? {
            OrderDecision::Lock => {
                self.position += 1;
                apply::lock(&mut self.accounts, verified.order(), verified.digest(), self.position)
                    .map_err(|_| Refusal::new(RefusalCode::RetryLater).value(RETRY_LATER_MS))?;
            }
            OrderDecision::VoteAgain(_) => {}
            OrderDecision::Conflict | OrderDecision::ExecutedBefore => return Err(Refusal::new(RefusalCode::Conflict)),
        }
        let message = vote_digest(&self.rules.genesis, self.rules.epoch, &verified.digest());
        let mut signature = [[0; 64]];
        self.signatures.sign_votes(&[message], &mut signature);
        Ok(Vote { authority: self.place, reserved: [0; 3], order: verified.digest(), signature: signature[0] })
    }

    /// Checks a certificate; nothing where its sequence was executed before.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn verify_certificate<'a>(
        &mut self,
        certificate: CertificateView<'a>,
    ) -> Result<Option<VerifiedCertificate<'a>>, Refusal> {
        let digest = order_digest(&self.rules.genesis, &certificate.head.order.body);
        let CertificateScreen::Verify { sender_known } =
            screen_certificate(&self.rules, &self.accounts, &certificate, &digest)?
        else {
            return Ok(None);
        };
        let vote_digest = vote_digest(&self.rules.genesis, self.rules.epoch, &digest);
        let pending = PendingCertificate { certificate, digest, vote_digest, sender_known, own_vote: None };
        let mut result = Err(Refusal::new(RefusalCode::BadVote));
        verify_certificates(&self.rules, &mut self.signatures, &[pending], |_, verified| result = verified);
        result.map(Some)
    }

    /// Executes a verified certificate: debit, credit, next sequence.
    ///
    /// # Errors
    /// A gap, or a full table.
    pub fn apply_certificate(&mut self, verified: &VerifiedCertificate<'_>) -> Result<Applied, Refusal> {
        match decide_certificate(&self.accounts, verified)? {
            CertificateDecision::ExecutedBefore => Ok(Applied::Before),
            CertificateDecision::Execute => {
                self.position += 1;
                let order = &verified.certificate().head.order;
                let body = &order.body;
                let (token, amount) = (body.token.get(), body.amount.get());
                let full = |_| Refusal::new(RefusalCode::RetryLater).value(RETRY_LATER_MS);
                // Room for the credit is made sure of before the debit, so that a full table loses no money between them.
                let needs_slot = self.accounts.balance_slot(&body.recipient, token).is_none();
                if needs_slot {
                    self.accounts.reserve(&body.recipient).map_err(full)?;
                }
                let debited = apply::debit(&mut self.accounts, order, verified.digest(), self.position);
                if needs_slot {
                    self.accounts.release_reserved(&body.recipient);
                }
                debited.map_err(full)?;
                apply::credit(&mut self.accounts, &body.recipient, token, amount, Some(self.position)).map_err(full)?;
                Ok(Applied::Now(verified.digest()))
            }
        }
    }
}
