//! A test network: its genesis, and orders, votes and certificates as any client could make them, good and bad.
//!
//! Accounts have deterministic keys, so a failed run can be looked at again. So have *puppets*: members of the committee whose
//! keys the test holds, so that it can make certificates without their daemons.

use anyhow::{Context, Result};
use meshpay_crypto::SigningKey;
use meshpay_protocol::Rules;
use meshpay_wire::{
    CertificateHead, CertificateView, Digest, OPERATION_TRANSFER, OrderBody, PublicKey, Signature, SignedOrder,
    order_digest, truncate_sha512, vote_digest,
};
use zerocopy::IntoBytes;

/// The token that tests use where it does not matter which.
pub const EURO: u32 = 1;
/// Another token, for tests of balances that must not mix.
pub const LITRE: u32 = 2;

/// Somebody with a key: a payer, a payee, a puppet.
pub struct Actor {
    key: SigningKey,
    /// Its public key, which is also its account.
    pub public: PublicKey,
}

impl Actor {
    /// The account of a number; always the same.
    pub fn account(number: usize) -> Self {
        Self::from_text(&format!("meshpay test account {number}"))
    }

    /// The puppet of a committee place; always the same.
    pub fn puppet(place: usize) -> Self {
        Self::from_text(&format!("meshpay test puppet {place}"))
    }

    /// An account whose shard is the one wanted, so that a test chooses which worker owns it.
    pub fn in_shard(shard: u8, number: usize) -> Self {
        (0..)
            .map(|attempt| Self::from_text(&format!("meshpay test account {number} in shard {shard}, {attempt}")))
            .find(|actor| actor.public[0] == shard)
            .unwrap_or_else(|| Self::account(number))
    }

    fn from_text(text: &str) -> Self {
        let key = SigningKey::from_seed(&truncate_sha512(text.as_bytes()));
        let public = key.public_key();
        Self { key, public }
    }

    /// Signs whatever it is given.
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.key.sign(message)
    }
}

/// The body of an ordinary transfer of euros, without expiry, in epoch 0.
pub fn transfer(sender: &Actor, recipient: &PublicKey, sequence: u64, amount: u64) -> OrderBody {
    OrderBody {
        sender: sender.public,
        sequence: sequence.into(),
        expiry_ms: 0.into(),
        token: EURO.into(),
        epoch: 0.into(),
        operation: OPERATION_TRANSFER,
        reserved: [0; 7],
        recipient: *recipient,
        amount: amount.into(),
        memo: [0; 32],
    }
}

/// A certificate that owns its parts, which may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The order.
    pub order: SignedOrder,
    /// Bit i for committee place i.
    pub signers: u32,
    /// By rising place.
    pub signatures: Vec<Signature>,
}

impl Certificate {
    /// Puts votes together, in any order of places.
    pub fn assemble(order: SignedOrder, votes: &[(usize, Signature)]) -> Self {
        let mut votes = votes.to_vec();
        votes.sort_by_key(|(place, _)| *place);
        let signers = votes.iter().fold(0, |bits, (place, _)| bits | 1 << place);
        Self { order, signers, signatures: votes.into_iter().map(|(_, signature)| signature).collect() }
    }

    /// Copies what came over the wire.
    pub fn from_view(view: &CertificateView<'_>) -> Self {
        Self { order: view.head.order, signers: view.head.signers.get(), signatures: view.signatures.to_vec() }
    }

    /// Its bytes, as in a confirmation request or a file.
    pub fn bytes(&self) -> Vec<u8> {
        let head = CertificateHead { order: self.order, signers: self.signers.into(), reserved: 0.into() };
        [head.as_bytes(), self.signatures.as_bytes()].concat()
    }
}

/// A running or imagined network.
#[derive(Clone)]
pub struct Network {
    /// What its genesis sets.
    pub rules: Rules,
}

impl Network {
    /// Digest of an order in this network.
    pub fn digest(&self, body: &OrderBody) -> Digest {
        order_digest(&self.rules.genesis, body)
    }

    /// Signs an order.
    pub fn sign(&self, body: OrderBody, sender: &Actor) -> SignedOrder {
        SignedOrder { body, signature: sender.sign(&self.digest(&body).0) }
    }

    /// A signed transfer of euros.
    pub fn order(&self, sender: &Actor, recipient: &Actor, sequence: u64, amount: u64) -> SignedOrder {
        self.sign(transfer(sender, &recipient.public, sequence, amount), sender)
    }

    /// What an authority signs to vote for an order.
    pub fn vote_message(&self, body: &OrderBody) -> [u8; 32] {
        vote_digest(&self.rules.genesis, body.epoch.get(), &self.digest(body))
    }

    /// A puppet's vote.
    pub fn puppet_vote(&self, place: usize, body: &OrderBody) -> (usize, Signature) {
        (place, Actor::puppet(place).sign(&self.vote_message(body)))
    }

    /// A certificate signed by these puppets.
    pub fn certificate(&self, order: SignedOrder, puppets: &[usize]) -> Certificate {
        let votes: Vec<_> = puppets.iter().map(|place| self.puppet_vote(*place, &order.body)).collect();
        Certificate::assemble(order, &votes)
    }

    /// Whether a vote is good: a member's signature over this order.
    pub fn is_vote_of(&self, place: usize, body: &OrderBody, signature: &Signature) -> bool {
        let member = self.rules.committee.members().get(place);
        member.is_some_and(|member| meshpay_crypto::verify(&member.key, &self.vote_message(body), signature))
    }
}

/// Reads 64 hex digits.
///
/// # Errors
/// If they are none.
pub fn parse_key(text: &str) -> Result<PublicKey> {
    let mut key = [0; 32];
    hex::decode_to_slice(text.trim(), &mut key).with_context(|| format!("{text:?} is no key in hex"))?;
    Ok(key)
}
