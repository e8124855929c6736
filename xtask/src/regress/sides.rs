//! The two revisions. The base is checked out in a git worktree of its own under `target/regress`; what is judged is this very tree, with
//! whatever is not committed yet. The base has a target directory of its own, which is kept, so that the next time is quick; this tree is built
//! where it always is. The programs are copied away, so that nobody's next build changes what is being measured.

use super::git;
use super::measure::Part;
use crate::shell;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A revision and its programs.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Short name of the revision.
    pub name: String,
    /// Its full commit.
    pub commit: String,
    /// Date of the commit, seconds since 1970.
    pub committed: u64,
    /// Whether the tree is exactly the commit.
    pub is_clean: bool,
    /// Its sources.
    pub source: PathBuf,
    /// Where it is built.
    pub target: PathBuf,
    /// Where its programs are copied to.
    pub programs: PathBuf,
    /// The criterion benches of crypto, where this revision has them.
    pub kernels: Option<PathBuf>,
    /// `meshpay-bench`, likewise.
    pub bench: Option<PathBuf>,
    /// The daemon, likewise.
    pub authority: Option<PathBuf>,
    /// Percent by which its benches shall slow themselves down; for the self-test only.
    pub slowdown_percent: u32,
}

/// Both.
#[derive(Clone, Debug)]
pub struct Sides {
    /// What is compared with.
    pub base: Side,
    /// What is judged.
    pub new: Side,
}

/// Where everything of this command lies.
pub fn directory() -> PathBuf {
    shell::target_directory().join("regress")
}

impl Sides {
    /// Finds the base, and checks it out.
    ///
    /// # Errors
    /// If git knows no such revision.
    pub fn find(base: Option<&str>) -> Result<Self> {
        let new = Side::working_tree()?;
        let revision = match base {
            Some(base) => base.to_owned(),
            None => default_base(&new.commit, new.is_clean)?,
        };
        let commit = git(&["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")])
            .with_context(|| format!("there is no revision {revision}"))?;
        let source = directory().join("base");
        check_out(&source, &commit)?;
        let base = Side {
            name: short(&commit),
            committed: committed(&commit)?,
            is_clean: true,
            source,
            target: directory().join("base-target"),
            programs: directory().join("base-programs"),
            commit,
            ..Side::default()
        };
        Ok(Self { base, new })
    }

    /// This tree twice, built once, for the self-test.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn twice(parts: &[Part]) -> Result<Self> {
        let mut side = Side::working_tree()?;
        side.build(parts)?;
        Ok(Self { base: side.clone(), new: side })
    }

    /// Builds what the parts need. What the base does not have or cannot build is left out and said; the new side must have all.
    ///
    /// # Errors
    /// If the new side cannot be built.
    pub fn build(&mut self, parts: &[Part]) -> Result<()> {
        self.new.build(parts)?;
        for part in parts {
            if let Err(error) = self.base.build(&[*part]) {
                eprintln!("note: the base has no {}: {error:#}", part.name());
            }
        }
        Ok(())
    }
}

impl Side {
    fn working_tree() -> Result<Self> {
        let commit = git(&["rev-parse", "HEAD"])?;
        let is_clean = git(&["status", "--porcelain"])?.is_empty();
        let name = if is_clean { short(&commit) } else { format!("{} with changes", short(&commit)) };
        let committed = committed(&commit)?;
        let (target, programs) = (shell::target_directory(), directory().join("new-programs"));
        Ok(Self { name, commit, committed, is_clean, source: shell::root(), target, programs, ..Self::default() })
    }

    fn build(&mut self, parts: &[Part]) -> Result<()> {
        for part in parts {
            match part {
                Part::Kernels => self.kernels = Some(self.bench_program("meshpay-crypto", "signatures")?),
                Part::Stages => self.bench = Some(self.program("meshpay-bench")?),
                Part::Wire => {
                    self.bench = Some(self.program("meshpay-bench")?);
                    self.authority = Some(self.program("meshpay-authority")?);
                }
            }
        }
        Ok(())
    }

    /// Builds a program whose package has its name.
    ///
    /// # Errors
    /// If it does not build.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let mut command = self.cargo(&["build", "--release", "--package", name, "--bin", name]);
        shell::run(&format!("building {name} of {}", self.name), &mut command)?;
        self.keep(&self.target.join("release").join(name), name)
    }

    /// Copies a program to where no build touches it.
    fn keep(&self, built: &Path, name: &str) -> Result<PathBuf> {
        std::fs::create_dir_all(&self.programs)?;
        let copy = self.programs.join(name);
        // Removed first: a copy into a program that still runs somewhere is refused.
        let _ = std::fs::remove_file(&copy);
        std::fs::copy(built, &copy).with_context(|| format!("copying {}", built.display()))?;
        Ok(copy)
    }

    /// Builds a bench without running it, and says which file it is: its name holds a hash.
    fn bench_program(&self, package: &str, bench: &str) -> Result<PathBuf> {
        eprintln!("== building {bench} of {}", self.name);
        let mut command =
            self.cargo(&["bench", "--no-run", "--message-format=json-render-diagnostics", "--package", package]);
        let printed = shell::output(command.args(["--bench", bench]).stderr(Stdio::inherit()))?;
        let built = executable_of(&printed, bench);
        self.keep(&built.with_context(|| format!("cargo named no program for the bench {bench}"))?, bench)
    }

    fn cargo(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = shell::cargo(arguments);
        command.current_dir(&self.source).env("CARGO_TARGET_DIR", &self.target);
        command
    }
}

/// The executable of a bench among cargo's messages, one JSON object a line.
fn executable_of(messages: &str, bench: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).find_map(|message| {
        let is_it = message["reason"] == "compiler-artifact" && message["target"]["name"] == bench;
        is_it.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    })
}

/// Where this branch left main. On main itself: the commit before, or, with changes that are not committed, the last commit.
fn default_base(head: &str, is_clean: bool) -> Result<String> {
    let main =
        ["main", "origin/main"].into_iter().find_map(|name| git(&["rev-parse", "--verify", "--quiet", name]).ok());
    let Some(main) = main else { bail!("there is neither main nor origin/main; name a revision by --base") };
    let merge_base = git(&["merge-base", head, &main])?;
    Ok(match (merge_base == head, is_clean) {
        (false, _) => merge_base,
        (true, true) => format!("{head}~"),
        (true, false) => head.to_owned(),
    })
}

fn check_out(source: &Path, commit: &str) -> Result<()> {
    let path = source.to_str().context("the target directory's name is no text")?;
    // A worktree that somebody has deleted by hand is forgotten first.
    git(&["worktree", "prune"])?;
    if source.join(".git").exists() {
        git(&["-C", path, "checkout", "--quiet", "--force", "--detach", commit])?;
    } else {
        std::fs::create_dir_all(directory())?;
        git(&["worktree", "add", "--quiet", "--force", "--detach", path, commit])?;
    }
    Ok(())
}

fn committed(commit: &str) -> Result<u64> {
    git(&["show", "--no-patch", "--format=%ct", commit])?.parse().context("git gave no date")
}

fn short(commit: &str) -> String {
    commit.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bench_is_found_among_cargos_messages() {
        let messages = "\
{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"criterion\"},\"executable\":null}
no json
{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"signatures\"},\"executable\":\"/t/signatures-1a2b\"}
{\"reason\":\"build-finished\",\"success\":true}";
        assert_eq!(executable_of(messages, "signatures"), Some(PathBuf::from("/t/signatures-1a2b")));
        assert_eq!(executable_of(messages, "stages"), None);
    }
}
