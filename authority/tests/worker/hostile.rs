//! Whatever arrives: nothing panics, nothing is answered with more than it brought, no money is made, and payments go on.
//!
//! `MESHPAY_HOSTILE_DATAGRAMS` sets how many mutated datagrams are sent (20,000 by default), `MESHPAY_HOSTILE_SEED` the seed.

use std::collections::HashMap;

use meshpay_wire::{BUNDLE_MAX, DATAGRAM_MAX, HEADER_LENGTH, REQUEST_MIN};

use crate::network::{EURO, FUNDS, Network, Scheme, VOUCHER, Wallet};
use crate::scene::{Place, Random, Scene, peer};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap())
}

fn wallets() -> Vec<Wallet> {
    (0..6).map(|n| Wallet::in_shard(Scheme::Cheap, n, 0)).collect()
}

fn start(wallets: &[Wallet], workers: usize) -> Scene {
    let network = Network::new(Scheme::Cheap, &wallets[..4].iter().collect::<Vec<_>>());
    Place::with_frames(network, workers, 1 << 20).start()
}

/// A request of any kind, valid or nearly so, about what may exist or not.
fn any_request(scene: &Scene, wallets: &[Wallet], random: &mut Random) -> Vec<u8> {
    let net = scene.net();
    let from = &wallets[random.below(6) as usize];
    let to = &wallets[random.below(6) as usize];
    let sequence = random.below(6);
    let mut order = net.pay(from, sequence, to, random.below(40));
    if random.below(4) == 0 {
        order.signature[random.below(64) as usize] ^= 1;
    }
    let places = [&[1, 2, 3][..], &[0, 1, 2], &[0, 2, 3], &[1, 2], &[0, 1, 2, 3], &[3]][random.below(6) as usize];
    let mut request = match random.below(6) {
        0 | 1 => net.order_request(&order),
        2 => net.certificate_request(&net.certify(&order, places)),
        3 => net.account_request(&from.key, [EURO, VOUCHER, 99][random.below(3) as usize]),
        4 => net.debit_request(&from.key, sequence),
        _ => net
            .credit_request(&from.key, [0, 4_176, random.below(1 << 16) * 8, random.next()][random.below(4) as usize]),
    };
    // Queries may have any length from the shortest on; certificates may be padded.
    if random.below(2) == 0 && matches!(request[6], 3 | 5 | 7) {
        let shortest = if request[6] == 3 { request.len() } else { REQUEST_MIN };
        let length = shortest + random.below((DATAGRAM_MAX - shortest) as u64 + 1) as usize;
        request.resize(length, 0);
        request[8..10].copy_from_slice(&(length as u16).to_le_bytes());
    }
    if random.below(8) == 0 {
        request[16 + random.below(8) as usize] ^= 1;
    }
    request
}

/// Delivers datagrams, each from a client of its own, to any worker, and returns how many bytes each client was sent.
fn answered(scene: &mut Scene, datagrams: &[Vec<u8>], random: &mut Random) -> HashMap<std::net::SocketAddr, usize> {
    for (n, datagram) in datagrams.iter().enumerate() {
        let worker = random.below(scene.workers.len() as u64) as usize;
        scene.deliver(worker, &peer(n as u16), datagram);
    }
    scene.settle();
    let mut bytes = HashMap::new();
    for worker in 0..scene.workers.len() {
        for (to, datagram) in scene.sent(worker) {
            assert!(datagram.len() >= HEADER_LENGTH && datagram.len() <= DATAGRAM_MAX);
            *bytes.entry(to.address).or_default() += datagram.len();
        }
    }
    bytes
}

fn no_longer_than_asked(scene: &mut Scene, datagrams: &[Vec<u8>], random: &mut Random, seed: u64) -> usize {
    let answered = answered(scene, datagrams, random);
    for (n, datagram) in datagrams.iter().enumerate() {
        let bytes = answered.get(&peer(n as u16).address).copied().unwrap_or(0);
        assert!(
            bytes <= datagram.len(),
            "seed {seed}: {bytes} bytes for {}: {}",
            datagram.len(),
            hex::encode(datagram)
        );
    }
    answered.len()
}

