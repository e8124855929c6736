//! A lost, old or copied journal does not vote: key, mark and journal start only together (DESIGN 5.4).

use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use meshpay_tests::daemon::Daemon;
use meshpay_tests::process::finish;
use meshpay_wire::{RefusalCode, account_flags};
use std::path::Path;
use std::process::Command;

/// Copies a directory with everything in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("cp");
    command.arg("--archive").arg("--no-target-directory").arg(from).arg(to);
    finish(command)?.success()?;
    Ok(())
}

/// Puts a backup's files in place of a directory's, as a restore does: the directory itself stays the same one.
fn restore(backup: &Path, directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            restore(&backup.join(path.file_name().context("an entry has a name")?), &path)?;
        } else {
            std::fs::remove_file(path)?;
        }
    }
    for entry in std::fs::read_dir(backup)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), directory.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[test]
fn a_journal_older_than_its_mark_does_not_start() -> Result<()> {
    let mut scene = Scene::start()?;
    scene.pay(1)?;
    scene.stop_and_audit()?;
    let (journal, backup) =
        (scene.committee.daemons[0].directory.join("journal"), scene.committee.scratch().join("backup"));
    copy(&journal, &backup)?;
    scene.committee.daemons[0].start()?;
    scene.pay(2)?;
    scene.stop_and_audit()?;
    let newest = scene.committee.scratch().join("newest");
    copy(&journal, &newest)?;
    restore(&backup, &journal)?;
    let message = scene.committee.daemons[0].refuses_to_start()?;
    ensure!(message.contains("older than its mark"), "the message must say why: {message}");
    // The newer journal brought back, it starts again and has lost nothing.
    restore(&newest, &journal)?;
    scene.committee.daemons[0].start()?;
    scene.state_is_right()?;
    scene.pay(3)?;
    scene.stop_and_audit()
}

#[test]
fn without_its_mark_it_does_not_start() -> Result<()> {
    let mut scene = Scene::start()?;
    scene.pay(1)?;
    scene.stop_and_audit()?;
    std::fs::remove_file(scene.committee.daemons[0].directory.join("key.mark"))?;
    let message = scene.committee.daemons[0].refuses_to_start()?;
    ensure!(message.contains("key.mark"), "the message must name the file: {message}");
    Ok(())
}

#[test]
fn a_lost_journal_retires_the_key() -> Result<()> {
    let mut scene = Scene::start()?;
    scene.pay(1)?;
    scene.stop_and_audit()?;
    let daemon = &scene.committee.daemons[0];
    std::fs::remove_dir_all(daemon.directory.join("journal"))?;
    let message = daemon.refuses_to_start()?;
    ensure!(message.contains("journal"), "the message must say what is missing: {message}");
    // Nor can a new journal be begun with it.
    let mut init = daemon.command("init");
    init.arg("--genesis").arg(&scene.committee.genesis_file);
    init.arg("--allocations").arg(scene.committee.genesis_file.with_file_name("allocations.csv"));
    let message = finish(init)?.failure()?;
    ensure!(message.contains("had a journal before"), "the message must say why: {message}");
    Ok(())
}

#[test]
fn a_copied_directory_does_not_start() -> Result<()> {
    let mut scene = Scene::start()?;
    scene.pay(1)?;
    scene.stop_and_audit()?;
    let copied = scene.committee.scratch().join("copied");
    copy(&scene.committee.daemons[0].directory, &copied)?;
    let original = &scene.committee.daemons[0];
    let copy = Daemon::new(0, original.program.clone(), copied, original.address, original.metrics);
    let message = copy.refuses_to_start()?;
    ensure!(message.contains("copy"), "the message must say that it is a copy: {message}");
    scene.committee.daemons[0].start()?;
    scene.pay(2)?;
    scene.stop_and_audit()
}

#[test]
fn two_daemons_on_one_directory() -> Result<()> {
    let mut scene = Scene::start()?;
    scene.pay(1)?;
    let first = &scene.committee.daemons[0];
    let mut second = Daemon::new(0, first.program.clone(), first.directory.clone(), first.address, first.metrics);
    // On other ports, so that nothing but the directory is shared.
    second.address.set_port(7_999);
    second.metrics.set_port(9_999);
    let message = second.refuses_to_start()?;
    ensure!(message.contains("in use"), "the message must say that the directory is in use: {message}");
    let holder = first.id().context("the first daemon runs")?.to_string();
    ensure!(message.contains(&holder), "the message must name process {holder}: {message}");
    scene.pay(2)?;
    scene.stop_and_audit()
}

#[test]
fn shown_a_valid_vote_of_its_own_that_its_journal_lacks_it_stops_voting() -> Result<()> {
    let mut scene = Scene::start()?;
    scene.pay(1)?;
    scene.stop_and_audit()?;
    let (directory, backup) = (scene.committee.daemons[0].directory.clone(), scene.committee.scratch().join("backup"));
    copy(&directory, &backup)?;
    // It votes, and then everything is set back, the mark included: as by a snapshot of the whole disk, which nothing on it can reveal.
    scene.committee.daemons[0].start()?;
    let order = scene.alice_pays(1, 5);
    let vote = scene.voted(&order)?;
    scene.stop_and_audit()?;
    restore(&backup, &directory)?;
    scene.committee.daemons[0].start()?;
    let other = scene.committee.network.order(&scene.bob, &scene.alice, 0, 1);
    scene.voted(&other)?;
    // The certificate shows it its own vote. It executes that, since a certificate always counts, and votes no more.
    let votes = [
        (0, vote.signature),
        scene.committee.network.puppet_vote(1, &order.body),
        scene.committee.network.puppet_vote(2, &order.body),
    ];
    let certificate = meshpay_tests::network::Certificate::assemble(order, &votes);
    scene.executed(&certificate)?;
    for _ in 0..2 {
        let next = scene.alice_pays(2, 1);
        scene.refused(&next, RefusalCode::NotVoting)?;
        let status = scene.committee.daemons[0].status()?;
        ensure!(status["voting"] != true, "the status must say that it does not vote: {status}");
        let (code, health) = scene.committee.daemons[0].get("/health")?;
        ensure!(code == 503 && !health.trim().is_empty(), "health must say why: {code} {health:?}");
        let (address, alice) = (scene.address(), scene.alice.public);
        let account = scene.client.account(address, &alice, 1)?;
        ensure!(account.flags.get() & account_flags::NOT_VOTING != 0, "an account answer must say so: {account:?}");
        // For good: after a restart too.
        let stopped = scene.committee.daemons[0].stop()?;
        ensure!(stopped.success(), "a clean stop ended with {stopped}");
        scene.committee.daemons[0].start()?;
    }
    let next = scene.alice_pays(2, 1);
    let certificate = scene.certified(next);
    scene.executed(&certificate)?;
    scene.stop_and_audit()
}
