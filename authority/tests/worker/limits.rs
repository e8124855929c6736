//! What happens at the bounds: table full, journal full, more requests than can be served. Votes stop before certificates do, everything
//! recovers by itself, and nobody who is in the table is kept from paying or being paid.

use meshpay_authority::accounts::Layout;
use meshpay_authority::journal::FRAME_HEADER_BYTES;
use meshpay_net::Peer;
use meshpay_wire::{ExecutionStatus, OrderBody, RefusalCode};

use crate::network::{EURO, FUNDS, Network, Says, Scheme, VOUCHER, Wallet, body};
use crate::scene::{Place, Scene, peer};

fn in_shard(shard: u8, n: u32) -> Wallet {
    Wallet::in_shard(Scheme::Cheap, shard, n)
}

#[test]
fn a_full_table_refuses_votes_first_then_certificates_and_nobody_who_is_in_it() {
    for workers in [1, 2] {
        // Shard 3 gets full. Alice pays from shard 0, which with two workers is another worker's.
        let alice = in_shard(0, 0);
        let bob = in_shard(3, 0);
        let network = Network::new(Scheme::Cheap, &[&alice, &bob]);
        let mut scene = Place::new(network, workers).start();
        let layout = Layout::for_capacity(0);
        let (mut sequence, mut votes_ended_at) = (0, None);
        let mut newcomers = (1..).map(|n| in_shard(3, n));
        let refused = loop {
            let newcomer = newcomers.next().unwrap();
            let order = scene.net().pay(&alice, sequence, &newcomer, 10);
            let answer = scene.ask_one(&scene.net().order_request(&order));
            match answer.says {
                Says::Vote(_) => assert_eq!(votes_ended_at, None),
                Says::Refused(RefusalCode::RetryLater, _) => {
                    votes_ended_at.get_or_insert(1 + sequence as usize);
                }
                other => panic!("{other:?}"),
            }
            let certificate = scene.net().certified(&order);
            match scene.ask_one(&scene.net().certificate_request(&certificate)).says {
                Says::Executed(_) => sequence += 1,
                Says::Refused(RefusalCode::RetryLater, _) => break certificate,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(votes_ended_at, Some(layout.vote_limit()), "{workers} workers");
        assert_eq!(1 + sequence as usize, layout.certificate_limit(), "{workers} workers");
        // Unacknowledged and without effect, and not the last word: Alice's next sequence is still free for another payment.
        let account = scene.ask_one(&scene.net().account_request(&alice.key, EURO)).account();
        assert_eq!(account.next_sequence.get(), sequence);
        // Those who are in the table are paid, by vote and certificate, and pay.
        let order = scene.net().pay(&alice, sequence, &bob, 77);
        scene.ask_one(&scene.net().order_request(&order)).vote();
        scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&order))).executed();
        for n in 0..300 {
            let order = scene.net().pay(&bob, n, &alice, 1);
            scene.ask_one(&scene.net().order_request(&order)).vote();
            scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&order))).executed();
            let order = scene.net().pay(&alice, sequence + 1 + n, &bob, 1);
            scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&order))).executed();
        }
        // Alice with two tokens, Bob, and everybody who was paid before the table was full; the newest sequences went to Bob.
        assert_eq!(scene.table_used(), 3 + sequence, "a slot leaked");
        // With a larger table the refused certificate, at its old sequence, is answered with what stands there now.
        let (state, mut place) = scene.state();
        assert_eq!(state.euros, 2 * i128::from(FUNDS));
        place.capacity = 100_000;
        let mut scene = place.start();
        let executed = scene.ask_one(&scene.net().certificate_request(&refused)).executed();
        assert_eq!((executed.order, executed.status), (scene.net().digest(&order), ExecutionStatus::Before as u8));
        let newcomer = newcomers.next().unwrap();
        scene.ask_one(&scene.net().certificate_request(&scene.net().paid(&bob, 300, &newcomer, 10))).executed();
    }
}

