//! What an operator does: flags and files that are wrong, questions over HTTP, a clean stop and a restart.

use crate::scene::Scene;
use anyhow::{Result, ensure};
use meshpay_tests::committee::Plan;
use meshpay_tests::full_disk::SmallDisk;
use meshpay_tests::process::finish;
use meshpay_tests::{binaries, skip};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Runs the daemon's program with these arguments.
fn authority(arguments: &[&str]) -> Result<meshpay_tests::process::Finished> {
    let mut command = Command::new(binaries::authority()?);
    command.args(arguments);
    finish(command)
}

#[test]
fn wrong_usage_is_told_from_failure() -> Result<()> {
    for arguments in [&["run", "--no-such-flag"][..], &["no-such-command"], &["run", "--directory"], &[]] {
        let finished = authority(arguments)?;
        ensure!(finished.code == Some(2), "{arguments:?} ended with {:?}", finished.code);
        ensure!(!finished.errors.is_empty() && finished.output.is_empty(), "{arguments:?}: {finished:?}");
    }
    let message = authority(&["run", "--directory", "/nonexistent/authority"])?.failure()?;
    ensure!(message.contains("/nonexistent/authority"), "the message must name the directory: {message}");
    Ok(())
}

#[test]
fn wrong_values_name_what_is_wrong() -> Result<()> {
    let committee = Plan::single().fund(&meshpay_tests::network::Actor::account(0), 1).prepare()?;
    let daemon = &committee.daemons[0];
    for (flag, value) in
        [("--workers", "0"), ("--segment-mib", "0"), ("--durability", "sometimes"), ("--listen", "nowhere")]
    {
        let mut command = daemon.command("run");
        command.args([flag, value]);
        let finished = finish(command)?;
        ensure!(matches!(finished.code, Some(1 | 2)), "{flag} {value} ended with {:?}", finished.code);
        let name = flag.trim_start_matches("--").replace('-', "_");
        let said = finished.errors.replace('-', "_");
        ensure!(said.contains(&name) && finished.errors.contains(value), "{flag} {value}: {}", finished.errors);
    }
    // A mistake in the file is named by file and line.
    let config = daemon.directory.join("authority.toml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("{text}\nno_such_option = 1\n"))?;
    let message = finish(daemon.command("run"))?.failure()?;
    ensure!(message.contains("authority.toml") && message.contains("no_such_option"), "{message}");
    Ok(())
}

#[test]
fn a_key_file_that_others_can_read_is_refused() -> Result<()> {
    let mut scene = Scene::start()?;
    scene.stop_and_audit()?;
    let key = scene.committee.daemons[0].directory.join("key");
    let mode = std::fs::metadata(&key)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "the key file was made with mode {mode:o}");
    for mode in [0o640, 0o604, 0o660] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode))?;
        let message = scene.committee.daemons[0].refuses_to_start()?;
        ensure!(message.contains("key") && message.contains("600"), "the message must name file and remedy: {message}");
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
    scene.committee.daemons[0].start()?;
    // It is in no log and no answer.
    let secret = std::fs::read(&key)?;
    let text = String::from_utf8_lossy(&secret).trim().to_owned();
    ensure!(!scene.committee.daemons[0].log_text().contains(&text), "the key is in the log");
    Ok(())
}

#[test]
fn an_address_in_use_is_refused() -> Result<()> {
    // Shared silently, it would split the payments between two authorities.
    let mut scene = Scene::start()?;
    let mut other = Plan::single().fund(&meshpay_tests::network::Actor::account(0), 1).prepare()?;
    let metrics = other.daemons[0].metrics;
    other.daemons[0].address = scene.address();
    let message = other.daemons[0].refuses_to_start()?;
    ensure!(message.contains(&scene.address().to_string()), "the message must name the address: {message}");
    other.daemons[0].address = metrics;
    other.daemons[0].metrics = scene.committee.daemons[0].metrics;
    let message = other.daemons[0].refuses_to_start()?;
    ensure!(message.contains(&scene.committee.daemons[0].metrics.to_string()), "the message must name it: {message}");
    scene.pay(1)?;
    scene.stop_and_audit()
}

