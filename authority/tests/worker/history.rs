//! Old sequences are acknowledged with what was executed there; debits and credits can be walked back; forged locators find nothing.

use meshpay_authority::journal::{FRAME_HEADER_BYTES, Position, RECORD_HEADER_BYTES};
use meshpay_protocol::record::{CreditLinkRecord, ExecutionHead, kind};
use meshpay_wire::{ExecutionStatus, RefusalCode, SignedOrder};
use zerocopy::IntoBytes;

use crate::network::{Network, Scheme, Wallet, body};
use crate::scene::{Place, Random, Scene, peer};

/// Executes this many payments of Alice to Bob, in bursts.
fn pay_many(scene: &mut Scene, alice: &Wallet, bob: &Wallet, sequences: std::ops::Range<u64>) -> Vec<SignedOrder> {
    let orders: Vec<SignedOrder> =
        sequences.map(|sequence| scene.net().pay(alice, sequence, bob, 10 + sequence)).collect();
    let worker = scene.owner(&alice.key);
    for burst in orders.chunks(12) {
        for order in burst {
            let request = scene.net().certificate_request(&scene.net().certified(order));
            scene.deliver(worker, &peer(1), &request);
        }
        scene.settle();
        assert_eq!(scene.answers().len(), burst.len());
    }
    orders
}

#[test]
fn old_sequences_are_acknowledged_with_what_was_executed_there() {
    let [alice, bob] = [0, 1].map(|n| Wallet::in_shard(Scheme::Cheap, n, 0));
    let network = Network::new(Scheme::Cheap, &[&alice, &bob]);
    let mut scene = Place::new(network, 1).start();
    const LAST: u64 = 5_199;
    let orders = pay_many(&mut scene, &alice, &bob, 0..LAST + 1);
    for back in [0, 1, 2, 63, 64, 65, 100, 4_095, 4_096, 4_097, 5_000, LAST] {
        let sequence = LAST - back;
        let digest = scene.net().digest(&orders[sequence as usize]);
        // A certificate of that sequence, for another order than the one executed: the claim does not matter.
        let claimed = scene.net().paid(&alice, sequence, &bob, 9_999);
        let answer = scene.ask_one(&scene.net().certificate_request(&claimed)).executed();
        assert_eq!(answer.order, digest, "{back} back");
        assert_eq!(answer.status, ExecutionStatus::Before as u8);
        assert_eq!(answer.next_sequence.get(), LAST + 1);
        // An order of that sequence.
        let answer =
            scene.ask_one(&scene.net().order_request(&scene.net().pay(&alice, sequence, &bob, 8_888))).executed();
        assert_eq!(answer.order, digest, "{back} back");
        // The certificate itself.
        let (links, order) = scene.ask_one(&scene.net().debit_request(&alice.key, sequence)).certificate();
        assert_eq!(order, orders[sequence as usize], "{back} back");
        assert_eq!(links.previous_debit.get() == 0, sequence == 0);
    }
    assert_eq!(
        scene.ask_one(&scene.net().debit_request(&alice.key, LAST + 1)).refusal(),
        RefusalCode::NotFound,
        "nothing was executed there yet"
    );
}

#[test]
fn debits_and_credits_can_be_walked_across_workers() {
    for workers in [1, 2, 3] {
        let alice = Wallet::in_shard(Scheme::Cheap, 0, 0);
        let dave = Wallet::in_shard(Scheme::Cheap, 2, 0);
        let bob = Wallet::in_shard(Scheme::Cheap, 1, 0);
        let network = Network::new(Scheme::Cheap, &[&alice, &dave]);
        let mut scene = Place::new(network, workers).start();
        let mut received = Vec::new();
        let mut random = Random(workers as u64);
        let mut next = [0, 0];
        for _ in 0..300 {
            let who = random.below(2) as usize;
            let sender = [&alice, &dave][who];
            let order = scene.net().pay(sender, next[who], &bob, 10 + random.below(50));
            next[who] += 1;
            scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&order))).executed();
            received.push(order);
        }
        let mut locator = 0;
        for expected in received.iter().rev() {
            let (links, order) = scene.ask_one(&scene.net().credit_request(&bob.key, locator)).certificate();
            assert_eq!(order, *expected, "{workers} workers");
            locator = links.previous_credit.get();
        }
        assert_eq!(locator, 0, "{workers} workers: the walk ends at the first credit");
        for (who, sender) in [&alice, &dave].into_iter().enumerate() {
            let paid: Vec<&SignedOrder> = received.iter().filter(|order| order.body.sender == sender.key).collect();
            for sequence in (0..next[who]).rev() {
                let (_, order) = scene.ask_one(&scene.net().debit_request(&sender.key, sequence)).certificate();
                assert_eq!(order, *paid[sequence as usize]);
            }
        }
    }
}