#[test]
fn many_payments_under_way_to_one_account_take_no_slots_from_its_shard() {
    let mut wallets: Vec<Wallet> = (0..250).map(|n| in_shard((n % 100) as u8 * 2, n)).collect();
    wallets.push(in_shard(1, 0));
    let (bob, payers) = wallets.split_last().unwrap();
    let network = Network::new(Scheme::Cheap, &wallets.iter().collect::<Vec<_>>());
    let mut scene = Place::new(network, 2).start();
    let before = scene.table_used();
    for payer in payers {
        scene.deliver(0, &peer(1), &scene.net().certificate_request(&scene.net().paid(payer, 0, bob, 1)));
    }
    scene.turn(0);
    assert_eq!(scene.total(|c| c.totals.executed.get()), 250);
    assert_eq!(scene.table_used(), before);
    scene.settle();
    assert_eq!(scene.table_used(), before);
    let balance = scene.ask_one(&scene.net().account_request(&bob.key, EURO)).account().balance.get();
    assert_eq!(balance, i128::from(FUNDS) + 250);
}

/// DESIGN 5.15: a further token takes a slot as a new account does, so a vote counts it, whichever worker owns the recipient.
#[test]
fn a_vote_counts_the_slot_of_a_further_token_of_any_worker() {
    for workers in [1, 2, 3] {
        let alice = in_shard(0, 0);
        let bob = in_shard(3, 0);
        let network = Network::new(Scheme::Cheap, &[&alice, &bob]);
        let mut scene = Place::new(network, workers).start();
        let limit = Layout::for_capacity(0).vote_limit();
        let voucher =
            |sequence, recipient: &Wallet| OrderBody { token: VOUCHER.into(), ..body(&alice, sequence, recipient, 1) };
        // Shard 3 is filled by certificates to where votes end; its members have euros only.
        let members: Vec<Wallet> = (1..limit as u32).map(|n| in_shard(3, n)).collect();
        for (sequence, member) in members.iter().enumerate() {
            let certificate = scene.net().paid(&alice, sequence as u64, member, 10);
            scene.ask_one(&scene.net().certificate_request(&certificate)).executed();
        }
        let sequence = members.len() as u64;
        let used = scene.table_used();
        let order = scene.net().sign(&alice, voucher(sequence, &members[0]));
        let answer = scene.ask_one(&scene.net().order_request(&order));
        assert!(
            matches!(answer.says, Says::Refused(RefusalCode::RetryLater, _)),
            "{workers} workers: {:?}",
            answer.says
        );
        // A quorum elsewhere may have had room; then the reserve takes it, and from then on it takes no further slot.
        scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&order))).executed();
        assert_eq!(scene.table_used(), used + 1);
        let again = scene.net().sign(&alice, voucher(sequence + 1, &members[0]));
        scene.ask_one(&scene.net().order_request(&again)).vote();
    }
}

#[test]
fn further_tokens_across_workers_leave_no_slot_set_aside() {
    let alice = in_shard(0, 0);
    let bob = in_shard(1, 0);
    let network = Network::new(Scheme::Cheap, &[&alice, &bob]);
    let mut scene = Place::new(network, 2).start();
    let before = scene.table_used();
    for (sequence, slots) in [(0, 1), (1, 1), (2, 1)] {
        let voucher = OrderBody { token: VOUCHER.into(), ..body(&alice, sequence, &bob, 5) };
        let order = scene.net().sign(&alice, voucher);
        scene.ask_one(&scene.net().order_request(&order)).vote();
        scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&order))).executed();
        assert_eq!(scene.table_used(), before + slots);
    }
    // A sender whom nobody has heard of, in both tokens.
    let stranger = in_shard(2, 0);
    for (sequence, token, slots) in [(0, VOUCHER, 2), (1, EURO, 3), (2, EURO, 3)] {
        let order =
            scene.net().sign(&stranger, OrderBody { token: token.into(), ..body(&stranger, sequence, &bob, 5) });
        scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&order))).executed();
        assert_eq!(scene.table_used(), before + slots);
    }
    let order = scene.net().sign(&stranger, body(&stranger, 3, &stranger, 5));
    scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&order))).executed();
    assert_eq!(scene.table_used(), before + 3);
    let newcomer = in_shard(4, 0);
    let order = scene.net().sign(&newcomer, body(&newcomer, 0, &newcomer, 5));
    scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&order))).executed();
    assert_eq!(scene.table_used(), before + 4);
}

