//! Checkpoints bound a restart and change nothing: the state after a kill is the same with them, and without one that was damaged.

use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use meshpay_tests::committee::Plan;
use meshpay_tests::network::Actor;
use std::path::PathBuf;

/// Files of the directory that are checkpoints.
fn checkpoints(scene: &Scene) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&scene.committee.daemons[0].directory)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("checkpoint")) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn a_kill_after_a_checkpoint_loses_nothing() -> Result<()> {
    let payers: Vec<Actor> = (0..300).map(|number| Actor::account(500 + number)).collect();
    let plan = payers.iter().fold(Plan::single().flag("--checkpoint-mib", "1"), |plan, payer| plan.fund(payer, 100));
    let mut scene = Scene::of(plan)?;
    // A lock from before the checkpoint, and payments around it.
    let locked = scene.alice_pays(0, 7);
    scene.voted(&locked)?;
    let address = scene.address();
    for payer in &payers {
        let order = scene.committee.network.order(payer, &scene.bob, 0, 1);
        let certificate = scene.certified(order);
        scene.client.confirm(address, &scene.committee.network.rules, &certificate)?.executed()?;
        scene.ledger.execute(&order);
    }
    let status = scene.committee.daemons[0]
        .wait_for_status("a checkpoint is made", |status| status["checkpoint"].as_u64() > Some(0))?;
    println!("checkpoint at {} of {}", status["checkpoint"], status["head"]);
    for payer in payers.iter().take(20) {
        let order = scene.committee.network.order(payer, &scene.bob, 1, 2);
        let certificate = scene.certified(order);
        scene.client.confirm(address, &scene.committee.network.rules, &certificate)?.executed()?;
        scene.ledger.execute(&order);
    }
    scene.committee.daemons[0].kill()?;
    scene.committee.daemons[0].start()?;
    ensure!(
        scene.committee.daemons[0].log_text().contains("the checkpoint at"),
        "it did not start from the checkpoint"
    );
    scene.state_is_right()?;
    let other = scene.alice_pays(0, 8);
    scene.refused(&other, meshpay_wire::RefusalCode::Conflict)?;
    // A damaged one is passed over: an older one, or the genesis, is the beginning then.
    scene.committee.daemons[0].kill()?;
    let newest = checkpoints(&scene)?.pop().context("no checkpoint file")?;
    let mut bytes = std::fs::read(&newest)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&newest, bytes)?;
    scene.committee.daemons[0].start()?;
    scene.state_is_right()?;
    let certificate = scene.certified(locked);
    scene.executed(&certificate)?;
    scene.stop_and_audit()
}
