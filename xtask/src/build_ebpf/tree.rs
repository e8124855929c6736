//! The tree that cargo compiles: copies of `xdp-ebpf` and `wire` side by side in one workspace below the target directory.
//!
//! cargo names a crate by its path below the root of its workspace, and by its absolute path if it lies outside; the name goes into
//! every symbol, and symbols decide the order of functions in the object. `wire` lies outside of `xdp-ebpf`'s workspace, so compiling in place would
//! give other bytes in each checkout. What always holds: nothing in the tree tells where the checkout is, and the tree holds nothing of the
//! root's manifest but what `wire` takes from it.

use anyhow::{Context, Result};
use std::path::Path;
use toml::{Table, Value};

/// The folders of the tree, named as in the repository.
const FILTER: &str = "xdp-ebpf";
const WIRE: &str = "wire";
const MANIFEST: &str = "Cargo.toml";
const LOCK: &str = "Cargo.lock";
/// What a workspace gives to its members.
const SHARED: [&str; 3] = ["package", "dependencies", "lints"];

/// Makes the tree anew.
///
/// # Errors
/// If a file cannot be read or written, or a manifest is damaged.
pub fn make(root: &Path, tree: &Path) -> Result<()> {
    if tree.exists() {
        std::fs::remove_dir_all(tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    for folder in [FILTER, WIRE] {
        copy(&root.join(folder).join("src"), &tree.join(folder).join("src"))?;
    }
    let (workspace, filter) = manifests(&read(&root.join(MANIFEST))?, &read(&root.join(FILTER).join(MANIFEST))?)?;
    let mut wire = read(&root.join(WIRE).join(MANIFEST))?;
    // Only tests need them, and the lock file does not know them.
    wire.remove("dev-dependencies");
    write(&tree.join(MANIFEST), &workspace)?;
    write(&tree.join(FILTER).join(MANIFEST), &filter)?;
    write(&tree.join(WIRE).join(MANIFEST), &wire)?;
    let lock = root.join(FILTER).join(LOCK);
    std::fs::copy(&lock, tree.join(LOCK)).with_context(|| format!("cannot copy {}", lock.display()))?;
    Ok(())
}

/// Takes the lock file back that cargo may have put right.
///
/// # Errors
/// If it cannot be copied.
pub fn keep_lock(root: &Path, tree: &Path) -> Result<()> {
    let lock = root.join(FILTER).join(LOCK);
    std::fs::copy(tree.join(LOCK), &lock).with_context(|| format!("cannot write {}", lock.display()))?;
    Ok(())
}

/// The workspace's manifest, with what wire inherits of the root's and with the filter's profiles, and the filter's as a member.
fn manifests(root: &Table, filter: &Table) -> Result<(Table, Table)> {
    let shared = root.get("workspace").and_then(Value::as_table).context("Cargo.toml has no [workspace]")?;
    let mut workspace = Table::new();
    workspace.insert("resolver".to_owned(), "3".into());
    workspace.insert("members".to_owned(), vec![FILTER, WIRE].into());
    workspace.extend(SHARED.iter().filter_map(|name| Some(((*name).to_owned(), shared.get(*name)?.clone()))));
    let mut whole = Table::new();
    whole.insert("workspace".to_owned(), workspace.into());
    let mut member = filter.clone();
    member.remove("workspace");
    whole.extend(member.remove("profile").map(|profile| ("profile".to_owned(), profile)));
    Ok((whole, member))
}

fn read(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is damaged", path.display()))
}

fn write(path: &Path, manifest: &Table) -> Result<()> {
    let text = toml::to_string(manifest).with_context(|| format!("{} cannot be written as TOML", path.display()))?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            // Times as well: what did not change is not compiled again.
            std::fs::copy(entry.path(), &target).with_context(|| format!("cannot copy {}", entry.path().display()))?;
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let times = modified.and_then(|modified| std::fs::File::open(&target)?.set_modified(modified));
            times.with_context(|| format!("cannot set the time of {}", target.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_one_workspace_without_a_path_of_the_checkout() {
        let root: Table = "[workspace]\nmembers = [\"wire\", \"net\"]\n[workspace.package]\nedition = \"2024\"\n\
                           [workspace.dependencies]\nsha2 = \"0.11\"\n[profile.release]\nlto = \"thin\"\n"
            .parse()
            .unwrap();
        let filter: Table =
            "[workspace]\n[package]\nname = \"meshpay-filter\"\n[dependencies]\nwire = { path = \"../wire\" }\n\
                             [profile.release]\nlto = true\n"
                .parse()
                .unwrap();
        let (workspace, member) = manifests(&root, &filter).unwrap();
        let text = toml::to_string(&workspace).unwrap();
        assert!(text.contains("members = [\"xdp-ebpf\", \"wire\"]"), "{text}");
        assert!(text.contains("edition = \"2024\"") && text.contains("sha2 = \"0.11\""), "{text}");
        assert!(text.contains("lto = true") && !text.contains("thin"), "{text}");
        let text = toml::to_string(&member).unwrap();
        assert!(text.contains("../wire") && !text.contains("workspace") && !text.contains("profile"), "{text}");
    }
}