#[test]
fn a_full_disk_stops_votes_then_certificates_and_recovers_by_itself() {
    let mut payers: Vec<Wallet> = (0..200).map(|n| in_shard((n % 250) as u8, n)).collect();
    let network = Network::new(Scheme::Cheap, &payers.iter().collect::<Vec<_>>());
    let mut place = Place::new(network, 1);
    place.config.reserve_bytes = Some(256 << 10);
    place.disk.set_capacity(Some(6 << 20));
    let mut scene = place.start();
    let bob = payers.pop().unwrap();
    // Certificates until nothing more is taken. On the way votes end first.
    let (mut sequence, mut votes_ended, mut executed_after) = (0, false, 0);
    let unsettled = 'full: loop {
        for (n, payer) in payers.iter().enumerate() {
            if n % 50 == 0 {
                let order = scene.net().pay(payer, sequence, &bob, 1);
                match scene.ask_one(&scene.net().order_request(&order)).says {
                    Says::Vote(_) => assert!(!votes_ended, "votes came back although no room was made"),
                    Says::Refused(RefusalCode::RetryLater, _) => votes_ended = true,
                    other => panic!("{other:?}"),
                }
            }
            let certificate = scene.net().paid(payer, sequence, &bob, 1);
            match scene.ask_one(&scene.net().certificate_request(&certificate)).says {
                Says::Executed(_) => executed_after += u64::from(votes_ended),
                Says::Refused(RefusalCode::RetryLater, at) => {
                    assert_eq!(at, sequence);
                    break 'full (payer.clone(), sequence, certificate);
                }
                other => panic!("{other:?}"),
            }
        }
        sequence += 1;
    };
    assert!(votes_ended && executed_after > 0, "certificates had no room of their own");
    let (payer, sequence, certificate) = unsettled;
    for _ in 0..3 {
        let request = scene.net().certificate_request(&certificate);
        assert_eq!(scene.ask_one(&request).refusal(), RefusalCode::RetryLater);
    }
    // Queries, old sequences and repeated votes are answered all the time.
    let account = scene.ask_one(&scene.net().account_request(&payer.key, EURO)).account();
    assert_eq!(account.next_sequence.get(), sequence, "nothing was executed");
    let before = scene.ask_one(&scene.net().certificate_request(&scene.net().paid(&payers[0], 0, &bob, 1))).executed();
    assert_eq!(before.status, ExecutionStatus::Before as u8);
    // Room is made; it recovers by itself, without a restart.
    scene.place.disk.set_capacity(None);
    scene.maintain();
    let request = scene.net().certificate_request(&certificate);
    assert_eq!(scene.ask_one(&request).executed().status, ExecutionStatus::Now as u8);
    let order = scene.net().pay(&payer, sequence + 1, &bob, 1);
    scene.ask_one(&scene.net().order_request(&order)).vote();
    let (state, _) = scene.state();
    assert_eq!(state.euros, 200 * i128::from(FUNDS));
}

#[test]
fn a_credit_that_finds_the_journal_busy_waits_and_is_not_lost() {
    // The frame is filled by executions; the links of their credits find no room in it.
    let mut wallets: Vec<Wallet> = (0..250).map(|n| in_shard((n % 100) as u8 * 2, n)).collect();
    wallets.push(in_shard(1, 0));
    let (bob, payers) = wallets.split_last().unwrap();
    let network = Network::with_tokens(Scheme::Cheap, &wallets.iter().collect::<Vec<_>>(), 1);
    let mut scene = Place::with_frames(network, 2, 64 << 10).start();
    for payer in payers {
        scene.deliver(0, &peer(1), &scene.net().certificate_request(&scene.net().paid(payer, 0, bob, 1)));
    }
    scene.turn(0);
    let executed = scene.total(|c| c.totals.executed.get());
    assert!(executed < 250, "the frame was never full");
    let stood_at = scene.journal.handle().durable().0;
    assert!(scene.journal.handle().appended().0 - stood_at > (60 << 10) - FRAME_HEADER_BYTES as u64);
    scene.turn(1);
    assert!(scene.total(|c| c.totals.credits_received.get()) < executed, "the links found room");
    let turn = scene.turn(1);
    assert!(!turn.drained);
    assert!(!turn.busy, "another turn now could do nothing");
    assert_eq!(turn.waits_for, Some(stood_at + 1), "the next commit makes room");
    scene.settle();
    let balance = scene.ask_one(&scene.net().account_request(&bob.key, EURO)).account().balance.get();
    assert_eq!(balance, i128::from(FUNDS) + i128::from(executed));
}

/// Requests of a client who has shown that he receives at his address.
fn with_token(scene: &Scene, from: &Peer, mut request: Vec<u8>) -> Vec<u8> {
    let token = scene.token_key.token(&from.address, scene.clock.now_ms.get());
    request[80..88].copy_from_slice(&token);
    request
}

