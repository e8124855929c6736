//! No datagram, signed or not, well formed or not, draws more bytes than it has: so nobody can aim us at a third party.

use crate::scene::Scene;
use anyhow::{Result, ensure};
use meshpay_tests::client::Client;
use meshpay_tests::network::{Actor, EURO};
use meshpay_wire::{
    CertificateQuery, CertificateView, DATAGRAM_MAX, DIRECTION_CREDIT, DIRECTION_DEBIT, Envelope, HEADER_LENGTH, Kind,
    PublicKey, RefusalCode,
};
use std::net::SocketAddr;

/// Every kind of request, in every state that has an answer of its own.
fn requests(scene: &Scene) -> Vec<(String, Vec<u8>)> {
    let network = &scene.committee.network;
    let envelope = Envelope { network: network.rules.network, epoch: 0, request_id: [0; 8], return_token: [0; 8] };
    let written = |write: &dyn Fn(&mut [u8]) -> usize| {
        let mut buffer = [0; DATAGRAM_MAX];
        let length = write(&mut buffer);
        buffer[..length].to_vec()
    };
    let mut requests = Vec::new();
    let stranger = Actor::account(77);
    for (name, order) in [
        ("an order already executed", scene.alice_pays(0, 5)),
        ("a locked order", scene.alice_pays(1, 5)),
        ("a conflicting order", scene.alice_pays(1, 6)),
        ("an order far ahead", scene.alice_pays(9, 5)),
        ("an order of a stranger", network.order(&stranger, &scene.bob, 0, 1)),
    ] {
        let digest = network.digest(&order.body);
        requests.push((
            name.to_owned(),
            written(&|buffer| meshpay_wire::transfer_request(buffer, &envelope, &order, &digest)),
        ));
        let certificate = scene.certified(order).bytes();
        let confirmation = written(&|buffer| {
            let (view, _) = CertificateView::parse(&certificate).expect("a certificate that was just made");
            meshpay_wire::confirmation_request(buffer, &envelope, &view, &digest)
        });
        // Not the certificate of the locked order, which would execute it and so end that state.
        if !name.contains("locked") && !name.contains("conflicting") && !name.contains("stranger") {
            requests.push((format!("the certificate of {name}"), confirmation));
        }
    }
    for account in [&scene.alice, &scene.bob, &stranger] {
        let key = account.public;
        requests.push((
            "an account query".to_owned(),
            written(&|buffer| meshpay_wire::account_query(buffer, &envelope, &key, EURO)),
        ));
        for (direction, sequence) in [(DIRECTION_DEBIT, 0), (DIRECTION_DEBIT, 8), (DIRECTION_CREDIT, 0)] {
            let query = CertificateQuery { direction, reserved: [0; 7], locator: 0.into() };
            let padded =
                written(&|buffer| meshpay_wire::certificate_query(buffer, &envelope, &key, sequence, &query, 3));
            requests.push(("a certificate query".to_owned(), padded));
            // Padded for nothing: as short as any request may be.
            let short = written(&|buffer| {
                let whole = meshpay_wire::certificate_query(buffer, &envelope, &key, sequence, &query, 3);
                whole.min(meshpay_wire::REQUEST_MIN)
            });
            requests.push(("a certificate query without padding".to_owned(), with_length(short)));
        }
    }
    requests
}

/// Sets the header's length to that of the message.
fn with_length(mut message: Vec<u8>) -> Vec<u8> {
    let length = message.len() as u16;
    message[8..10].copy_from_slice(&length.to_le_bytes());
    message
}

/// Gives every message of a datagram a fresh request id.
fn freshened(client: &mut Client, to: SocketAddr, datagram: &mut [u8]) {
    let mut at = 0;
    while at + HEADER_LENGTH <= datagram.len() {
        let envelope = client.envelope(to);
        datagram[at + 72..at + 80].copy_from_slice(&envelope.request_id);
        datagram[at + 80..at + 88].copy_from_slice(&envelope.return_token);
        let length = u16::from_le_bytes([datagram[at + 8], datagram[at + 9]]) as usize;
        at += length.max(HEADER_LENGTH);
    }
}

