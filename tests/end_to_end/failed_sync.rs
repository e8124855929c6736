//! A failed sync: the process stops, nothing that was answered is lost, and it restarts clean.

use crate::scene::Scene;
use anyhow::{Result, ensure};
use meshpay_tests::committee::Plan;
use meshpay_wire::DATAGRAM_MAX;
use std::time::Duration;

#[test]
fn the_process_stops_and_restarts_clean() -> Result<()> {
    // Some syncs belong to the start; later ones to payments. Each of these stops the daemon at another moment.
    for fatal in [1, 2, 3, 5, 8, 13, 21, 34] {
        let committee_plan = Plan::single().fault(&format!("fail-sync:{fatal}"))?;
        let mut scene = match Scene::of(committee_plan) {
            Ok(scene) => scene,
            // It failed during its start, which is a stop too: then there was nothing to lose.
            Err(error) if fatal <= 5 => {
                println!("sync {fatal} failed during the start: {error:#}");
                continue;
            }
            Err(error) => return Err(error),
        };
        let (address, network) = (scene.address(), scene.committee.network.clone());
        // Pay until it stops. A vote or acknowledgement that came back must still be there afterwards.
        let mut locked = None;
        let mut sequence = 0;
        while scene.committee.daemons[0].is_running()? {
            let order = scene.alice_pays(sequence, 1);
            let digest = network.digest(&order.body);
            let bytes = scene.certified(order).bytes();
            let (view, _) = meshpay_wire::CertificateView::parse(&bytes).expect("a certificate that was just made");
            let mut datagram = [0; DATAGRAM_MAX];
            let envelope = scene.client.envelope(address);
            let length = match locked {
                Some(at) if at == sequence => {
                    meshpay_wire::confirmation_request(&mut datagram, &envelope, &view, &digest)
                }
                _ => meshpay_wire::transfer_request(&mut datagram, &envelope, &order, &digest),
            };
            scene.client.send(address, &datagram[..length])?;
            for received in scene.client.receive(Duration::from_millis(50))?.unwrap_or_default() {
                use meshpay_tests::client::Answer;
                match received.answer {
                    Answer::Vote(vote) if vote.order == digest => locked = Some(sequence),
                    Answer::Executed(executed) if executed.order == digest && locked == Some(sequence) => {
                        scene.ledger.execute(&order);
                        sequence += 1;
                    }
                    _ => {}
                }
            }
        }
        let status = scene.committee.daemons[0].wait_for_end()?;
        ensure!(!status.success(), "sync {fatal} failed and the daemon ended as if nothing were wrong");
        let log = scene.committee.daemons[0].log_end();
        ensure!(log.contains("sync"), "the log must say that a sync failed:\n{log}");
        scene.committee.daemons[0].environment.clear();
        scene.committee.daemons[0].start()?;
        // At least what was acknowledged; at most what was sent.
        let alice = scene.alice.public;
        let next = scene.client.account(address, &alice, 1)?.next_sequence.get();
        ensure!(next == sequence || next == sequence + 1, "{next} payments after {sequence} were acknowledged");
        if next == sequence + 1 {
            let order = scene.alice_pays(sequence, 1);
            scene.ledger.execute(&order);
        } else if locked == Some(sequence) {
            // Voted for, so another order at that place must find the lock.
            let other = scene.alice_pays(sequence, 2);
            scene.refused(&other, meshpay_wire::RefusalCode::Conflict)?;
            let order = scene.alice_pays(sequence, 1);
            let certificate = scene.certified(order);
            scene.executed(&certificate)?;
        }
        scene.state_is_right()?;
        scene.stop_and_audit()?;
    }
    Ok(())
}
