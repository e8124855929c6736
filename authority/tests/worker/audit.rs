//! The audit accepts what the workers wrote and names what they would never have written.

use meshpay_authority::journal::Handle;
use meshpay_protocol::record::{
    CreditLinkRecord, EvidenceRecord, ExecutionHead, FOREIGN_CREDIT, LEFT_OWING, LockRecord, VotingStoppedRecord, kind,
};
use meshpay_wire::{OrderBody, PublicKey, SignedOrder};
use zerocopy::{FromZeros, IntoBytes};

use crate::network::{Certificate, FUNDS, Network, Scheme, Wallet, body};
use crate::scene::Place;

/// Makes an order one that it should not be.
type Change = fn(&mut OrderBody);

struct Forger {
    place: Place,
    alice: Wallet,
    bob: Wallet,
}

impl Forger {
    fn new() -> Self {
        let [alice, bob] = [0, 1].map(|n| Wallet::in_shard(Scheme::Real, n, 0));
        let network = Network::new(Scheme::Real, &[&alice, &bob]);
        Self { place: Place::new(network, 1), alice, bob }
    }

    fn net(&self) -> &Network {
        &self.place.network
    }

    fn order(&self, change: impl FnOnce(&mut OrderBody)) -> SignedOrder {
        let mut body = body(&self.alice, 0, &self.bob, 5);
        change(&mut body);
        self.net().sign(&self.alice, body)
    }

    /// Audits a journal into which `write` has put what it wanted.
    fn audited(self, write: impl FnOnce(&Self, &Handle)) -> String {
        let recovered = self.place.recover().unwrap();
        let mut journal = recovered.journal;
        write(&self, &journal.handle());
        journal.commit().unwrap();
        journal.stop().unwrap();
        self.place.audit().result
    }

    fn lock(&self, handle: &Handle, order: &SignedOrder) -> u64 {
        let record = LockRecord { digest: self.net().digest(order), order: *order };
        handle.append(kind::LOCK, &[record.as_bytes()]).unwrap().0
    }

    fn head(&self, order: &SignedOrder) -> ExecutionHead {
        ExecutionHead { digest: self.net().digest(order), ..ExecutionHead::new_zeroed() }
    }

    fn execute(&self, handle: &Handle, head: &ExecutionHead, certificate: &Certificate) -> u64 {
        let [fixed, signatures] = certificate.view().parts();
        handle.append(kind::EXECUTION, &[head.as_bytes(), fixed, signatures]).unwrap().0
    }
}

fn link(handle: &Handle, recipient: &PublicKey, execution: u64, previous: u64) {
    let record =
        CreditLinkRecord { recipient: *recipient, execution: execution.into(), previous_credit: previous.into() };
    handle.append(kind::CREDIT_LINK, &[record.as_bytes()]).unwrap();
}

#[test]
fn what_a_worker_would_write_passes() {
    let passed = Forger::new().audited(|forger, handle| {
        let order = forger.order(|_| ());
        forger.lock(handle, &order);
        forger.execute(handle, &forger.head(&order), &forger.net().certify(&order, &[0, 1, 2]));
    });
    assert_eq!(passed, "passed");
    let passed = Forger::new().audited(|forger, handle| {
        let order = forger.order(|_| ());
        let mut head = forger.head(&order);
        head.flags = FOREIGN_CREDIT.into();
        let at = forger.execute(handle, &head, &forger.net().certified(&order));
        link(handle, &forger.bob.key, at, 0);
    });
    assert_eq!(passed, "passed");
}

#[test]
fn orders_that_no_vote_may_be_given_for_are_found() {
    let cases: [(&str, Change); 7] = [
        ("zero", |body| body.amount = 0.into()),
        ("balance", |body| body.amount = (FUNDS + 1).into()),
        ("sequence", |body| body.sequence = 1.into()),
        ("epoch", |body| body.epoch = 1.into()),
        ("token", |body| body.token = 3.into()),
        ("operation", |body| body.operation = 2),
        ("first credit", |body| {
            body.recipient = [77; 32];
            body.amount = 9.into();
        }),
    ];
    for (expected, change) in cases {
        let result = Forger::new().audited(|forger, handle| {
            forger.lock(handle, &forger.order(change));
        });
        assert!(result.contains(expected), "{expected}: {result}");
    }
    let result = Forger::new().audited(|forger, handle| {
        let mut order = forger.order(|_| ());
        order.signature[0] ^= 1;
        forger.lock(handle, &order);
    });
    assert!(result.contains("signature"), "{result}");
    let result = Forger::new().audited(|forger, handle| {
        forger.lock(handle, &forger.order(|_| ()));
        forger.lock(handle, &forger.order(|body| body.amount = 6.into()));
    });
    assert!(result.contains("second order"), "{result}");
}