#[test]
fn memory_is_refused_unless_asked_for() -> Result<()> {
    if let Some(needs) = skip::without_root() {
        skip::skipped(needs);
        return Ok(());
    }
    let memory = SmallDisk::in_memory(64)?;
    let plan = Plan::single().below(memory.path());
    let refused = Scene::of(plan).err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refused.contains("tmpfs"), "a journal in memory must be refused by the name of its file system: {refused}");
    drop(memory);
    let memory = SmallDisk::in_memory(64)?;
    let mut scene = Scene::of(Plan::single().below(memory.path()).flag("--durability", "process"))?;
    scene.pay(1)?;
    scene.stop_and_audit()
}

#[test]
fn durability_is_said_at_the_start_and_in_the_status() -> Result<()> {
    for durability in ["power-loss", "process"] {
        let plan = Plan::single().fund(&meshpay_tests::network::Actor::account(0), 1).flag("--durability", durability);
        let mut committee = plan.prepare()?;
        let ready = committee.daemons[0].start()?;
        ensure!(ready.get("durability").is_some_and(|said| said == durability), "{ready:?}");
        ensure!(ready.get("listen").is_some_and(|said| *said == committee.daemons[0].address.to_string()), "{ready:?}");
        let status = committee.daemons[0].status()?;
        ensure!(status["durability"] == durability, "{status}");
    }
    Ok(())
}

#[test]
fn metrics_health_and_status() -> Result<()> {
    let mut scene = Scene::start()?;
    let (code, body) = scene.committee.daemons[0].get("/health")?;
    ensure!(code == 200 && body.trim() == "ok", "{code} {body:?}");
    scene.pay(1)?;
    let order = scene.alice_pays(7, 1);
    scene.refused(&order, meshpay_wire::RefusalCode::SequenceTooHigh)?;
    let (code, metrics) = scene.committee.daemons[0].get("/metrics")?;
    ensure!(code == 200, "{code}");
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        ensure!(line.starts_with("meshpay_"), "a metric of another name: {line}");
        let value = line.rsplit(' ').next().unwrap_or_default();
        ensure!(value.parse::<f64>().is_ok(), "no number: {line}");
    }
    // A counter for every refusal code, also for those that have not occurred, so that an alarm can be set on each.
    for code in meshpay_wire::RefusalCode::ALL {
        let labelled = metrics.lines().find(|line| line.contains(&format!("\"{}\"", code.name())));
        ensure!(labelled.is_some(), "no counter for {}", code.name());
    }
    let refused = metrics.lines().find(|line| line.contains("\"sequence_too_high\"")).unwrap_or_default();
    ensure!(!refused.ends_with(" 0"), "the refusal was not counted: {refused}");
    let status = scene.committee.daemons[0].status()?;
    ensure!(status["voting"] == true, "{status}");
    ensure!(status["head"].as_u64() > Some(0) && status["durable"].as_u64() >= status["head"].as_u64(), "{status}");
    let (code, _) = scene.committee.daemons[0].get("/no-such-page")?;
    ensure!(code == 404, "{code}");
    // The same by the command, by address and by directory.
    let metrics = scene.committee.daemons[0].metrics.to_string();
    let mut by_directory = scene.committee.daemons[0].command("status");
    by_directory.arg("--json");
    for finished in [authority(&["status", "--metrics", &metrics, "--json"])?, finish(by_directory)?] {
        let said: serde_json::Value = serde_json::from_str(&finished.success()?)?;
        ensure!(said["durable"] == status["durable"], "{said}");
    }
    scene.committee.daemons[0].stop()?;
    let stopped = authority(&["status", "--metrics", &metrics])?.failure()?;
    ensure!(stopped.contains(&metrics), "the message must name whom it asked: {stopped}");
    Ok(())
}

#[test]
fn a_clean_stop_and_a_restart_keep_the_state() -> Result<()> {
    let mut scene = Scene::start()?;
    for round in 0..5 {
        scene.pay(10 + round)?;
        let locked = scene.alice_pays(scene.ledger.next_sequence(&scene.alice.public), 7);
        let vote = scene.voted(&locked)?;
        scene.stop_and_audit()?;
        scene.committee.daemons[0].start()?;
        scene.state_is_right()?;
        ensure!(scene.voted(&locked)? == vote, "another vote for the same order");
        let certificate = scene.certified(locked);
        scene.executed(&certificate)?;
    }
    // A kill keeps it too.
    scene.committee.daemons[0].kill()?;
    scene.committee.daemons[0].start()?;
    scene.state_is_right()?;
    scene.stop_and_audit()
}

