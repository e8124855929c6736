//! The programs that compile for the kernel: a compiler with the sources of `core`, and bpf-linker with the LLVM that fits.
//!
//! Either Debian's own (one release of Rust that is allowed to use unstable features), or a nightly of rustup. What is missing is installed
//! where we are root on Debian; elsewhere the message says what to install.

use crate::shell;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const LINKER_VERSION: &str = "0.13.0";
/// LLVM that the linker is built with. It reads what a compiler with the same or an older LLVM writes.
const LLVM: u32 = 22;

/// Debian's packages: compiler, sources of `core`, cargo, and what bpf-linker is built and works with.
const PACKAGES: [&str; 8] = [
    "rustc-web",
    "rust-web-src",
    "cargo-web",
    "llvm-22",
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
    "zlib1g-dev",
];

/// What compiles.
pub struct Toolchain {
    /// Version of the compiler and its LLVM.
    pub compiler: String,
    /// Version of the linker and its LLVM.
    pub linker: String,
    /// bpf-linker.
    pub linker_path: PathBuf,
    /// llvm-objcopy.
    pub objcopy: PathBuf,
    /// Where the compiler's `lib` is.
    pub sysroot: PathBuf,
    /// Where cargo keeps the sources of outside crates.
    pub cargo_home: PathBuf,
    rustc: PathBuf,
    cargo: PathBuf,
}

impl Toolchain {
    /// cargo with this compiler, in a directory, with nothing of the cargo that runs us.
    pub fn cargo(&self, directory: &Path) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(directory).env("RUSTC", &self.rustc).env("RUSTC_BOOTSTRAP", "1");
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let foreign = ["RUSTUP_TOOLCHAIN", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO"];
            let leaks = name.starts_with("CARGO_") && !["CARGO_HOME", "CARGO_TERM_COLOR"].contains(&name.as_str());
            let of_registry = name.starts_with("CARGO_HTTP_")
                || name.starts_with("CARGO_NET_")
                || name.starts_with("CARGO_REGISTR")
                || name.starts_with("CARGO_SOURCE_");
            if foreign.contains(&name.as_str()) || leaks && !of_registry {
                command.env_remove(&name);
            }
        }
        command
    }
}

/// Finds the programs, and installs what is missing if it can.
///
/// # Errors
/// If something is missing and cannot be installed: then with what to install.
pub fn find() -> Result<Toolchain> {
    let mut compiler = compiler();
    if compiler.is_none() || objcopy().is_none() {
        install_packages();
        compiler = self::compiler();
    }
    let Some((cargo, rustc)) = compiler else {
        bail!(
            "no compiler for the kernel: install a nightly (`rustup toolchain install nightly --component rust-src`), or on Debian `apt-get install {}`",
            PACKAGES.join(" ")
        );
    };
    let Some(objcopy) = objcopy() else {
        bail!("llvm-objcopy is missing: install the package llvm-{LLVM}, or LLVM {LLVM} or newer from llvm.org");
    };
    let linker_path = linker()?;
    let version = shell::output(Command::new(&rustc).arg("-vV"))?;
    let (first, llvm) = compiler_versions(&version);
    let linker_llvm = linked_llvm(&linker_path);
    let sysroot = shell::output(Command::new(&rustc).args(["--print", "sysroot"]))?;
    Ok(Toolchain {
        compiler: format!("{first}, LLVM {llvm}"),
        linker: format!("bpf-linker {LINKER_VERSION}, LLVM {linker_llvm}"),
        linker_path,
        objcopy,
        sysroot: PathBuf::from(sysroot.trim()),
        cargo_home: cargo_home(),
        rustc,
        cargo,
    })
}

