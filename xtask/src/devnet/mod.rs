//! `cargo xtask devnet`: a committee of four on this machine, with two funded wallets, for the first five minutes.
//!
//! It stops what it started, by process id, and nothing else. What it made stays in its directory until `--fresh`.

mod authorities;
mod guide;
mod network;

use crate::shell;
use anyhow::{Context, Result};
use authorities::Authorities;
use network::Network;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

#[derive(clap::Args)]
pub struct Options {
    /// Deletes the network that an earlier run left, with its wallets, and begins anew
    #[arg(long)]
    fresh: bool,
    /// Where it lives
    #[arg(long, value_name = "DIR", default_value = "devnet")]
    directory: PathBuf,
    /// UDP port of the first authority; the others have the next ones, and for metrics 2000 is added
    #[arg(long, value_name = "PORT", default_value_t = 7450, value_parser = clap::value_parser!(u16).range(1024..=60_000))]
    port: u16,
    /// Uses the programs that lie there, and builds nothing
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// What may happen while the network runs.
enum Event {
    /// Ctrl-C, or somebody else asks us to end.
    Stop,
    /// Enter was pressed.
    Enter,
}

pub fn run(options: &Options) -> Result<()> {
    let programs = match &options.programs {
        Some(directory) => directory.clone(),
        None => build()?,
    };
    let network = Network::open_or_make(&options.directory, programs, options.port, options.fresh)?;
    // From here on Ctrl-C must end what we start.
    let events = listen()?;
    let mut authorities = Authorities::start(&network)?;
    println!("{}", guide::text(&network, &authorities));
    loop {
        match events.recv_timeout(Duration::from_millis(200)) {
            Ok(Event::Stop) => break,
            Ok(Event::Enter) => authorities.start_missing(),
            Err(RecvTimeoutError::Timeout) => authorities.report_ended()?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    println!("\nstopping");
    authorities.stop()?;
    println!("All authorities are stopped. The network stays in {}:", options.directory.display());
    println!("  cargo xtask devnet            goes on with it");
    println!("  cargo xtask devnet --fresh    deletes it and begins anew");
    Ok(())
}

fn build() -> Result<PathBuf> {
    let packages = ["build", "--release", "--package", "meshpay-authority", "--package", "meshpay-client", "--bins"];
    shell::run("building the daemon and the wallet; the first time takes some minutes", &mut shell::cargo(packages))?;
    Ok(shell::target_directory().join("release"))
}

fn listen() -> Result<Receiver<Event>> {
    let (sender, events) = channel();
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).context("listening for Ctrl-C")?;
    let stop = sender.clone();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            let _ = stop.send(Event::Stop);
        }
    });
    std::thread::spawn(move || {
        let mut line = String::new();
        // Ends at once where there is no terminal.
        while std::io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {
            let _ = sender.send(Event::Enter);
            line.clear();
        }
    });
    Ok(events)
}
