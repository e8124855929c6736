//! Hostile packets: truncated, oversized, random and bit-flipped ones never stop the daemon, and it still pays.

use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use meshpay_tests::network::EURO;
use meshpay_tests::random::Random;
use meshpay_wire::{CertificateQuery, CertificateView, DATAGRAM_MAX, DIRECTION_CREDIT, Envelope, Header};
use zerocopy::FromBytes;

/// Packets of an ordinary run.
const PACKETS: usize = 1_000_000;
/// Packets between two questions that are answered: below what a socket's buffer holds, so that nearly all of them arrive.
const FLIGHT: usize = 200;

#[test]
fn a_million_of_them_and_it_still_pays() -> Result<()> {
    let mut scene = Scene::start()?;
    let mut random = Random::new("hostile packets")?;
    scene.pay(10)?;
    let locked = scene.alice_pays(1, 10);
    scene.voted(&locked)?;
    let seeds = valid_datagrams(&scene);
    let address = scene.address();
    let packets = PACKETS * meshpay_tests::scale();
    let mut datagram = vec![0; 9_000];
    let mut sent = 0;
    // Some are lost where the daemon's socket is full; what counts is what has arrived.
    while (scene.committee.daemons[0].metric("meshpay_datagrams_total")? as usize) < packets {
        for at in 0..PACKETS / 20 {
            let length = hostile(&mut random, &seeds, &mut datagram);
            scene.client.send(address, &datagram[..length])?;
            if at % FLIGHT == 0 {
                let bob = scene.bob.public;
                scene.client.account(address, &bob, EURO).with_context(|| format!("after {sent} hostile packets"))?;
            }
            sent += 1;
        }
        ensure!(sent < 10 * packets, "of {sent} packets fewer than {packets} arrived");
    }
    println!("{sent} packets sent for {packets} that arrived");
    ensure!(scene.committee.daemons[0].is_running()?, "the daemon is gone: {}", scene.committee.daemons[0].log_end());
    // The locked order is still locked and nothing else has happened.
    scene.state_is_right()?;
    scene.voted(&locked)?;
    let certificate = scene.certified(locked);
    scene.executed(&certificate)?;
    scene.pay(10)?;
    scene.stop_and_audit()
}

/// A well-formed datagram of every kind of request, and bundles of them.
fn valid_datagrams(scene: &Scene) -> Vec<Vec<u8>> {
    let network = &scene.committee.network;
    let envelope = Envelope { network: network.rules.network, epoch: 0, request_id: [1; 8], return_token: [0; 8] };
    let mut all = Vec::new();
    let mut add = |write: &dyn Fn(&mut [u8]) -> usize| {
        let mut buffer = [0; DATAGRAM_MAX];
        let length = write(&mut buffer);
        all.push(buffer[..length].to_vec());
    };
    for sequence in 0..3 {
        let order = scene.alice_pays(sequence, 11);
        let digest = network.digest(&order.body);
        add(&|buffer| meshpay_wire::transfer_request(buffer, &envelope, &order, &digest));
        // Below a quorum, so that no bit that is flipped by chance restores something valid.
        let certificate = network.certificate(order, &[1, 2]).bytes();
        add(&|buffer| {
            let (view, _) = CertificateView::parse(&certificate).expect("a certificate that was just made");
            meshpay_wire::confirmation_request(buffer, &envelope, &view, &digest)
        });
    }
    add(&|buffer| meshpay_wire::account_query(buffer, &envelope, &scene.alice.public, EURO));
    let query = CertificateQuery { direction: DIRECTION_CREDIT, reserved: [0; 7], locator: 0.into() };
    add(&|buffer| meshpay_wire::certificate_query(buffer, &envelope, &scene.bob.public, 0, &query, 3));
    let bundle = [all[0].clone(), all[2].clone(), all[6].clone()].concat();
    all.push(bundle);
    all
}

/// Writes a hostile packet and returns its length.
fn hostile(random: &mut Random, seeds: &[Vec<u8>], out: &mut [u8]) -> usize {
    let seed = &seeds[random.below(seeds.len())];
    out[..seed.len()].copy_from_slice(seed);
    match random.below(10) {
        // Truncated anywhere.
        0 | 1 => random.below(seed.len()),
        // Bits flipped anywhere.
        2..=4 => {
            for _ in 0..=random.below(8) {
                let bit = random.below(seed.len() * 8);
                out[bit / 8] ^= 1 << (bit % 8);
            }
            seed.len()
        }
        // A good header before a random body, of any length that it may claim.
        5 | 6 => {
            let length = Header::mut_from_prefix(out).map_or(0, |(header, _)| {
                let length = 88 + random.below(DATAGRAM_MAX - 87);
                header.length = (length as u16).into();
                random.fill(&mut header.request_id);
                header.kind = random.below(70) as u8;
                length
            });
            random.fill(&mut out[88..length.max(88)]);
            length
        }
        // Random bytes.
        7 => {
            let length = random.below(DATAGRAM_MAX + 1);
            random.fill(&mut out[..length]);
            length
        }
        // Longer than any datagram may be, with and without a valid beginning.
        8 => {
            let length = DATAGRAM_MAX + 1 + random.below(out.len() - DATAGRAM_MAX - 1);
            let from = if random.chance(50) { 0 } else { seed.len() };
            random.fill(&mut out[from..length]);
            length
        }
        // A length in the header that lies.
        _ => {
            let claimed = random.below(1 << 16) as u16;
            out[8..10].copy_from_slice(&claimed.to_le_bytes());
            seed.len()
        }
    }
}
