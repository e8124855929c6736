//! Who may depend on whom: `wire <- protocol <- authority`; `crypto` knows nothing of payments; `protocol` never learns what a
//! socket is. Read from cargo's resolution, so that a dependency of a dependency counts too.

use super::Finding;
use crate::shell;
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;

/// What one room must not reach.
struct Rule {
    package: &'static str,
    directory: &'static str,
    /// Our rooms that it may depend on; it may reach no other.
    may_use: &'static [&'static str],
    /// Outside crates that it must not reach, with the reason.
    must_not_use: &'static [&'static str],
    because: &'static str,
}

/// What reads a clock, opens a socket, starts a thread or draws random numbers.
const OUTSIDE_WORLD: &[&str] =
    &["tokio", "rustix", "socket2", "libc", "mio", "getrandom", "rayon", "crossbeam", "memmap2"];

const RULES: [Rule; 8] = [
    Rule {
        package: "meshpay-sync",
        directory: "sync",
        may_use: &[],
        must_not_use: &["tokio", "socket2"],
        because: "sync gives types and knows nobody who uses them",
    },
    Rule {
        package: "meshpay-wire",
        directory: "wire",
        may_use: &[],
        must_not_use: OUTSIDE_WORLD,
        because: "wire holds packet layouts only, for kernel and userspace alike",
    },
    Rule {
        package: "meshpay-crypto",
        directory: "crypto",
        may_use: &[],
        must_not_use: &["tokio", "socket2"],
        because: "crypto knows nothing of payments and does no I/O",
    },
    Rule {
        package: "meshpay-protocol",
        directory: "protocol",
        may_use: &["meshpay-wire", "meshpay-crypto"],
        must_not_use: &["tokio", "rustix", "socket2", "mio", "getrandom", "rayon", "crossbeam", "memmap2"],
        because: "protocol is a pure state machine: no I/O, no clock, no threads, no randomness",
    },
    Rule {
        package: "meshpay-net",
        directory: "net",
        may_use: &["meshpay-sync"],
        must_not_use: &["tokio"],
        because: "net moves packets and knows nothing of what is in them",
    },
    Rule {
        package: "meshpay-authority",
        directory: "authority",
        may_use: &["meshpay-sync", "meshpay-wire", "meshpay-protocol", "meshpay-crypto", "meshpay-net"],
        must_not_use: &[],
        because: "the daemon must not know its clients",
    },
    Rule {
        package: "meshpay-client",
        directory: "client",
        may_use: &["meshpay-wire", "meshpay-protocol", "meshpay-crypto"],
        must_not_use: &[],
        because: "a wallet must not carry the daemon",
    },
    Rule {
        package: "xtask",
        directory: "xtask",
        may_use: &[],
        must_not_use: &["tokio"],
        because: "developer commands must build in seconds and on any state of the rooms",
    },
];

/// Rooms on which no other depends, not even in tests.
const LEAVES: [&str; 5] = ["meshpay-tests", "meshpay-bench", "meshpay-sim", "meshpay-fuzz", "xtask"];

/// Checks all rules.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for rule in &RULES {
        let manifest = Path::new(rule.directory).join("Cargo.toml");
        let reached = packages(root, rule.package, "normal,build")?;
        findings.extend(judge(rule, &reached).into_iter().map(|what| Finding::new(&manifest, None, what)));
        let reached_in_tests = packages(root, rule.package, "normal,build,dev")?;
        for leaf in LEAVES.iter().filter(|leaf| **leaf != rule.package && reached_in_tests.contains(**leaf)) {
            findings.push(Finding::new(&manifest, None, format!("nobody may depend on {leaf}")));
        }
    }
    findings.extend(forbidden_words(root)?);
    Ok(findings)
}

fn judge(rule: &Rule, reached: &BTreeSet<String>) -> Vec<String> {
    let ours = |name: &&String| name.starts_with("meshpay-") || *name == "xtask";
    let foreign_rooms =
        reached.iter().filter(ours).filter(|name| *name != rule.package && !rule.may_use.contains(&name.as_str()));
    let outside = reached.iter().filter(|name| rule.must_not_use.contains(&name.as_str()));
    foreign_rooms
        .chain(outside)
        .map(|name| format!("{} must not depend on {name}: {}", rule.package, rule.because))
        .collect()
}

/// Names of all packages that a package reaches by edges of these kinds, itself included.
fn packages(root: &Path, package: &str, edges: &str) -> Result<BTreeSet<String>> {
    let arguments = ["tree", "--locked", "--prefix", "none", "--format", "{p}", "--package", package, "--edges", edges];
    let listed = shell::output(shell::cargo(arguments).current_dir(root))?;
    Ok(listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// Parts of the standard library that a room must not name, since they are the outside world.
const FORBIDDEN_PATHS: [&str; 9] = [
    "std::fs",
    "std::thread",
    "std::process",
    "std::time::SystemTime",
    "std::time::Instant",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "UnixStream",
];

fn forbidden_words(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in super::files_with_extension(root, "rs")? {
        if !file.starts_with("protocol/src") && !file.starts_with("wire/src") {
            continue;
        }
        let text = std::fs::read_to_string(root.join(&file))?;
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for path in FORBIDDEN_PATHS.iter().filter(|path| line.contains(**path)) {
                findings.push(Finding::new(&file, at + 1, format!("`{path}` belongs to a room that does I/O")));
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_forbidden_room_and_a_forbidden_crate_are_found() {
        let wire = RULES.iter().find(|rule| rule.directory == "wire").unwrap();
        assert_eq!(judge(wire, &set(&["meshpay-wire", "zerocopy"])), Vec::<String>::new());
        assert_eq!(judge(wire, &set(&["meshpay-wire", "meshpay-protocol"])).len(), 1);
        assert_eq!(judge(wire, &set(&["meshpay-wire", "tokio"])).len(), 1);
    }

    #[test]
    fn cargo_says_what_a_room_reaches() {
        let reached = packages(&shell::root(), "meshpay-protocol", "normal").unwrap();
        assert!(reached.contains("meshpay-wire"), "{reached:?}");
    }
}