/// Debian's compiler, or rustup's nightly: cargo and rustc of it. Both only with the sources of `core`.
fn compiler() -> Option<(PathBuf, PathBuf)> {
    let debian = (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
    if debian.0.is_file() && has_core(&debian.1) {
        return Some(debian);
    }
    let which = |program: &str| {
        let found = shell::output(Command::new("rustup").args(["which", "--toolchain", "nightly", program])).ok()?;
        Some(PathBuf::from(found.trim()))
    };
    let nightly = (which("cargo")?, which("rustc")?);
    has_core(&nightly.1).then_some(nightly)
}

fn has_core(rustc: &Path) -> bool {
    let sysroot = shell::output(Command::new(rustc).args(["--print", "sysroot"]));
    sysroot.is_ok_and(|path| Path::new(path.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file())
}

/// The first line and LLVM's version of what `rustc -vV` prints.
fn compiler_versions(text: &str) -> (&str, &str) {
    let first = text.lines().next().unwrap_or("rustc of no known version");
    let llvm = text.lines().find_map(|line| line.strip_prefix("LLVM version: "));
    (first, llvm.unwrap_or("unknown"))
}

/// Version of the LLVM that the linker was built with: Debian's, as far as it is known.
fn linked_llvm(linker: &Path) -> String {
    let shared = shell::output(Command::new("ldd").arg(linker)).unwrap_or_default();
    let is_debians = shared.contains(&format!("libLLVM.so.{LLVM}")) || shared.contains(&format!("libLLVM-{LLVM}"));
    let mut configuration = Command::new(format!("/usr/lib/llvm-{LLVM}/bin/llvm-config"));
    if is_debians && let Ok(version) = shell::output(configuration.arg("--version")) {
        return version.trim().to_owned();
    }
    "of its own".to_owned()
}

fn cargo_home() -> PathBuf {
    let default = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(default, PathBuf::from)
}

/// bpf-linker of the right version; built if it is not there and LLVM is.
fn linker() -> Result<PathBuf> {
    if let Some(path) = installed_linker() {
        return Ok(path);
    }
    let prefix = format!("/usr/lib/llvm-{LLVM}");
    let by_hand = format!(
        "LLVM_PREFIX={prefix} cargo install bpf-linker --version {LINKER_VERSION} --no-default-features --features llvm-{LLVM}"
    );
    if !Path::new(&prefix).join("include/llvm-c").is_dir() {
        install_packages();
    }
    let mut install = shell::cargo(["install", "bpf-linker", "--version", LINKER_VERSION, "--force"]);
    install.args(["--no-default-features", "--features", &format!("llvm-{LLVM}")]).env("LLVM_PREFIX", &prefix);
    install.env_remove("CARGO_TARGET_DIR");
    shell::run(&format!("building bpf-linker {LINKER_VERSION}"), &mut install).with_context(|| {
        format!(
            "bpf-linker {LINKER_VERSION} is missing; install LLVM {LLVM} (on Debian {}), then: {by_hand}",
            PACKAGES.join(" ")
        )
    })?;
    installed_linker().with_context(|| format!("bpf-linker was built and cannot be found; try: {by_hand}"))
}

fn installed_linker() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let wanted = format!("bpf-linker {LINKER_VERSION}");
    std::iter::once(cargo_home().join("bin")).chain(std::env::split_paths(&path)).map(|at| at.join("bpf-linker")).find(
        |program| {
            program.is_file()
                && shell::output(Command::new(program).arg("--version")).is_ok_and(|version| version.trim() == wanted)
        },
    )
}

/// llvm-objcopy of the linker's LLVM, or any.
fn objcopy() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(PathBuf::from(format!("/usr/lib/llvm-{LLVM}/bin")))
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join("llvm-objcopy"))
        .find(|program| program.is_file())
}

/// Installs Debian's packages if we are root there; otherwise does nothing, and who called finds them missing still.
fn install_packages() {
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/apt-get").is_file() {
        return;
    }
    let _ = shell::run("refreshing the list of packages", Command::new("apt-get").args(["update", "-qq"]));
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(PACKAGES);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    if let Err(error) = shell::run(&format!("installing {}", PACKAGES.join(", ")), &mut install) {
        eprintln!("note: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_compiler_prints() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25)\nbinary: rustc\nLLVM version: 22.1.8\n";
        assert_eq!(compiler_versions(text), ("rustc 1.96.0 (ac68faa20 2026-05-25)", "22.1.8"));
        assert_eq!(compiler_versions(""), ("rustc of no known version", "unknown"));
    }
}
