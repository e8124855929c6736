//! A committee of real protocol authorities in this process, honest and otherwise, for the wallet's tests.
#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy knows that of test functions only")]

pub mod authority;
pub mod network;
pub mod udp;

use std::sync::Arc;

use authority::{Behaviour, TestAuthority};
use meshpay_client::{Certificate, Verifier, VoteCollector};
use meshpay_crypto::SigningKey;
use meshpay_protocol::genesis::{Allocation, MemberEntry};
use meshpay_protocol::{Ed25519Signatures, Genesis};
use meshpay_wire::SignedOrder;

/// The one token of test networks.
pub const EUR: u32 = 1;

/// Least amount of an account's first credit in test networks.
pub const MINIMUM_FIRST_CREDIT: u64 = 50;

/// A network for tests: keys of authorities and accounts follow from small numbers.
pub struct TestCommittee {
    pub genesis: Genesis,
    pub allocations: Vec<Allocation>,
    pub verifier: Arc<Verifier>,
    pub authorities: Vec<TestAuthority>,
}

/// The key of the account with this number.
pub fn account_key(number: u8) -> SigningKey {
    SigningKey::from_seed(&account_seed(number))
}

/// Its seed.
pub fn account_seed(number: u8) -> [u8; 32] {
    [number.wrapping_add(100); 32]
}

/// The public key of the account with this number.
pub fn account(number: u8) -> [u8; 32] {
    account_key(number).public_key()
}

/// The key of the authority at this place.
pub fn authority_key(place: usize) -> SigningKey {
    SigningKey::from_seed(&[place as u8 + 1; 32])
}

impl TestCommittee {
    /// A committee of equals; the accounts 0 to 3 hold 100.00 EUR each.
    pub fn new(authorities: usize) -> Self {
        Self::with_weights(&vec![1; authorities])
    }

    /// As [`TestCommittee::new`], with weights.
    pub fn with_weights(weights: &[u32]) -> Self {
        let allocations: Vec<Allocation> =
            (0..4).map(|number| Allocation { account: account(number), token: EUR, amount: 10_000 }).collect();
        let authorities = weights.len();
        let members = (0..authorities)
            .map(|place| MemberEntry {
                name: format!("authority-{place}"),
                key: hex::encode(authority_key(place).public_key()),
                weight: weights[place],
                address: None,
            })
            .collect();
        let genesis =
            Genesis::new("test", 0, MINIMUM_FIRST_CREDIT, vec![(EUR, "EUR".to_owned(), 2)], members, &allocations)
                .unwrap();
        let verifier = Arc::new(Verifier::new(&genesis).unwrap());
        let authorities = (0..authorities)
            .map(|place| {
                let rules = genesis.rules().unwrap();
                let signatures = Ed25519Signatures::new(&rules.committee, authority_key(place)).unwrap();
                TestAuthority::new(rules, signatures, place as u8, &allocations)
            })
            .collect();
        Self { genesis, allocations, verifier, authorities }
    }

    /// A certificate for an order, voted for by all and executed by nobody.
    pub fn certify(&mut self, order: &SignedOrder) -> Certificate {
        let mut votes = VoteCollector::new(self.verifier.clone(), *order);
        for authority in &mut self.authorities {
            votes.add(&authority.vote(order)).unwrap();
        }
        votes.certificate().unwrap()
    }

    pub fn behave(mut self, place: usize, behaviour: Behaviour) -> Self {
        self.authorities[place].behaviour = behaviour;
        self
    }
}
