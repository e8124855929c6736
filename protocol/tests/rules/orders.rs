//! When an authority votes for an order, and what it says where it does not.

use meshpay_protocol::{Accounts, OrderDecision, PendingOrder, apply, screen_order};
use meshpay_wire::{OrderBody, RefusalCode, SignedOrder, vote_digest};

use crate::network::*;

#[test]
fn a_good_order_is_locked_and_gets_a_vote_that_verifies() {
    let network = Network::four();
    let mut authority = network.authority(2);
    let order = network.pay(ALICE, 0, BOB, EURO, 100);
    let vote = authority.order(&order).expect("a vote");
    assert_eq!((vote.authority, vote.order), (2, network.digest(&order.body)));
    assert_eq!(vote.signature, network.vote(2, &order));
    let message = vote_digest(&network.rules.genesis, network.rules.epoch, &vote.order);
    assert!(meshpay_crypto::verify(&authority_key(2).public_key(), &message, &vote.signature));
    assert!(authority.is_locked(ALICE));
    assert_eq!((authority.euros(ALICE), authority.next_sequence(ALICE)), (1_000, 0), "a vote moves nothing");
}

#[test]
fn bad_signature() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let good = network.pay(ALICE, 0, BOB, EURO, 100);
    for byte in 0..64 {
        let mut order = good;
        order.signature[byte] ^= 1;
        assert_eq!(code(authority.order(&order)), RefusalCode::BadSignature, "byte {byte} of the signature");
    }
    let by_another = network.sign(BOB, good.body);
    assert_eq!(code(authority.order(&by_another)), RefusalCode::BadSignature);
    let changed = SignedOrder { body: OrderBody { amount: 101.into(), ..good.body }, ..good };
    assert_eq!(code(authority.order(&changed)), RefusalCode::BadSignature);
    assert!(!authority.is_locked(ALICE), "nothing unverified reaches an account");
}

/// The signature covers every byte of the body, also those that no rule looks at.
#[test]
fn the_signature_covers_every_byte_of_the_body() {
    use zerocopy::{FromBytes, IntoBytes};
    let network = Network::four();
    let good = network.pay(ALICE, 0, BOB, EURO, 100);
    let key = account(ALICE);
    assert!(meshpay_crypto::verify(&key, &network.digest(&good.body).0, &good.signature));
    for byte in 0..size_of::<OrderBody>() {
        let mut bytes = [0; size_of::<OrderBody>()];
        bytes.copy_from_slice(good.body.as_bytes());
        bytes[byte] ^= 0x80;
        let body = OrderBody::read_from_bytes(&bytes).expect("same length");
        assert!(!meshpay_crypto::verify(&key, &network.digest(&body).0, &good.signature), "byte {byte}");
    }
}

#[test]
fn zero_amount() {
    let network = Network::four();
    let order = network.pay(ALICE, 0, BOB, EURO, 0);
    assert_eq!(code(network.authority(0).order(&order)), RefusalCode::ZeroAmount);
}

#[test]
fn amount_above_supply() {
    let network = Network::four();
    let supply = ALICE_EUROS + BOB_EUROS;
    let refusal = network.authority(0).order(&network.pay(ALICE, 0, BOB, EURO, supply + 1)).expect_err("refused");
    assert_eq!((refusal.code, refusal.amount), (RefusalCode::AmountAboveSupply, supply));
    let refusal = network.authority(0).order(&network.pay(ALICE, 0, BOB, EURO, u64::MAX)).expect_err("refused");
    assert_eq!(refusal.code, RefusalCode::AmountAboveSupply);
}

#[test]
fn unknown_sender() {
    let network = Network::four();
    let order = network.pay(STRANGER, 0, BOB, EURO, 1);
    assert_eq!(code(network.authority(0).order(&order)), RefusalCode::UnknownSender);
}

#[test]
fn unknown_token() {
    let network = Network::four();
    let order = network.pay(ALICE, 0, BOB, 99, 1);
    assert_eq!(code(network.authority(0).order(&order)), RefusalCode::UnknownToken);
}

#[test]
fn unknown_operation() {
    let network = Network::four();
    for operation in [0, 2, 255] {
        let order = network.sign(ALICE, OrderBody { operation, ..body(ALICE, 0, BOB, EURO, 1) });
        assert_eq!(code(network.authority(0).order(&order)), RefusalCode::UnknownOperation);
    }
}

