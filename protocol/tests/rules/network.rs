//! A committee, wallets and their signatures. All keys come from seeds of one repeated byte, so every run is the same.

use meshpay_crypto::SigningKey;
use meshpay_protocol::genesis::{MemberEntry, allocate};
use meshpay_protocol::{
    Allocation, Applied, Authority, Ed25519Signatures, Genesis, MemoryAccounts, Refusal, Rules, StateDigest,
};
use meshpay_wire::{
    CertificateHead, CertificateView, Digest, OPERATION_TRANSFER, OrderBody, PublicKey, RefusalCode, Signature,
    SignedOrder, Vote, order_digest, vote_digest,
};
use zerocopy::IntoBytes;

/// A token that every wallet of the genesis holds.
pub const EURO: u32 = 1;
/// A token that Alice alone holds.
pub const VOUCHER: u32 = 7;
/// Least amount of an account's first credit.
pub const MINIMUM_FIRST_CREDIT: u64 = 10;
/// Wall time of every test that does not choose its own.
pub const NOW_MS: u64 = 1_800_000_000_000;

/// Seed bytes of wallets; the first two have allocations.
pub const ALICE: u8 = 0xa1;
pub const BOB: u8 = 0xb0;
pub const CAROL: u8 = 0xca;
/// Nobody has ever paid him.
pub const STRANGER: u8 = 0x57;

pub const ALICE_EUROS: u64 = 1_000;
pub const ALICE_VOUCHERS: u64 = 50;
pub const BOB_EUROS: u64 = 500;

pub type TestAuthority = Authority<MemoryAccounts, Ed25519Signatures>;

