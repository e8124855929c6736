//! `filter`: what the filter of a running daemon does, and taking it off and on.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::control;
use crate::directory::Directory;
use crate::network::{self, FilterStatus};

/// Longest answer that is read.
const ANSWER_MAX_BYTES: u64 = 1 << 20;
/// How long the daemon may take to do what it was asked.
const PATIENCE: Duration = Duration::from_secs(5);

/// Flags of `filter`.
#[derive(clap::Args)]
pub struct Filter {
    #[command(subcommand)]
    command: FilterCommand,
}

#[derive(clap::Subcommand)]
enum FilterCommand {
    /// What the filter has dropped and passed, by reason; busiest sources; fill of its tables
    Status(FilterTarget),
    /// Take the filter off the interface; the daemon goes on by sockets
    Off(FilterTarget),
    /// Put it back
    On(FilterTarget),
}

#[derive(clap::Args)]
struct FilterTarget {
    /// The authority's directory.
    #[arg(long)]
    directory: PathBuf,
    /// Print the daemon's JSON as it is.
    #[arg(long)]
    json: bool,
}

impl Filter {
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            FilterCommand::Status(target) => show(&target, &ask(&target, network::STATUS_PATH)?),
            FilterCommand::Off(target) => switch(&target, network::OFF_PATH, true),
            FilterCommand::On(target) => switch(&target, network::ON_PATH, false),
        }
    }
}

fn ask(target: &FilterTarget, path: &str) -> Result<String> {
    let mut body = String::new();
    let directory = Directory::new(&target.directory);
    control::ask(directory.path(), path)?
        .take(ANSWER_MAX_BYTES)
        .read_to_string(&mut body)
        .context("the daemon did not answer in time")?;
    Ok(body)
}

fn parse(body: &str) -> Result<FilterStatus> {
    serde_json::from_str(body).context("the daemon answered something that is no status; are both of one version?")
}

/// Asks for it, and waits until it is done.
fn switch(target: &FilterTarget, path: &str, off: bool) -> Result<ExitCode> {
    let deadline = Instant::now() + PATIENCE;
    let mut body = ask(target, path)?;
    while parse(&body)?.is_off != off && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
        body = ask(target, network::STATUS_PATH)?;
    }
    show(target, &body)
}

fn show(target: &FilterTarget, body: &str) -> Result<ExitCode> {
    if target.json {
        println!("{}", body.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let status = parse(body)?;
    println!("{} ({}): {}", status.interface, status.mode, status.state);
    println!("rung                   {}", status.rung);
    if let Some(reason) = &status.not_native {
        println!("not native             {reason}");
    }
    for missed in &status.missed {
        println!("not                    {missed}");
    }
    println!("shed level             {}", status.shed_level);
    println!("accounts known         {} of {}", status.accounts_known, status.accounts_max);
    println!("evidence looked at     {}", status.evidence);
    println!();
    println!("{:<22} {:>14}", "outcome", "packets");
    for (name, count) in status.outcomes.iter().filter(|(_, count)| *count > 0) {
        println!("{name:<22} {count:>14}");
    }
    if !status.sources.is_empty() {
        println!();
        println!("{:<40} {:>14} {:>14}", format!("busiest of {} sources", status.sources_known), "passed", "over rate");
        for (address, passed, dropped) in &status.sources {
            println!("{address:<40} {passed:>14} {dropped:>14}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
