//! What a fresh machine lacks: toolchain components, and the few system programs that some tests call.

use crate::shell;
use anyhow::{Result, bail};
use std::process::Command;

/// A system program that some tests need, and the Debian package that brings it.
struct Tool {
    program: &'static str,
    package: &'static str,
    needed_for: &'static str,
}

const TOOLS: [Tool; 6] = [
    Tool { program: "ip", package: "iproute2", needed_for: "network namespaces and veth links" },
    Tool { program: "tcpdump", package: "tcpdump", needed_for: "reading our pcapng files by another program" },
    Tool { program: "setpriv", package: "util-linux", needed_for: "daemons without rights" },
    Tool { program: "mkfs.ext4", package: "e2fsprogs", needed_for: "the test on a full disk" },
    Tool { program: "mount", package: "mount", needed_for: "the tests on a full disk and on memory" },
    Tool { program: "umount", package: "mount", needed_for: "the tests on a full disk and on memory" },
];

/// Where system programs lie that an ordinary user's PATH may leave out.
const SYSTEM_DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];

/// Makes sure that `cargo clippy` and `cargo fmt` are there.
///
/// # Errors
/// If they are missing and rustup cannot bring them.
pub fn toolchain_components() -> Result<()> {
    for component in ["clippy", "rustfmt"] {
        let subcommand = if component == "rustfmt" { "fmt" } else { component };
        if shell::succeeds(&mut shell::cargo([subcommand, "--version"])) {
            continue;
        }
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "add", component]).current_dir(shell::root());
        if shell::run(&format!("installing {component}"), &mut rustup).is_err() {
            bail!(
                "cargo {subcommand} is missing and rustup could not bring it; install the Rust component `{component}`"
            );
        }
    }
    Ok(())
}

/// Installs missing system programs where we are root on a machine with apt; otherwise says what will be skipped.
///
/// # Errors
/// In CI, where a skipped test is a failure: if a program stays missing.
pub fn system_tools() -> Result<()> {
    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| !is_installed(tool.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    packages.dedup();
    if install_packages(&packages).is_ok() {
        return Ok(());
    }
    for tool in &missing {
        eprintln!("note: `{}` is missing, needed for {}; install {}", tool.program, tool.needed_for, tool.package);
    }
    if in_ci() {
        bail!("in CI no test may be skipped; install {}", packages.join(", "));
    }
    eprintln!("note: the tests that need them will be skipped and say so");
    Ok(())
}

/// Makes sure that one program is there, installing its package where we are root on a machine with apt.
///
/// # Errors
/// If it is missing and cannot be installed here.
pub fn require(program: &str, package: &str, needed_for: &str) -> Result<()> {
    if is_installed(program) {
        return Ok(());
    }
    if install_packages(&[package]).is_err() || !is_installed(program) {
        bail!("`{program}` is missing, needed for {needed_for}; install the package {package}");
    }
    Ok(())
}

/// Installs Debian packages, where we are root on a machine with apt.
///
/// # Errors
/// We are not, or apt fails; says what to install.
pub fn install_packages(packages: &[&str]) -> Result<()> {
    if !rustix::process::geteuid().is_root() || !is_installed("apt-get") {
        bail!("install {}", packages.join(", "));
    }
    let _ = shell::run("refreshing the list of packages", Command::new("apt-get").args(["update", "-qq"]));
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    shell::run(&format!("installing {}", packages.join(", ")), &mut install)
}

/// Whether this is a CI run, in which a skipped test is a failure.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_DIRECTORIES.iter().map(std::path::PathBuf::from))
        .any(|directory| directory.join(program).is_file())
}
