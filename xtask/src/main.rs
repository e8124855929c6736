//! Developer commands: `cargo xtask test`, `bench`, `sim`, `fuzz`, `concurrency`, `miri`, `regress`, `devnet`, `tidy`, `build-ebpf`.
//!
//! Each does all of its own set-up, so that a fresh clone needs nothing but Rust. Nothing in the workspace depends on this room.

mod bench;
mod build_ebpf;
mod concurrency;
mod devnet;
mod fuzz;
mod miri;
mod regress;
mod secrets;
mod setup;
mod shell;
mod sim;
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
    /// Simulates a whole committee with faults and checks what must never happen
    #[command(disable_help_flag = true)]
    Sim(sim::Options),
    /// Fuzzes every decoder and the protocol's operations, guided by coverage
    Fuzz(fuzz::Options),
    /// Tries every schedule of the code that crosses threads
    Concurrency,
    /// Runs tests under Miri, or under valgrind where there is none
    Miri(miri::Options),
    /// Checks that signing shows nothing of a secret key: under valgrind, and in the machine code
    Secrets(secrets::Options),
    /// Compares this tree with the revision it came from, in interleaved runs, and fails if it is slower
    Regress(regress::Options),
    /// Starts a committee of four on this machine, with two funded wallets
    Devnet(devnet::Options),
    /// Checks what the compiler does not: who may depend on whom, links and paths in documents, heads of source files
    Tidy,
    /// Compiles the kernel's filter and its manifest anew; nobody else needs its toolchain
    BuildEbpf(build_ebpf::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Sim(options) => sim::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Concurrency => concurrency::run(),
        Command::Miri(options) => miri::run(&options),
        Command::Secrets(options) => secrets::run(&options),
        Command::Regress(options) => regress::run(&options),
        Command::Devnet(options) => devnet::run(&options),
        Command::Tidy => tidy::run(),
        Command::BuildEbpf(options) => build_ebpf::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands in the code blocks of a document, without what a comment behind them says.
    fn commands(text: &str) -> Vec<(usize, String)> {
        let mut fenced = false;
        let mut commands = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if fenced || line.starts_with("    ") {
                let line = line.trim().trim_start_matches("$ ");
                let line = line.split(" #").next().unwrap_or_default().trim();
                if let Some(arguments) = line.strip_prefix("cargo xtask ") {
                    commands.push((at + 1, arguments.to_owned()));
                }
            }
        }
        commands
    }

    #[test]
    fn every_xtask_command_in_a_document_exists() {
        for file in tidy::files_with_extension(&shell::root(), "md").unwrap() {
            let text = std::fs::read_to_string(shell::root().join(&file)).unwrap();
            for (line, command) in commands(&text) {
                let words = std::iter::once("xtask").chain(command.split_whitespace());
                let parsed = Arguments::try_parse_from(words);
                assert!(parsed.is_ok(), "{}:{line}: `cargo xtask {command}` is no command", file.display());
            }
        }
    }

    #[test]
    fn commands_are_found_in_code_blocks_only() {
        let text =
            "`cargo xtask nonsense`\n```\n$ cargo xtask test --long   # slow\ncargo build\n```\ncargo xtask nonsense\n";
        assert_eq!(commands(text), [(3, "test --long".to_owned())]);
    }
}
