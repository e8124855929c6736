//! Credits travel inside the process only: no message on the public socket is one, whatever it claims to be.

use crate::scene::Scene;
use anyhow::{Result, ensure};
use meshpay_tests::committee::Plan;
use meshpay_tests::network::Actor;
use meshpay_tests::random::Random;
use meshpay_wire::{DATAGRAM_MAX, Digest, Envelope, HEADER_LENGTH, Header, Kind};
use zerocopy::{FromBytes, IntoBytes};

/// Kinds that are requests; every other number is none, or not for us.
const REQUESTS: [Kind; 4] =
    [Kind::TransferRequest, Kind::ConfirmationRequest, Kind::AccountQuery, Kind::CertificateQuery];

#[test]
fn a_credit_or_any_internal_message_on_the_public_socket_does_nothing() -> Result<()> {
    let (alice, mallory) = (Actor::in_shard(0, 1), Actor::in_shard(1, 2));
    let mut scene = Scene::with(Plan::single().flag("--workers", "2"), alice, mallory)?;
    let mut random = Random::new("forged messages")?;
    let certificate = scene.pay(10)?;
    let address = scene.address();
    let network = scene.committee.network.clone();
    let envelope = Envelope { network: network.rules.network, epoch: 0, request_id: [0; 8], return_token: [0; 8] };
    // What such a message could hold: a certificate as it was executed, the journal's records of it, an order to pay Mallory, anything.
    let order = network.order(&scene.alice, &scene.bob, 1, 500);
    let digest = network.digest(&order.body);
    let record = meshpay_protocol::record::CreditLinkRecord {
        recipient: scene.bob.public,
        execution: 4096.into(),
        previous_credit: 0.into(),
    };
    let bodies: [Vec<u8>; 6] = [
        certificate.bytes(),
        [&digest.0[..], order.as_bytes()].concat(),
        record.as_bytes().to_vec(),
        [&scene.bob.public[..], &1u32.to_le_bytes(), &500u64.to_le_bytes()].concat(),
        vec![0xff; 200],
        Vec::new(),
    ];
    let mut sent = 0;
    for kind in 0..=255u8 {
        if REQUESTS.iter().any(|request| *request as u8 == kind) {
            continue;
        }
        for class in 0..3 {
            for body in &bodies {
                let mut datagram = [0; DATAGRAM_MAX];
                let whole = meshpay_wire::transfer_request(&mut datagram, &envelope, &order, &digest);
                random.fill(&mut datagram[HEADER_LENGTH..]);
                datagram[HEADER_LENGTH..HEADER_LENGTH + body.len()].copy_from_slice(body);
                let length = whole.max(HEADER_LENGTH + body.len());
                let (header, _) = Header::mut_from_prefix(&mut datagram).expect("a buffer longer than a header");
                (header.kind, header.class) = (kind, class);
                header.length = (length as u16).into();
                header.account = if random.chance(50) { scene.alice.public } else { scene.bob.public };
                random.fill(&mut header.request_id);
                scene.client.send(address, &datagram[..length])?;
                sent += 1;
            }
        }
        let drawn = scene.client.answers_drawn(address, &[], &scene.alice.public.clone())?;
        ensure!(drawn.is_empty(), "a message of kind {kind} was answered: {drawn:?}");
    }
    ensure!(sent > 4_000, "only {sent} messages were sent");
    scene.state_is_right()?;
    // An acknowledgement of an execution that never was, as from another authority.
    let executed =
        meshpay_wire::Executed { order: Digest([3; 32]), next_sequence: 9.into(), status: 1, reserved: [0; 7] };
    let mut request = [0; DATAGRAM_MAX];
    meshpay_wire::transfer_request(&mut request, &envelope, &order, &digest);
    let (header, _) = Header::ref_from_prefix(&request).expect("a message that was just written");
    let mut datagram = [0; DATAGRAM_MAX];
    let length = meshpay_wire::confirmation_response(&mut datagram, header, [0; 8], &executed);
    let drawn = scene.client.answers_drawn(address, &datagram[..length], &scene.alice.public.clone())?;
    ensure!(drawn.is_empty(), "an acknowledgement was answered");
    scene.state_is_right()?;
    scene.pay(10)?;
    scene.stop_and_audit()
}
