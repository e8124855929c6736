//! Equivocation is evidence that anyone can check (DESIGN 5.14), and nothing else is.

use meshpay_protocol::{Equivocation, EvidenceError};
use meshpay_wire::{GenesisDigest, OrderBody, SignedOrder};

use crate::network::*;

fn proof(first: SignedOrder, second: SignedOrder) -> Equivocation {
    Equivocation { first, second }
}

#[test]
fn two_signed_orders_for_one_sequence_are_a_proof() {
    let network = Network::four();
    let (first, second) = (network.pay(ALICE, 4, BOB, EURO, 1), network.pay(ALICE, 4, CAROL, EURO, 1));
    assert_eq!(proof(first, second).verify(&network.rules.genesis), Ok(()));
    assert_eq!(proof(second, first).verify(&network.rules.genesis), Ok(()));
}

#[test]
fn what_an_authority_locked_and_what_it_refused_are_a_proof() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let (first, second) = (network.pay(ALICE, 0, BOB, EURO, 1), network.pay(ALICE, 0, CAROL, EURO, 11));
    authority.order(&first).expect("a vote");
    authority.order(&second).expect_err("a conflict");
    assert_eq!(proof(first, second).verify(&network.rules.genesis), Ok(()));
}

#[test]
fn what_proves_nothing() {
    let network = Network::four();
    let genesis = &network.rules.genesis;
    let order = network.pay(ALICE, 0, BOB, EURO, 1);
    assert_eq!(proof(order, order).verify(genesis), Err(EvidenceError::SameOrder));
    let mut resigned = order;
    resigned.signature[0] ^= 1;
    assert_eq!(proof(order, resigned).verify(genesis), Err(EvidenceError::SameOrder), "a second signature is no order");
    let other_sender = network.pay(BOB, 0, ALICE, EURO, 1);
    assert_eq!(proof(order, other_sender).verify(genesis), Err(EvidenceError::Senders));
    let other_sequence = network.pay(ALICE, 1, BOB, EURO, 1);
    assert_eq!(proof(order, other_sequence).verify(genesis), Err(EvidenceError::Sequences));
    let other_epoch = network.sign(ALICE, OrderBody { epoch: 1.into(), ..order.body });
    assert_eq!(proof(order, other_epoch).verify(genesis), Err(EvidenceError::Sequences));
    let framed = network.sign(BOB, body(ALICE, 0, CAROL, EURO, 1));
    assert_eq!(proof(order, framed).verify(genesis), Err(EvidenceError::Signature("second")));
    assert_eq!(proof(framed, order).verify(genesis), Err(EvidenceError::Signature("first")));
}

/// An honest wallet may use one key in two networks, whose sequences run apart.
#[test]
fn orders_of_two_networks_prove_nothing_in_either() {
    let (here, elsewhere) = (Network::four(), Network::named("another", 0, &[1; 4]));
    let pair = proof(here.pay(ALICE, 0, BOB, EURO, 1), elsewhere.pay(ALICE, 0, CAROL, EURO, 1));
    assert_eq!(pair.verify(&here.rules.genesis), Err(EvidenceError::Signature("second")));
    assert_eq!(pair.verify(&elsewhere.rules.genesis), Err(EvidenceError::Signature("first")));
    assert!(pair.verify(&GenesisDigest::default()).is_err());
}
