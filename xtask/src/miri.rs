//! `cargo xtask miri`: the pure rooms and the journal under Miri, which finds undefined behaviour that no ordinary run shows.
//!
//! Miri needs rustup's component of that name and the sources of the standard library, both of a nightly. Where rustup cannot bring them, this
//! says so and fails: what does not run must not look as if it had passed. `--memcheck` runs the same tests under valgrind instead, which
//! finds less (uninitialised values that decide something, reads and writes outside of allocations) and runs anywhere.

use crate::{setup, shell};
use anyhow::{Context, Result, bail};
use std::process::Command;

#[derive(clap::Args)]
pub struct Options {
    /// Runs the tests under valgrind's memcheck instead of Miri
    #[arg(long)]
    memcheck: bool,
}

/// Components of the nightly that Miri is made of.
const COMPONENTS: [&str; 2] = ["miri", "rust-src"];

/// What runs: package, test programs, filters. The pure fuzz targets reach wire, the filter, protocol, records, checkpoints and the journal's scan.
const MIRI: [(&str, &[&str], &[&str]); 2] = [
    (
        "meshpay-wire",
        &["--test", "messages"],
        &[
            "golden::every_kind_is_among",
            "bundles::a_tail",
            "bundles::nothing_is",
            "answers::the_largest",
            "return_tokens",
            "round_trips::values_that",
            "round_trips::padding",
            "round_trips::answers_echo",
            "round_trips::lengths_of",
        ],
    ),
    ("meshpay-fuzz", &["--test", "pure"], &[]),
];

/// Valgrind is fast enough for more.
const MEMCHECK: [(&str, &[&str], &[&str]); 5] = [
    ("meshpay-fuzz", &["--test", "pure"], &[]),
    ("meshpay-wire", &["--lib", "--test", "filter"], &[]),
    ("meshpay-protocol", &["--test", "rules"], &["orders::", "certificates::", "evidence::"]),
    ("meshpay-authority", &["--lib"], &["journal::", "accounts::"]),
    ("meshpay-authority", &["--test", "journal_basics"], &[]),
];

pub fn run(options: &Options) -> Result<()> {
    if options.memcheck { memcheck() } else { miri() }
}

fn miri() -> Result<()> {
    let has_miri = || {
        let sysroot = shell::output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]));
        let has_sources = sysroot.is_ok_and(|path| {
            std::path::Path::new(path.trim()).join("lib/rustlib/src/rust/library/std/src/lib.rs").is_file()
        });
        has_sources && shell::succeeds(Command::new("rustup").args(["run", "nightly", "cargo", "miri", "--version"]))
    };
    if !has_miri() {
        let mut add = Command::new("rustup");
        add.args(["component", "add", "--toolchain", "nightly"]).args(COMPONENTS);
        // Rustup tries again for a long time where it cannot reach anything.
        add.env("RUSTUP_MAX_RETRIES", "0").env("RUSTUP_DOWNLOAD_TIMEOUT", "20");
        let _ = shell::run("installing Miri", &mut add);
        if !has_miri() {
            bail!(
                "Miri is not here and rustup could not bring it: nothing was checked. Where rustup reaches its server, \
                 `rustup toolchain install nightly --component miri,rust-src`; here, `cargo xtask miri --memcheck`"
            );
        }
    }
    for (package, programs, filters) in MIRI {
        let mut test = Command::new("rustup");
        test.args(["run", "nightly", "cargo", "miri", "test", "--package", package]).args(programs);
        test.arg("--").args(filters).current_dir(shell::root());
        for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "CARGO_MANIFEST_DIR"] {
            test.env_remove(name);
        }
        test.env("MIRIFLAGS", "-Zmiri-disable-isolation")
            .env("CARGO_TARGET_DIR", shell::target_directory().join("miri"));
        test.env("PROPTEST_CASES", "4");
        shell::run(&format!("Miri on {package}"), &mut test)?;
    }
    Ok(())
}

/// The same tests as ordinary programs, each under valgrind.
fn memcheck() -> Result<()> {
    setup::require("valgrind", "valgrind", "memcheck")?;
    for (package, programs, filters) in MEMCHECK {
        let mut build = shell::cargo(["test", "--quiet", "--no-run", "--message-format=json", "--package", package]);
        build.args(programs);
        let messages = shell::output(&mut build).with_context(|| format!("building the tests of {package}"))?;
        for program in executables(&messages) {
            let mut check = Command::new("valgrind");
            check.args(["--quiet", "--error-exitcode=99", "--trace-children=no", "--", &program, "--test-threads=1"]);
            check.args(filters).current_dir(shell::root().join(room_of(package)));
            check.env("PROPTEST_CASES", "8");
            shell::run(&format!("memcheck on {package}"), &mut check)?;
        }
    }
    Ok(())
}

/// Directory of a package, which tests find their files from.
fn room_of(package: &str) -> &str {
    package.strip_prefix("meshpay-").unwrap_or(package)
}

/// Test programs that cargo says it has built.
pub fn executables(messages: &str) -> Vec<String> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    parsed
        .filter(|message| message["profile"]["test"] == true)
        .filter_map(|message| message["executable"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_found_in_what_cargo_says() {
        let messages = "{\"reason\":\"compiler-artifact\",\"profile\":{\"test\":true},\"executable\":\"/a/b\"}\n\
                        {\"reason\":\"compiler-artifact\",\"profile\":{\"test\":false},\"executable\":\"/a/c\"}\nnoise\n";
        assert_eq!(executables(messages), ["/a/b"]);
    }
}