/// Sends a datagram and returns how many answers it drew, which together must not be longer than it.
fn drawn(scene: &mut Scene, name: &str, mut datagram: Vec<u8>, ask: &PublicKey) -> Result<usize> {
    let address = scene.address();
    freshened(&mut scene.client, address, &mut datagram);
    let answers = scene.client.answers_drawn(address, &datagram, ask)?;
    let bytes: usize = answers.iter().map(|answer| answer.length).sum();
    ensure!(bytes <= datagram.len(), "{name} of {} bytes drew {bytes} bytes: {answers:?}", datagram.len());
    Ok(answers.len())
}

/// A payment executed, and the next one locked.
fn prepared() -> Result<Scene> {
    let mut scene = Scene::start()?;
    scene.pay(5)?;
    let locked = scene.alice_pays(1, 5);
    scene.voted(&locked)?;
    Ok(scene)
}

#[test]
fn no_kind_of_request_draws_an_answer_larger_than_itself() -> Result<()> {
    let mut scene = prepared()?;
    let bob = scene.bob.public;
    for (name, request) in requests(&scene) {
        let count = drawn(&mut scene, &name, request, &bob)?;
        // Except that a repeat may be taken for an echo, every well-formed request gets its one answer.
        ensure!(count == 1, "{name} drew {count} answers");
    }
    Ok(())
}

#[test]
fn no_shortened_request_draws_an_answer_larger_than_itself() -> Result<()> {
    let mut scene = prepared()?;
    let bob = scene.bob.public;
    for (name, request) in requests(&scene) {
        // Shortened in its header too, so that it looks like a shorter message of its kind; several in a datagram's flight.
        for length in (HEADER_LENGTH..request.len()).step_by(37) {
            let short = with_length(request[..length].to_vec());
            drawn(&mut scene, &format!("{name}, cut to {length} bytes,"), short, &bob)?;
        }
    }
    Ok(())
}

#[test]
fn no_bundle_draws_answers_larger_than_itself() -> Result<()> {
    let mut scene = prepared()?;
    let bob = scene.bob.public;
    for (name, request) in requests(&scene) {
        let copies = DATAGRAM_MAX / request.len();
        let bundle = request.repeat(copies);
        drawn(&mut scene, &format!("{copies} times {name}"), bundle, &bob)?;
    }
    Ok(())
}

#[test]
fn a_certificate_query_that_is_too_short_learns_how_long_it_must_be() -> Result<()> {
    let mut scene = prepared()?;
    let (address, alice) = (scene.address(), scene.alice.public);
    let query = CertificateQuery { direction: DIRECTION_DEBIT, reserved: [0; 7], locator: 0.into() };
    let received = scene.client.exchange(address, |buffer, envelope| {
        let length = meshpay_wire::certificate_query(buffer, envelope, &alice, 0, &query, 1);
        buffer[8..10].copy_from_slice(&(length as u16).to_le_bytes());
        length
    })?;
    let (body, _) = received.answer.refusal(RefusalCode::RequestTooShort)?;
    let needed = meshpay_wire::certificate_answer_length(3) as u32;
    ensure!(body.value.get() == needed, "the refusal must say {needed}: {body:?}");
    Ok(())
}

#[test]
fn answers_draw_nothing() -> Result<()> {
    // Two authorities could otherwise be set upon each other by one forged source address.
    let mut scene = prepared()?;
    let bob = scene.bob.public;
    let answers = [
        Kind::TransferResponse,
        Kind::ConfirmationResponse,
        Kind::AccountAnswer,
        Kind::CertificateAnswer,
        Kind::Refusal,
    ];
    for (name, request) in requests(&scene) {
        for kind in answers {
            let mut answer = request.clone();
            (answer[5], answer[6]) = (kind.class() as u8, kind as u8);
            let count = drawn(&mut scene, &format!("{name} as {kind:?}"), answer, &bob)?;
            ensure!(count == 0, "{name} with its kind changed to {kind:?} was answered");
        }
    }
    Ok(())
}
