//! `cargo xtask bench`: builds the daemon and the load generator in release, then becomes `meshpay-bench run`.

use crate::shell;
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

#[derive(clap::Args)]
pub struct Options {
    /// Passed on to `meshpay-bench run`; `cargo xtask bench --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Builds and measures. Returns only where that could not begin, since the process becomes the load generator: signals and the
/// exit status are then its own.
pub fn run(options: &Options) -> Result<()> {
    let packages = ["build", "--release", "--package", "meshpay-authority", "--package", "meshpay-bench", "--bins"];
    shell::run("building in release", &mut shell::cargo(packages))?;
    let built = shell::target_directory().join("release");
    let error = Command::new(built.join("meshpay-bench"))
        .arg("run")
        .args(&options.arguments)
        .current_dir(shell::root())
        .env("MESHPAY_AUTHORITY", built.join("meshpay-authority"))
        .exec();
    Err(error).with_context(|| format!("cannot start {}", built.join("meshpay-bench").display()))
}
