//! From a directory to accounts: the image of a clean stop is used, any other is rebuilt; checkpoints bound the replay and are never believed
//! where they are damaged or of another history; what does not fit is refused with what to do about it.

use std::fs;
use std::os::unix::fs::FileExt;

use meshpay_authority::journal::{CrashFault, FRAME_HEADER_BYTES};

use crate::network::{EURO, FUNDS, Network, Scheme, Wallet};
use crate::scene::{Place, Random, Scene, State, peer};

fn wallets() -> Vec<Wallet> {
    (0..4).map(|n| Wallet::in_shard(Scheme::Cheap, n, 0)).collect()
}

fn place(wallets: &[Wallet], workers: usize) -> Place {
    Place::new(Network::new(Scheme::Cheap, &wallets.iter().collect::<Vec<_>>()), workers)
}

/// Pays round, a few times, and leaves a lock.
fn pay(scene: &mut Scene, wallets: &[Wallet], rounds: std::ops::Range<u64>) {
    for sequence in rounds {
        for (n, wallet) in wallets.iter().enumerate() {
            let order = scene.net().pay(wallet, sequence, &wallets[(n + 1) % wallets.len()], 10 + n as u64);
            scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&order))).executed();
        }
    }
}

fn is_locked(scene: &mut Scene, wallet: &Wallet) -> bool {
    let flags = scene.ask_one(&scene.net().account_request(&wallet.key, EURO)).account().flags.get();
    flags & meshpay_wire::account_flags::LOCKED != 0
}

fn lock(scene: &mut Scene, wallet: &Wallet, sequence: u64, to: &Wallet) {
    let order = scene.net().pay(wallet, sequence, to, 3);
    scene.ask_one(&scene.net().order_request(&order)).vote();
}

/// What an authority that never stopped would hold.
fn state_after(wallets: &[Wallet], rounds: u64) -> State {
    let mut scene = place(wallets, 1).start();
    pay(&mut scene, wallets, 0..rounds);
    scene.state().0
}

#[test]
fn a_clean_stop_leaves_an_image_and_a_crash_does_not() {
    let wallets = wallets();
    let mut scene = place(&wallets, 2).start();
    assert_eq!(scene.origin, "the genesis");
    pay(&mut scene, &wallets, 0..5);
    lock(&mut scene, &wallets[2], 5, &wallets[0]);
    let mut scene = scene.stop().start();
    assert_eq!(scene.origin, "the image of a clean stop");
    assert!(is_locked(&mut scene, &wallets[2]));
    pay(&mut scene, &wallets, 5..6);
    // Another number of workers reads the same image.
    let mut place = scene.stop();
    place.workers = 3;
    let mut scene = place.start();
    assert_eq!(scene.origin, "the image of a clean stop");
    pay(&mut scene, &wallets, 6..7);
    // A crash voids it, although the file is as it was.
    let mut scene = scene.crash(CrashFault::Lost, 0).start();
    assert_eq!(scene.origin, "the genesis");
    pay(&mut scene, &wallets, 7..8);
    assert_eq!(scene.state().0.digest, state_after(&wallets, 8).digest);
}

#[test]
fn a_crash_may_leave_any_bytes_in_the_image() {
    let wallets = wallets();
    let expected = state_after(&wallets, 3);
    let mut scene = place(&wallets, 2).start();
    pay(&mut scene, &wallets, 0..3);
    let mut place = scene.crash(CrashFault::Lost, 0);
    let whole = fs::metadata(place.image()).unwrap().len();
    let mut random = Random(5);
    let garbage: Vec<u8> = (0..whole / 8).flat_map(|_| random.next().to_le_bytes()).collect();
    let cases: [&[u8]; 5] = [&garbage, &garbage[..5_000], &[], &[0xff; 4_096], &garbage[..whole as usize - 1]];
    for (case, bytes) in cases.into_iter().enumerate() {
        fs::write(place.image(), bytes).unwrap();
        let (state, after) = place.start().state();
        assert_eq!(state.accounts, expected.accounts, "case {case}");
        place = after;
    }
    // Garbage behind a header that was good once.
    let stopped = place.start().stop();
    let good = fs::read(stopped.image()).unwrap();
    let mut mixed = garbage.clone();
    mixed[..4_096].copy_from_slice(&good[..4_096]);
    fs::write(stopped.image(), &mixed).unwrap();
    let scene = stopped.start();
    assert_eq!(scene.origin, "the genesis");
    assert_eq!(scene.state().0.accounts, expected.accounts);
}

