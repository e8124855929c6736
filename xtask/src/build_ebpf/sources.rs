//! What goes into the objects, by hash, and whether the manifest still says the same. Cheap: it runs with `cargo xtask tidy`.

use super::manifest::{self, Manifest};
use super::{OBJECT_DIRECTORY, OBJECTS, REBUILD, compile};
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Directories of which every file goes in.
const DIRECTORIES: [&str; 2] = ["xdp-ebpf", "wire/src"];
/// Directories below them that hold what comes out.
const NOT_SOURCES: [&str; 2] = ["xdp-ebpf/object", "xdp-ebpf/target"];
const WIRE_MANIFEST: &str = "wire/Cargo.toml";
const ROOT_MANIFEST: &str = "Cargo.toml";
/// Names of what is hashed and is no file: what wire takes from the root's manifest, and the flags of the compiler.
const INHERITED: &str = "Cargo.toml, as far as wire inherits it";
const FLAGS: &str = "flags of the compiler";

/// What is wrong with the committed objects: file and finding. Nothing, where there is no filter to compile.
///
/// # Errors
/// If a file cannot be read.
pub fn check(root: &Path) -> Result<Vec<(String, String)>> {
    if !root.join("xdp-ebpf/Cargo.toml").exists() {
        return Ok(Vec::new());
    }
    let directory = root.join(OBJECT_DIRECTORY);
    let manifest_path = format!("{OBJECT_DIRECTORY}/{}", manifest::FILE);
    let manifest = match Manifest::read(&directory.join(manifest::FILE)) {
        Ok(manifest) => manifest,
        Err(error) => return Ok(vec![(manifest_path, format!("{error:#}; {REBUILD}"))]),
    };
    let mut findings = differences(&manifest.sources, &hashes(root)?, "the committed objects were built before it");
    let objects: Vec<_> =
        differences(&manifest.objects, &object_hashes(&directory)?, "it is not the object that the manifest names");
    findings.extend(objects.into_iter().map(|(file, what)| (format!("{OBJECT_DIRECTORY}/{file}"), what)));
    Ok(findings)
}

fn differences(
    recorded: &BTreeMap<String, String>,
    present: &BTreeMap<String, String>,
    changed: &str,
) -> Vec<(String, String)> {
    let names: BTreeSet<&String> = recorded.keys().chain(present.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let what = match (recorded.get(name), present.get(name)) {
                (Some(before), Some(now)) if before == now => return None,
                (Some(_), Some(_)) => format!("changed; {changed}; {REBUILD}"),
                (None, _) => format!("new; {changed}; {REBUILD}"),
                (_, None) => format!("missing; {REBUILD}"),
            };
            Some((name.clone(), what))
        })
        .collect()
}

/// Hashes of all that goes into the objects.
///
/// # Errors
/// If a file cannot be read.
pub fn hashes(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut hashes = BTreeMap::new();
    for directory in DIRECTORIES {
        add_directory(root, directory, &mut hashes)?;
    }
    let wire = std::fs::read_to_string(root.join(WIRE_MANIFEST)).context("cannot read wire/Cargo.toml")?;
    hashes.insert(WIRE_MANIFEST.to_owned(), hex_hash(wire.as_bytes()));
    let workspace = std::fs::read_to_string(root.join(ROOT_MANIFEST)).context("cannot read Cargo.toml")?;
    hashes.insert(INHERITED.to_owned(), hex_hash(inherited(&workspace, &wire)?.as_bytes()));
    hashes.insert(FLAGS.to_owned(), hex_hash(compile::FLAGS.join(" ").as_bytes()));
    Ok(hashes)
}

/// Hashes of the objects in a directory; one that is not there is left out.
///
/// # Errors
/// If a file cannot be read.
pub fn object_hashes(directory: &Path) -> Result<BTreeMap<String, String>> {
    let mut hashes = BTreeMap::new();
    for object in &OBJECTS {
        let path = directory.join(object.file);
        if path.exists() {
            let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            hashes.insert(object.file.to_owned(), hex_hash(&bytes));
        }
    }
    Ok(hashes)
}

fn add_directory(root: &Path, directory: &str, hashes: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in std::fs::read_dir(root.join(directory)).with_context(|| format!("cannot read {directory}"))? {
        let entry = entry?;
        let name = format!("{directory}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            if !NOT_SOURCES.contains(&name.as_str()) {
                add_directory(root, &name, hashes)?;
            }
        } else {
            let bytes = std::fs::read(entry.path()).with_context(|| format!("cannot read {name}"))?;
            hashes.insert(name, hex_hash(&bytes));
        }
    }
    Ok(())
}