#[test]
fn sequence_too_low() {
    let network = Network::four();
    let mut authority = network.authority(0);
    authority.certificate(&network.paid(ALICE, 0, BOB, EURO, 1)).expect("executed");
    let late = network.pay(ALICE, 0, CAROL, EURO, 2);
    assert!(authority.verify_transfer(&late, NOW_MS).expect("no refusal").is_none(), "it was executed before");
    assert!(!authority.is_locked(ALICE));
    // Whoever asks needs no signature for this: the answer says what was executed there, not what the request claims.
    let unsigned = SignedOrder { signature: [0; 64], ..late };
    assert!(authority.verify_transfer(&unsigned, NOW_MS).expect("no refusal").is_none());
}

#[test]
fn sequence_too_high() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let refusal = authority.order(&network.pay(ALICE, 1, BOB, EURO, 1)).expect_err("refused");
    assert_eq!((refusal.code, refusal.sequence), (RefusalCode::SequenceTooHigh, 0));
    authority.certificate(&network.paid(ALICE, 0, BOB, EURO, 1)).expect("executed");
    let refusal = authority.order(&network.pay(ALICE, u64::MAX, BOB, EURO, 1)).expect_err("refused");
    assert_eq!((refusal.code, refusal.sequence), (RefusalCode::SequenceTooHigh, 1));
}

#[test]
fn balance_exceeded() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let refusal = authority.order(&network.pay(ALICE, 0, BOB, EURO, ALICE_EUROS + 1)).expect_err("refused");
    assert_eq!((refusal.code, refusal.amount, refusal.sequence), (RefusalCode::InsufficientBalance, ALICE_EUROS, 0));
    authority.order(&network.pay(ALICE, 0, BOB, EURO, ALICE_EUROS)).expect("all of it is hers to spend");
}

#[test]
fn other_tokens_balance() {
    let network = Network::four();
    let mut authority = network.authority(0);
    // Bob holds 500 EUR and no MEAL; Alice holds 50 MEAL and far more EUR.
    let refusal = authority.order(&network.pay(BOB, 0, ALICE, VOUCHER, 1)).expect_err("refused");
    assert_eq!((refusal.code, refusal.amount), (RefusalCode::InsufficientBalance, 0));
    // 51 is above the supply of MEAL, so give Bob some and try with what Alice no longer has.
    authority.certificate(&network.paid(ALICE, 0, BOB, VOUCHER, 10)).expect("executed");
    let refusal = authority.order(&network.pay(ALICE, 1, BOB, VOUCHER, 41)).expect_err("refused");
    assert_eq!((refusal.code, refusal.amount), (RefusalCode::InsufficientBalance, 40));
    authority.order(&network.pay(BOB, 0, ALICE, VOUCHER, 10)).expect("what he was given is his");
}

#[test]
fn several_tokens_share_one_sequence_and_keep_their_own_balances() {
    let network = Network::four();
    let mut authority = network.authority(0);
    authority.certificate(&network.paid(ALICE, 0, CAROL, VOUCHER, 20)).expect("executed");
    authority.certificate(&network.paid(ALICE, 1, CAROL, EURO, 300)).expect("executed");
    assert_eq!((authority.euros(ALICE), authority.vouchers(ALICE), authority.next_sequence(ALICE)), (700, 30, 2));
    assert_eq!((authority.euros(CAROL), authority.vouchers(CAROL)), (300, 20));
    // Carol's first token is MEAL here; EUR is a further one. Both can be spent.
    authority.certificate(&network.paid(CAROL, 0, BOB, EURO, 300)).expect("executed");
    authority.certificate(&network.paid(CAROL, 1, BOB, VOUCHER, 5)).expect("executed");
    assert_eq!((authority.euros(CAROL), authority.vouchers(CAROL), authority.next_sequence(CAROL)), (0, 15, 2));
    assert_eq!((authority.euros(BOB), authority.vouchers(BOB)), (800, 5));
}

#[test]
fn conflicting_order() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let first = network.pay(ALICE, 0, BOB, EURO, 100);
    authority.order(&first).expect("a vote");
    for second in [
        network.pay(ALICE, 0, CAROL, EURO, 100),
        network.pay(ALICE, 0, BOB, EURO, 101),
        network.pay(ALICE, 0, BOB, VOUCHER, 10),
        network.sign(ALICE, OrderBody { memo: [1; 32], ..first.body }),
        // A rule that it breaks besides does not hide the conflict, which is the proof of equivocation.
        network.pay(ALICE, 0, BOB, EURO, 0),
        network.sign(ALICE, OrderBody { expiry_ms: 1.into(), ..first.body }),
    ] {
        assert_eq!(code(authority.order(&second)), RefusalCode::Conflict);
    }
    let locked = authority.accounts.account(&account(ALICE)).expect("she has one");
    assert_eq!(locked.lock_digest, network.digest(&first.body), "the first lock stays");
    assert_eq!(authority.order(&first).expect("a vote").signature, network.vote(0, &first));
}

