//! Several pipelines measured in turns: each settles a round of its payments, then the next one does.
//!
//! What always holds: every second round goes the other way around, so that what drifts favours none; figures are medians of rounds.

use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::median;
use crate::pipeline::{Pipeline, PipelineOptions, WorkerOutcome};
use crate::progress::Console;

/// What one pipeline came to: medians of its rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Payments settled a second by all workers together, by the clock on the wall.
    pub settled_per_second: f64,
    /// Microseconds of CPU per payment: workers and the journal's thread.
    pub cpu_us_per_settled: f64,
    /// The same of the workers alone, in the quieter quarter of each round.
    pub quiet_cpu_us_per_settled: f64,
    /// Microseconds of CPU per payment of each worker.
    pub worker_cpu_us_per_settled: Vec<f64>,
    /// Microseconds of CPU per payment of the journal's thread.
    pub journal_cpu_us_per_settled: f64,
    /// Microseconds of CPU per payment of all threads of the process, the one that makes the journal's segments included.
    pub process_cpu_us_per_settled: f64,
    /// Share of the workers' time in which they were on their cores.
    pub running_share: f64,
    /// Share of the workers' time in which they could have run, but something else had their cores: the journal's thread, or other programs.
    pub displaced_share: f64,
    /// The rest: they waited for the journal to be durable.
    pub waiting_share: f64,
    /// Signatures in a certificate, on average.
    pub signatures_per_certificate: f64,
    /// Requests put off by the authority and offered again, in all rounds.
    pub retried: u64,
    /// [`Figures::settled_per_second`] of each round.
    pub rounds: Vec<f64>,
}

/// Prepares a pipeline for each of `options` and measures all of them in turns. Then every account of each is compared with the books.
///
/// # Errors
/// If a pipeline cannot be started, an answer is wrong, or an account differs.
pub fn measure(
    options: &[(String, PipelineOptions)],
    rounds: u32,
    stop: &AtomicBool,
    console: &Console,
) -> Result<Vec<Figures>> {
    let mut pipelines = Vec::new();
    for (name, options) in options {
        pipelines.push(Pipeline::start(options, stop, &console.part(name)).with_context(|| name.clone())?);
    }
    let step = console.step("measuring in turns", u64::from(rounds) * pipelines.len() as u64);
    let mut measured: Vec<Vec<Vec<WorkerOutcome>>> = vec![Vec::new(); pipelines.len()];
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..pipelines.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let outcome = pipelines[at].round(rounds - round, stop).with_context(|| options[at].0.clone())?;
            measured[at].push(outcome);
            step.advance(1);
        }
    }
    step.finish(&format!("{rounds} rounds"));
    let step = console.step("comparing accounts with the books", pipelines.len() as u64);
    let mut figures = Vec::new();
    for ((pipeline, (name, _)), rounds) in pipelines.into_iter().zip(options).zip(measured) {
        let signatures_per_certificate = pipeline.signatures_per_certificate();
        pipeline.end().with_context(|| name.clone())?;
        figures.push(Figures { signatures_per_certificate, ..Figures::of(&rounds) });
        step.advance(1);
    }
    step.finish("equal");
    Ok(figures)
}

impl Figures {
    fn of(rounds: &[Vec<WorkerOutcome>]) -> Self {
        let of_rounds = |figure: &dyn Fn(&[WorkerOutcome]) -> f64| median(rounds.iter().map(|round| figure(round)));
        let workers = rounds.first().map_or(0, Vec::len);
        let settled_per_second =
            |round: &[WorkerOutcome]| round.iter().map(|worker| worker.settled as f64 / worker.seconds).sum();
        let wall_ns = |round: &[WorkerOutcome]| round.iter().map(|worker| worker.seconds * 1e9).sum::<f64>();
        let displaced_ns = |round: &[WorkerOutcome]| round.iter().map(|worker| worker.displaced_ns as f64).sum::<f64>();
        let running_share = of_rounds(&|round| workers_cpu_ns(round) / wall_ns(round));
        let displaced_share = of_rounds(&|round| displaced_ns(round) / wall_ns(round));
        Self {
            settled_per_second: of_rounds(&settled_per_second),
            cpu_us_per_settled: of_rounds(&|round| {
                per_settled_us(round, workers_cpu_ns(round) + longest(round).journal_cpu_ns as f64)
            }),
            quiet_cpu_us_per_settled: of_rounds(&quiet_us),
            worker_cpu_us_per_settled: (0..workers)
                .map(|at| of_rounds(&|round| round[at].cpu_ns as f64 / 1e3 / round[at].settled as f64))
                .collect(),
            journal_cpu_us_per_settled: of_rounds(&|round| per_settled_us(round, longest(round).journal_cpu_ns as f64)),
            process_cpu_us_per_settled: of_rounds(&|round| per_settled_us(round, longest(round).process_cpu_ns as f64)),
            running_share,
            displaced_share,
            waiting_share: (1.0 - running_share - displaced_share).max(0.0),
            signatures_per_certificate: 0.0,
            retried: rounds.iter().flatten().map(|worker| worker.retried).sum(),
            rounds: rounds.iter().map(|round| settled_per_second(round)).collect(),
        }
    }
}

fn workers_cpu_ns(round: &[WorkerOutcome]) -> f64 {
    round.iter().map(|worker| worker.cpu_ns as f64).sum()
}

fn per_settled_us(round: &[WorkerOutcome], ns: f64) -> f64 {
    ns / 1e3 / round.iter().map(|worker| worker.settled as f64).sum::<f64>()
}

/// All workers see one journal and one process; the one that was measured longest saw most of them.
fn longest(round: &[WorkerOutcome]) -> WorkerOutcome {
    round.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds)).cloned().unwrap_or_default()
}

/// The lower quartile of a round's slices.
fn quiet_us(round: &[WorkerOutcome]) -> f64 {
    let mut slices: Vec<f64> = round.iter().flat_map(|worker| worker.slices_us.iter().copied()).collect();
    slices.sort_by(f64::total_cmp);
    slices.get(slices.len() / 4).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(settled: u64, seconds: f64, cpu_ns: u64, displaced_ns: u64) -> WorkerOutcome {
        let slices_us = vec![cpu_ns as f64 / 1e3 / settled as f64; 4];
        WorkerOutcome { settled, seconds, cpu_ns, displaced_ns, slices_us, ..WorkerOutcome::default() }
    }

    #[test]
    fn shares_and_sums_are_those_of_all_workers() {
        let round = vec![outcome(100, 1.0, 500_000_000, 250_000_000), outcome(200, 1.0, 900_000_000, 50_000_000)];
        let figures = Figures::of(&[round]);
        assert_eq!(figures.settled_per_second, 300.0);
        assert_eq!(figures.worker_cpu_us_per_settled, [5_000.0, 4_500.0]);
        assert!((figures.cpu_us_per_settled - 1_400_000.0 / 300.0).abs() < 1e-6);
        assert!((figures.running_share - 0.7).abs() < 1e-9 && (figures.displaced_share - 0.15).abs() < 1e-9);
        assert!((figures.waiting_share - 0.15).abs() < 1e-9);
        assert_eq!(figures.quiet_cpu_us_per_settled, 4_500.0);
    }
}
