//! Running other programs: each is announced, and a failure names the command that failed.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The repository's root.
pub fn root() -> PathBuf {
    // This package lies one level below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Where cargo puts what it builds.
pub fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |named| root().join(named))
}

/// `cargo`, the one that runs us, in the repository's root.
pub fn cargo<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    // Set by the cargo that runs us, for this package; they must not leak into what cargo builds next.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end, with its output on ours.
///
/// # Errors
/// If it cannot be started or fails; the message holds its command line.
pub fn run(title: &str, command: &mut Command) -> Result<()> {
    eprintln!("== {title}");
    let started = Instant::now();
    let status = command.status().with_context(|| format!("cannot start `{}`", line_of(command)))?;
    if !status.success() {
        bail!("{title}: `{}` failed with {status}", line_of(command));
    }
    eprintln!("== {title}: done in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Whether a command can be run and succeeds; its output goes nowhere.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What a command prints on its standard output.
///
/// # Errors
/// If it cannot be started or fails; the message holds what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start `{}`", line_of(command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", line_of(command), String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` printed what is no text", line_of(command)))
}

fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    std::iter::once(program)
        .chain(command.get_args().map(|argument| argument.to_string_lossy().into_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// What a test runner has counted, summed over all of its test programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were not run.
    pub ignored: u64,
}

impl Counts {
    /// Adds the counts of one line, if it is the closing line of a test program.
    pub fn note(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        let Some((_, counts)) = rest.split_once(". ") else { return };
        for part in counts.split(';') {
            match part.trim().split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                Some((number, "ignored")) => self.ignored += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

/// Runs a test runner, with its output on ours as it comes, and counts its tests.
///
/// # Errors
/// If it cannot be started. Whether it succeeded is in the second part of the answer.
pub fn run_tests(title: &str, command: &mut Command) -> Result<(Counts, bool)> {
    eprintln!("== {title}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{}`", line_of(command)))?;
    let mut counts = Counts::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("reading what the tests print")?;
            counts.note(&line);
            println!("{line}");
        }
    }
    let status = child.wait().with_context(|| format!("waiting for `{}`", line_of(command)))?;
    Ok((counts, status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_summed_and_others_are_not() {
        let mut counts = Counts::default();
        counts.note("test result: ok. 18 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.11s");
        counts
            .note("test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s");
        counts.note("test a_failed_audit_fails ... ok");
        assert_eq!(counts, Counts { passed: 21, failed: 1, ignored: 2 });
    }
}
