//! The seeds of the targets that call no system, one test each: what Miri runs (`cargo xtask miri`), at a thousandth of the ordinary speed.
//!
//! Wire, filter, records, the state machine, and checkpoints over a disk in memory; the journal's own scan with small segments.

use meshpay_fuzz::target;

/// Bytes of choices that Miri has the time for; a format's own seeds are run whole.
const CHOICES_MAX: usize = if cfg!(miri) { 64 } else { 1024 };

fn run(name: &str, most: usize, whole: bool) {
    let target = target(name).expect("a target of this name");
    let seeds = (target.seeds)();
    let most = if cfg!(miri) { most } else { seeds.len() };
    for seed in seeds.iter().take(most) {
        let length = if whole { seed.len() } else { seed.len().min(CHOICES_MAX) };
        (target.run)(&seed[..length]);
    }
}

#[test]
fn wire() {
    run("wire", usize::MAX, true);
}

#[test]
fn filter_frames() {
    run("filter_frames", 6, true);
}

#[test]
fn filter_traffic() {
    run("filter_traffic", 3, false);
}

#[test]
fn records() {
    run("records", usize::MAX, true);
}

#[test]
fn checkpoint() {
    run("checkpoint", usize::MAX, true);
}

#[test]
fn journal_files() {
    run("journal_files", 3, false);
}

#[test]
fn payments() {
    run("payments", 2, false);
}
