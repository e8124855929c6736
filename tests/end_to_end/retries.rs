//! Retries: each transmission has a fresh request id and gets its answer, also while an earlier one is under way; an exact copy is none.

use crate::scene::Scene;
use anyhow::{Result, bail, ensure};
use meshpay_tests::DEADLINE;
use meshpay_tests::client::Answer;
use meshpay_wire::{CertificateView, DATAGRAM_MAX, Envelope};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Transmissions that are under way at the same time.
const COPIES: usize = 8;

/// Sends the same request many times at once, without waiting, and goes on as a client does, after a time longer than the filter's window for what was
/// executed before, until there are as many answers.
fn all_at_once(scene: &mut Scene, mut write: impl FnMut(&mut [u8], &Envelope) -> usize) -> Result<Vec<Answer>> {
    let address = scene.address();
    let mut answers = HashMap::new();
    let mut sent = Vec::new();
    let end = Instant::now() + DEADLINE;
    while answers.len() < COPIES {
        if Instant::now() > end {
            bail!("{} of {COPIES} transmissions were answered", answers.len());
        }
        for _ in answers.len()..COPIES {
            let envelope = scene.client.envelope(address);
            let mut datagram = [0; DATAGRAM_MAX];
            let length = write(&mut datagram, &envelope);
            scene.client.send(address, &datagram[..length])?;
            sent.push(envelope.request_id);
        }
        let retry = Instant::now() + Duration::from_millis(meshpay_wire::FIRST_RETRY_MS);
        while answers.len() < COPIES && Instant::now() < retry {
            for received in scene.client.receive(Duration::from_millis(5))?.unwrap_or_default() {
                if sent.contains(&received.header.request_id) {
                    answers.insert(received.header.request_id, received.answer);
                }
            }
        }
    }
    Ok(answers.into_values().collect())
}

#[test]
fn an_exact_copy_is_no_retry() -> Result<()> {
    let mut scene = Scene::start()?;
    let address = scene.address();
    let order = scene.alice_pays(0, 1);
    let digest = scene.committee.network.digest(&order.body);
    let envelope = scene.client.envelope(address);
    let mut datagram = [0; DATAGRAM_MAX];
    let length = meshpay_wire::transfer_request(&mut datagram, &envelope, &order, &digest);
    // Copies that come later than the window are answered, so it is tried until some came within it.
    let end = Instant::now() + DEADLINE;
    while scene.committee.daemons[0].ended_in_userspace("echo")? == 0 {
        ensure!(Instant::now() < end, "no copy was recognised");
        for _ in 0..COPIES {
            scene.client.send(address, &datagram[..length])?;
        }
        scene.voted(&order)?;
    }
    scene.state_is_right()
}

#[test]
fn with_fresh_request_ids_while_the_first_is_under_way() -> Result<()> {
    let mut scene = Scene::start()?;
    for sequence in 0..20 {
        let order = scene.alice_pays(sequence, 1);
        let digest = scene.committee.network.digest(&order.body);
        let votes = all_at_once(&mut scene, |buffer, envelope| {
            meshpay_wire::transfer_request(buffer, envelope, &order, &digest)
        })?;
        ensure!(votes.iter().all(|vote| *vote == votes[0]), "different answers: {votes:?}");
        ensure!(matches!(votes[0], Answer::Vote(vote) if vote.order == digest), "no vote: {votes:?}");
        let certificate = scene.certified(order);
        let bytes = certificate.bytes();
        let acknowledgements = all_at_once(&mut scene, |buffer, envelope| {
            let (view, _) = CertificateView::parse(&bytes).expect("a certificate that was just made");
            meshpay_wire::confirmation_request(buffer, envelope, &view, &digest)
        })?;
        let mut now = 0;
        for acknowledgement in acknowledgements {
            let executed = acknowledgement.executed()?;
            ensure!(executed.order == digest, "another order was executed: {executed:?}");
            now += usize::from(executed.status == 1);
        }
        ensure!(now == 1, "executed {now} times");
        scene.ledger.execute(&order);
        scene.state_is_right()?;
    }
    scene.stop_and_audit()
}
