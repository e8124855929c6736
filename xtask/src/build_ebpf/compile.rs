//! One object: compiled, linked, and stripped of what would tell where it was built.
//!
//! What always holds: cargo gets every flag from here, not from the surroundings, and no path of this machine goes into the object:
//! what is compiled is the neutral tree of `tree`, each path is replaced (`--remap-path-prefix`), and the debug sections, which only bpf-linker
//! needs to make BTF, are stripped; the BTF itself is mended (`btf`).

use super::Object;
use super::toolchain::Toolchain;
use crate::shell;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "bpfel-unknown-none";

/// The program's function in `xdp-ebpf/src/main.rs`.
const ENTRY: &str = "meshpay_filter";

/// Flags of the compiler, without the replacements of paths. Instructions are those of version 3 (32-bit arithmetic, kernel 5.1; atomic
/// exchange, kernel 5.12). The profile's line tables are enough for the BTF; full debug information makes the linker keep more on the stack than
/// the verifier allows.
pub const FLAGS: [&str; 2] = ["-Ctarget-cpu=v3", "-Clink-arg=--btf"];

/// Compiles an object of a tree and leaves it in a directory. With `locked` the lock file must fit the manifests already; without, cargo puts
/// it right.
///
/// # Errors
/// If the compiler, linker or stripper fails, or a path of this machine is left in the object.
pub fn compile(tree: &Path, toolchain: &Toolchain, object: &Object, locked: bool, directory: &Path) -> Result<()> {
    let target = shell::target_directory().join("ebpf");
    let replaced = replaced_paths(tree, toolchain);
    let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    flags.extend(replaced.iter().map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())));

    let mut cargo = toolchain.cargo(tree);
    cargo.args(["build", "--release", "--package", "meshpay-filter", "--target", TARGET, "-Zbuild-std=core"]);
    cargo.arg("--target-dir").arg(&target);
    if locked {
        cargo.arg("--locked");
    }
    if !object.features.is_empty() {
        cargo.arg("--features").arg(object.features.join(","));
    }
    // Separated by a character that is in no flag.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker_path);
    shell::run(&format!("compiling {}", object.file), &mut cargo)?;

    let built = target.join(TARGET).join("release").join(program_name(&tree.join("xdp-ebpf"))?);
    let output = directory.join(object.file);
    finish(toolchain, &built, &target.join("mended.btf"), &output)?;
    let bytes = std::fs::read(&output).with_context(|| format!("cannot read {}", output.display()))?;
    for (path, _) in &replaced {
        let path = path.to_string_lossy();
        if bytes.windows(path.len()).any(|window| window == path.as_bytes()) {
            bail!("{} holds the path {path} of this machine; such an object is not the same elsewhere", object.file);
        }
    }
    Ok(())
}

/// Strips what was built and mends its BTF, which is no debug section and stays: the verifier's messages and xdpdump use it.
fn finish(toolchain: &Toolchain, built: &Path, btf: &Path, output: &Path) -> Result<()> {
    let what = output.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut take_out = Command::new(&toolchain.objcopy);
    take_out.arg("--dump-section").arg(format!(".BTF={}", btf.display())).arg(built).arg(btf.with_extension("unused"));
    shell::run(&format!("taking the BTF out of {what}"), &mut take_out)?;
    let section = std::fs::read(btf).with_context(|| format!("cannot read {}", btf.display()))?;
    let mended = super::btf::mend(&section, ENTRY).with_context(|| format!("{what} has no sound BTF"))?;
    std::fs::write(btf, mended).with_context(|| format!("cannot write {}", btf.display()))?;
    let mut put_back = Command::new(&toolchain.objcopy);
    put_back.arg("--strip-debug").arg("--update-section").arg(format!(".BTF={}", btf.display()));
    put_back.arg(built).arg(output);
    shell::run(&format!("stripping {what}"), &mut put_back)
}

/// Directories of this machine that the compiler sees, and what stands in their place. Of several that match, the compiler takes the last,
/// so the narrower ones come behind.
fn replaced_paths(tree: &Path, toolchain: &Toolchain) -> Vec<(PathBuf, &'static str)> {
    let mut replaced = vec![(tree.to_owned(), "/meshpay")];
    let core = toolchain.sysroot.join("lib/rustlib/src/rust");
    // Debian's is a link, and the compiler is told of both.
    replaced.extend(core.canonicalize().ok().filter(|real| *real != core).map(|real| (real, "/rust")));
    replaced.push((core, "/rust"));
    // One directory for every registry, named by a hash of its address, which may be a mirror's.
    let registries = std::fs::read_dir(toolchain.cargo_home.join("registry/src"));
    for registry in registries.into_iter().flatten().flatten() {
        replaced.push((registry.path(), "/registry"));
    }
    replaced
}

/// The name of the program in the manifest: that of its `[[bin]]`, or else the package's.
fn program_name(package: &Path) -> Result<String> {
    let text = std::fs::read_to_string(package.join("Cargo.toml")).context("cannot read xdp-ebpf/Cargo.toml")?;
    let manifest: toml::Table = text.parse().context("xdp-ebpf/Cargo.toml is damaged")?;
    let bin = manifest.get("bin").and_then(|bins| bins.get(0));
    let named = bin.or_else(|| manifest.get("package")).and_then(|table| table.get("name"));
    named.and_then(toml::Value::as_str).map(str::to_owned).context("xdp-ebpf/Cargo.toml names no program")
}
