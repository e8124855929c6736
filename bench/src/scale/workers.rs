//! Two workers on two cores beside one worker on one: the whole worker loop, its journal, and half of the payments to an account of the other worker.
//!
//! One worker and its journal's threads have one core, two workers and theirs have two, so nothing runs on a core that is not counted. Requests are
//! signed and composed before anything is measured, and checked on the worker's own thread, in its time.

use std::sync::atomic::AtomicBool;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::turns::{self, Figures};
use super::{Request, median};
use crate::cpu;
use crate::pipeline::PipelineOptions;
use crate::progress::Console;

/// What two workers bring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkersReport {
    /// One worker.
    pub one: Figures,
    /// Two.
    pub two: Figures,
    /// Payments settled a second by two, divided by those of one: medians of the rounds.
    pub speedup: f64,
    /// Median of the ratios within each round.
    pub speedup_of_rounds: f64,
    /// What two cores would bring if each worker always ran: twice the CPU per payment of one divided by that of two. What other programs take from
    /// the cores is not in it; what two workers do to each other is.
    pub speedup_by_cpu: f64,
}

/// A round is so many times as long as those of other parts: what is looked for is a twentieth, and a hiccup of the disk in half a second is as much.
const PAYMENTS_TIMES: usize = 4;

/// Measures both in turns.
pub fn measure(request: &Request, stop: &AtomicBool, console: &Console) -> Result<WorkersReport> {
    ensure!(cpu::core_count() >= 2, "--parts workers needs two cores");
    let one = PipelineOptions { payments: PAYMENTS_TIMES * request.pipeline().payments, ..request.pipeline() };
    let two = PipelineOptions { workers: 2, payments: 2 * one.payments, ..one.clone() };
    let mut figures =
        turns::measure(&[("one".to_owned(), one), ("two".to_owned(), two)], request.rounds, stop, console)?.into_iter();
    let (one, two) = (figures.next().unwrap_or_default(), figures.next().unwrap_or_default());
    Ok(WorkersReport {
        speedup: two.settled_per_second / one.settled_per_second,
        speedup_of_rounds: median(two.rounds.iter().zip(&one.rounds).map(|(two, one)| two / one)),
        speedup_by_cpu: 2.0 * one.cpu_us_per_settled / two.cpu_us_per_settled,
        one,
        two,
    })
}
