//! `cargo xtask bench`: builds the daemon and the load generator in release, then becomes `meshpay-bench run`, or with `--filter`
//! `meshpay-bench filter`.

use crate::shell;
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

#[derive(clap::Args)]
pub struct Options {
    /// With `--filter`, measures the kernel's filter and every means of packet I/O. The others are passed on to `meshpay-bench run`
    /// (or `filter`); `cargo xtask bench --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Builds and measures. Returns only where that could not begin, since the process becomes the load generator: signals and the
/// exit status are then its own.
pub fn run(options: &Options) -> Result<()> {
    let packages = ["build", "--release", "--package", "meshpay-authority", "--package", "meshpay-bench", "--bins"];
    shell::run("building in release", &mut shell::cargo(packages))?;
    let built = shell::target_directory().join("release");
    let (what, arguments) = split(&options.arguments);
    let error = Command::new(built.join("meshpay-bench"))
        .arg(what)
        .args(arguments)
        .current_dir(shell::root())
        .env("MESHPAY_AUTHORITY", built.join("meshpay-authority"))
        .exec();
    Err(error).with_context(|| format!("cannot start {}", built.join("meshpay-bench").display()))
}

/// The subcommand of `meshpay-bench`, and its arguments.
fn split(arguments: &[String]) -> (&'static str, Vec<&String>) {
    let what = if arguments.iter().any(|argument| argument == "--filter") { "filter" } else { "run" };
    (what, arguments.iter().filter(|argument| *argument != "--filter").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_is_a_subcommand() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let (given, other) = (words(&["--seconds", "1", "--filter"]), words(&["--seconds", "1"]));
        assert_eq!(split(&given), ("filter", given[..2].iter().collect()));
        assert_eq!(split(&other), ("run", other.iter().collect()));
    }
}
