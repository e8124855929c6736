//! Sources: every file begins with what it is for.

use super::Finding;
use anyhow::Result;
use std::path::Path;

/// Checks that every Rust file begins with `//!`.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in super::files_with_extension(root, "rs")? {
        let text = std::fs::read_to_string(root.join(&file))?;
        if !begins_with_its_purpose(&text) {
            findings.push(Finding::new(file, 1, "begin the file with `//!` and what it is for"));
        }
    }
    Ok(findings)
}

/// Whether the first line is a module comment that says something.
fn begins_with_its_purpose(text: &str) -> bool {
    text.lines().next().and_then(|line| line.strip_prefix("//! ")).is_some_and(|purpose| purpose.trim().len() >= 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_decides() {
        assert!(begins_with_its_purpose("//! What is signed.\n"));
        assert!(!begins_with_its_purpose("use std::fmt;\n//! What is signed.\n"));
        assert!(!begins_with_its_purpose("//!\n"));
        assert!(!begins_with_its_purpose(""));
    }
}