#[test]
fn executions_that_are_not_what_they_say_are_found() {
    let result = Forger::new().audited(|forger, handle| {
        let order = forger.order(|_| ());
        forger.execute(handle, &forger.head(&order), &forger.net().certify(&order, &[1, 2]));
    });
    assert!(result.contains("below_quorum"), "{result}");
    let result = Forger::new().audited(|forger, handle| {
        let order = forger.order(|_| ());
        let vote = forger.net().vote(1, &order);
        forger.execute(handle, &forger.head(&order), &Certificate::of(&order, 0b1110, &[vote, vote, vote]));
    });
    assert!(result.contains("bad_vote"), "{result}");
    let result = Forger::new().audited(|forger, handle| {
        let order = forger.order(|body| body.amount = (FUNDS + 1).into());
        forger.execute(handle, &forger.head(&order), &forger.net().certified(&order));
    });
    assert!(result.contains("owing"), "below zero without saying so: {result}");
    let passed = Forger::new().audited(|forger, handle| {
        let order = forger.order(|body| body.amount = (FUNDS + 1).into());
        let mut head = forger.head(&order);
        head.flags = LEFT_OWING.into();
        forger.execute(handle, &head, &forger.net().certified(&order));
    });
    assert_eq!(passed, "passed");
    let result = Forger::new().audited(|forger, handle| {
        forger.lock(handle, &forger.order(|body| body.amount = 6.into()));
        let order = forger.order(|_| ());
        forger.execute(handle, &forger.head(&order), &forger.net().certified(&order));
    });
    assert!(result.contains("lock"), "a lock was overruled without saying so: {result}");
    let result = Forger::new().audited(|forger, handle| {
        let order = forger.order(|_| ());
        let mut head = forger.head(&order);
        head.previous_credit = 4_200.into();
        forger.execute(handle, &head, &forger.net().certified(&order));
    });
    assert!(result.contains("history"), "{result}");
}

#[test]
fn an_own_vote_that_the_journal_does_not_hold_is_found_unless_voting_stopped() {
    let result = Forger::new().audited(|forger, handle| {
        let order = forger.order(|_| ());
        forger.execute(handle, &forger.head(&order), &forger.net().certify(&order, &[0, 1, 2]));
    });
    assert!(result.contains("vote of this authority"), "{result}");
    let passed = Forger::new().audited(|forger, handle| {
        let order = forger.order(|_| ());
        let stopped = VotingStoppedRecord { reason: 1.into(), reserved: 0.into(), order: forger.net().digest(&order) };
        handle.append(kind::VOTING_STOPPED, &[stopped.as_bytes()]).unwrap();
        forger.execute(handle, &forger.head(&order), &forger.net().certify(&order, &[0, 1, 2]));
    });
    assert_eq!(passed, "passed");
}

#[test]
fn links_and_evidence_that_nothing_supports_are_found() {
    let result = Forger::new().audited(|forger, handle| link(handle, &forger.bob.key, 4_200, 0));
    assert!(result.contains("no open execution"), "{result}");
    let result = Forger::new().audited(|forger, handle| {
        let order = forger.order(|_| ());
        let mut head = forger.head(&order);
        head.flags = FOREIGN_CREDIT.into();
        let at = forger.execute(handle, &head, &forger.net().certified(&order));
        link(handle, &forger.bob.key, at, 0);
        link(handle, &forger.bob.key, at, 0);
    });
    assert!(result.contains("no open execution"), "linked twice: {result}");
    let evidence = |forger: &Forger, handle: &Handle, lock_position: u64, conflicting: SignedOrder| {
        let record = EvidenceRecord {
            lock_position: lock_position.into(),
            conflicting,
            penalised_until_ms: crate::network::NOW_MS.into(),
        };
        let _ = forger;
        handle.append(kind::EVIDENCE, &[record.as_bytes()]).unwrap();
    };
    let result = Forger::new().audited(|forger, handle| {
        let order = forger.order(|_| ());
        let at = forger.lock(handle, &order);
        evidence(forger, handle, at, order);
    });
    assert!(result.contains("does not contradict"), "the same order: {result}");
    let result = Forger::new().audited(|forger, handle| {
        let at = forger.lock(handle, &forger.order(|_| ()));
        let mut forged = forger.order(|body| body.amount = 6.into());
        forged.signature[1] ^= 1;
        evidence(forger, handle, at, forged);
    });
    assert!(result.contains("signature"), "{result}");
}
