//! The wallet directory: what survives a kill, what is refused, and what follows from the files alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy knows that of test functions only")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{EUR, TestCommittee, account, account_key};
use meshpay_client::wallet::{Store, StoreError};
use meshpay_client::{CertificateBook, Transfer};
use meshpay_wire::SignedOrder;

fn open(committee: &TestCommittee, directory: &Path) -> Store {
    Store::open(directory, committee.verifier.clone(), account(0)).unwrap()
}

fn order(committee: &TestCommittee, from: u8, to: u8, sequence: u64, amount: u64) -> SignedOrder {
    Transfer::new(sequence, EUR, account(to), amount).sign(committee.verifier.rules(), &account_key(from))
}

#[test]
fn the_next_sequence_follows_from_orders_and_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let mut committee = TestCommittee::new(4);
    let mut store = open(&committee, directory.path());
    assert_eq!(store.next_sequence().unwrap(), 0);
    let first = order(&committee, 0, 1, 0, 100);
    store.persist_order(first).unwrap();
    assert_eq!(store.next_sequence().unwrap(), 1);
    assert_eq!(store.pending().unwrap()[0].orders[0].order(), &first);
    drop(store);
    // Another process sees the same.
    store = open(&committee, directory.path());
    assert_eq!(store.pending().unwrap().len(), 1);
    let certificate = Arc::new(committee.certify(&first));
    store.keep(&certificate);
    assert!(store.pending().unwrap().is_empty());
    assert_eq!(store.unsettled_sent().unwrap(), std::slice::from_ref(&certificate));
    store.mark_sent_settled(0).unwrap();
    assert!(store.unsettled_sent().unwrap().is_empty());
    assert_eq!(store.next_sequence().unwrap(), 1);
    drop(store);
    store = open(&committee, directory.path());
    assert_eq!(store.certificate(&account(0), 0), Some(certificate));
    assert_eq!(store.next_sequence().unwrap(), 1);
}

#[test]
fn no_sequence_gets_a_second_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut committee = TestCommittee::new(4);
    let mut store = open(&committee, directory.path());
    let first = order(&committee, 0, 1, 3, 100);
    store.persist_order(first).unwrap();
    for sequence in 0..=3 {
        let second = order(&committee, 0, 2, sequence, 200);
        assert!(matches!(store.persist_order(second), Err(StoreError::SequenceTaken(_))), "{sequence}");
    }
    store.keep(&Arc::new(committee.certify(&order(&committee, 0, 1, 0, 100))));
    assert!(matches!(store.persist_order(order(&committee, 0, 2, 0, 5)), Err(StoreError::SequenceTaken(0))));
    // One that comes back from an authority lies beside the first, and is not wanted first.
    let forgotten = order(&committee, 0, 2, 3, 300);
    store.adopt_order(forgotten).unwrap();
    store.adopt_order(forgotten).unwrap();
    let pending = store.pending().unwrap();
    let orders: Vec<_> = pending[0].orders.iter().map(|order| *order.order()).collect();
    assert_eq!(orders, [first, forgotten]);
    // Somebody else's order is no order of this wallet, whoever shows it.
    assert!(matches!(store.adopt_order(order(&committee, 1, 2, 3, 300)), Err(StoreError::ForeignOrder)));
    let mut forged = order(&committee, 0, 2, 9, 300);
    forged.body.amount = 301.into();
    assert!(matches!(store.persist_order(forged), Err(StoreError::ForeignOrder)));
}

#[test]
fn what_a_killed_process_left_unfinished_is_swept() {
    let directory = tempfile::tempdir().unwrap();
    let committee = TestCommittee::new(4);
    drop(open(&committee, directory.path()));
    let torn = directory.path().join("orders").join("00000000000000000000-0.order.unfinished");
    std::fs::write(&torn, b"MPAYORDR torn").unwrap();
    let store = open(&committee, directory.path());
    assert!(!torn.exists());
    assert_eq!(store.next_sequence().unwrap(), 0);
    assert!(store.pending().unwrap().is_empty());
}

#[test]
fn a_damaged_certificate_is_as_good_as_none() {
    let directory = tempfile::tempdir().unwrap();
    let mut committee = TestCommittee::new(4);
    let first = order(&committee, 0, 1, 0, 100);
    let certificate = Arc::new(committee.certify(&first));
    let mut store = open(&committee, directory.path());
    store.persist_order(first).unwrap();
    store.keep(&certificate);
    let path = store.sent_certificate_path(0);
    let bytes = std::fs::read(&path).unwrap();
    drop(store);
    std::fs::write(&path, &bytes[..300]).unwrap();
    let mut store = open(&committee, directory.path());
    assert_eq!(store.certificate(&account(0), 0), None);
    assert!(!store.take_warnings().is_empty());
    // The order is still there, so the payment is taken up again, and the certificate written anew.
    assert_eq!(store.pending().unwrap().len(), 1);
    store.keep(&certificate);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    // A certificate under another's name is none.
    std::fs::rename(&path, store.sent_certificate_path(7)).unwrap();
    drop(store);
    assert_eq!(open(&committee, directory.path()).certificate(&account(0), 7), None);
}

#[test]
fn what_was_received_waits_until_a_quorum_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut committee = TestCommittee::new(4);
    let certificate = Arc::new(committee.certify(&order(&committee, 1, 0, 0, 100)));
    let mut store = open(&committee, directory.path());
    store.import(&certificate).unwrap();
    store.import(&certificate).unwrap();
    store.keep(&certificate);
    drop(store);
    store = open(&committee, directory.path());
    assert_eq!(store.incoming().unwrap(), std::slice::from_ref(&certificate));
    assert_eq!(store.credits(&account(0), 10), [(account(1), 0)]);
    store.mark_received_settled(&certificate).unwrap();
    store.mark_received_settled(&certificate).unwrap();
    assert!(store.incoming().unwrap().is_empty());
    drop(store);
    store = open(&committee, directory.path());
    assert_eq!(store.certificate(&account(1), 0), Some(certificate.clone()));
    assert_eq!(store.credits(&account(0), 10), [(account(1), 0)]);
    // Known as settled, it does not come back.
    store.import(&certificate).unwrap();
    assert!(store.incoming().unwrap().is_empty());
    // Strangers' certificates are used, not kept.
    let strangers = Arc::new(committee.certify(&order(&committee, 2, 3, 0, 100)));
    store.keep(&strangers);
    assert_eq!(store.certificate(&account(2), 0), Some(strangers));
    drop(store);
    assert_eq!(open(&committee, directory.path()).certificate(&account(2), 0), None);
}

#[test]
fn one_process_holds_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let committee = TestCommittee::new(4);
    let store = open(&committee, directory.path());
    let second = Store::open(directory.path(), committee.verifier.clone(), account(0));
    assert!(matches!(second, Err(StoreError::Busy(_))));
    drop(store);
    open(&committee, directory.path());
}