#[test]
fn an_image_of_an_earlier_stop_or_of_another_authority_is_not_believed() {
    let wallets = wallets();
    let mut scene = place(&wallets, 1).start();
    pay(&mut scene, &wallets, 0..2);
    let place_ = scene.stop();
    let earlier = fs::read(place_.image()).unwrap();
    let mut scene = place_.start();
    pay(&mut scene, &wallets, 2..4);
    let place_ = scene.stop();
    fs::write(place_.image(), &earlier).unwrap();
    let scene = place_.start();
    assert_eq!(scene.origin, "the genesis");
    let (state, place_) = scene.state();
    assert_eq!(state.accounts, state_after(&wallets, 4).accounts);

    // Another authority of the same network, with a longer journal, and one of another network, whose accounts have no money here, had their images
    // copied here.
    let strangers: Vec<Wallet> = (10..14).map(|n| Wallet::in_shard(Scheme::Cheap, n, 0)).collect();
    let mut here = place_;
    for (others, rounds) in [(&wallets, 9), (&strangers, 3)] {
        let mut other = place(others, 1).start();
        pay(&mut other, others, 0..rounds);
        fs::copy(other.stop().image(), here.image()).unwrap();
        let scene = here.start();
        assert_eq!(scene.origin, "the genesis");
        let (state, after) = scene.state();
        assert_eq!(state.accounts, state_after(&wallets, 4).accounts);
        here = after;
    }
}

#[test]
fn a_checkpoint_made_while_running_is_where_the_next_start_begins() {
    let wallets = wallets();
    let mut scene = place(&wallets, 2).start();
    pay(&mut scene, &wallets, 0..4);
    lock(&mut scene, &wallets[1], 4, &wallets[3]);
    // Appended and not durable: not in the checkpoint.
    let order = scene.net().pay(&wallets[2], 4, &wallets[3], 3);
    scene.deliver(0, &peer(1), &scene.net().order_request(&order));
    scene.turn(0);
    let durable = scene.journal.handle().durable();
    let checkpointer = scene.place.checkpointer();
    assert_eq!(checkpointer.make(&scene.journal.handle(), [6; 16]).unwrap(), durable);
    assert_eq!(checkpointer.newest(), durable.0);
    let mut scene = scene.crash(CrashFault::Lost, 0).start();
    assert_eq!(scene.origin, format!("the checkpoint at {durable}"));
    assert!(is_locked(&mut scene, &wallets[1]), "the lock is in the checkpoint");
    assert!(!is_locked(&mut scene, &wallets[2]), "this one was lost, and no vote had left");
    // Locks of a checkpoint are still what certificates and conflicts refer to.
    let other = scene.net().pay(&wallets[1], 4, &wallets[0], 9);
    let conflict = scene.ask_one(&scene.net().order_request(&other));
    assert!(matches!(conflict.says, crate::network::Says::Conflict(_)));
    let certificate = scene.net().certify(&scene.net().pay(&wallets[1], 4, &wallets[3], 3), &[0, 1, 2]);
    scene.ask_one(&scene.net().certificate_request(&certificate)).executed();
    assert_eq!(scene.voting.stopped(), None);
    // A checkpoint is made from the one before, and the replay from it gives what the replay from the genesis gives.
    scene.place.checkpointer().make(&scene.journal.handle(), [6; 16]).unwrap();
    let scene = scene.kill().start();
    assert!(scene.origin.starts_with("the checkpoint"));
    let (from_checkpoint, place) = scene.state();
    for entry in fs::read_dir(place.directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("checkpoint") {
            fs::remove_file(path).unwrap();
        }
    }
    let scene = place.start();
    assert_eq!(scene.origin, "the genesis");
    assert_eq!(scene.state().0.accounts, from_checkpoint.accounts);
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_gives_way_to_a_good_one() {
    let wallets = wallets();
    let mut scene = place(&wallets, 1).start();
    pay(&mut scene, &wallets, 0..2);
    let first = scene.place.checkpointer().make(&scene.journal.handle(), [6; 16]).unwrap();
    pay(&mut scene, &wallets, 2..3);
    let second = scene.place.checkpointer().make(&scene.journal.handle(), [6; 16]).unwrap();
    pay(&mut scene, &wallets, 3..4);
    let mut place = scene.kill();
    let path = place.directory.path().join(format!("checkpoint-{:016x}", second.0));
    let good = fs::read(&path).unwrap();
    let expected = state_after(&wallets, 4);
    let mut random = Random(11);
    let mut offsets: Vec<usize> =
        vec![0, 8, 12, 16, 50, 80, 88, 120, 128, 136, 170, 200, 3_000, 4_095, 4_096, good.len() - 1];
    offsets.extend((0..6).map(|_| random.below(good.len() as u64) as usize));
    for offset in offsets {
        let mut bad = good.clone();
        bad[offset] ^= 1 << random.below(8);
        fs::write(&path, &bad).unwrap();
        let scene = place.start();
        assert_eq!(scene.origin, format!("the checkpoint at {}", first.0), "byte {offset}");
        let (state, after) = scene.state();
        assert_eq!(state.accounts, expected.accounts, "byte {offset}");
        place = after;
    }
    for bytes in [&good[..good.len() - 1], &good[..4_095], &good[..100], &[]] {
        fs::write(&path, bytes).unwrap();
        let scene = place.start();
        assert_eq!(scene.origin, format!("the checkpoint at {}", first.0));
        place = scene.kill();
    }
    // The next one is made from the good one, and the damaged one makes room, so that two good ones are kept.
    let mut scene = place.start();
    pay(&mut scene, &wallets, 4..5);
    let third = scene.place.checkpointer().make(&scene.journal.handle(), [6; 16]).unwrap();
    let mut kept: Vec<String> = fs::read_dir(scene.place.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("checkpoint"))
        .collect();
    kept.sort();
    assert_eq!(kept, [format!("checkpoint-{:016x}", first.0), format!("checkpoint-{:016x}", third.0)]);
    // All damaged: the whole journal serves.
    let place = scene.kill();
    for name in kept {
        let path = place.directory.path().join(name);
        fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"x", 5_000).unwrap();
    }
    let scene = place.start();
    assert_eq!(scene.origin, "the genesis");
    assert_eq!(scene.state().0.accounts, state_after(&wallets, 5).accounts);
}

