//! `cargo xtask fuzz`: builds the fuzz targets with coverage counters and lets libFuzzer run each for a while, two at a time.
//!
//! What `cargo fuzz` would add to cargo is a list of compiler flags, all of them stable; they stand below, so nothing needs to be installed and
//! the pinned compiler serves. New inputs are collected in the target directory; `--minimise` takes what is worth keeping into `fuzz/corpus`.

use crate::{setup, shell};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

#[derive(clap::Args)]
pub struct Options {
    /// How long each target runs
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// This target only; otherwise all
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Targets that run at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// With AddressSanitizer, which needs a nightly compiler of rustup
    #[arg(long)]
    address_sanitizer: bool,
    /// Afterwards, takes the smallest set of inputs with the same coverage into fuzz/corpus
    #[arg(long)]
    minimise: bool,
}

/// How long each target runs in `cargo xtask test --long`.
const LONG_SECONDS: u32 = 120;

/// All targets for longer than an ordinary run, as part of the long tests.
pub fn run_long() -> Result<()> {
    let seconds = LONG_SECONDS;
    run(&Options { seconds, target: None, jobs: 2, address_sanitizer: false, minimise: false })
}

const HOST: &str = "x86_64-unknown-linux-gnu";
/// Counters for every edge, and what comparisons compared: what libFuzzer steers by.
const COVERAGE_FLAGS: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// An input that takes longer is a finding.
const TIMEOUT_S: u32 = 20;
/// A target that takes more memory is one too.
const MEMORY_MIB: u32 = 2_048;
/// Longest input: a bundle, a segment's worth of choices, a genesis with a few dozen entries.
const INPUT_BYTES_MAX: u32 = 4_096;
/// Longest input that `--minimise` keeps, so that the committed corpora stay small.
const KEPT_BYTES_MAX: u64 = 2_048;
/// Most inputs that `--minimise` keeps of a target, beside its seeds.
const KEPT_MAX: usize = 64;
/// Most bytes of them.
const CORPUS_BYTES_MAX: u64 = 16_000;

pub fn run(options: &Options) -> Result<()> {
    let all = targets()?;
    let chosen: Vec<String> = match &options.target {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => bail!("there is no target {name:?}; there are {}", all.join(", ")),
    };
    let driver = build(options.address_sanitizer)?;
    let mut failed = Vec::new();
    let mut waiting = chosen.iter();
    let mut running: Vec<Run> = Vec::new();
    println!("{:<16} {:>12} {:>9} {:>6} {:>8}  ", "target", "executions", "coverage", "new", "seconds");
    loop {
        while running.len() < options.jobs.max(1)
            && let Some(name) = waiting.next()
        {
            running.push(Run::start(&driver, name, options.seconds)?);
        }
        if running.is_empty() {
            break;
        }
        // They all take the same time, so the first ends about first.
        let ended = running.remove(0).end()?;
        println!("{}", ended.line());
        failed.extend(ended.crash.clone());
    }
    if !failed.is_empty() {
        let commands: Vec<String> = failed
            .iter()
            .map(|(target, input)| format!("  cargo run -p meshpay-fuzz -- {target} {}", input.display()))
            .collect();
        bail!(
            "a promise was broken; replay it, and commit the input with what puts it right:\n{}",
            commands.join("\n")
        );
    }
    if options.minimise {
        for name in &chosen {
            minimise(&driver, name)?;
        }
    }
    Ok(())
}

