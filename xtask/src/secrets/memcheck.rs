//! The tests of crypto that need valgrind: they make secrets undefined and count what memcheck reports meanwhile, canaries included, so they judge themselves.

use crate::{setup, shell};
use anyhow::{Context as _, Result, ensure};
use std::process::Command;

/// The tests.
const FILTER: &str = "secrets::undefined::";
/// Fewer than these say that the filter no longer finds them.
const TESTS_MIN: u64 = 5;

/// Builds them as a release, since overflow checks are branches, and runs them in valgrind.
///
/// # Errors
/// If one fails, or valgrind is missing.
pub fn check() -> Result<()> {
    setup::require("valgrind", "valgrind", "signing with undefined secrets")?;
    eprintln!("== building the tests of secrets");
    let arguments = ["test", "--release", "--no-run", "--package", "meshpay-crypto", "--lib"];
    let messages =
        shell::output(shell::cargo(arguments).args(["--message-format=json-render-diagnostics", "--quiet"]))?;
    let programs = crate::miri::executables(&messages);
    let program = programs.first().context("cargo named no test program of meshpay-crypto")?;
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--quiet", "--num-callers=6", "--", program, "--ignored", "--test-threads=1", FILTER])
        .current_dir(shell::root());
    let (counts, succeeded) = shell::run_tests(
        "signing with undefined secrets, in valgrind; reports of canaries are meant to come",
        &mut valgrind,
    )?;
    ensure!(succeeded, "something depends on a secret; the reports of valgrind above say where");
    ensure!(counts.passed >= TESTS_MIN, "{} tests of secrets ran, must be at least {TESTS_MIN}", counts.passed);
    Ok(())
}