#[test]
fn a_checkpoint_ahead_of_the_journal_is_refused_by_name() {
    let wallets = wallets();
    let mut scene = place(&wallets, 1).start();
    pay(&mut scene, &wallets, 0..2);
    let place = scene.kill();
    // Of this journal it can only mean that records are missing; the mark says so too, but may be older by a second.
    let mut longer = self::place(&wallets, 1).start();
    pay(&mut longer, &wallets, 0..6);
    let ahead = longer.place.checkpointer().make(&longer.journal.handle(), [6; 16]).unwrap();
    let name = format!("checkpoint-{:016x}", ahead.0);
    fs::copy(longer.place.directory.path().join(&name), place.directory.path().join(&name)).unwrap();
    let error = format!("{:#}", place.recover().err().expect("refused"));
    assert!(error.contains("the journal ends at"), "{error}");
    assert!(error.contains("checkpoint"), "{error}");
}

#[test]
fn a_checkpoint_of_another_history_is_refused_by_name_also_where_the_next_is_made_from_it() {
    let wallets = wallets();
    let mut scene = place(&wallets, 1).start();
    pay(&mut scene, &wallets, 0..6);
    // The same key and journal number, other records: what a copy of the directory that ran on by itself would leave.
    let mut copy = self::place(&wallets, 1).start();
    let order = copy.net().pay(&wallets[1], 0, &wallets[2], 3);
    copy.ask_one(&copy.net().order_request(&order)).vote();
    pay(&mut copy, &wallets, 0..1);
    let at = copy.place.checkpointer().make(&copy.journal.handle(), [6; 16]).unwrap();
    let name = format!("checkpoint-{:016x}", at.0);
    fs::copy(copy.place.directory.path().join(&name), scene.place.directory.path().join(&name)).unwrap();
    let error = scene.place.checkpointer().make(&scene.journal.handle(), [6; 16]).expect_err("refused");
    assert!(error.to_string().contains("another history"), "{error}");
    let error = format!("{:#}", scene.kill().recover().err().expect("refused"));
    assert!(error.contains(&format!("a checkpoint of this journal was made at {at} of another history")), "{error}");
}

