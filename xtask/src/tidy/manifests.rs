//! Manifests: every outside crate is pinned once, in the root, with its reason; the rooms only name it.

use super::Finding;
use anyhow::Result;
use std::path::Path;

/// Checks the root manifest and those of all rooms.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = reasons(&std::fs::read_to_string(root.join("Cargo.toml"))?);
    for manifest in super::files_with_extension(root, "toml")? {
        let is_room =
            manifest.file_name().is_some_and(|name| name == "Cargo.toml") && manifest.components().count() > 1;
        // A workspace of its own, for another machine: it cannot inherit.
        let is_apart = manifest.starts_with("xdp-ebpf");
        if is_room && !is_apart {
            let text = std::fs::read_to_string(root.join(&manifest))?;
            if !is_workspace(&text) {
                findings.extend(inherited(&manifest, &text));
            }
        }
    }
    Ok(findings)
}

/// Every line of `[workspace.dependencies]` names one of our rooms or ends in a reason.
fn reasons(text: &str) -> Vec<Finding> {
    section_lines(text, |section| section == "workspace.dependencies")
        .filter(|(_, line)| !line.contains("path = \""))
        .filter(|(_, line)| line.split_once(" # ").is_none_or(|(_, reason)| reason.trim().len() < 10))
        .map(|(number, line)| {
            let name = line.split('=').next().unwrap_or_default().trim();
            Finding::new("Cargo.toml", number, format!("say behind `{name}`, in a comment, why it is here"))
        })
        .collect()
}

/// A workspace of its own, like the kernel's filter, inherits nothing.
fn is_workspace(text: &str) -> bool {
    text.lines().any(|line| line.trim() == "[workspace]")
}

/// A room takes its dependencies and lints from the workspace, so that there is one version and one reason for each.
fn inherited(manifest: &Path, text: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = section_lines(text, |section| section.ends_with("dependencies"))
        .filter(|(_, line)| !line.contains("workspace = true"))
        .map(|(number, line)| {
            let name = line.split('=').next().unwrap_or_default().trim();
            Finding::new(manifest, number, format!("take `{name}` from the workspace (`{name}.workspace = true`)"))
        })
        .collect();
    if !section_lines(text, |section| section == "lints").any(|(_, line)| line.replace(' ', "") == "workspace=true") {
        findings.push(Finding::new(manifest, None, "take the lints from the workspace"));
    }
    findings
}

/// Numbers and texts of the lines of some sections, without empty lines and comments.
fn section_lines(text: &str, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let trimmed = line.trim();
        if let Some(section) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = wanted(section);
            return None;
        }
        (inside && !trimmed.is_empty() && !trimmed.starts_with('#')).then_some((at + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_reason_is_found() {
        let text = "[workspace.dependencies]\nours = { path = \"ours\" }\ngood = \"1\" # bounded queues across threads\nbad = \"2\"\n";
        let findings = reasons(text);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, Some(4));
    }

    #[test]
    fn a_version_in_a_room_is_found() {
        let text = "[lints]\nworkspace = true\n[dependencies]\ngood.workspace = true\nbad = \"1\"\n";
        let findings = inherited(Path::new("room/Cargo.toml"), text);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, Some(5));
        assert_eq!(inherited(Path::new("room/Cargo.toml"), "[dependencies]\n").len(), 1);
    }
}
