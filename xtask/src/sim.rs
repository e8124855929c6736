//! `cargo xtask sim`: builds the simulator, optimised and with all assertions, then becomes `meshpay-sim`.

use crate::shell;
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

#[derive(clap::Args)]
pub struct Options {
    /// Passed on to `meshpay-sim`; `cargo xtask sim --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Builds and simulates. Returns only where that could not begin, since the process becomes the simulator.
pub fn run(options: &Options) -> Result<()> {
    let build = ["build", "--profile", "sim", "--package", "meshpay-sim", "--bins", "--quiet"];
    shell::run("building the simulator", &mut shell::cargo(build))?;
    // A failure names the commit that it happened to.
    let commit =
        shell::output(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(shell::root()));
    let simulator = shell::target_directory().join("sim/meshpay-sim");
    let error = Command::new(&simulator)
        .args(&options.arguments)
        .env("MESHPAY_COMMIT", commit.map_or_else(|_| "unknown".to_owned(), |commit| commit.trim().to_owned()))
        .exec();
    Err(error).with_context(|| format!("cannot start {}", simulator.display()))
}
