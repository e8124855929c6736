//! `cargo xtask concurrency`: the code that crosses threads, under loom: every schedule within the bounds that each test names.
//!
//! The rooms are built with their feature `loom`, by which the room `sync` gives loom's types in place of std's.

use crate::shell;
use anyhow::{Result, bail};

/// Rooms with tests named `under_loom`.
const ROOMS: [&str; 2] = ["meshpay-net", "meshpay-authority"];

/// Runs them all. Each prints how many schedules it tried; the panics that are printed are those of the faults that it had to find.
pub fn run() -> Result<()> {
    let mut test = shell::cargo(["test", "--quiet", "--lib"]);
    for room in ROOMS {
        test.args(["--package", room, "--features", &format!("{room}/loom")]);
    }
    test.args(["--", "under_loom", "--show-output"]);
    // A found fault is a panic; its backtrace tells nobody anything.
    test.env("RUST_BACKTRACE", "0");
    let (counts, succeeded) = shell::run_tests("every schedule of what crosses threads", &mut test)?;
    if !succeeded || counts.passed == 0 {
        bail!(
            "a schedule was found that breaks a promise, or a fault that none breaks; the output above names the test"
        );
    }
    Ok(())
}