#[test]
fn a_flood_without_tokens_or_for_another_network_does_not_drown_a_client_with_one() {
    let alice = in_shard(0, 0);
    let bob = in_shard(1, 0);
    let network = Network::new(Scheme::Cheap, &[&alice, &bob]);
    let mut scene = Place::new(network, 1).start();
    let honest = peer(1_000);
    let mut garbage = scene.net().pay(&alice, 0, &bob, 5);
    garbage.signature[0] ^= 1;
    let (mut asked, mut answered) = (0, 0);
    for round in 0..40 {
        // Bundles of the shortest messages there are, for another network: eleven answers for each datagram.
        let mut foreign = scene.net().account_request(&alice.key, EURO);
        foreign.truncate(112);
        foreign[8..10].copy_from_slice(&112u16.to_le_bytes());
        foreign[16] ^= 1;
        let bundle = foreign.repeat(12);
        for n in 0..1_000u16 {
            scene.deliver(0, &peer(n % 900), &bundle);
            scene.deliver(0, &peer(n % 900), &scene.net().order_request(&garbage));
        }
        for n in 0..4 {
            let certificate = scene.net().paid(&bob, asked + n, &alice, 1);
            let request = with_token(&scene, &honest, scene.net().certificate_request(&certificate));
            scene.deliver(0, &honest, &request);
        }
        scene.turn(0);
        scene.commit();
        scene.maintain();
        let sent = scene.sent(0);
        answered += sent.iter().filter(|(to, _)| *to == honest).count() as u64;
        asked += 4;
        assert!(answered + 8 >= asked, "round {round}: {answered} of {asked} honest requests were answered");
    }
}
#[test]
fn a_few_sources_that_flood_do_not_drown_another() {
    // Eight sources with tokens send a hundred times more than can be served; one sends what it needs.
    let alice = in_shard(0, 0);
    let bob = in_shard(1, 0);
    let network = Network::new(Scheme::Cheap, &[&alice, &bob]);
    let mut scene = Place::new(network, 1).start();
    let honest = peer(1_000);
    let mut garbage = scene.net().pay(&alice, 0, &bob, 5);
    garbage.signature[0] ^= 1;
    let (mut asked, mut answered) = (0, 0);
    for round in 0..60 {
        for n in 0..2_000u16 {
            let from = peer(1 + n % 8);
            let request = with_token(&scene, &from, scene.net().order_request(&garbage));
            scene.deliver(0, &from, &request);
        }
        for n in 0..4 {
            let certificate = scene.net().paid(&bob, asked + n, &alice, 1);
            let request = with_token(&scene, &honest, scene.net().certificate_request(&certificate));
            scene.deliver(0, &honest, &request);
        }
        scene.turn(0);
        scene.commit();
        scene.turn(0);
        scene.maintain();
        let sent = scene.sent(0);
        answered += sent.iter().filter(|(to, _)| *to == honest).count() as u64;
        asked += 4;
        assert!(answered + 8 >= asked, "round {round}: {answered} of {asked} honest requests were answered");
    }
    assert!(scene.total(|c| c.totals.dropped_source_queue.get() + c.totals.dropped_no_buffer.get()) > 10_000);
}

#[test]
fn a_flood_of_history_leaves_time_for_payments() {
    // Everybody may ask for old certificates, and each costs many reads. They are bounded per turn, not only counted.
    let alice = in_shard(0, 0);
    let bob = in_shard(1, 0);
    let network = Network::new(Scheme::Cheap, &[&alice, &bob]);
    let mut scene = Place::new(network, 1).start();
    for sequence in 0..4_200 {
        scene.deliver(0, &peer(1), &scene.net().certificate_request(&scene.net().paid(&alice, sequence, &bob, 1)));
        if sequence % 12 == 11 {
            scene.settle();
        }
    }
    scene.settle();
    scene.answers();
    // The sequence with the longest way: 62 steps on each level.
    for _ in 0..500 {
        scene.deliver(0, &peer(1), &scene.net().debit_request(&alice.key, 1));
    }
    let mut most = 0;
    for _ in 0..40 {
        let before = scene.total(|c| c.totals.history_reads.get());
        scene.turn(0);
        most = most.max(scene.total(|c| c.totals.history_reads.get()) - before);
    }
    let answered = scene.answers().len();
    assert!((1..=1_024 + 130).contains(&most), "{most} reads in one turn");
    assert!(answered > 0);
    let dropped = scene.total(|c| c.totals.dropped_history_budget.get() + c.totals.dropped_source_queue.get());
    assert_eq!(answered as u64 + dropped, 500, "every drop has a counter");
}
