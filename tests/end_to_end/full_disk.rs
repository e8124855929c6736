//! A full disk: votes stop before certificates do, and everything recovers by itself when there is room (DESIGN 5.15).

use crate::scene::Scene;
use anyhow::{Result, bail, ensure};
use meshpay_tests::committee::Plan;
use meshpay_tests::full_disk::SmallDisk;
use meshpay_tests::network::Actor;
use meshpay_tests::{DEADLINE, skip};
use std::time::{Duration, Instant};

/// Payers whose orders fill the journal; each locks once.
const PAYERS: usize = 6_000;

#[test]
fn votes_stop_first_and_come_back_with_room() -> Result<()> {
    if let Some(needs) = skip::without_root() {
        skip::skipped(needs);
        return Ok(());
    }
    let disk = SmallDisk::new(64)?;
    let mut plan = Plan::single().below(disk.path()).flag("--accounts-capacity", "16384");
    for number in 0..PAYERS {
        plan = plan.fund(&Actor::account(100 + number), 10);
    }
    let mut scene = Scene::of(plan)?;
    scene.pay(10)?;
    disk.fill(0)?;
    // Orders fill what was allocated ahead, until votes are refused.
    let mut voted = 0;
    let refused_at = loop {
        if voted == PAYERS {
            bail!("{PAYERS} votes on a full disk, and none was refused: {}", scene.committee.daemons[0].status()?);
        }
        let payer = Actor::account(100 + voted);
        let order = scene.committee.network.order(&payer, &scene.alice, 0, 1);
        let answer = scene.order(&order)?;
        if answer.is_retry_later() {
            break voted;
        }
        answer.vote()?;
        voted += 1;
    };
    println!("votes stopped after {refused_at} orders");
    let (code, health) = scene.committee.daemons[0].get("/health")?;
    println!("health: {code} {health}");
    // Certificates still execute, from the reserve: of orders that are locked here, and of one that is not.
    for number in [0, 1, refused_at] {
        let payer = Actor::account(100 + number);
        let order = scene.committee.network.order(&payer, &scene.alice, 0, 1);
        let certificate = scene.certified(order);
        let executed = scene.confirm(&certificate)?.executed()?;
        ensure!(executed.status == 1, "executed before, though it was never sent");
        scene.ledger.execute(&order);
    }
    // Still no votes.
    let next = scene.alice_pays(1, 1);
    ensure!(scene.order(&next)?.is_retry_later(), "votes came back without room");
    disk.make_room()?;
    let end = Instant::now() + DEADLINE;
    while scene.order(&next)?.is_retry_later() {
        ensure!(Instant::now() < end, "votes did not come back: {}", scene.committee.daemons[0].status()?);
        std::thread::sleep(Duration::from_millis(100));
    }
    scene.voted(&next)?;
    let certificate = scene.certified(next);
    let executed = scene.confirm(&certificate)?.executed()?;
    ensure!(executed.status == 1, "executed before, though it was never sent");
    scene.ledger.execute(&next);
    scene.pay(1)?;
    scene.stop_and_audit()
}