/// The key of a seed byte.
pub fn wallet(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// The account of a seed byte.
pub fn account(seed: u8) -> PublicKey {
    wallet(seed).public_key()
}

/// The key of the authority at a place.
pub fn authority_key(place: usize) -> SigningKey {
    SigningKey::from_seed(&[place as u8 + 1; 32])
}

/// What all members have agreed on, and their keys.
pub struct Network {
    pub rules: Rules,
    pub allocations: Vec<Allocation>,
    pub members: Vec<SigningKey>,
}

impl Network {
    /// Four authorities of weight 1.
    pub fn four() -> Self {
        Self::weighted(&[1; 4])
    }

    /// Authorities with these weights.
    pub fn weighted(weights: &[u32]) -> Self {
        Self::named("test", 0, weights)
    }

    /// As [`Network::weighted`], with a name and a first epoch, hence another genesis.
    pub fn named(name: &str, epoch: u32, weights: &[u32]) -> Self {
        let allocations = vec![
            Allocation { account: account(ALICE), token: EURO, amount: ALICE_EUROS },
            Allocation { account: account(ALICE), token: VOUCHER, amount: ALICE_VOUCHERS },
            Allocation { account: account(BOB), token: EURO, amount: BOB_EUROS },
        ];
        let tokens = vec![(EURO, "EUR".to_owned(), 2), (VOUCHER, "MEAL".to_owned(), 0)];
        let committee = weights.iter().enumerate().map(|(place, weight)| member(place, *weight)).collect();
        let genesis =
            Genesis::new(name, epoch, MINIMUM_FIRST_CREDIT, tokens, committee, &allocations).expect("a genesis");
        let members = (0..weights.len()).map(authority_key).collect();
        Self { rules: genesis.rules().expect("its rules"), allocations, members }
    }

    /// The authority at a place, with the accounts of the genesis.
    pub fn authority(&self, place: usize) -> TestAuthority {
        let mut accounts = MemoryAccounts::default();
        allocate(&mut accounts, &self.allocations).expect("memory has room");
        let signatures = Ed25519Signatures::new(&self.rules.committee, authority_key(place)).expect("good keys");
        Authority::new(self.rules.clone(), accounts, signatures, place as u8)
    }

    pub fn digest(&self, body: &OrderBody) -> Digest {
        order_digest(&self.rules.genesis, body)
    }

    /// An order signed by the wallet of `seed`.
    pub fn sign(&self, seed: u8, body: OrderBody) -> SignedOrder {
        SignedOrder { body, signature: wallet(seed).sign(&self.digest(&body).0) }
    }

    /// A payment in the epoch of this network.
    pub fn pay(&self, from: u8, sequence: u64, to: u8, token: u32, amount: u64) -> SignedOrder {
        self.sign(from, OrderBody { epoch: self.rules.epoch.into(), ..body(from, sequence, to, token, amount) })
    }

    /// A vote of a member for an order, whatever the member's authority thinks of it.
    pub fn vote(&self, place: usize, order: &SignedOrder) -> Signature {
        let message = vote_digest(&self.rules.genesis, self.rules.epoch, &self.digest(&order.body));
        self.members[place].sign(&message)
    }

    /// A certificate with the votes of these members.
    pub fn certify(&self, order: &SignedOrder, places: &[usize]) -> Certificate {
        let votes: Vec<_> = places.iter().map(|place| (*place, self.vote(*place, order))).collect();
        Certificate::of(order, &votes)
    }

    /// A payment with the votes of the first three members.
    pub fn paid(&self, from: u8, sequence: u64, to: u8, token: u32, amount: u64) -> Certificate {
        self.certify(&self.pay(from, sequence, to, token, amount), &[0, 1, 2])
    }
}

/// A member with the key of its place.
pub fn member(place: usize, weight: u32) -> MemberEntry {
    let key = authority_key(place).public_key();
    MemberEntry { name: format!("authority-{place}"), key: hex::encode(key), weight, address: None }
}

/// The body of a payment in epoch 0, without expiry.
pub fn body(from: u8, sequence: u64, to: u8, token: u32, amount: u64) -> OrderBody {
    OrderBody {
        sender: account(from),
        sequence: sequence.into(),
        expiry_ms: 0.into(),
        token: token.into(),
        epoch: 0.into(),
        operation: OPERATION_TRANSFER,
        reserved: [0; 7],
        recipient: account(to),
        amount: amount.into(),
        memo: [0; 32],
    }
}

/// The bytes of a certificate.
#[derive(Clone)]
pub struct Certificate(Vec<u8>);

impl Certificate {
    /// A certificate with these votes, which must come by rising place.
    pub fn of(order: &SignedOrder, votes: &[(usize, Signature)]) -> Self {
        let signers = votes.iter().fold(0u32, |signers, (place, _)| signers | 1 << place);
        let signatures: Vec<_> = votes.iter().map(|(_, signature)| *signature).collect();
        Self::with_bits(order, signers, &signatures)
    }

    /// A certificate whose bitmap is as given.
    pub fn with_bits(order: &SignedOrder, signers: u32, signatures: &[Signature]) -> Self {
        let head = CertificateHead { order: *order, signers: signers.into(), reserved: 0.into() };
        Self([head.as_bytes(), signatures.as_bytes()].concat())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn view(&self) -> CertificateView<'_> {
        CertificateView::parse(&self.0).expect("a well-formed certificate").0
    }
}

/// What tests ask of an authority.
pub trait Ask {
    /// Verifies an order and votes for it, as the daemon does with a request. An old sequence counts as executed before.
    fn order(&mut self, order: &SignedOrder) -> Result<Vote, Refusal>;
    /// As [`Ask::order`], at a time.
    fn order_at(&mut self, order: &SignedOrder, now_ms: u64) -> Result<Vote, Refusal>;
    /// Verifies a certificate and applies it.
    fn certificate(&mut self, certificate: &Certificate) -> Result<Applied, Refusal>;
    fn euros(&self, seed: u8) -> i128;
    fn vouchers(&self, seed: u8) -> i128;
    fn next_sequence(&self, seed: u8) -> u64;
    fn is_locked(&self, seed: u8) -> bool;
    fn state(&self) -> [u8; 32];
}

impl Ask for TestAuthority {
    fn order(&mut self, order: &SignedOrder) -> Result<Vote, Refusal> {
        self.order_at(order, NOW_MS)
    }
    fn order_at(&mut self, order: &SignedOrder, now_ms: u64) -> Result<Vote, Refusal> {
        let verified = self.verify_transfer(order, now_ms)?.expect("the sequence was executed before");
        self.sign_vote(&verified, now_ms)
    }
    fn certificate(&mut self, certificate: &Certificate) -> Result<Applied, Refusal> {
        match self.verify_certificate(certificate.view())? {
            Some(verified) => self.apply_certificate(&verified),
            None => Ok(Applied::Before),
        }
    }
    fn euros(&self, seed: u8) -> i128 {
        meshpay_protocol::Accounts::balance(&self.accounts, &account(seed), EURO)
    }
    fn vouchers(&self, seed: u8) -> i128 {
        meshpay_protocol::Accounts::balance(&self.accounts, &account(seed), VOUCHER)
    }
    fn next_sequence(&self, seed: u8) -> u64 {
        meshpay_protocol::Accounts::account(&self.accounts, &account(seed)).map_or(0, |a| a.next_sequence.get())
    }
    fn is_locked(&self, seed: u8) -> bool {
        meshpay_protocol::Accounts::account(&self.accounts, &account(seed)).is_some_and(|a| a.is_locked())
    }
    fn state(&self) -> [u8; 32] {
        state_of(&self.accounts)
    }
}

/// Digest of all slots.
pub fn state_of(accounts: &MemoryAccounts) -> [u8; 32] {
    let mut digest = StateDigest::default();
    accounts.slots().iter().for_each(|slot| digest.add(slot));
    digest.bytes()
}

/// The code of a refusal that must have come.
pub fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> RefusalCode {
    result.expect_err("this must be refused").code
}
