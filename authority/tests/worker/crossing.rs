//! Payments between accounts of different workers: debited and credited exactly once, whatever is lost and wherever the power goes.

use meshpay_authority::journal::CrashFault;
use meshpay_wire::{ExecutionStatus, RefusalCode};

use crate::network::{EURO, FUNDS, Network, Says, Scheme, Wallet};
use crate::scene::{Place, Random, Scene, State, fill_frame, peer};

fn wallets(count: u8, scheme: Scheme) -> Vec<Wallet> {
    (0..count).map(|n| Wallet::in_shard(scheme, n, u32::from(n / 4))).collect()
}

fn network(scheme: Scheme, wallets: &[Wallet]) -> Network {
    Network::new(scheme, &wallets.iter().collect::<Vec<_>>())
}

#[test]
fn a_credit_reaches_the_other_worker_once() {
    let wallets = wallets(2, Scheme::Real);
    let mut scene = Place::new(network(Scheme::Real, &wallets), 2).start();
    let certificate = scene.net().paid(&wallets[0], 0, &wallets[1], 5);
    for _ in 0..3 {
        scene.ask_one(&scene.net().certificate_request(&certificate)).executed();
    }
    assert_eq!(scene.total(|c| c.totals.credits_sent.get()), 1);
    assert_eq!(scene.total(|c| c.totals.credits_received.get()), 1);
    let balance = scene.ask_one(&scene.net().account_request(&wallets[1].key, EURO)).account().balance.get();
    assert_eq!(balance, i128::from(FUNDS) + 5);
    assert_eq!(scene.stop().audit().result, "passed");
}

#[test]
fn misrouted_messages_reach_their_owner() {
    let wallets = wallets(3, Scheme::Cheap);
    let mut scene = Place::new(network(Scheme::Cheap, &wallets), 3).start();
    // A bundle about accounts of three workers, at the wrong worker; answers go to whoever asked.
    let bundle = [
        scene.net().order_request(&scene.net().pay(&wallets[0], 0, &wallets[1], 5)),
        scene.net().certificate_request(&scene.net().paid(&wallets[1], 0, &wallets[2], 6)),
        scene.net().account_request(&wallets[2].key, EURO),
    ]
    .concat();
    scene.deliver(2, &peer(7), &bundle);
    scene.settle();
    let mut answered = 0;
    for worker in 0..3 {
        for (to, datagram) in scene.sent(worker) {
            assert_eq!(to, peer(7));
            answered += crate::network::answers(&datagram).len();
        }
    }
    assert_eq!(answered, 3);
    assert_eq!(scene.total(|c| c.totals.crossed.get()), 2);
    assert_eq!(scene.total(|c| c.totals.received_crossing.get()), 2);
    assert_eq!(scene.total(|c| c.totals.locked.get()), 1);
    assert_eq!(scene.total(|c| c.totals.executed.get()), 1);
}

