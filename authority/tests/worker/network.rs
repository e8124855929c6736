//! A committee of four, wallets, and requests as they come over the wire. All keys come from small numbers, so every run is the same.

use std::cell::Cell;
use std::sync::Arc;

use meshpay_crypto::SigningKey;
use meshpay_protocol::genesis::MemberEntry;
use meshpay_protocol::{
    Allocation, Ed25519Signatures, Genesis, Rules, SenderCheck, Signatures as SignaturePort, VoteCheck,
};
use meshpay_wire::{
    AccountAnswer, CertificateHead, CertificateLinks, CertificateQuery, CertificateView, DIRECTION_CREDIT,
    DIRECTION_DEBIT, Digest, Envelope, Executed, Header, Message, OPERATION_TRANSFER, OrderBody, PublicKey,
    RefusalCode, Signature, SignedOrder, Vote, account_query, certificate_query, confirmation_request, messages,
    order_digest, transfer_request, vote_digest,
};
use zerocopy::IntoBytes;

pub const EURO: u32 = 1;
pub const VOUCHER: u32 = 7;
pub const MINIMUM_FIRST_CREDIT: u64 = 10;
pub const NOW_MS: u64 = 1_800_000_000_000;
/// What each funded wallet holds of the first token.
pub const FUNDS: u64 = 1_000_000;
/// This authority's place in the committee.
pub const PLACE: usize = 0;

/// How everybody signs: with Ed25519, or with a hash that anybody could compute, where signatures are not the subject and many are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Real,
    Cheap,
}

fn cheap(key: &PublicKey, message: &[u8]) -> Signature {
    let mut signature = [0; 64];
    let hash = blake3::keyed_hash(key, message);
    signature[..32].copy_from_slice(hash.as_bytes());
    signature[32..].copy_from_slice(hash.as_bytes());
    signature
}

/// The signature port of a worker under test.
pub enum Signatures {
    Real(Box<Ed25519Signatures>),
    Cheap { committee: Vec<PublicKey> },
}