#[test]
fn a_checkpoint_of_another_authority_is_passed_over() {
    let wallets = wallets();
    let mut scene = place(&wallets, 1).start();
    pay(&mut scene, &wallets, 0..2);
    let place = scene.kill();
    let network = Network::with_tokens(Scheme::Cheap, &wallets.iter().collect::<Vec<_>>(), 1);
    let mut other = Place::new(network, 1).start();
    pay(&mut other, &wallets, 0..1);
    let at = other.place.checkpointer().make(&other.journal.handle(), [6; 16]).unwrap();
    let name = format!("checkpoint-{:016x}", at.0);
    fs::copy(other.place.directory.path().join(&name), place.directory.path().join(&name)).unwrap();
    let scene = place.start();
    assert_eq!(scene.origin, "the genesis");
    assert_eq!(scene.state().0.accounts, state_after(&wallets, 2).accounts);
}

#[test]
fn credits_open_across_a_checkpoint_are_neither_lost_nor_applied_twice() {
    for linked_before_the_crash in [false, true] {
        let wallets = wallets();
        let mut scene = place(&wallets, 2).start();
        pay(&mut scene, &wallets, 0..1);
        // Worker 0 executes a payment to worker 1's account; the checkpoint is made before worker 1 has seen it.
        let order = scene.net().pay(&wallets[0], 1, &wallets[1], 500);
        scene.deliver(0, &peer(1), &scene.net().certificate_request(&scene.net().certified(&order)));
        scene.turn(0);
        scene.commit();
        scene.place.checkpointer().make(&scene.journal.handle(), [6; 16]).unwrap();
        if linked_before_the_crash {
            scene.settle();
        }
        let mut scene = scene.crash(CrashFault::Lost, 0).start();
        assert!(scene.origin.starts_with("the checkpoint"));
        let (links, newest) = scene.ask_one(&scene.net().credit_request(&wallets[1].key, 0)).certificate();
        assert_eq!(newest, order, "linked before: {linked_before_the_crash}");
        let (_, before) =
            scene.ask_one(&scene.net().credit_request(&wallets[1].key, links.previous_credit.get())).certificate();
        assert_eq!(before.body.amount.get(), 10);
        // And a second time, from the checkpoint and from the genesis alike.
        let (first, place) = scene.state();
        assert_eq!(first.euros, 4 * i128::from(FUNDS));
        assert_eq!(first.balance(&wallets[1].key), i128::from(FUNDS) + 500 + 10 - 11);
        let (second, _) = place.start().state();
        assert_eq!(first, second);
    }
}

#[test]
fn a_table_that_is_too_small_is_refused_with_what_to_do() {
    // More accounts in one shard than the smallest table has.
    let wallets: Vec<Wallet> = (0..200).map(|n| Wallet::in_shard(Scheme::Cheap, 3, n)).collect();
    let mut place = place(&wallets, 1);
    let error = format!("{:#}", place.recover().err().expect("refused"));
    assert!(error.contains("accounts.capacity"), "{error}");
    place.capacity = 100_000;
    let mut scene = place.start();
    // Grown beyond what a later, smaller setting holds: with and without a checkpoint.
    let newcomers: Vec<Wallet> = (0..70).map(|n| Wallet::in_shard(Scheme::Cheap, 4, n)).collect();
    for (sequence, newcomer) in newcomers.iter().enumerate() {
        let order = scene.net().pay(&wallets[0], sequence as u64, newcomer, 10);
        scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&order))).executed();
    }
    let handle = scene.journal.handle();
    assert!(handle.durable().0 > FRAME_HEADER_BYTES as u64);
    scene.place.checkpointer().make(&handle, [6; 16]).unwrap();
    drop(handle);
    let mut place = scene.kill();
    place.capacity = 0;
    let error = format!("{:#}", place.recover().err().expect("refused"));
    assert!(error.contains("accounts.capacity") && error.contains("larger"), "{error}");
    place.capacity = 100_000;
    let scene = place.start();
    assert!(scene.origin.starts_with("the checkpoint"));
    let mut place = scene.stop();
    for entry in fs::read_dir(place.directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("checkpoint") {
            fs::remove_file(path).unwrap();
        }
    }
    place.capacity = 0;
    let error = format!("{:#}", place.recover().err().expect("refused"));
    assert!(error.contains("accounts.capacity"), "{error}");
}
