//! Payments signed beforehand, with the answers that they must get.
//!
//! Votes are deterministic (RFC 8032) and the bench has made all keys, so the exact bytes of every authority's vote are known
//! before the payment is sent. Comparing them is stricter than verifying a signature, and cheap enough for one core.

use meshpay_crypto::{SigningKey, sign_many};
use meshpay_protocol::Rules;
use meshpay_wire::{Digest, OPERATION_TRANSFER, OrderBody, Signature, SignedOrder, order_digest, vote_digest};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use rayon::prelude::*;
use zerocopy::FromZeros as _;

use super::uniform::below;
use super::{Ledger, TOKEN, Transfer, TransferSource, Wallets};

/// No payment.
pub const NONE: u32 = u32::MAX;

/// Payments that one thread signs at a time.
const CHUNK: usize = 256;

/// One payment, ready to be sent.
#[derive(Clone, Debug)]
pub struct Payment {
    /// Who pays whom.
    pub transfer: Transfer,
    /// The signed order.
    pub order: SignedOrder,
    /// Its digest.
    pub digest: Digest,
    /// The same sender's next payment in this batch, or [`NONE`]: it must wait until this one is settled.
    pub following: u32,
    /// The same sender's payment before this one in this batch, or [`NONE`].
    pub previous: u32,
    /// Signers of the certificate, where they are chosen beforehand; else 0.
    pub signers: u32,
}

/// Who signs a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// A minimal quorum drawn at random for every payment: what real clients produce on average. Only the authority at place 0
    /// is really asked; the others' votes are signed beforehand.
    RandomQuorum,
    /// Whoever votes first.
    FirstVotes,
}

/// All that is needed to sign.
#[derive(Clone, Copy)]
pub struct SigningParty<'a> {
    /// The network's rules.
    pub rules: &'a Rules,
    /// The committee's keys by place.
    pub committee: &'a [SigningKey],
    /// The accounts' keys.
    pub wallets: &'a Wallets,
    /// Who signs certificates.
    pub certificates: Certificates,
}

/// Signed payments and the votes for them.
pub struct Batch {
    payments: Vec<Payment>,
    votes: Vec<Signature>,
    committee: usize,
}

impl Batch {
    /// Signs up to `count` payments on all cores, fewer if the source ends or its senders are blocked. `signed` is called with
    /// every so many that are done.
    pub fn sign(
        party: SigningParty<'_>,
        source: &mut dyn TransferSource,
        ledger: &mut Ledger,
        count: usize,
        seed: u64,
        signed: impl Fn(u64) + Sync,
    ) -> Self {
        let mut payments = take_payments(party, source, ledger, count, seed);
        let committee = party.committee.len();
        let mut votes = vec![[0; 64]; payments.len() * committee];
        payments.par_chunks_mut(CHUNK).zip(votes.par_chunks_mut(CHUNK * committee)).for_each(|(payments, votes)| {
            sign_chunk(party, payments, votes);
            signed(payments.len() as u64);
        });
        Self { payments, votes, committee }
    }

    /// The payments.
    pub fn payments(&self) -> &[Payment] {
        &self.payments
    }

    /// How many payments there are.
    pub fn len(&self) -> usize {
        self.payments.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.payments.is_empty()
    }

    /// The vote that the authority at `place` must give for payment `at`. Zeros where it was not signed because nobody will use it.
    pub fn vote(&self, at: usize, place: usize) -> &Signature {
        &self.votes[at * self.committee + place]
    }
}

/// Draws transfers, gives each its sequence, and links the payments of one sender.
fn take_payments(
    party: SigningParty<'_>,
    source: &mut dyn TransferSource,
    ledger: &mut Ledger,
    count: usize,
    seed: u64,
) -> Vec<Payment> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut payments: Vec<Payment> = Vec::with_capacity(count);
    let mut last_of = vec![NONE; party.wallets.count()];
    // Blocked senders are few; should nearly all be blocked, the batch is short rather than the search endless.
    let mut tries = count * 2 + 1000;
    while payments.len() < count && tries > 0 {
        tries -= 1;
        let Some(transfer) = source.next_transfer() else { break };
        let Some(sequence) = ledger.take_sequence(transfer.sender) else { continue };
        let at = payments.len() as u32;
        let last = std::mem::replace(&mut last_of[transfer.sender as usize], at);
        if last != NONE {
            payments[last as usize].following = at;
        }
        let signers = match party.certificates {
            Certificates::RandomQuorum => random_quorum(party.rules, &mut random),
            Certificates::FirstVotes => 0,
        };
        let order = unsigned_order(party, &transfer, sequence);
        let digest = Digest::default();
        payments.push(Payment { transfer, order, digest, following: NONE, previous: last, signers });
    }
    payments
}

fn unsigned_order(party: SigningParty<'_>, transfer: &Transfer, sequence: u64) -> SignedOrder {
    let mut body = OrderBody::new_zeroed();
    body.sender = *party.wallets.public_key(transfer.sender);
    body.sequence = sequence.into();
    body.token = TOKEN.into();
    body.epoch = party.rules.epoch.into();
    body.operation = OPERATION_TRANSFER;
    body.recipient = *party.wallets.public_key(transfer.recipient);
    body.amount = transfer.amount.into();
    SignedOrder { body, signature: [0; 64] }
}

/// Members in random order, taken until they are a quorum, and then made minimal.
fn random_quorum(rules: &Rules, random: &mut ChaCha8Rng) -> u32 {
    let mut left: Vec<usize> = (0..rules.committee.members().len()).collect();
    let mut signers = 0u32;
    while !left.is_empty() && !rules.committee.is_quorum(signers) {
        signers |= 1 << left.swap_remove(below(random, left.len() as u64) as usize);
    }
    rules.committee.minimal_quorum_of(signers).unwrap_or(signers)
}

fn sign_chunk(party: SigningParty<'_>, payments: &mut [Payment], votes: &mut [Signature]) {
    let rules = party.rules;
    for payment in payments.iter_mut() {
        payment.digest = order_digest(&rules.genesis, &payment.order.body);
        payment.order.signature = party.wallets.key(payment.transfer.sender).sign(&payment.digest.0);
    }
    for (place, key) in party.committee.iter().enumerate() {
        // In `single` the one real authority always votes; of the others only what a certificate will hold is signed.
        let wanted = |payment: &Payment| payment.signers == 0 || place == 0 || payment.signers >> place & 1 == 1;
        let places: Vec<usize> = (0..payments.len()).filter(|at| wanted(&payments[*at])).collect();
        let messages: Vec<[u8; 32]> =
            places.iter().map(|at| vote_digest(&rules.genesis, rules.epoch, &payments[*at].digest)).collect();
        let mut signatures = vec![[0; 64]; messages.len()];
        sign_many(key, &messages, &mut signatures);
        for (at, signature) in places.iter().zip(signatures) {
            votes[at * party.committee.len() + place] = signature;
        }
    }
}