#[test]
fn forged_locators_find_nothing_that_did_not_pay_the_account() {
    for workers in [1, 2] {
        let alice = Wallet::in_shard(Scheme::Cheap, 0, 0);
        let bob = Wallet::in_shard(Scheme::Cheap, 1, 0);
        let carol = Wallet::in_shard(Scheme::Cheap, 3, 0);
        let network = Network::new(Scheme::Cheap, &[&alice, &bob, &carol]);
        let mut scene = Place::new(network, workers).start();
        pay_many(&mut scene, &alice, &bob, 0..20);
        pay_many(&mut scene, &bob, &carol, 0..20);
        scene.ask(&scene.net().order_request(&scene.net().pay(&alice, 20, &carol, 77)));
        let end = scene.journal.handle().durable().0;
        let mut random = Random(7);
        let locators: Vec<u64> = (0..end + 64)
            .step_by(8)
            .chain((0..200).map(|_| random.next()))
            .chain([1, u64::MAX, u64::MAX - 7, 1 << 20, (1 << 20) - 8, 1 << 63])
            .collect();
        let mut found = 0;
        for locator in locators {
            let answer = scene.ask_one(&scene.net().credit_request(&carol.key, locator));
            match answer.says {
                crate::network::Says::Certificate(_, order) => {
                    assert_eq!(order.body.recipient, carol.key, "locator {locator}");
                    found += 1;
                }
                crate::network::Says::Refused(RefusalCode::NotFound | RefusalCode::Archived, _) => {}
                other => panic!("locator {locator}: {other:?}"),
            }
        }
        // All twenty, at their own places, and the newest once more, for which 0 stands.
        assert_eq!(found, 21, "{workers} workers");
    }
}

#[test]
fn a_link_crafted_inside_an_order_leads_to_no_certificate_of_somebody_else() {
    // Records are checked by a sum without a key, and locators come from peers: so a peer can write the bytes of a link record into the
    // fields of an order that are his to choose, and ask for what stands there.
    let alice = Wallet::in_shard(Scheme::Cheap, 0, 0);
    let bob = Wallet::in_shard(Scheme::Cheap, 1, 0);
    let mallory = Wallet::in_shard(Scheme::Cheap, 3, 0);
    let network = Network::new(Scheme::Cheap, &[&alice, &bob, &mallory]);
    let mut scene = Place::new(network, 1).start();
    let secret = scene.net().pay(&alice, 0, &bob, 55);
    scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&secret))).executed();
    let execution = scene.ask_one(&scene.net().account_request(&alice.key, 1)).account().debit_locator.get();
    // The next record's position is no secret. An execution's payload is its head, then the order, of which recipient, amount and memo are
    // Mallory's: 72 bytes, enough for the header and the payload of a link.
    let record = scene.journal.handle().durable().0 + FRAME_HEADER_BYTES as u64;
    let inside = record + (RECORD_HEADER_BYTES + size_of::<ExecutionHead>() + 64) as u64;
    let fake = crafted_link(inside, &mallory.key, execution);
    let mut body = body(&mallory, 0, &bob, 0);
    body.recipient.copy_from_slice(&fake[..32]);
    body.amount = u64::from_le_bytes(fake[32..40].try_into().unwrap()).into();
    body.memo[..24].copy_from_slice(&fake[40..]);
    let order = scene.net().sign(&mallory, body);
    scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&order))).executed();
    let mut buffer = [0; 2048];
    let read = scene.journal.handle().read(Position(inside), &mut buffer);
    assert!(
        matches!(read, Ok((kind::CREDIT_LINK, 48))),
        "the forged record passes for one, or this test shows nothing: {read:?}"
    );
    assert_eq!(scene.ask_one(&scene.net().credit_request(&mallory.key, inside)).refusal(), RefusalCode::NotFound);
}

/// The bytes of a link record as the journal would write it at a position.
fn crafted_link(position: u64, recipient: &[u8; 32], execution: u64) -> [u8; 64] {
    let link = CreditLinkRecord { recipient: *recipient, execution: execution.into(), previous_credit: 0.into() };
    let mut bytes = [0; 64];
    bytes[..4].copy_from_slice(&(size_of::<CreditLinkRecord>() as u32).to_le_bytes());
    bytes[4] = kind::CREDIT_LINK;
    let mut crc = crc32fast::Hasher::new();
    crc.update(link.as_bytes());
    crc.update(&bytes[..12]);
    crc.update(&position.to_le_bytes());
    bytes[12..16].copy_from_slice(&crc.finalize().to_le_bytes());
    bytes[16..].copy_from_slice(link.as_bytes());
    bytes
}