/// Whoever forges a conflicting order learns nothing and proves nothing.
#[test]
fn a_conflict_needs_the_senders_signature() {
    let network = Network::four();
    let mut authority = network.authority(0);
    authority.order(&network.pay(ALICE, 0, BOB, EURO, 100)).expect("a vote");
    let forged = network.sign(BOB, body(ALICE, 0, CAROL, EURO, 100));
    assert_eq!(code(authority.order(&forged)), RefusalCode::BadSignature);
}

#[test]
fn identical_replay() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let order = network.pay(ALICE, 0, BOB, EURO, 100);
    let first = authority.order(&order).expect("a vote");
    let state = authority.accounts.slots().to_vec();
    for _ in 0..10 {
        assert_eq!(authority.order(&order), Ok(first));
    }
    assert_eq!(authority.accounts.slots(), state, "a retry changes nothing");
}

/// The same order with other signature bytes is the same order, but those bytes are checked.
#[test]
fn the_locked_order_with_another_signature() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let order = network.pay(ALICE, 0, BOB, EURO, 100);
    authority.order(&order).expect("a vote");
    let mut forged = order;
    forged.signature[40] ^= 1;
    assert_eq!(code(authority.order(&forged)), RefusalCode::BadSignature);
    let pending = |order| PendingOrder { order, digest: network.digest(&order.body) };
    let screen = |order| screen_order(&network.rules, &authority.accounts, &pending(order), NOW_MS);
    assert_eq!(screen(&order), Ok(OrderDecision::VoteAgain(true)));
    assert_eq!(screen(&forged), Ok(OrderDecision::VoteAgain(false)), "so its signature must be checked");
}

#[test]
fn expired() {
    let network = Network::four();
    let order = network.sign(ALICE, OrderBody { expiry_ms: NOW_MS.into(), ..body(ALICE, 0, BOB, EURO, 1) });
    assert_eq!(code(network.authority(0).order_at(&order, NOW_MS)), RefusalCode::Expired);
    assert_eq!(code(network.authority(0).order_at(&order, u64::MAX)), RefusalCode::Expired);
    network.authority(0).order_at(&order, NOW_MS - 1).expect("in time");
    let never = network.pay(ALICE, 0, BOB, EURO, 1);
    network.authority(0).order_at(&never, u64::MAX).expect("0 never expires");
}

#[test]
fn expired_but_locked() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let order = network.sign(ALICE, OrderBody { expiry_ms: NOW_MS.into(), ..body(ALICE, 0, BOB, EURO, 1) });
    let vote = authority.order_at(&order, NOW_MS - 1).expect("in time");
    assert_eq!(authority.order_at(&order, u64::MAX), Ok(vote), "expiry bounds the first lock only");
    let other = network.pay(ALICE, 0, BOB, EURO, 2);
    assert_eq!(code(authority.order_at(&other, u64::MAX)), RefusalCode::Conflict, "expiry frees nothing");
}

#[test]
fn wrong_epoch() {
    let network = Network::named("test", 3, &[1; 4]);
    for epoch in [0, 2, 4, u32::MAX] {
        let order = network.sign(ALICE, OrderBody { epoch: epoch.into(), ..body(ALICE, 0, BOB, EURO, 1) });
        let refusal = network.authority(0).order(&order).expect_err("refused");
        assert_eq!((refusal.code, refusal.value), (RefusalCode::WrongEpoch, 3));
    }
    network.authority(0).order(&network.pay(ALICE, 0, BOB, EURO, 1)).expect("epoch 3");
}

/// The header's network is 8 bytes for the filter; what protects money is that signatures cover the whole genesis digest.
#[test]
fn wrong_network() {
    let (here, elsewhere) = (Network::four(), Network::named("another", 0, &[1; 4]));
    assert_ne!(here.rules.genesis, elsewhere.rules.genesis);
    let order = elsewhere.pay(ALICE, 0, BOB, EURO, 1);
    assert_eq!(code(here.authority(0).order(&order)), RefusalCode::BadSignature);
    elsewhere.authority(0).order(&order).expect("at home it is good");
}

