//! `cargo xtask regress`: is this tree slower than the revision it came from?
//!
//! It builds two revisions, runs them in turns, and compares what belongs together, pair by pair. It fails when a figure is worse by more
//! than the tolerance *with confidence*: what noise could explain is reported, never judged.
//!
//! | file | what |
//! |---|---|
//! | `sides` | the two revisions: where they lie, how they are built |
//! | `measure` | one run of kernels, stages or the wire, as named figures |
//! | `compare` | runs in pairs, and more of them while a figure is undecided |
//! | `statistics` | ratios, intervals, verdicts: pure functions of samples |
//! | `table` | what a person reads |
//! | `series`, `drawing` | a line for each commit, and the picture of all |
//! | `instructions` | the second gate, without noise: instructions of the scalar lanes, counted by callgrind |
//! | `self_test` | does it pass what is the same, and find what is slower? |
//! | `recorded` | samples of real runs, for the tests of `statistics` |

mod compare;
mod drawing;
mod instructions;
mod measure;
#[cfg(test)]
mod recorded;
mod self_test;
mod series;
mod sides;
mod statistics;
mod table;

use crate::shell;
use anyhow::{Context as _, Result, bail, ensure};
use measure::Part;
use sides::Sides;
use statistics::Verdict;
use std::fs::{File, TryLockError};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Options {
    /// What to compare with [default: where this branch left main; the commit before, on main itself; with uncommitted changes there, the last commit]
    #[arg(long, value_name = "REVISION")]
    base: Option<String>,
    /// By how many percent a figure may be worse
    #[arg(long, default_value_t = 5.0, value_name = "PERCENT")]
    tolerance: f64,
    /// Pairs of runs; up to three times as many are taken while a figure is undecided
    #[arg(long, default_value_t = 10)]
    pairs: usize,
    /// Measure one part only [default: all]
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Count instructions of the scalar lanes under callgrind instead of taking times
    #[arg(long, conflicts_with = "only")]
    instructions: bool,
    /// By how many percent a count of instructions may be higher
    #[arg(long, default_value_t = 1.0, value_name = "PERCENT")]
    instructions_tolerance: f64,
    /// Seed of the order of runs and of the intervals
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// File to which this commit's figures are added, a line each; the picture is drawn beside it [default: target/regress/series.jsonl]
    #[arg(long, value_name = "PATH")]
    series: Option<PathBuf>,
    /// Compare this tree with itself twenty times, and with itself slowed down by a tenth
    #[arg(long, conflicts_with_all = ["base", "instructions", "series"])]
    self_test: bool,
    /// How often the self-test compares this tree with itself
    #[arg(long, default_value_t = self_test::ROUNDS, requires = "self_test", value_name = "TIMES")]
    rounds: usize,
}

/// So many times the first pairs may be taken while a figure is undecided.
const PAIRS_GROWTH_MAX: usize = 3;

/// Most pairs.
const PAIRS_MAX: usize = 1_000;

/// Builds, measures, reports.
///
/// # Errors
/// If something is worse, or could not be measured.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        (statistics::PAIRS_MIN..=PAIRS_MAX).contains(&options.pairs),
        "--pairs must be {} to {PAIRS_MAX}: fewer decide nothing",
        statistics::PAIRS_MIN
    );
    for tolerance in [options.tolerance, options.instructions_tolerance] {
        ensure!(tolerance.is_finite() && tolerance > 0.0, "a tolerance must be above 0 percent");
    }
    let _alone = alone()?;
    if options.self_test {
        return self_test::run(options.pairs.min(self_test::PAIRS), options.rounds, options.only);
    }
    let mut sides = Sides::find(options.base.as_deref())?;
    eprintln!("== base {}, new {}", sides.base.name, sides.new.name);
    if options.instructions {
        let results = instructions::compare(&sides, options.instructions_tolerance / 100.0)?;
        print!("{}", instructions::text(&sides, &results));
        let worse: Vec<&str> = results.iter().filter(|it| it.is_worse()).map(|it| it.kernel.as_str()).collect();
        if !worse.is_empty() {
            bail!("more instructions than {} percent allow: {}", options.instructions_tolerance, worse.join(", "));
        }
        return Ok(());
    }
    let parts = options.only.map_or_else(|| Part::ALL.to_vec(), |part| vec![part]);
    sides.build(&parts)?;
    let plan = compare::Plan {
        pairs: options.pairs,
        pairs_max: PAIRS_GROWTH_MAX * options.pairs,
        tolerance: options.tolerance / 100.0,
        seed: options.seed,
        parts,
        stops_at_worse: false,
    };
    let results = compare::run(&sides, &plan, &mut |line| eprintln!("{line}"))?;
    print!("{}", table::text(&sides.base.name, &sides.new.name, plan.tolerance, &results));

    std::fs::write(sides::directory().join("samples.txt"), table::samples(&results))?;
    let path = options.series.clone().unwrap_or_else(|| sides::directory().join("series.jsonl"));
    if sides.new.is_clean {
        let picture = series::add(&path, &sides, &results)?;
        println!("\nseries: {}\npicture: {}", path.display(), picture.display());
    } else {
        println!("\nThis tree has changes that are not committed, so it gets no point in {}.", path.display());
    }
    let worse: Vec<&str> =
        results.iter().filter(|it| it.verdict == Some(Verdict::Worse)).map(|it| it.name.as_str()).collect();
    if !worse.is_empty() {
        bail!("worse by more than {} percent: {}", options.tolerance, worse.join(", "));
    }
    Ok(())
}

/// Says that this command runs here, until what it returns is dropped: two at once would check out into the same folders, and take the cores from each other.
fn alone() -> Result<File> {
    std::fs::create_dir_all(sides::directory())?;
    let path = sides::directory().join("lock");
    let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!(
            "another `cargo xtask regress` works in {}; wait until it has ended, since two would disturb each other's figures",
            sides::directory().display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// The self-test, as `cargo xtask test --long` runs it.
///
/// # Errors
/// If what is the same is called worse, or what is slower is not found.
pub fn self_test() -> Result<()> {
    let _alone = alone()?;
    self_test::run(self_test::PAIRS, self_test::ROUNDS, None)
}

/// A folder for what a run leaves, made afresh.
fn fresh_directory(name: &str) -> Result<PathBuf> {
    let path = sides::directory().join("run").join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path)?;
    }
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

/// Output of git in the repository's root.
fn git(arguments: &[&str]) -> Result<String> {
    // The tree may belong to somebody else than who measures.
    let mut command = std::process::Command::new("git");
    command.args(["-c", "safe.directory=*"]).args(arguments).current_dir(shell::root());
    Ok(shell::output(&mut command)?.trim().to_owned())
}