#[test]
fn no_datagram_draws_more_than_itself() {
    let seed = setting("MESHPAY_HOSTILE_SEED", 1);
    let mut random = Random(seed);
    let wallets = wallets();
    for workers in [1, 3] {
        let mut scene = start(&wallets, workers);
        let mut total = 0;
        for _ in 0..12 {
            let datagrams: Vec<Vec<u8>> = (0..200)
                .map(|_| {
                    let mut datagram = any_request(&scene, &wallets, &mut random);
                    for _ in 0..random.below(BUNDLE_MAX as u64) {
                        let next = any_request(&scene, &wallets, &mut random);
                        if datagram.len() + next.len() <= DATAGRAM_MAX {
                            datagram.extend(next);
                        }
                    }
                    datagram
                })
                .collect();
            total += no_longer_than_asked(&mut scene, &datagrams, &mut random, seed);
        }
        assert!(total > 1_000, "{total} clients were answered: too few to show anything");
        let executed = scene.total(|c| c.totals.executed.get());
        assert!(executed > 5, "{executed} payments were executed: too few to show anything");
        let (state, _) = scene.state();
        assert_eq!(state.euros, 4 * i128::from(FUNDS), "seed {seed}");
    }
}

/// Changes a datagram in some way that a hostile hand or a bad cable would.
fn mutated(mut datagram: Vec<u8>, other: &[u8], random: &mut Random) -> Vec<u8> {
    for _ in 0..1 + random.below(3) {
        let length = datagram.len().max(1) as u64;
        match random.below(8) {
            0 | 1 if !datagram.is_empty() => datagram[random.below(length) as usize] ^= 1 << random.below(8),
            2 if !datagram.is_empty() => {
                datagram[random.below(length.min(HEADER_LENGTH as u64)) as usize] = random.next() as u8
            }
            3 => datagram.truncate(random.below(length) as usize),
            4 => datagram.extend((0..random.below(200)).map(|_| random.next() as u8)),
            5 => datagram.extend_from_slice(&other[..random.below(other.len() as u64 + 1) as usize]),
            6 => datagram = (0..random.below(1_600)).map(|_| random.next() as u8).collect(),
            _ if datagram.len() >= 10 => {
                let claimed = [0, 1, 87, 88, 111, 112, 1_400, 1_401, u16::MAX][random.below(9) as usize];
                datagram[8..10].copy_from_slice(&claimed.to_le_bytes());
            }
            _ => {}
        }
    }
    datagram
}

#[test]
fn mutated_datagrams_never_panic_and_payments_go_on() {
    let seed = setting("MESHPAY_HOSTILE_SEED", 2);
    let count = setting("MESHPAY_HOSTILE_DATAGRAMS", 20_000);
    let mut random = Random(seed);
    let wallets = wallets();
    let mut scene = start(&wallets, 2);
    for _ in 0..count.div_ceil(500) {
        let datagrams: Vec<Vec<u8>> = (0..500)
            .map(|_| {
                let datagram = any_request(&scene, &wallets, &mut random);
                let other = any_request(&scene, &wallets, &mut random);
                mutated(datagram, &other, &mut random)
            })
            .collect();
        no_longer_than_asked(&mut scene, &datagrams, &mut random, seed);
    }
    // It still pays.
    let payer = &wallets[3];
    let account = scene.ask_one(&scene.net().account_request(&payer.key, EURO)).account();
    let order = scene.net().pay(payer, account.next_sequence.get(), &wallets[0], 1);
    scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&order))).executed();
    let (live, place) = {
        let (place, journal, mut table, _) = scene.end_workers();
        let live = crate::scene::State::of(&mut table);
        drop((journal, table));
        (live, place)
    };
    assert_eq!(live.euros, 4 * i128::from(FUNDS), "seed {seed}: money was made or lost");
    let (replayed, _) = place.start().state();
    assert_eq!(live.accounts, replayed.accounts, "seed {seed}");
}
