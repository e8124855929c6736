//! Developer commands: `cargo xtask test`, `bench`, `devnet`, `tidy`.
//!
//! Each does all of its own set-up, so that a fresh clone needs nothing but Rust. Nothing in the workspace depends on this room.

mod bench;
mod devnet;
mod setup;
mod shell;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of MeshPay", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks format, lints, docs and structure, builds the daemons and runs every test
    Test(test::Options),
    /// Measures a committee under load and leaves a report in bench-report/
    #[command(disable_help_flag = true)]
    Bench(bench::Options),
    /// Starts a committee of four on this machine, with two funded wallets
    Devnet(devnet::Options),
    /// Checks what the compiler does not: who may depend on whom, links and paths in documents, heads of source files
    Tidy,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Devnet(options) => devnet::run(&options),
        Command::Tidy => tidy::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
