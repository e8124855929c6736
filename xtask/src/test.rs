//! `cargo xtask test`: everything that must hold before a change is merged, cheapest first.
//!
//! The last thing it runs is `cargo test`, and it prints nothing after it, so that the output ends with the test runner's summary.

use crate::{setup, shell, tidy};
use anyhow::Result;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Options {
    /// Runs the slow suites ten times as long
    #[arg(long)]
    long: bool,
    /// Skips format, lints and documentation, and goes straight to the tests
    #[arg(long)]
    only_tests: bool,
    /// Passed on to `cargo test`, for example `--package meshpay-tests -- orders`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// How many times longer `--long` runs the slow suites.
const LONG_SCALE: u32 = 10;
/// Cases of a property test in an ordinary run, proptest's own default.
const PROPERTY_CASES: u32 = 256;

pub fn run(options: &Options) -> Result<()> {
    setup::toolchain_components()?;
    setup::system_tools()?;
    if !options.only_tests {
        shell::run("format", &mut shell::cargo(["fmt", "--all", "--check"]))?;
        eprintln!("== tidy");
        tidy::run()?;
        let lints = ["clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "--deny", "warnings"];
        shell::run("lints", &mut shell::cargo(lints))?;
        let mut documentation = shell::cargo(["doc", "--workspace", "--no-deps", "--quiet"]);
        shell::run("documentation", documentation.env("RUSTDOCFLAGS", "--deny warnings"))?;
    }
    let built = build_programs()?;
    let mut test = shell::cargo(["test", "--workspace", "--no-fail-fast"]);
    test.args(&options.arguments);
    for (directory, suffix) in [(&built.programs, ""), (&built.with_faults, "_WITH_FAULTS")] {
        test.env(format!("MESHPAY_TEST_AUTHORITY{suffix}"), directory.join("meshpay-authority"));
        test.env(format!("MESHPAY_TEST_WALLET{suffix}"), directory.join("meshpay"));
    }
    // The test of the devnet runs these very commands.
    test.env("MESHPAY_TEST_XTASK", std::env::current_exe()?);
    if options.long {
        test.env("MESHPAY_TEST_SCALE", LONG_SCALE.to_string());
        test.env("PROPTEST_CASES", (PROPERTY_CASES * LONG_SCALE).to_string());
    }
    shell::run_last("tests", &mut test)
}

struct Built {
    programs: PathBuf,
    with_faults: PathBuf,
}

/// Builds what the end-to-end tests start. The programs with faults have a target directory of their own, so that neither build can
/// take the place of the other.
fn build_programs() -> Result<Built> {
    let target = shell::target_directory();
    let with_faults = target.join("fault-injection");
    let plain = ["build", "--package", "meshpay-authority", "--package", "meshpay-client", "--bins"];
    shell::run("building the daemon and the wallet", &mut shell::cargo(plain))?;
    let mut faulty = shell::cargo(plain);
    // Both have a feature of this name.
    faulty.args(["--features", "fault-injection"]).arg("--target-dir").arg(&with_faults);
    shell::run("building both with fault injection", &mut faulty)?;
    Ok(Built { programs: target.join("debug"), with_faults: with_faults.join("debug") })
}
