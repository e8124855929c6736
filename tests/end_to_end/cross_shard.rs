//! Credits between workers: exactly once, also when the process is killed between debit and credit.

use crate::scene::{ALICE, Scene};
use anyhow::{Result, ensure};
use meshpay_tests::committee::Plan;
use meshpay_tests::network::{Actor, EURO};

/// Two workers, and Alice and Bob with one each.
fn two_workers() -> (Plan, Actor, Actor) {
    let plan = Plan::single().flag("--workers", "2");
    (plan, Actor::in_shard(0, 1), Actor::in_shard(1, 2))
}

#[test]
fn a_credit_to_another_worker_arrives_once() -> Result<()> {
    let (plan, alice, bob) = two_workers();
    let mut scene = Scene::with(plan, alice, bob)?;
    for round in 0..20 {
        let certificate = scene.pay(10)?;
        // Again and again, from other addresses too.
        for _ in 0..3 {
            let mut stranger = scene.committee.client()?;
            let again = stranger.confirm(scene.address(), &scene.committee.network.rules, &certificate)?.executed()?;
            ensure!(again.status == 2, "executed twice: {again:?}");
        }
        // And back, from the other worker to the first.
        let back = scene.committee.network.order(&scene.bob, &scene.alice, round, 3);
        scene.voted(&back)?;
        let certificate = scene.certified(back);
        scene.executed(&certificate)?;
    }
    ensure!(scene.ledger.balance(&scene.bob.public, EURO) == 20 * 7, "the test's own sum");
    scene.stop_and_audit()
}

#[test]
fn the_number_of_workers_may_change_at_a_restart() -> Result<()> {
    let (plan, alice, bob) = two_workers();
    let mut scene = Scene::with(plan, alice, bob)?;
    for workers in ["1", "4", "3", "2"] {
        scene.pay(10)?;
        scene.stop_and_audit()?;
        let daemon = &mut scene.committee.daemons[0];
        let at = daemon.flags.iter().position(|flag| flag == "--workers").expect("the plan sets it");
        daemon.flags[at + 1] = workers.to_owned();
        daemon.start()?;
        scene.state_is_right()?;
    }
    scene.pay(10)?;
    scene.stop_and_audit()
}

#[test]
fn once_also_when_killed_between_debit_and_credit() -> Result<()> {
    for fatal in 1..=3 {
        let (plan, alice, bob) = two_workers();
        let mut scene = Scene::with(plan.fault(&format!("kill-after-debit:{fatal}"))?, alice, bob)?;
        for _ in 1..fatal {
            scene.pay(10)?;
        }
        let order = scene.alice_pays(fatal - 1, 10);
        scene.voted(&order)?;
        let certificate = scene.certified(order);
        let (address, digest) = (scene.address(), scene.committee.network.digest(&order.body));
        let bytes = certificate.bytes();
        let (view, _) = meshpay_wire::CertificateView::parse(&bytes).expect("a certificate that was just made");
        let mut datagram = [0; meshpay_wire::DATAGRAM_MAX];
        let mut end = None;
        while end.is_none() {
            // The daemon dies of it, so no answer can be waited for; a datagram may be lost, so it is sent until then.
            let envelope = scene.client.envelope(address);
            let length = meshpay_wire::confirmation_request(&mut datagram, &envelope, &view, &digest);
            scene.client.send(address, &datagram[..length])?;
            let received = scene.client.receive(std::time::Duration::from_millis(100))?;
            ensure!(received.is_none_or(|all| all.is_empty()), "acknowledged by a daemon that should have died");
            if !scene.committee.daemons[0].is_running()? {
                end = Some(scene.committee.daemons[0].wait_for_end()?);
            }
        }
        ensure!(end.is_some_and(|status| !status.success()), "the daemon ended as if nothing were wrong");
        // Whatever of it was durable: the money is in one place, and nobody is owed anything.
        scene.committee.daemons[0].environment.clear();
        scene.committee.daemons[0].start()?;
        let (alice, _) = scene.committee.account(&mut scene.client, 0, &scene.alice.public, EURO)?;
        let (bob, _) = scene.committee.account(&mut scene.client, 0, &scene.bob.public, EURO)?;
        ensure!(alice + bob == i128::from(ALICE), "after the kill Alice holds {alice} and Bob {bob}");
        // The certificate again: executed now or before, but once.
        let executed = scene.confirm(&certificate)?.executed()?;
        ensure!(executed.order == digest, "another order was executed: {executed:?}");
        scene.ledger.execute(&order);
        scene.state_is_right()?;
        scene.pay(10)?;
        scene.stop_and_audit()?;
    }
    Ok(())
}
