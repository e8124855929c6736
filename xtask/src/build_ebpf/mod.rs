//! `cargo xtask build-ebpf`: compiles the kernel's filter, and keeps the committed objects honest.
//!
//! The objects are committed under `xdp-ebpf/object/`, with a manifest of what they were made from, so that a build of everything else
//! needs neither nightly nor LLVM. What always holds: an object is never written without its manifest; `--check` changes nothing in the
//! repository; the same sources, compiler and linker give the same bytes in any directory.

mod btf;
mod compile;
mod manifest;
mod sources;
mod toolchain;
mod tree;

pub use sources::check;

use crate::shell;
use anyhow::{Context, Result, bail};
use manifest::Manifest;
use std::path::Path;

/// Where the objects are committed, below the root.
const OBJECT_DIRECTORY: &str = "xdp-ebpf/object";
/// For the tests of the filter: a directory with objects to use instead of the committed ones.
const OBJECT_DIRECTORY_VARIABLE: &str = "MESHPAY_FILTER_OBJECT_DIR";
/// What to do about an object that is not of these sources.
const REBUILD: &str = "run `cargo xtask build-ebpf` and commit xdp-ebpf/object/";

/// An object file, and the features that it is compiled with.
struct Object {
    file: &'static str,
    features: &'static [&'static str],
}

const OBJECTS: [Object; 2] = [
    Object { file: "meshpay-filter.o", features: &[] },
    Object { file: "meshpay-filter-test.o", features: &["test-run"] },
];

#[derive(clap::Args)]
pub struct Options {
    /// Changes nothing: fails if the committed objects are not of these sources, or if building them again gives other bytes
    #[arg(long)]
    check: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let root = shell::root();
    if options.check {
        fail_on(&sources::check(&root)?)?;
    }
    let toolchain = toolchain::find()?;
    eprintln!("== compiler: {}", toolchain.compiler);
    eprintln!("== linker: {}", toolchain.linker);
    let built = shell::target_directory().join("ebpf").join("object");
    std::fs::create_dir_all(&built).with_context(|| format!("cannot make {}", built.display()))?;
    let tree = shell::target_directory().join("ebpf").join("tree");
    tree::make(&root, &tree)?;
    for object in &OBJECTS {
        compile::compile(&tree, &toolchain, object, options.check, &built)?;
    }
    if !options.check {
        tree::keep_lock(&root, &tree)?;
    }
    let manifest = Manifest {
        compiler: toolchain.compiler.clone(),
        linker: toolchain.linker.clone(),
        objects: sources::object_hashes(&built)?,
        sources: sources::hashes(&root)?,
    };
    if options.check { compare(&root, &manifest, &built) } else { commit(&root, &manifest, &built) }
}

/// Puts the objects and the manifest in their place; the manifest last, so that after an interruption the check finds a difference.
fn commit(root: &Path, manifest: &Manifest, built: &Path) -> Result<()> {
    let directory = root.join(OBJECT_DIRECTORY);
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for object in &OBJECTS {
        std::fs::copy(built.join(object.file), directory.join(object.file))
            .with_context(|| format!("cannot write {OBJECT_DIRECTORY}/{}", object.file))?;
    }
    manifest.write(&directory.join(manifest::FILE))?;
    for (file, hash) in &manifest.objects {
        eprintln!("== {OBJECT_DIRECTORY}/{file}: sha256 {hash}");
    }
    Ok(())
}

/// Compares what was built with what is committed, if the same programs built both.
fn compare(root: &Path, manifest: &Manifest, built: &Path) -> Result<()> {
    let committed = Manifest::read(&root.join(OBJECT_DIRECTORY).join(manifest::FILE))?;
    eprintln!(
        "== the objects built here are in {}; the tests use them with {OBJECT_DIRECTORY_VARIABLE} set to it",
        built.display()
    );
    if (&committed.compiler, &committed.linker) != (&manifest.compiler, &manifest.linker) {
        eprintln!(
            "== not compared: the committed objects were built by {} and {}, these by {} and {}",
            committed.compiler, committed.linker, manifest.compiler, manifest.linker
        );
        return Ok(());
    }
    let differing: Vec<&str> = manifest
        .objects
        .iter()
        .filter(|(file, hash)| committed.objects.get(*file) != Some(*hash))
        .map(|(file, _)| file.as_str())
        .collect();
    if !differing.is_empty() {
        bail!(
            "built again from the same sources by the same compiler and linker, {} has other bytes; {REBUILD}, and if that changes nothing, look for what makes the build depend on its surroundings",
            differing.join(" and ")
        );
    }
    eprintln!("== the committed objects are what these sources give");
    Ok(())
}

fn fail_on(findings: &[(String, String)]) -> Result<()> {
    for (file, what) in findings {
        eprintln!("{file}: {what}");
    }
    if findings.is_empty() { Ok(()) } else { bail!("the committed objects are stale; {REBUILD}") }
}