impl SignaturePort for Signatures {
    fn verify_senders(&mut self, checks: &[SenderCheck<'_>], valid: &mut [bool]) {
        match self {
            Signatures::Real(real) => real.verify_senders(checks, valid),
            Signatures::Cheap { .. } => {
                assert_eq!(checks.len(), valid.len());
                for (check, valid) in checks.iter().zip(valid) {
                    *valid = cheap(check.key, check.message) == *check.signature;
                }
            }
        }
    }

    fn verify_votes(&mut self, checks: &[VoteCheck<'_>], valid: &mut [bool]) {
        match self {
            Signatures::Real(real) => real.verify_votes(checks, valid),
            Signatures::Cheap { committee } => {
                assert_eq!(checks.len(), valid.len());
                for (check, valid) in checks.iter().zip(valid) {
                    *valid = cheap(&committee[check.place], check.message) == *check.signature;
                }
            }
        }
    }

    fn sign_votes(&mut self, messages: &[[u8; 32]], signatures: &mut [Signature]) {
        match self {
            Signatures::Real(real) => real.sign_votes(messages, signatures),
            Signatures::Cheap { committee } => {
                for (message, signature) in messages.iter().zip(signatures) {
                    *signature = cheap(&committee[PLACE], message);
                }
            }
        }
    }
}

/// A wallet: a key, and the worker that it wants to belong to is found by its first byte.
#[derive(Clone)]
pub struct Wallet {
    scheme: Scheme,
    seed: [u8; 32],
    pub key: PublicKey,
}

impl Wallet {
    /// Wallet `n` of a shard.
    pub fn in_shard(scheme: Scheme, shard: u8, n: u32) -> Self {
        match scheme {
            Scheme::Cheap => {
                let mut key = *blake3::hash(&[&b"wallet"[..], &[shard], &n.to_le_bytes()].concat()).as_bytes();
                key[0] = shard;
                Self { scheme, seed: key, key }
            }
            Scheme::Real => {
                let mut number = 0u32;
                loop {
                    let seed =
                        *blake3::hash(&[&b"seed"[..], &[shard], &n.to_le_bytes(), &number.to_le_bytes()].concat())
                            .as_bytes();
                    let key = SigningKey::from_seed(&seed).public_key();
                    // Enough for the workers of a test; all of the byte would take 256 tries.
                    if key[0] & 3 == shard & 3 {
                        return Self { scheme, seed, key };
                    }
                    number += 1;
                }
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Signature {
        match self.scheme {
            Scheme::Cheap => cheap(&self.key, message),
            Scheme::Real => SigningKey::from_seed(&self.seed).sign(message),
        }
    }
}

fn authority_key(place: usize) -> SigningKey {
    SigningKey::from_seed(&[place as u8 + 1; 32])
}

/// What all have agreed on.
pub struct Network {
    pub scheme: Scheme,
    pub rules: Arc<Rules>,
    pub allocations: Vec<Allocation>,
    request_ids: Cell<u64>,
}

impl Network {
    /// A network in which these wallets hold [`FUNDS`] of the first token, and the first of them as much of the second.
    pub fn new(scheme: Scheme, funded: &[&Wallet]) -> Self {
        Self::with_tokens(scheme, funded, 2)
    }

    /// As [`Network::new`], with one token or both.
    pub fn with_tokens(scheme: Scheme, funded: &[&Wallet], count: usize) -> Self {
        let mut allocations: Vec<Allocation> =
            funded.iter().map(|wallet| Allocation { account: wallet.key, token: EURO, amount: FUNDS }).collect();
        let mut tokens = vec![(EURO, "EUR".to_owned(), 2)];
        if count == 2 {
            allocations.push(Allocation { account: funded[0].key, token: VOUCHER, amount: FUNDS });
            tokens.push((VOUCHER, "MEAL".to_owned(), 0));
        }
        let committee = (0..4)
            .map(|place| MemberEntry {
                name: format!("authority-{place}"),
                key: hex::encode(authority_key(place).public_key()),
                weight: 1,
                address: None,
            })
            .collect();
        let genesis = Genesis::new("test", 0, MINIMUM_FIRST_CREDIT, tokens, committee, &allocations).unwrap();
        Self { scheme, rules: Arc::new(genesis.rules().unwrap()), allocations, request_ids: Cell::new(1) }
    }

    /// The signature port of our authority.
    pub fn signatures(&self) -> Signatures {
        match self.scheme {
            Scheme::Real => {
                Signatures::Real(Box::new(Ed25519Signatures::new(&self.rules.committee, authority_key(PLACE)).unwrap()))
            }
            Scheme::Cheap => Signatures::Cheap {
                committee: self.rules.committee.members().iter().map(|member| member.key).collect(),
            },
        }
    }

    /// Our authority's public key.
    pub fn authority(&self) -> PublicKey {
        authority_key(PLACE).public_key()
    }

    pub fn digest(&self, order: &SignedOrder) -> Digest {
        order_digest(&self.rules.genesis, &order.body)
    }

    pub fn sign(&self, sender: &Wallet, body: OrderBody) -> SignedOrder {
        SignedOrder { body, signature: sender.sign(&order_digest(&self.rules.genesis, &body).0) }
    }

    /// A payment in the first token.
    pub fn pay(&self, sender: &Wallet, sequence: u64, to: &Wallet, amount: u64) -> SignedOrder {
        self.sign(sender, body(sender, sequence, to, amount))
    }

    /// A member's vote for an order, whatever that member's authority thinks of it.
    pub fn vote(&self, place: usize, order: &SignedOrder) -> Signature {
        let message = vote_digest(&self.rules.genesis, self.rules.epoch, &self.digest(order));
        match self.scheme {
            Scheme::Real => authority_key(place).sign(&message),
            Scheme::Cheap => cheap(&self.rules.committee.members()[place].key, &message),
        }
    }

    /// A certificate with the votes of these members, by rising place.
    pub fn certify(&self, order: &SignedOrder, places: &[usize]) -> Certificate {
        let signatures: Vec<_> = places.iter().map(|place| self.vote(*place, order)).collect();
        Certificate::of(order, places.iter().fold(0, |bits, place| bits | 1 << place), &signatures)
    }

    /// A certificate without our vote: it never shows us anything about ourselves.
    pub fn certified(&self, order: &SignedOrder) -> Certificate {
        self.certify(order, &[1, 2, 3])
    }

    /// A certified payment in the first token, without our vote.
    pub fn paid(&self, sender: &Wallet, sequence: u64, to: &Wallet, amount: u64) -> Certificate {
        self.certified(&self.pay(sender, sequence, to, amount))
    }

    fn envelope(&self) -> Envelope {
        let id = self.request_ids.get();
        self.request_ids.set(id + 1);
        Envelope {
            network: self.rules.network,
            epoch: self.rules.epoch,
            request_id: id.to_le_bytes(),
            return_token: [0; 8],
        }
    }

    /// A request for a vote, with a fresh request id as all requests here.
    pub fn order_request(&self, order: &SignedOrder) -> Vec<u8> {
        let mut buffer = vec![0; 1400];
        let length = transfer_request(&mut buffer, &self.envelope(), order, &self.digest(order));
        buffer.truncate(length);
        buffer
    }

    pub fn certificate_request(&self, certificate: &Certificate) -> Vec<u8> {
        let mut buffer = vec![0; 1400];
        let digest = self.digest(&certificate.view().head.order);
        let length = confirmation_request(&mut buffer, &self.envelope(), &certificate.view(), &digest);
        buffer.truncate(length);
        buffer
    }

    pub fn account_request(&self, account: &PublicKey, token: u32) -> Vec<u8> {
        let mut buffer = vec![0; 1400];
        let length = account_query(&mut buffer, &self.envelope(), account, token);
        buffer.truncate(length);
        buffer
    }

    /// Asks for the certificate with which an account paid at a sequence.
    pub fn debit_request(&self, account: &PublicKey, sequence: u64) -> Vec<u8> {
        self.history_request(account, sequence, DIRECTION_DEBIT, 0)
    }

    /// Asks for a certificate that paid an account.
    pub fn credit_request(&self, account: &PublicKey, locator: u64) -> Vec<u8> {
        self.history_request(account, 0, DIRECTION_CREDIT, locator)
    }

    fn history_request(&self, account: &PublicKey, sequence: u64, direction: u8, locator: u64) -> Vec<u8> {
        let mut buffer = vec![0; 1400];
        let query = CertificateQuery { direction, reserved: [0; 7], locator: locator.into() };
        let signers = self.rules.committee.largest_minimal_quorum();
        let length = certificate_query(&mut buffer, &self.envelope(), account, sequence, &query, signers);
        buffer.truncate(length);
        buffer
    }
}

/// The body of a payment in the first token, without expiry.
pub fn body(sender: &Wallet, sequence: u64, to: &Wallet, amount: u64) -> OrderBody {
    OrderBody {
        sender: sender.key,
        sequence: sequence.into(),
        expiry_ms: 0.into(),
        token: EURO.into(),
        epoch: 0.into(),
        operation: OPERATION_TRANSFER,
        reserved: [0; 7],
        recipient: to.key,
        amount: amount.into(),
        memo: [0; 32],
    }
}

/// The bytes of a certificate.
#[derive(Clone)]
pub struct Certificate(Vec<u8>);

impl Certificate {
    pub fn of(order: &SignedOrder, signers: u32, signatures: &[Signature]) -> Self {
        let head = CertificateHead { order: *order, signers: signers.into(), reserved: 0.into() };
        Self([head.as_bytes(), signatures.as_bytes()].concat())
    }

    pub fn view(&self) -> CertificateView<'_> {
        CertificateView::parse(&self.0).unwrap().0
    }
}

/// An answer, taken out of its datagram.
#[derive(Clone, Debug, PartialEq)]
pub enum Says {
    Vote(Vote),
    Executed(Executed),
    Account(AccountAnswer),
    Certificate(CertificateLinks, SignedOrder),
    Refused(RefusalCode, u64),
    Conflict(SignedOrder),
}

/// An answer with its header.
#[derive(Clone, Debug)]
pub struct Answer {
    pub header: Header,
    pub says: Says,
}

impl Answer {
    pub fn refusal(&self) -> RefusalCode {
        match self.says {
            Says::Refused(code, _) => code,
            ref other => panic!("expected a refusal, got {other:?}"),
        }
    }

    pub fn vote(&self) -> Vote {
        match self.says {
            Says::Vote(vote) => vote,
            ref other => panic!("expected a vote, got {other:?}"),
        }
    }

    pub fn executed(&self) -> Executed {
        match self.says {
            Says::Executed(executed) => executed,
            ref other => panic!("expected an execution, got {other:?}"),
        }
    }

    pub fn account(&self) -> AccountAnswer {
        match self.says {
            Says::Account(answer) => answer,
            ref other => panic!("expected an account, got {other:?}"),
        }
    }

    pub fn certificate(&self) -> (CertificateLinks, SignedOrder) {
        match self.says {
            Says::Certificate(links, order) => (links, order),
            ref other => panic!("expected a certificate, got {other:?}"),
        }
    }
}

/// The answers in a datagram; anything else is a failure.
pub fn answers(datagram: &[u8]) -> Vec<Answer> {
    messages(datagram)
        .map(|message| {
            let message = message.unwrap_or_else(|malformed| panic!("an answer is malformed: {malformed:?}"));
            let says = match message {
                Message::TransferResponse(_, vote) => Says::Vote(*vote),
                Message::ConfirmationResponse(_, executed) => Says::Executed(*executed),
                Message::AccountAnswer(_, answer) => Says::Account(*answer),
                Message::CertificateAnswer(_, links, certificate) => Says::Certificate(*links, certificate.head.order),
                Message::Refusal(_, _, Some(order)) => Says::Conflict(*order),
                Message::Refusal(_, body, None) => {
                    Says::Refused(RefusalCode::from_number(body.code.get()).unwrap(), body.sequence.get())
                }
                other => panic!("no answer: {other:?}"),
            };
            Answer { header: *message.header(), says }
        })
        .collect()
}
