//! `cargo xtask test`: everything that must hold before a change is merged, cheapest first.
//!
//! The last thing it runs is `cargo test`; its last line sums up what that counted.

use crate::{fuzz, regress, secrets, setup, shell, tidy};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Options {
    /// Runs the slow suites ten times as long, then the fuzz targets for two minutes each, `cargo xtask secrets`, and the self-test of `cargo xtask regress`
    #[arg(long)]
    long: bool,
    /// Skips format, lints and documentation, and goes straight to the tests
    #[arg(long)]
    only_tests: bool,
    /// Passed on to `cargo test`, for example `--package meshpay-tests -- orders`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// The kernel's filter, below the root.
const KERNEL_MANIFEST: &str = "xdp-ebpf/Cargo.toml";
/// How many times longer `--long` runs the slow suites.
const LONG_SCALE: u32 = 10;
/// Cases of a property test in an ordinary run, proptest's own default.
const PROPERTY_CASES: u32 = 256;

pub fn run(options: &Options) -> Result<()> {
    setup::toolchain_components()?;
    setup::system_tools()?;
    if !options.only_tests {
        shell::run("format", &mut shell::cargo(["fmt", "--all", "--check"]))?;
        // A workspace of its own, which `--all` does not reach.
        if shell::root().join(KERNEL_MANIFEST).exists() {
            let format = ["fmt", "--manifest-path", KERNEL_MANIFEST, "--check"];
            shell::run("format of the kernel's filter", &mut shell::cargo(format))?;
        }
        eprintln!("== tidy");
        tidy::run()?;
        let lints = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--quiet",
            "--keep-going",
            "--",
            "--deny",
            "warnings",
        ];
        shell::run("lints", &mut shell::cargo(lints))?;
        let mut documentation = shell::cargo(["doc", "--workspace", "--no-deps", "--quiet", "--keep-going"]);
        shell::run("documentation", documentation.env("RUSTDOCFLAGS", "--deny warnings"))?;
    }
    let built = build_programs()?;
    let mut test = shell::cargo(["test", "--no-fail-fast"]);
    // Beside `--workspace` cargo takes no notice of `--package`.
    if !names_packages(&options.arguments) {
        test.arg("--workspace");
    }
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
    let (counts, succeeded) = shell::run_tests("tests", &mut test)?;
    // The last line, summed: cargo's own closing lines count each test program by itself.
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.ignored);
    if !succeeded {
        bail!("tests failed; the lines that end in FAILED name them");
    }
    if counts.passed == 0 && options.arguments.is_empty() {
        bail!("no test ran");
    }
    if options.long && options.arguments.is_empty() {
        fuzz::run_long()?;
        secrets::run(&secrets::Options::default())?;
    }
    // Last, so that nothing else runs beside what is timed.
    if options.long && options.arguments.is_empty() {
        regress::self_test()?;
    }
    Ok(())
}

/// Whether arguments for `cargo test` choose packages.
fn names_packages(arguments: &[String]) -> bool {
    let of_cargo = arguments.iter().take_while(|argument| *argument != "--");
    of_cargo.into_iter().any(|argument| argument.starts_with("--package") || argument.starts_with("-p"))
}

struct Built {
    programs: PathBuf,
    with_faults: PathBuf,
}

/// Programs that the end-to-end tests start.
const PROGRAMS: [&str; 2] = ["meshpay-authority", "meshpay"];

/// Builds what the end-to-end tests start. The programs with faults are built first and copied away, so that the others then take
/// their place; a target directory of their own would build every outside crate twice.
fn build_programs() -> Result<Built> {
    let target = shell::target_directory();
    let built = Built { programs: target.join("debug"), with_faults: target.join("with-faults") };
    let plain = ["build", "--package", "meshpay-authority", "--package", "meshpay-client", "--bins"];
    let mut faulty = shell::cargo(plain);
    // Both have a feature of this name.
    faulty.args(["--features", "fault-injection"]);
    shell::run("building the daemon and the wallet with fault injection", &mut faulty)?;
    std::fs::create_dir_all(&built.with_faults)?;
    for program in PROGRAMS {
        // Removed first: a copy into a program that still runs somewhere is refused.
        let copy = built.with_faults.join(program);
        let _ = std::fs::remove_file(&copy);
        std::fs::copy(built.programs.join(program), &copy).with_context(|| format!("copying {program}"))?;
    }
    shell::run("building them without", &mut shell::cargo(plain))?;
    Ok(built)
}

#[cfg(test)]
mod tests {
    use super::names_packages;

    #[test]
    fn packages_are_chosen_before_the_dashes_only() {
        let names = |line: &str| names_packages(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(names("--package meshpay-tests -- orders") && names("-p meshpay-net") && names("--package=xtask"));
        assert!(!names("--test filter") && !names("-- --package"));
    }
}