/// What the crate `wire` takes from the root's manifest, in a form that depends on nothing else there: a new dependency of another room
/// leaves the objects as they are. Versions are those of xdp-ebpf/Cargo.lock in any case.
fn inherited(workspace: &str, wire: &str) -> Result<String> {
    let workspace: toml::Table = workspace.parse().context("Cargo.toml is damaged")?;
    let wire: toml::Table = wire.parse().context("wire/Cargo.toml is damaged")?;
    let shared = workspace.get("workspace");
    let table = |value: Option<&toml::Value>, name: &str| value.and_then(|value| value.get(name)).cloned();
    let mut kept = toml::Table::new();
    kept.extend(table(shared, "package").map(|package| ("package".to_owned(), package)));
    let all = table(shared, "dependencies");
    for (name, _) in wire.get("dependencies").and_then(toml::Value::as_table).into_iter().flatten() {
        kept.extend(table(all.as_ref(), name).map(|dependency| (format!("dependency {name}"), dependency)));
    }
    toml::to_string(&kept).context("what wire inherits cannot be written as TOML")
}

fn hex_hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_room_needs_does_not_matter() {
        let wire = "[dependencies]\nsha2.workspace = true\n";
        let workspace = |more: &str, sha2: &str| {
            format!(
                "[workspace.package]\nedition = \"2024\"\n[workspace.dependencies]\n{more}sha2 = \"{sha2}\" # why\n"
            )
        };
        let before = inherited(&workspace("", "0.11"), wire).unwrap();
        assert_eq!(inherited(&workspace("age = \"1\"\n", "0.11"), wire).unwrap(), before);
        assert_ne!(inherited(&workspace("", "0.12"), wire).unwrap(), before);
        assert!(before.contains("2024") && before.contains("0.11"), "{before}");
    }

    #[test]
    fn stale_missing_and_foreign_files_are_found() {
        let map = |entries: &[(&str, &str)]| -> BTreeMap<String, String> {
            entries.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned())).collect()
        };
        let recorded = map(&[("same", "1"), ("changed", "2"), ("gone", "3")]);
        let present = map(&[("same", "1"), ("changed", "4"), ("new", "5")]);
        let found = differences(&recorded, &present, "stale");
        let named: Vec<(&str, &str)> =
            found.iter().map(|(name, what)| (name.as_str(), what.split(';').next().unwrap_or_default())).collect();
        assert_eq!(named, [("changed", "changed"), ("gone", "missing"), ("new", "new")]);
        assert!(differences(&recorded, &recorded, "stale").is_empty());
    }

    #[test]
    fn a_change_of_a_source_or_an_object_makes_the_repository_stale() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (file, text) in [
            ("Cargo.toml", "[workspace.package]\nedition = \"2024\"\n[workspace.dependencies]\n"),
            ("wire/Cargo.toml", "[dependencies]\n"),
            ("wire/src/lib.rs", "//! Layouts."),
            ("xdp-ebpf/Cargo.toml", "[workspace]\n"),
            ("xdp-ebpf/target/junk", "no source"),
            ("xdp-ebpf/object/meshpay-filter.o", "object"),
            ("xdp-ebpf/object/meshpay-filter-test.o", "test object"),
        ] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let named = |root: &Path| -> Vec<String> { check(root).unwrap().into_iter().map(|(file, _)| file).collect() };
        assert_eq!(named(root), ["xdp-ebpf/object/manifest.toml"]);
        let objects = root.join(OBJECT_DIRECTORY);
        let manifest = Manifest {
            compiler: "rustc".to_owned(),
            linker: "bpf-linker".to_owned(),
            objects: object_hashes(&objects).unwrap(),
            sources: hashes(root).unwrap(),
        };
        manifest.write(&objects.join(manifest::FILE)).unwrap();
        assert_eq!(Manifest::read(&objects.join(manifest::FILE)).unwrap(), manifest);
        assert_eq!(named(root), Vec::<String>::new());
        std::fs::write(root.join("xdp-ebpf/target/junk"), "other").unwrap();
        assert_eq!(named(root), Vec::<String>::new());
        std::fs::write(root.join("wire/src/lib.rs"), "//! Other layouts.").unwrap();
        std::fs::write(objects.join("meshpay-filter.o"), "by hand").unwrap();
        assert_eq!(named(root), ["wire/src/lib.rs", "xdp-ebpf/object/meshpay-filter.o"]);
    }
}
