//! Finds the programs under test: named by `cargo xtask test` in the environment, or built here, once per run.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The daemon as operators run it.
///
/// # Errors
/// If it cannot be built.
pub fn authority() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    find("MESHPAY_TEST_AUTHORITY", &BUILT, || build("meshpay-authority", "meshpay-authority", None))
}

/// The daemon with injected faults, which no operator has.
///
/// # Errors
/// If it cannot be built.
pub fn authority_with_faults() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    find("MESHPAY_TEST_AUTHORITY_WITH_FAULTS", &BUILT, || {
        build("meshpay-authority", "meshpay-authority", Some("fault-injection"))
    })
}

/// The `meshpay` command.
///
/// # Errors
/// If it cannot be built.
pub fn wallet() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    find("MESHPAY_TEST_WALLET", &BUILT, || build("meshpay-client", "meshpay", None))
}

/// The `meshpay` command with points at which a test can stop it.
///
/// # Errors
/// If it cannot be built.
pub fn wallet_with_faults() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    find("MESHPAY_TEST_WALLET_WITH_FAULTS", &BUILT, || build("meshpay-client", "meshpay", Some("fault-injection")))
}

/// The developer commands.
///
/// # Errors
/// If they cannot be built.
pub fn xtask() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    find("MESHPAY_TEST_XTASK", &BUILT, || build("xtask", "xtask", None))
}

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The folder in which cargo put this test, `target/debug` as a rule.
pub fn profile_directory() -> Result<PathBuf> {
    let test = std::env::current_exe().context("where this test program lies")?;
    let directory = test.parent().and_then(Path::parent);
    directory.map(Path::to_path_buf).context("this test program does not lie in a target directory")
}

fn find(
    variable: &str,
    built: &OnceLock<Result<PathBuf, String>>,
    build: impl FnOnce() -> Result<PathBuf>,
) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(variable) {
        let named = PathBuf::from(named);
        if !named.is_file() {
            bail!("{variable} names {}, where no program lies", named.display());
        }
        return Ok(named);
    }
    built.get_or_init(|| build().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

fn build(package: &str, program: &str, feature: Option<&str>) -> Result<PathBuf> {
    let profile = profile_directory()?;
    let mut target = profile.parent().context("a profile lies in a target directory")?.to_path_buf();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository()).args(["build", "--quiet", "--package", package, "--bin", program]);
    if let Some(feature) = feature {
        // A directory of its own, so that neither build takes the place of the other.
        target.push(feature);
        cargo.args(["--features", feature]);
    }
    let release = profile.file_name().is_some_and(|name| name == "release");
    if release {
        cargo.arg("--release");
    }
    cargo.arg("--target-dir").arg(&target);
    let output = cargo.output().context("starting cargo to build what is tested")?;
    if !output.status.success() {
        bail!("cargo could not build {program}:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(target.join(if release { "release" } else { "debug" }).join(program))
}
