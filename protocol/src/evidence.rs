//! Equivocation: two orders for one (account, sequence), both signed by the sender (DESIGN 5.14). Anyone can check it.

use meshpay_wire::{GenesisDigest, SignedOrder, order_digest};

/// Two orders that prove that their sender signed twice for one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Equivocation {
    /// One order.
    pub first: SignedOrder,
    /// The other.
    pub second: SignedOrder,
}

/// Why two orders prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Different senders.
    #[error("the two orders have different senders")]
    Senders,
    /// Different sequences or epochs.
    #[error("the two orders are for different sequences or epochs")]
    Sequences,
    /// The same order twice.
    #[error("the two orders are the same order; a second signature makes no second order")]
    SameOrder,
    /// A signature does not verify.
    #[error("the signature of the {0} order does not verify under its sender's key in this network")]
    Signature(&'static str),
}

impl Equivocation {
    /// Checks the proof, trusting nobody; `genesis` names the network in which both were signed.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn verify(&self, genesis: &GenesisDigest) -> Result<(), EvidenceError> {
        let (first, second) = (&self.first.body, &self.second.body);
        if first.sender != second.sender {
            return Err(EvidenceError::Senders);
        }
        if first.sequence != second.sequence || first.epoch != second.epoch {
            return Err(EvidenceError::Sequences);
        }
        let digests = [order_digest(genesis, first), order_digest(genesis, second)];
        if digests[0] == digests[1] {
            return Err(EvidenceError::SameOrder);
        }
        if !meshpay_crypto::verify(&first.sender, &digests[0].0, &self.first.signature) {
            return Err(EvidenceError::Signature("first"));
        }
        if !meshpay_crypto::verify(&second.sender, &digests[1].0, &self.second.signature) {
            return Err(EvidenceError::Signature("second"));
        }
        Ok(())
    }
}