/// Names of the targets: each has a folder in the corpus, which a test of the room sees to.
fn targets() -> Result<Vec<String>> {
    let corpora = shell::root().join("fuzz/corpus");
    let entries = std::fs::read_dir(&corpora).with_context(|| format!("reading {}", corpora.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok().filter(|entry| entry.path().is_dir()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Builds the driver apart from everything else, since its flags reach every crate below it.
fn build(address_sanitizer: bool) -> Result<PathBuf> {
    setup::require("c++", "g++", "building libFuzzer")?;
    let kind = if address_sanitizer { "fuzz-asan" } else { "fuzz" };
    let directory = shell::target_directory().join(kind);
    let mut build = if address_sanitizer { nightly_cargo()? } else { shell::cargo::<&str>([]) };
    build.args(["build", "--quiet", "--profile", "fuzz", "--package", "meshpay-fuzz", "--bins", "--target", HOST]);
    let mut flags = COVERAGE_FLAGS.join(" ");
    if address_sanitizer {
        flags.push_str(" -Zsanitizer=address");
    }
    // With a target named, the flags reach neither build scripts nor macros, which have no libFuzzer to link with.
    build.env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", &directory);
    shell::run("building the fuzz targets", &mut build)?;
    Ok(directory.join(HOST).join("fuzz/meshpay-fuzz"))
}

fn nightly_cargo() -> Result<Command> {
    if !shell::succeeds(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])) {
        bail!("AddressSanitizer needs a nightly compiler: `rustup toolchain install nightly`");
    }
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).current_dir(shell::root());
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "CARGO_MANIFEST_DIR"] {
        command.env_remove(name);
    }
    Ok(command)
}

/// Where one target's inputs are.
struct Places {
    /// Found here, not committed.
    found: PathBuf,
    committed: PathBuf,
    crashes: PathBuf,
    log: PathBuf,
}

impl Places {
    fn of(name: &str) -> Result<Self> {
        let found = shell::target_directory().join("fuzz-corpus");
        let root = shell::root().join("fuzz");
        let places = Self {
            log: found.join(format!("{name}.log")),
            found: found.join(name),
            committed: root.join("corpus").join(name),
            crashes: root.join("crashes").join(name),
        };
        std::fs::create_dir_all(&places.found)?;
        std::fs::create_dir_all(&places.crashes)?;
        Ok(places)
    }

    /// Leaves no empty folder behind.
    fn tidy(&self) {
        let _ = std::fs::remove_dir(&self.crashes);
        if let Some(parent) = self.crashes.parent() {
            let _ = std::fs::remove_dir(parent);
        }
    }
}

struct Run {
    name: String,
    places: Places,
    known: usize,
    before: Vec<PathBuf>,
    child: Child,
}

impl Run {
    fn start(driver: &Path, name: &str, seconds: u32) -> Result<Self> {
        let places = Places::of(name)?;
        let log = std::fs::File::create(&places.log).with_context(|| format!("writing {}", places.log.display()))?;
        let mut command = Command::new(driver);
        command.env("MESHPAY_FUZZ_TARGET", name);
        command.args([
            format!("-max_total_time={seconds}"),
            format!("-timeout={TIMEOUT_S}"),
            format!("-rss_limit_mb={MEMORY_MIB}"),
            format!("-max_len={INPUT_BYTES_MAX}"),
            format!("-artifact_prefix={}/", places.crashes.display()),
            "-print_final_stats=1".to_owned(),
        ]);
        command.args([&places.found, &places.committed]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let (known, before) = (files(&places.found).len(), files(&places.crashes));
        let child = command.spawn().with_context(|| format!("cannot start {}", driver.display()))?;
        Ok(Self { name: name.to_owned(), places, known, before, child })
    }

    fn end(mut self) -> Result<Ended> {
        let status = self.child.wait()?;
        let log = std::fs::read(&self.places.log)?;
        let log = String::from_utf8_lossy(&log).into_owned();
        let input = files(&self.places.crashes).into_iter().find(|path| !self.before.contains(path));
        if !status.success() {
            eprintln!("{}: {status}; the end of {}:", self.name, self.places.log.display());
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(25)..].iter().for_each(|line| eprintln!("  {line}"));
            if input.is_none() {
                bail!("{} ended with {status} and left no input; see {}", self.name, self.places.log.display());
            }
        }
        let new = files(&self.places.found).len().saturating_sub(self.known);
        let crash = input.map(|input| {
            let below = input.strip_prefix(shell::root()).map_or(input.clone(), Path::to_path_buf);
            (self.name.clone(), below)
        });
        self.places.tidy();
        Ok(Ended { name: self.name, figures: Figures::read(&log), new, crash })
    }
}

struct Ended {
    name: String,
    figures: Figures,
    new: usize,
    /// Target and input.
    crash: Option<(String, PathBuf)>,
}

