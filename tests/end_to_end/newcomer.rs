//! The first five minutes: `cargo xtask devnet` starts, every command that it prints can be pasted as it stands, and it cleans up.

use anyhow::{Context, Result, ensure};
use meshpay_tests::process::{Process, finish};
use meshpay_tests::scratch::Scratch;
use meshpay_tests::{DEADLINE, binaries};
use rustix::process::Signal;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Below the ports that the kernel gives to others, and away from those of a devnet that somebody may be running.
const PORT: u16 = 17_450;
/// The last line of the guide.
const LAST_LINE: &str = "Ctrl-C here";

fn devnet(directory: &Path, flags: &[&str]) -> Result<Command> {
    let programs = binaries::wallet()?.parent().context("a program lies in a directory")?.to_path_buf();
    ensure!(programs == binaries::authority()?.parent().unwrap_or(Path::new("")), "daemon and wallet lie apart");
    let mut command = Command::new(binaries::xtask()?);
    command.arg("devnet").arg("--directory").arg(directory).arg("--programs").arg(programs);
    command.arg("--port").arg(PORT.to_string()).args(flags).current_dir(binaries::repository());
    Ok(command)
}

/// Runs a line as a newcomer's shell would.
fn pasted(line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec {line}")).current_dir(binaries::repository());
    shell
}

/// The commands of a guide, in their order.
fn commands(guide: &[String]) -> Vec<&str> {
    let mut commands = Vec::new();
    for (at, line) in guide.iter().enumerate() {
        if line.starts_with("  # ") {
            commands.push(guide[at + 1].trim());
        }
    }
    commands
}

#[test]
fn the_devnet_starts_its_guide_can_be_pasted_and_it_cleans_up() -> Result<()> {
    let scratch = Scratch::new()?;
    let (directory, log) = (scratch.path().join("devnet"), scratch.path().join("xtask.log"));
    let mut running = Process::start(devnet(&directory, &[])?, &log)?;
    let guide = running.lines_until(LAST_LINE)?;
    let pasted_lines = commands(&guide);
    println!("{}", guide.join("\n"));
    let [balance, pay, verify, bobs_balance, kill, pay_again, start_again] = pasted_lines[..] else {
        anyhow::bail!("another guide than this test knows:\n{}", guide.join("\n"))
    };
    let before = finish(pasted(balance))?.success()?;
    ensure!(before.contains("1000.00 EUR"), "Alice's balance: {before}");
    let paid = finish(pasted(pay))?.success()?;
    ensure!(paid.contains("final"), "Alice's payment: {paid}");
    let verified = finish(pasted(verify))?.success()?;
    ensure!(verified.contains("Valid") && verified.contains("12.50 EUR"), "Bob's certificate: {verified}");
    let bobs = finish(pasted(bobs_balance))?.success()?;
    ensure!(bobs.contains("62.50 EUR"), "Bob's balance: {bobs}");
    finish(pasted(kill))?.success()?;
    running.lines_until("Press Enter")?;
    let paid = finish(pasted(pay_again))?.success()?;
    ensure!(paid.contains("final"), "Alice's payment with one authority gone: {paid}");
    let mut again = Process::start(pasted(start_again), &scratch.path().join("again.log"))?;
    again.line_beginning_with("ready ")?;
    let bobs = finish(pasted(bobs_balance))?.success()?;
    ensure!(bobs.contains("63.50 EUR"), "Bob's balance: {bobs}");
    again.signal(Signal::TERM)?;
    ensure!(again.wait()?.success(), "the authority that was started by hand did not stop cleanly");

    // A second one on the same ports and directory is told so, and takes nothing away.
    let refused = finish(devnet(&directory, &[])?)?;
    ensure!(refused.code == Some(1) && refused.errors.contains("another devnet"), "a second devnet: {refused:?}");

    running.signal(Signal::INT)?;
    ensure!(running.wait()?.success(), "the devnet did not end cleanly");
    let end = Instant::now() + DEADLINE;
    while finish(pasted(balance))?.code == Some(0) {
        ensure!(Instant::now() < end, "an authority was left running");
        std::thread::sleep(Duration::from_millis(100));
    }

    // It goes on where it was, and begins anew where asked.
    for (flags, alice) in [(&[][..], "986.50 EUR"), (&["--fresh"], "1000.00 EUR")] {
        let mut running = Process::start(devnet(&directory, flags)?, &log)?;
        let guide = running.lines_until(LAST_LINE)?;
        let said = finish(pasted(commands(&guide)[0]))?.success()?;
        ensure!(said.contains(alice), "Alice's balance after a restart with {flags:?}: {said}");
        running.signal(Signal::TERM)?;
        ensure!(running.wait()?.success(), "the devnet did not end cleanly");
    }
    Ok(())
}

#[test]
fn a_directory_that_is_no_devnet_is_never_deleted() -> Result<()> {
    let scratch = Scratch::new()?;
    let precious = scratch.path().join("precious.txt");
    std::fs::write(&precious, "years of work")?;
    for flags in [&[][..], &["--fresh"]] {
        let message = finish(devnet(scratch.path(), flags)?)?.failure()?;
        ensure!(message.contains("no network of ours"), "{message}");
        ensure!(precious.exists(), "deleted with {flags:?}");
    }
    Ok(())
}