#[test]
fn an_accounts_image_of_any_bytes_does_no_harm() -> Result<()> {
    let mut scene = Scene::start()?;
    let mut random = meshpay_tests::random::Random::new("accounts image")?;
    for round in 0..4 {
        scene.pay(3)?;
        let locked = scene.alice_pays(scene.ledger.next_sequence(&scene.alice.public), 7);
        scene.voted(&locked)?;
        // After a crash it may hold any bytes; after a clean stop it is stamped, and may be gone.
        let image = scene.committee.daemons[0].directory.join("accounts.image");
        if round % 2 == 0 {
            scene.committee.daemons[0].kill()?;
            let mut bytes = std::fs::read(&image)?;
            let from = random.below(bytes.len());
            random.fill(&mut bytes[from..]);
            std::fs::write(&image, bytes)?;
        } else {
            scene.stop_and_audit()?;
            std::fs::remove_file(&image)?;
        }
        scene.committee.daemons[0].start()?;
        scene.state_is_right()?;
        let other = scene.alice_pays(locked.body.sequence.get(), 8);
        scene.refused(&other, meshpay_wire::RefusalCode::Conflict)?;
        let certificate = scene.certified(locked);
        scene.executed(&certificate)?;
    }
    scene.stop_and_audit()
}

#[test]
fn config_prints_every_option_and_check_reads_everything() -> Result<()> {
    let printed = authority(&["config", "--print"])?.success()?;
    let parsed: toml::Table = printed.parse()?;
    ensure!(!parsed.is_empty(), "no options");
    let mut scene = Scene::start()?;
    scene.pay(1)?;
    scene.stop_and_audit()?;
    let daemon = &scene.committee.daemons[0];
    // What it prints is a valid file.
    let stored = std::fs::read_to_string(daemon.directory.join("authority.toml"))?;
    for section in parsed.keys() {
        ensure!(stored.parse::<toml::Table>()?.contains_key(section), "`init` did not write {section}");
    }
    let before = std::fs::read(daemon.directory.join("key.mark"))?;
    finish(daemon.command("check"))?.success()?;
    ensure!(std::fs::read(daemon.directory.join("key.mark"))? == before, "a check changed the mark");
    std::fs::remove_file(daemon.directory.join("genesis.toml"))?;
    let message = finish(daemon.command("check"))?.failure()?;
    ensure!(message.contains("genesis.toml"), "the message must name the file: {message}");
    Ok(())
}

#[test]
fn genesis_by_command_is_the_one_that_the_library_makes() -> Result<()> {
    let committee = Plan::single().fund(&meshpay_tests::network::Actor::account(0), 700).prepare()?;
    let directory = committee.scratch();
    let (allocations, out) = (directory.join("allocations.csv"), directory.join("by-command.toml"));
    let mut command = Command::new(binaries::authority()?);
    command.args([
        "genesis",
        "--name",
        "end-to-end",
        "--epoch",
        "0",
        "--minimum-first-credit",
        "1",
        "--token",
        "1:T1:2",
    ]);
    for (place, member) in committee.network.rules.committee.members().iter().enumerate() {
        command.arg("--member").arg(format!(
            "{},{},1,127.0.0.1:{}",
            member.name,
            hex::encode(member.key),
            7450 + place
        ));
    }
    command.arg("--allocations").arg(&allocations).arg("--out").arg(&out);
    finish(command)?.success()?;
    let genesis = meshpay_protocol::Genesis::parse(&std::fs::read_to_string(&out)?)?;
    ensure!(genesis.digest()? == committee.network.rules.genesis, "another digest");
    Ok(())
}

#[test]
fn another_network_with_the_same_key_is_refused() -> Result<()> {
    let mut scene = Scene::start()?;
    scene.stop_and_audit()?;
    let genesis = scene.committee.daemons[0].directory.join("genesis.toml");
    let text = std::fs::read_to_string(&genesis)?;
    std::fs::write(&genesis, text.replace("minimum_first_credit = 1", "minimum_first_credit = 2"))?;
    let message = scene.committee.daemons[0].refuses_to_start()?;
    ensure!(message.contains("network") || message.contains("genesis"), "the message must say why: {message}");
    Ok(())
}
