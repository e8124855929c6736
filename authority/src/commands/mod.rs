//! What the operator types. Each command in a file of its own; errors are one message that says what to do next.

mod audit;
mod check;
mod doctor;
mod dump;
mod filter;
mod genesis;
mod init;
mod run;
mod status;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::settings::Settings;

/// The MeshPay authority: votes for payment orders, executes certificates, forgets nothing.
#[derive(Parser)]
#[command(name = "meshpay-authority", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key, and with --genesis also the journal, in a directory.
    Init(init::Init),
    /// Write a genesis file from members, tokens and allocations.
    Genesis(genesis::MakeGenesis),
    /// Serve payments until SIGTERM or SIGINT.
    Run(run::Run),
    /// Print every setting with its default.
    Config(Config),
    /// Read settings, key, genesis and journal, and change nothing.
    Check(check::Check),
    /// Verify a journal from the genesis on: hash chain, every signature, every balance. Changes nothing.
    Audit(audit::Audit),
    /// Ask a running daemon how it is.
    Status(status::Status),
    /// Say what this host's interfaces can do: kernel, rights, driver, and for each rung of packet I/O yes, or no, why and what to do.
    Doctor(doctor::Doctor),
    /// Show messages as they pass, in words or as a pcapng file for Wireshark. Needs CAP_NET_RAW.
    Dump(dump::Dump),
    /// Show what the filter of a running daemon does; take it off, put it back.
    Filter(filter::Filter),
    /// Take a moved journal directory as the only one from now on.
    Adopt(init::Adopt),
}

/// Settings.
#[derive(clap::Args)]
struct Config {
    /// Print every setting with its default, as TOML.
    #[arg(long)]
    print: bool,
}

/// Runs the command line. 0: done; 1: failed, the reason is on standard error; 2: wrong usage.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done: Result<ExitCode> = match arguments.command {
        Command::Init(command) => command.run(),
        Command::Genesis(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Config(config) => {
            if !config.print {
                eprintln!(
                    "`config --print` prints every setting with its default; without --print there is nothing to do."
                );
                return ExitCode::from(2);
            }
            print!("{}", Settings::default().text());
            Ok(ExitCode::SUCCESS)
        }
        Command::Check(command) => command.run(),
        Command::Audit(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Dump(command) => command.run(),
        Command::Filter(command) => command.run(),
        Command::Adopt(command) => command.run(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("meshpay-authority: {error:#}");
        ExitCode::FAILURE
    })
}
