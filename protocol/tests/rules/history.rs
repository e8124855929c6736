//! The ladder of [`ExecutionHead::debit_links`]: any old sequence of an account is found within the bound that its doc states.

use meshpay_protocol::account::{DEBIT_LEVELS, DEBIT_STRIDE};
use meshpay_protocol::record::{ExecutionHead, FOREIGN_CREDIT};
use meshpay_protocol::{
    Accounts, Ed25519Signatures, MemoryAccounts, PendingCertificate, Signatures, apply, verify_certificates,
};
use meshpay_protocol::{SenderCheck, VoteCheck};
use meshpay_wire::{Signature, vote_digest};
use std::collections::HashMap;

use crate::network::*;

/// Takes every signature for good: this file is about links, and signs tens of thousands of payments.
struct Credulous;

impl Signatures for Credulous {
    fn verify_senders(&mut self, _checks: &[SenderCheck<'_>], valid: &mut [bool]) {
        valid.fill(true);
    }
    fn verify_votes(&mut self, _checks: &[VoteCheck<'_>], valid: &mut [bool]) {
        valid.fill(true);
    }
    fn sign_votes(&mut self, _messages: &[[u8; 32]], _signatures: &mut [Signature]) {}
}

/// Executes payments of Alice and keeps the head of each record by its position.
struct Ledger {
    network: Network,
    accounts: MemoryAccounts,
    heads: HashMap<u64, (u64, ExecutionHead)>,
    position: u64,
}

impl Ledger {
    fn new() -> Self {
        let network = Network::four();
        let mut accounts = MemoryAccounts::default();
        meshpay_protocol::genesis::allocate(&mut accounts, &network.allocations).expect("memory has room");
        Self { network, accounts, heads: HashMap::new(), position: 100 }
    }

    fn execute(&mut self, from: u8, sequence: u64, to: u8) {
        let body = body(from, sequence, to, EURO, 1);
        let digest = self.network.digest(&body);
        let order = meshpay_wire::SignedOrder { body, signature: [0; 64] };
        let certificate = Certificate::with_bits(&order, 0b111, &[[0; 64]; 3]);
        let pending = PendingCertificate {
            certificate: certificate.view(),
            digest,
            vote_digest: vote_digest(&self.network.rules.genesis, 0, &digest),
            sender_known: false,
            own_vote: None,
        };
        self.position += 7;
        let mut head = None;
        verify_certificates(&self.network.rules, &mut Credulous, &[pending], |_, verified| {
            head = Some(apply::execution_head(&self.accounts, &verified.expect("all are good")));
        });
        let head = head.expect("one answer");
        self.heads.insert(self.position, (sequence, head));
        apply::debit(&mut self.accounts, &order, digest, self.position).expect("memory has room");
        apply::credit(&mut self.accounts, &body.recipient, EURO, 1, Some(self.position)).expect("memory has room");
    }

    /// Walks as a server of certificate queries does: at each record the longest link that does not pass the one sought.
    fn steps_to(&self, sought: u64) -> Option<u64> {
        let account = self.accounts.account(&account(ALICE))?;
        let mut links = account.debit_heads;
        let mut steps = 0;
        loop {
            let (sequence, head) = (0..DEBIT_LEVELS)
                .rev()
                .filter_map(|level| self.heads.get(&links[level].get()))
                .find(|(sequence, _)| *sequence >= sought)?;
            steps += 1;
            if *sequence == sought {
                return Some(steps);
            }
            links = head.debit_links;
        }
    }
}

#[test]
fn any_old_sequence_is_found_within_the_stated_bound() {
    let mut ledger = Ledger::new();
    let mut executed = 0;
    for count in [1, 2, 63, 64, 65, 128, 4_095, 4_096, 4_097, 8_191, 8_193, 12_350] {
        while executed < count {
            ledger.execute(ALICE, executed, BOB);
            executed += 1;
        }
        let bound = (DEBIT_STRIDE - 1) * 2 + count.div_ceil(DEBIT_STRIDE * DEBIT_STRIDE);
        let worst = (0..count).map(|sought| ledger.steps_to(sought).expect("it is there")).max();
        assert!(worst <= Some(bound), "{count} payments: {worst:?} steps, where {bound} are promised");
        assert_eq!(ledger.steps_to(count), None, "what was not executed is not found");
    }
}

#[test]
fn links_name_the_newest_earlier_debit_of_each_level() {
    let mut ledger = Ledger::new();
    for sequence in 0..4_200 {
        ledger.execute(ALICE, sequence, BOB);
    }
    let position = |sequence: u64| 100 + 7 * (sequence + 1);
    for (sequence, head) in ledger.heads.values() {
        for (level, link) in head.debit_links.iter().enumerate() {
            let stride = DEBIT_STRIDE.pow(level as u32);
            let expected = if *sequence == 0 { 0 } else { position((sequence - 1) / stride * stride) };
            assert_eq!(link.get(), expected, "sequence {sequence}, level {level}");
        }
    }
}

#[test]
fn credits_are_linked_back_to_the_first() {
    let mut ledger = Ledger::new();
    for sequence in 0..50 {
        ledger.execute(ALICE, sequence, CAROL);
        ledger.execute(BOB, sequence, if sequence % 2 == 0 { CAROL } else { ALICE });
    }
    let mut at = ledger.accounts.account(&account(CAROL)).expect("she was paid").credit_head.get();
    let mut credits = 0;
    while at != 0 {
        let (_, head) = ledger.heads[&at];
        assert_eq!(head.flags.get() & FOREIGN_CREDIT, 0, "one worker owns all");
        assert!(head.previous_credit.get() < at, "always further back");
        at = head.previous_credit.get();
        credits += 1;
    }
    assert_eq!(credits, 75);
}

/// A payment to oneself is in both histories.
#[test]
fn a_payment_to_oneself_is_a_debit_and_a_credit() {
    let mut ledger = Ledger::new();
    ledger.execute(BOB, 0, ALICE);
    ledger.execute(ALICE, 0, ALICE);
    ledger.execute(ALICE, 1, ALICE);
    let account = ledger.accounts.account(&account(ALICE)).expect("she has one");
    assert_eq!((account.credit_head.get(), account.debit_heads[0].get()), (121, 121));
    assert_eq!(ledger.heads[&121].1.previous_credit.get(), 114);
    assert_eq!(ledger.heads[&114].1.previous_credit.get(), 107);
}

/// The real signatures keep the contract of the port that this file cuts short.
#[test]
fn real_signatures_refuse_what_this_file_accepts() {
    let network = Network::four();
    let mut real = Ed25519Signatures::new(&network.rules.committee, authority_key(0)).expect("good keys");
    let mut valid = [true];
    let check = SenderCheck { key: &account(ALICE), message: &[0; 32], signature: &[0; 64] };
    real.verify_senders(&[check], &mut valid);
    assert_eq!(valid, [false]);
}