impl Ended {
    fn line(&self) -> String {
        let Figures { executions, coverage, seconds } = &self.figures;
        let end = self.crash.as_ref().map_or("no crash".to_owned(), |(_, input)| format!("CRASH {}", input.display()));
        format!("{:<16} {executions:>12} {coverage:>9} {:>6} {seconds:>8}  {end}", self.name, self.new)
    }
}

/// What libFuzzer says of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    /// Inputs run.
    executions: u64,
    /// Edges of the program that were reached.
    coverage: u64,
    seconds: u64,
}

impl Figures {
    /// From its log: `#123 NEW cov: 456 ft: ...`, `stat::number_of_executed_units: 789`, `Done 789 runs in 31 second(s)`.
    fn read(log: &str) -> Self {
        let mut figures = Self::default();
        for line in log.lines() {
            let number_after = |word: &str| {
                let rest = line.split_once(word)?.1.trim_start();
                rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse::<u64>().ok()
            };
            if line.starts_with('#') {
                figures.executions = number_after("#").unwrap_or(figures.executions);
                figures.coverage = number_after(" cov:").unwrap_or(figures.coverage);
            }
            figures.executions = number_after("stat::number_of_executed_units:").unwrap_or(figures.executions);
            figures.seconds = number_after(" runs in ").unwrap_or(figures.seconds);
        }
        figures
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(|path| path.is_file()).collect()
}

/// Puts the smallest inputs that reach everything reached so far in place of the committed ones, within the bounds on their sizes.
fn minimise(driver: &Path, name: &str) -> Result<()> {
    let places = Places::of(name)?;
    places.tidy();
    let merged = places.found.with_extension("merged");
    let _ = std::fs::remove_dir_all(&merged);
    std::fs::create_dir_all(&merged)?;
    let mut merge = Command::new(driver);
    merge.env("MESHPAY_FUZZ_TARGET", name).args(["-merge=1", "-rss_limit_mb=2048"]);
    merge.args([&merged, &places.committed, &places.found]).stdin(Stdio::null()).stderr(Stdio::null());
    shell::run(&format!("minimising {name}"), &mut merge)?;
    let mut kept: Vec<(u64, PathBuf)> =
        files(&merged).into_iter().map(|path| (path.metadata().map_or(0, |metadata| metadata.len()), path)).collect();
    kept.retain(|(bytes, _)| *bytes <= KEPT_BYTES_MAX);
    kept.sort();
    // Of many, some of every size: the smallest alone would be those that a parser refuses first.
    let (all, wanted) = (kept.len(), kept.len().min(KEPT_MAX));
    let mut sum = 0;
    let kept: Vec<(u64, PathBuf)> = (0..wanted)
        .map(|number| kept[number * all / wanted].clone())
        .filter(|(bytes, _)| {
            sum += bytes;
            sum <= CORPUS_BYTES_MAX
        })
        .collect();
    // The seeds stay: they are what a reader of the format would write.
    for old in files(&places.committed) {
        if !old.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seed-")) {
            std::fs::remove_file(&old)?;
        }
    }
    let seeds: Vec<Vec<u8>> = files(&places.committed).iter().map(std::fs::read).collect::<std::io::Result<_>>()?;
    for (_, path) in &kept {
        let (Some(file), bytes) = (path.file_name(), std::fs::read(path)?) else { continue };
        if !seeds.contains(&bytes) {
            std::fs::write(places.committed.join(file), bytes)?;
        }
    }
    std::fs::remove_dir_all(&merged)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_libfuzzer_prints() {
        let log = "INFO: seed corpus: files: 5\n#6\tINITED cov: 511 ft: 900 corp: 5/3Kb exec/s: 0 rss: 40Mb\n\
                   #4096\tpulse  cov: 733 ft: 1200 corp: 60/12Kb lim: 4096 exec/s: 2048 rss: 44Mb\n\
                   Done 70123 runs in 31 second(s)\nstat::number_of_executed_units: 70123\n";
        assert_eq!(Figures::read(log), Figures { executions: 70_123, coverage: 733, seconds: 31 });
        assert_eq!(Figures::read("nothing"), Figures::default());
    }

    #[test]
    fn every_target_has_a_folder() {
        assert!(targets().unwrap().contains(&"wire".to_owned()));
    }
}