#[test]
fn a_full_queue_between_workers_drops_messages_and_counts_them_but_never_a_credit() {
    // Payers of worker 0 and one recipient of worker 1.
    let mut wallets: Vec<Wallet> = (0..250).map(|n| Wallet::in_shard(Scheme::Cheap, (n % 100) as u8 * 2, n)).collect();
    wallets.push(Wallet::in_shard(Scheme::Cheap, 1, 0));
    let (bob, payers) = wallets.split_last().unwrap();
    let network = Network::with_tokens(Scheme::Cheap, &wallets.iter().collect::<Vec<_>>(), 1);
    let mut scene = Place::with_frames(network, 2, 512 << 10).start();
    const SENT: u64 = 1_500;
    for _ in 0..SENT {
        scene.deliver(0, &peer(1), &scene.net().account_request(&bob.key, EURO));
    }
    scene.turn(0);
    let (crossed, dropped) =
        (scene.total(|c| c.totals.crossed.get()), scene.total(|c| c.totals.dropped_crossing.get()));
    assert_eq!(crossed + dropped, SENT);
    assert!(dropped > 0);
    scene.settle();
    let dropped = scene.total(|c| c.totals.dropped_source_queue.get());
    assert_eq!(scene.answers().len() as u64 + dropped, crossed);

    // Credits pile up while the other worker stands still; then certificates are refused, and later taken.
    let mut refused = 0;
    let mut next = vec![0; payers.len()];
    for round in 0..40 {
        for (payer, sequence) in payers.iter().zip(&next) {
            let request = scene.net().certificate_request(&scene.net().paid(payer, *sequence, bob, 1));
            scene.deliver(0, &peer(1), &request);
        }
        scene.turn(0);
        scene.commit();
        scene.maintain();
        scene.turn(0);
        for answer in scene.answers() {
            let payer = payers.iter().position(|payer| payer.key == answer.header.account).unwrap();
            match answer.says {
                Says::Executed(executed) => {
                    assert_eq!(executed.status, ExecutionStatus::Now as u8);
                    next[payer] += 1;
                }
                Says::Refused(RefusalCode::RetryLater, _) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        if round >= 20 {
            scene.turn(1);
        }
    }
    let executed: u64 = next.iter().sum();
    assert!(refused > 0, "the queue was never full");
    assert!(executed > 4_096, "{executed}: refused certificates must be taken later");
    scene.settle();
    let (state, _) = scene.state();
    assert_eq!(state.balance(&bob.key), i128::from(FUNDS + executed));
    assert_eq!(state.euros, 251 * i128::from(FUNDS));
}

/// One step of a scripted run.
#[derive(Clone, Copy, Debug)]
enum Step {
    Turn(usize),
    Begin,
    Finish,
}

/// Sends payments both ways between two workers, and takes every step in turn.
fn script(scene: &mut Scene, wallets: &[Wallet], steps: &[Step]) -> Vec<u64> {
    for sequence in 0..3 {
        scene.deliver(
            0,
            &peer(1),
            &scene.net().certificate_request(&scene.net().paid(&wallets[0], sequence, &wallets[1], 100)),
        );
        scene.deliver(
            1,
            &peer(1),
            &scene.net().certificate_request(&scene.net().paid(&wallets[1], sequence, &wallets[2], 10)),
        );
    }
    scene.deliver(0, &peer(1), &scene.net().order_request(&scene.net().pay(&wallets[2], 0, &wallets[3], 7)));
    let mut acknowledged = vec![0; wallets.len()];
    for step in steps {
        match *step {
            Step::Turn(worker) => {
                scene.turn(worker);
            }
            Step::Begin => {
                scene.journal.begin().unwrap();
            }
            Step::Finish => {
                scene.journal.finish().unwrap();
            }
        }
        for answer in scene.answers() {
            if let Says::Executed(executed) = answer.says {
                let who = wallets.iter().position(|wallet| wallet.key == answer.header.account).unwrap();
                acknowledged[who] = acknowledged[who].max(executed.next_sequence.get());
            }
        }
    }
    acknowledged
}

#[test]
fn a_crash_at_every_point_conserves_money_and_what_was_acknowledged() {
    use Step::*;
    let steps = [
        Turn(0),
        Begin,
        Turn(1),
        Finish,
        Turn(0),
        Begin,
        Turn(1),
        Turn(0),
        Finish,
        Turn(1),
        Turn(0),
        Begin,
        Finish,
        Turn(1),
        Turn(0),
        Begin,
        Finish,
        Turn(0),
        Turn(1),
    ];
    let wallets = wallets(4, Scheme::Cheap);
    let others = [
        (CrashFault::Kept, 0),
        (CrashFault::Torn(1), 0),
        (CrashFault::Torn(4), 0),
        (CrashFault::Reordered, 1),
        (CrashFault::Garbled, 2),
    ];
    for end in 0..=steps.len() {
        // Losing everything at each point, and at each point one of the others.
        for (fault, seed) in [(CrashFault::Lost, 0), others[end % others.len()]] {
            let case = format!("after {end} steps, {fault:?}, seed {seed}");
            let mut scene = Place::new(network(Scheme::Cheap, &wallets), 2).start();
            let acknowledged = script(&mut scene, &wallets, &steps[..end]);
            let place = scene.crash(fault, seed);
            // Recovered once, and again after another crash that takes all it may: the same.
            let (first, place) = place.start().state();
            assert_eq!(first.euros, 4 * i128::from(FUNDS), "{case}: money was made or lost");
            for (wallet, acknowledged) in wallets.iter().zip(&acknowledged) {
                let next = first.accounts.iter().find(|slot| slot.0 == wallet.key).unwrap().3;
                assert!(next >= *acknowledged, "{case}: {acknowledged} were acknowledged, {next} is next");
            }
            place.disk.crash(CrashFault::Lost, 0);
            let mut scene = place.start();
            let (second, place) = {
                // Everything is sent again, and settles to the one state that there is.
                script(&mut scene, &wallets, &[]);
                scene.settle();
                scene.state()
            };
            let expected = [-300, 300 - 30, 30, 0];
            for (wallet, change) in wallets.iter().zip(expected) {
                assert_eq!(second.balance(&wallet.key), i128::from(FUNDS) + change, "{case}");
            }
            if end % 5 == 0 {
                let (third, _) = place.start().state();
                assert_eq!(second, third, "{case}: a restart changed something");
            }
        }
    }
}

#[test]
fn a_credit_whose_link_was_lost_is_linked_at_the_next_start() {
    let wallets = wallets(2, Scheme::Real);
    let mut scene = Place::new(network(Scheme::Real, &wallets), 2).start();
    let certificate = scene.net().paid(&wallets[0], 0, &wallets[1], 5);
    scene.deliver(0, &peer(1), &scene.net().certificate_request(&certificate));
    scene.turn(0);
    scene.commit();
    scene.turn(0);
    assert_eq!(scene.answers().len(), 1, "acknowledged before the recipient's worker has seen the credit");
    let place = scene.crash(CrashFault::Lost, 0);
    let mut scene = place.start();
    let (_, order) = scene.ask_one(&scene.net().credit_request(&wallets[1].key, 0)).certificate();
    assert_eq!(order, certificate.view().head.order);
    let balance = scene.ask_one(&scene.net().account_request(&wallets[1].key, EURO)).account().balance.get();
    assert_eq!(balance, i128::from(FUNDS) + 5);
    // Paid again, the chain goes on across the repaired link, and once more after a restart with another number of workers.
    scene.ask_one(&scene.net().certificate_request(&scene.net().paid(&wallets[0], 1, &wallets[1], 6))).executed();
    let mut place = scene.kill();
    place.workers = 1;
    let mut scene = place.start();
    scene.ask_one(&scene.net().certificate_request(&scene.net().paid(&wallets[0], 2, &wallets[1], 7))).executed();
    let mut locator = 0;
    let mut amounts = Vec::new();
    loop {
        let (links, order) = scene.ask_one(&scene.net().credit_request(&wallets[1].key, locator)).certificate();
        amounts.push(order.body.amount.get());
        locator = links.previous_credit.get();
        if locator == 0 {
            break;
        }
    }
    assert_eq!(amounts, [7, 6, 5]);
    assert_eq!(scene.stop().audit().result, "passed");
}

#[test]
fn a_worker_knows_whether_a_credit_is_still_on_its_way_to_it() {
    // On this the stamp of the image depends: an image without the credit would lose it for good.
    let wallets = wallets(2, Scheme::Cheap);
    let mut scene = Place::with_frames(network(Scheme::Cheap, &wallets), 2, 64 << 10).start();
    assert!(scene.workers.iter().all(|worker| worker.has_taken_all_credits()));
    let request = scene.net().certificate_request(&scene.net().paid(&wallets[0], 0, &wallets[1], 5));
    scene.deliver(0, &peer(1), &request);
    // Worker 1 was idle and said so, before worker 0 sent it a credit.
    assert!(scene.turn(1).drained);
    scene.turn(0);
    scene.commit();
    scene.turn(0);
    assert!(scene.turn(0).drained);
    assert!(scene.workers[0].has_taken_all_credits());
    assert!(!scene.workers[1].has_taken_all_credits());
    // Taken from the queue but not recorded, since the journal has no room: still on its way.
    fill_frame(&scene.journal.handle());
    scene.turn(1);
    assert!(!scene.workers[1].has_taken_all_credits());
    assert!(!scene.turn(1).drained);
    scene.commit();
    scene.turn(1);
    assert!(scene.workers[1].has_taken_all_credits());
}

#[test]
fn random_schedules_of_three_workers_pass_the_audit_and_agree_with_their_replay() {
    for seed in 0..6 {
        let wallets = wallets(8, Scheme::Real);
        let mut scene = Place::new(network(Scheme::Real, &wallets), 3).start();
        let mut random = Random(seed);
        let mut next = vec![0; wallets.len()];
        for _ in 0..120 {
            match random.below(10) {
                0..=5 => {
                    let from = random.below(8) as usize;
                    let to = random.below(8) as usize;
                    // Now and then more than the sender has, so that balances stand below zero for a while.
                    let amount =
                        if random.below(5) == 0 { FUNDS + random.below(FUNDS) } else { 1 + random.below(1_000) };
                    let order = scene.net().pay(&wallets[from], next[from], &wallets[to], amount);
                    let worker = random.below(3) as usize;
                    if random.below(2) == 0 {
                        scene.deliver(worker, &peer(1), &scene.net().order_request(&order));
                    }
                    if random.below(4) > 0 {
                        let certificate = scene.net().certified(&order);
                        scene.deliver(worker, &peer(1), &scene.net().certificate_request(&certificate));
                        next[from] += 1;
                    }
                }
                6 => {
                    scene.commit();
                    scene.maintain();
                }
                other => {
                    let _ = scene.turn((other as usize) % 3);
                }
            }
        }
        scene.settle();
        let (live, place) = {
            let (place, journal, mut table, _) = scene.end_workers();
            let live = State::of(&mut table);
            drop((journal, table));
            place.disk.restart_process();
            (live, place)
        };
        let report = place.audit();
        assert_eq!(report.result, "passed", "seed {seed}");
        assert_eq!(report.state_digest, hex::encode(live.digest), "seed {seed}: audit and live state differ");
        let (replayed, _) = place.start().state();
        assert_eq!(live.accounts, replayed.accounts, "seed {seed}: replay and live state differ");
    }
}
