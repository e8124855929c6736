//! Documents: every relative link, and every path of this repository that a document names in backticks, leads somewhere.

use super::{Finding, NOT_OURS};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Checks all Markdown files.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in super::files_with_extension(root, "md")? {
        let text = std::fs::read_to_string(root.join(&file))?;
        findings.extend(check_document(root, &file, &text));
    }
    Ok(findings)
}

fn check_document(root: &Path, file: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in prose_lines(text) {
        for target in links(line) {
            if let Some(what) = broken_link(root, file, text, target) {
                findings.push(Finding::new(file, number, what));
            }
        }
        for path in quoted_paths(root, line) {
            if !root.join(path).exists() {
                findings.push(Finding::new(file, number, format!("`{path}` does not exist")));
            }
        }
    }
    findings
}

/// Lines outside fenced blocks, numbered from 1.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((at + 1, line))
    })
}

/// Targets of `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, opening)| {
        let rest = &line[at + opening.len()..];
        let target = &rest[..rest.find(')')?];
        Some(target.split_whitespace().next().unwrap_or_default())
    })
}

fn broken_link(root: &Path, file: &Path, text: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let linked: PathBuf =
        if path.is_empty() { root.join(file) } else { root.join(file.parent().unwrap_or(Path::new(""))).join(path) };
    if !linked.exists() {
        return Some(format!("the link to `{target}` leads nowhere"));
    }
    let anchor = anchor?;
    let linked_text =
        if path.is_empty() { text.to_owned() } else { std::fs::read_to_string(&linked).unwrap_or_default() };
    let found =
        prose_lines(&linked_text).filter(|(_, line)| line.starts_with('#')).any(|(_, line)| slug(line) == anchor);
    (!found).then(|| format!("the link to `{target}` names a heading that is not there"))
}

/// The anchor that a heading gets where Markdown is shown on the web: lower case, hyphens for spaces, no punctuation.
fn slug(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            _ => letter.is_alphanumeric().then_some(letter),
        })
        .collect()
}

/// Words in backticks that are paths of this repository: they have a slash and begin with something that lies at its root.
fn quoted_paths<'a>(root: &'a Path, line: &'a str) -> impl Iterator<Item = &'a str> {
    line.split('`').skip(1).step_by(2).filter(move |quoted| {
        let plain = quoted.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-./".contains(letter));
        let first = quoted.split('/').next().unwrap_or_default();
        let ours =
            !first.is_empty() && !first.starts_with('.') && !NOT_OURS.contains(&first) && root.join(first).is_dir();
        plain && quoted.contains('/') && ours
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_headings_and_paths_are_found() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("docs")).unwrap();
        std::fs::write(root.path().join("docs/wire.md"), "# The wire, byte by byte\n").unwrap();
        let text = "[good](docs/wire.md) [good](docs/wire.md#the-wire-byte-by-byte) [web](https://example.org/x)\n\
            [dead](docs/none.md)\n[dead](docs/wire.md#none)\n`docs/wire.md` `docs/none.md` `and/or`\n\
            ```\n[in a block](nowhere.md)\n```\n";
        let findings = check_document(root.path(), Path::new("README.md"), text);
        let lines: Vec<_> = findings.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [Some(2), Some(3), Some(4)], "{findings:?}");
    }
}
