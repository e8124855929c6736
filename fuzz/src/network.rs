//! A small network with signatures that cost next to nothing: whoever knows an account's public key can sign for it, and a fuzzer that
//! mutates bytes cannot guess one.

use meshpay_crypto::SigningKey;
use meshpay_protocol::genesis::MemberEntry;
use meshpay_protocol::{Allocation, Genesis, Rules, SenderCheck, Signatures, VoteCheck};
use meshpay_wire::{
    Digest, OPERATION_TRANSFER, OrderBody, PublicKey, Signature, SignedOrder, order_digest, vote_digest,
};
use std::sync::LazyLock;

/// Authorities, each of weight 1; one of them may lie.
pub const AUTHORITIES: usize = 4;
/// Wallets; the first two hold something at first.
pub const WALLETS: usize = 5;
/// Tokens by number.
pub const TOKENS: [u32; 2] = [1, 7];

/// What all have agreed on, made once: keys of a committee must be points of the curve.
pub static NETWORK: LazyLock<Network> = LazyLock::new(Network::new);

pub struct Network {
    pub rules: Rules,
    pub allocations: Vec<Allocation>,
    pub wallets: [PublicKey; WALLETS],
}

impl Network {
    fn new() -> Self {
        // Shards of both of two workers.
        let wallets = std::array::from_fn(|number| [0x10 + number as u8; 32]);
        let allocations = vec![
            Allocation { account: wallets[0], token: TOKENS[0], amount: 1_000 },
            Allocation { account: wallets[0], token: TOKENS[1], amount: 50 },
            Allocation { account: wallets[1], token: TOKENS[0], amount: 500 },
        ];
        let tokens = vec![(TOKENS[0], "EUR".to_owned(), 2), (TOKENS[1], "MEAL".to_owned(), 0)];
        let member = |place: usize| MemberEntry {
            name: format!("authority-{place}"),
            key: hex::encode(SigningKey::from_seed(&[place as u8 + 1; 32]).public_key()),
            weight: 1,
            address: None,
        };
        let committee = (0..AUTHORITIES).map(member).collect();
        let genesis = Genesis::new("fuzz", 0, 10, tokens, committee, &allocations).expect("a genesis");
        Self { rules: genesis.rules().expect("its rules"), allocations, wallets }
    }

    pub fn digest(&self, body: &OrderBody) -> Digest {
        order_digest(&self.rules.genesis, body)
    }

    pub fn vote_digest(&self, order: &Digest) -> [u8; 32] {
        vote_digest(&self.rules.genesis, self.rules.epoch, order)
    }

    pub fn key_of(&self, place: usize) -> &PublicKey {
        &self.rules.committee.members()[place].key
    }

    /// A vote of a member, whatever its authority thinks of it.
    pub fn vote(&self, place: usize, order: &Digest) -> Signature {
        sign(self.key_of(place), &self.vote_digest(order))
    }

    /// A signed payment between wallets, by number.
    pub fn pay(&self, from: usize, sequence: u64, to: usize, token: u32, amount: u64) -> SignedOrder {
        let body = OrderBody {
            sender: self.wallets[from],
            sequence: sequence.into(),
            expiry_ms: 0.into(),
            token: token.into(),
            epoch: self.rules.epoch.into(),
            operation: OPERATION_TRANSFER,
            reserved: [0; 7],
            recipient: self.wallets[to],
            amount: amount.into(),
            memo: [0; 32],
        };
        SignedOrder { body, signature: sign(&body.sender, &self.digest(&body).0) }
    }
}

/// The signature of a public key's owner: a keyed hash.
pub fn sign(key: &PublicKey, message: &[u8; 32]) -> Signature {
    let mut signature = [0; 64];
    blake3::Hasher::new_keyed(key).update(message).finalize_xof().fill(&mut signature);
    signature
}

/// The signature port of the authority at a place.
pub struct Hashes {
    pub place: usize,
}

impl Signatures for Hashes {
    fn verify_senders(&mut self, checks: &[SenderCheck<'_>], valid: &mut [bool]) {
        for (check, valid) in checks.iter().zip(valid) {
            *valid = sign(check.key, check.message) == *check.signature;
        }
    }

    fn verify_votes(&mut self, checks: &[VoteCheck<'_>], valid: &mut [bool]) {
        for (check, valid) in checks.iter().zip(valid) {
            *valid = sign(NETWORK.key_of(check.place), check.message) == *check.signature;
        }
    }

    fn sign_votes(&mut self, messages: &[[u8; 32]], signatures: &mut [Signature]) {
        for (message, signature) in messages.iter().zip(signatures) {
            *signature = sign(NETWORK.key_of(self.place), message);
        }
    }
}
