//! Is the judge fair and awake? The same build against itself must pass at least 19 times of 20, and against itself slowed down by a tenth it
//! must fail, for which as many pairs are taken as this machine's noise needs, within a bound. The slowdown is burnt by the bench programs when the environment asks for it; the daemon knows nothing of it.

use super::compare::{self, Compared, Plan};
use super::measure::Part;
use super::sides::{self, Sides};
use super::statistics::Verdict;
use super::table;
use anyhow::{Result, ensure};

/// Pairs of a comparison at first.
pub const PAIRS: usize = 6;
/// Comparisons of what is the same.
pub const ROUNDS: usize = 20;
/// One comparison of so many may go wrong.
const FALSE_ALARM_SHARE: usize = 20;
/// So many times the first pairs may be taken to find what is slower.
const PAIRS_GROWTH_MAX: usize = 8;
const SLOWDOWN_PERCENT: u32 = 10;
const TOLERANCE: f64 = 0.05;

/// Builds this tree once and compares it with itself.
///
/// # Errors
/// If a build that is the same fails too often, or one that is slower passes.
pub fn run(pairs: usize, rounds: usize, only: Option<Part>) -> Result<()> {
    ensure!(only != Some(Part::Wire), "the wire cannot be tested so: the daemon cannot be slowed down on command");
    // What is judged on every machine alike, without the disk and without rights.
    let parts = vec![only.unwrap_or(Part::Stages)];
    let mut sides = Sides::twice(&parts)?;
    let compare = |sides: &Sides, growth, seed| {
        let (pairs_max, stops_at_worse) = (growth * pairs, sides.new.slowdown_percent > 0);
        let plan = Plan { pairs, pairs_max, tolerance: TOLERANCE, seed, parts: parts.clone(), stops_at_worse };
        compare::run(sides, &plan, &mut |_| {})
    };
    let (mut passed, mut kept) = (0, String::new());
    for round in 1..=rounds {
        let results = compare(&sides, super::PAIRS_GROWTH_MAX, round as u64)?;
        passed += usize::from(worse(&results).is_empty());
        eprintln!("== same against same, {round} of {rounds}: {}", summary(&results));
        kept.push_str(&table::samples(&results));
    }
    sides.new.slowdown_percent = SLOWDOWN_PERCENT;
    let results = compare(&sides, PAIRS_GROWTH_MAX, 0)?;
    let found = worse(&results);
    kept.push_str(&table::samples(&results));
    std::fs::write(sides::directory().join("samples.txt"), kept)?;
    eprintln!("== slower by {SLOWDOWN_PERCENT} percent: {}", summary(&results));
    println!(
        "same against same passed {passed} of {rounds}; slower by {SLOWDOWN_PERCENT} percent was {}",
        if found.is_empty() { "NOT found" } else { "found" }
    );
    let passed_min = rounds - rounds / FALSE_ALARM_SHARE;
    ensure!(passed >= passed_min, "the same build against itself must pass {passed_min} of {rounds}");
    ensure!(!found.is_empty(), "a build that is slower by {SLOWDOWN_PERCENT} percent must fail");
    Ok(())
}

fn worse(results: &[Compared]) -> Vec<&Compared> {
    results.iter().filter(|result| result.verdict == Some(Verdict::Worse)).collect()
}

fn summary(results: &[Compared]) -> String {
    let Some(first) = results.iter().find(|result| result.verdict.is_some()) else {
        return "nothing judged".to_owned();
    };
    let ratio =
        first.ratio.map_or_else(String::new, |it| format!("{:.3} ({:.3} to {:.3})", it.estimate, it.low, it.high));
    format!("{} {ratio}, {} pairs, {} worse", first.name, first.new.len(), worse(results).len())
}