#[test]
fn below_first_credit() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let dust = network.pay(ALICE, 0, CAROL, EURO, MINIMUM_FIRST_CREDIT - 1);
    let refusal = authority.order(&dust).expect_err("refused");
    assert_eq!((refusal.code, refusal.amount), (RefusalCode::BelowFirstCredit, MINIMUM_FIRST_CREDIT));
    let known = network.pay(BOB, 0, ALICE, EURO, 1);
    authority.order(&known).expect("an account that exists may be paid any amount");
    authority.order(&network.pay(ALICE, 0, CAROL, EURO, MINIMUM_FIRST_CREDIT)).expect("enough for an account");
    // A certificate is never held up by it: a quorum may know the recipient already.
    let mut other = network.authority(1);
    other.certificate(&network.certify(&dust, &[0, 1, 2])).expect("executed");
    assert_eq!(other.euros(CAROL), 9);
}

#[test]
fn penalised() {
    let network = Network::four();
    let mut authority = network.authority(0);
    apply::penalise(&mut authority.accounts, &account(ALICE), NOW_MS + 1);
    let order = network.pay(ALICE, 0, BOB, EURO, 1);
    assert_eq!(code(authority.order_at(&order, NOW_MS)), RefusalCode::Penalised);
    authority.order_at(&order, NOW_MS + 1).expect("the penalty is over");
    apply::penalise(&mut authority.accounts, &account(ALICE), u64::MAX);
    authority.order_at(&order, NOW_MS).expect("what is locked gets its vote again, penalty or not");
    authority.certificate(&network.certify(&order, &[1, 2, 3])).expect("no penalty stops a certificate");
}

#[test]
fn sender_is_recipient() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let order = network.pay(ALICE, 0, ALICE, EURO, 400);
    authority.order(&order).expect("a vote");
    authority.certificate(&network.certify(&order, &[0, 1, 2])).expect("executed");
    assert_eq!((authority.euros(ALICE), authority.next_sequence(ALICE)), (1_000, 1), "the sequence alone advances");
    let too_much = network.pay(ALICE, 1, ALICE, EURO, ALICE_EUROS + 1);
    assert_eq!(code(authority.order(&too_much)), RefusalCode::InsufficientBalance);
}

/// All cheap checks come before the signature: an order that breaks one of them is refused for it, signed or not.
#[test]
fn cheap_checks_come_before_the_signature() {
    let network = Network::four();
    let unsigned = |body| SignedOrder { body, signature: [0; 64] };
    for (order, expected) in [
        (body(STRANGER, 0, BOB, EURO, 1), RefusalCode::UnknownSender),
        (body(ALICE, 9, BOB, EURO, 1), RefusalCode::SequenceTooHigh),
        (body(ALICE, 0, BOB, EURO, 0), RefusalCode::ZeroAmount),
        (body(ALICE, 0, BOB, EURO, 1_001), RefusalCode::InsufficientBalance),
        (body(ALICE, 0, CAROL, EURO, 1), RefusalCode::BelowFirstCredit),
        (OrderBody { epoch: 1.into(), ..body(ALICE, 0, BOB, EURO, 1) }, RefusalCode::WrongEpoch),
        (OrderBody { expiry_ms: 1.into(), ..body(ALICE, 0, BOB, EURO, 1) }, RefusalCode::Expired),
        (body(ALICE, 0, BOB, EURO, 1), RefusalCode::BadSignature),
    ] {
        assert_eq!(code(network.authority(0).order(&unsigned(order))), expected);
    }
}

/// A lock at one authority moves on with the certificate; the next order is locked at the next sequence.
#[test]
fn one_lock_for_each_sequence() {
    let network = Network::four();
    let mut authority = network.authority(0);
    for sequence in 0..20 {
        let order = network.pay(ALICE, sequence, BOB, EURO, 7);
        authority.order(&order).expect("a vote");
        let next = network.pay(ALICE, sequence + 1, BOB, EURO, 7);
        assert_eq!(code(authority.order(&next)), RefusalCode::SequenceTooHigh);
        authority.certificate(&network.certify(&order, &[1, 2, 3])).expect("executed");
        assert!(!authority.is_locked(ALICE));
    }
    assert_eq!(authority.euros(ALICE), 1_000 - 20 * 7);
}
