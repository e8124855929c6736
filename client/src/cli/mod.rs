//! Command line: what can be asked, where it is dispatched, and what the process exits with.

mod account;
mod context;
mod evidence;
mod failure;
mod history;
mod output;
mod pay;
mod receive;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use context::Context;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: a file, the key, the network; the message says what to do
  2  wrong usage
  3  not final yet, or not yet executed by a quorum: `meshpay resume` goes on
  4  a certificate or a proof does not hold
  5  too little money, or too small a first payment; nothing was signed
  6  too few authorities answered; nothing was signed
  7  another order of this account came first
  8  another process uses the wallet

With --json, exactly one JSON object goes to standard output; failures are {\"error\":{\"kind\":..,\"message\":..,\"exit_code\":..}}.
Environment: MESHPAY_WALLET, MESHPAY_PASSPHRASE (for tests and devnet; others should type it or use --passphrase-file).";

/// Pay, check what was paid, and see what you have.
#[derive(Debug, Parser)]
#[command(name = "meshpay", version, after_help = EXIT_CODES, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What all commands have in common.
#[derive(Debug, Args)]
pub struct Common {
    /// Wallet directory [env: MESHPAY_WALLET] [default: ~/.meshpay]
    #[arg(long, global = true, value_name = "DIR")]
    wallet: Option<PathBuf>,
    /// Genesis file of the network; copied into the wallet, so needed once
    #[arg(long, global = true, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Where an authority is now, instead of the address in the genesis; may be repeated
    #[arg(long, global = true, value_name = "NAME=ADDRESS:PORT", value_parser = parse_authority)]
    authority: Vec<(String, SocketAddr)>,
    /// How long to try, in milliseconds
    #[arg(long, global = true, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    timeout_ms: u64,
    /// File whose first line is the passphrase; it must be readable by you only
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new key, encrypted with a passphrase
    Keygen(account::Keygen),
    /// Show this wallet's account, to be paid at
    Address,
    /// Ask all authorities what an account has
    Balance(account::Balance),
    /// Pay an account, and get a certificate that proves it
    Pay(pay::Pay),
    /// Check a certificate offline: nothing but the genesis is needed
    Verify(receive::Verify),
    /// Take a certificate from a payer: check it, keep it, have it executed
    Receive(receive::Receive),
    /// Show what was paid and received, each proven by its certificate
    History(history::HistoryArgs),
    /// Go on with payments that are not final or not executed yet
    Resume(pay::Resume),
    /// Look at proofs that an account signed two orders for one sequence
    #[command(subcommand)]
    Evidence(evidence::Evidence),
}

fn parse_authority(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text.split_once('=').ok_or("write NAME=ADDRESS:PORT, for example north=192.0.2.1:7450")?;
    let address =
        address.parse().map_err(|_| format!("{address:?} is not ADDRESS:PORT, for example 192.0.2.1:7450"))?;
    Ok((name.to_owned(), address))
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    let json = common.json;
    let context = Context::new(common);
    let result = match command {
        Command::Keygen(keygen) => keygen.run(&context),
        Command::Address => account::address(&context),
        Command::Balance(balance) => balance.run(&context),
        Command::Pay(pay) => pay.run(&context),
        Command::Verify(verify) => verify.run(&context),
        Command::Receive(receive) => receive.run(&context),
        Command::History(history) => history.run(&context),
        Command::Resume(resume) => resume.run(&context),
        Command::Evidence(evidence) => evidence.run(&context),
    };
    match result {
        Ok(output) => {
            output::print(&output, json);
            ExitCode::from(output.exit_code)
        }
        Err(failure) => {
            output::print_failure(&failure, json);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Exit codes; see the help text.
pub mod exit_code {
    /// Done.
    pub const DONE: u8 = 0;
    /// Failed.
    pub const FAILED: u8 = 1;
    /// Wrong usage.
    pub const USAGE: u8 = 2;
    /// Not final, or not executed by a quorum.
    pub const UNFINISHED: u8 = 3;
    /// A certificate or proof does not hold.
    pub const DISPROVED: u8 = 4;
    /// Too little money, or too small a first payment.
    pub const INSUFFICIENT: u8 = 5;
    /// Too few authorities answered.
    pub const NO_QUORUM: u8 = 6;
    /// Another order came first.
    pub const OTHER_ORDER: u8 = 7;
    /// Another process uses the wallet.
    pub const BUSY: u8 = 8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn authorities_are_named_with_addresses_of_both_families() {
        assert_eq!(parse_authority("a=127.0.0.1:7450").unwrap().0, "a");
        assert!(parse_authority("a=[::1]:7450").unwrap().1.is_ipv6());
        assert!(parse_authority("a").is_err());
        assert!(parse_authority("a=7450").is_err());
    }
}
