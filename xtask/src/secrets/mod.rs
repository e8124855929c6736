//! `cargo xtask secrets`: does signing show anything of a secret key? Two checks that decide, and one that a person reads.
//!
//! | file | what |
//! |---|---|
//! | `memcheck` | signs with undefined secrets under valgrind: whatever branches on them or addresses memory by them is reported. Scalar lanes and portable path |
//! | `machine_code` | reads the machine code of signing in vector lanes, which valgrind does not execute: every branch, index, division and call in it is on a list, with its reason |
//! | `disassembly` | what objdump, addr2line and the relocations say, as data |
//!
//! `--timing` runs the third, `crypto/examples/dudect.rs`: statistics of times on this very CPU. It never fails.

mod disassembly;
mod machine_code;
mod memcheck;

use crate::shell;
use anyhow::{Context as _, Result};
use std::path::PathBuf;

#[derive(clap::Args, Default)]
pub struct Options {
    /// Take times too, a minute or two, and print how far those of a fixed and of random secrets differ; decides nothing
    #[arg(long)]
    timing: bool,
    /// Print everything that was found in the machine code, also what is allowed
    #[arg(long)]
    list: bool,
}

/// The program that signs in vector lanes and does little else.
const PROGRAM: &str = "dudect";

/// Runs the checks, the quicker one first.
///
/// # Errors
/// If something may depend on a secret, or a tool is missing.
pub fn run(options: &Options) -> Result<()> {
    let program = build()?;
    machine_code::check(&program, options.list)?;
    memcheck::check()?;
    if options.timing {
        shell::run("times of signing", &mut std::process::Command::new(program))?;
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    let arguments = ["build", "--release", "--package", "meshpay-crypto", "--example", PROGRAM];
    shell::run("building what signs", &mut shell::cargo(arguments))?;
    let program = shell::target_directory().join("release/examples").join(PROGRAM);
    program.canonicalize().with_context(|| format!("cargo left no {}", program.display()))
}
