//! What the filter and each means of packet I/O cost and bring, in one run: `meshpay-bench filter`.
//!
//! | file | what |
//! |---|---|
//! | `loaded` | the filter's object, loaded, with its tables |
//! | `messages` | messages and frames for it |
//! | `verdicts` | nanoseconds for each verdict |
//! | `drops` | packets dropped a second, beside a program of two instructions |
//! | `echo` | packets answered a second and CPU per packet on each rung |
//! | `payments` | payments settled a second on each rung |
//! | `flood` | payments settled while somebody floods |
//! | `goals` | what the figures should be |
//! | `report` | what is written and printed |
//!
//! What always holds: all that is compared is measured in turns within one run, several rounds of it, and figures are medians of the
//! rounds, so that ratios mean something on a shared machine. Only namespaces of our own get traffic.

mod drops;
mod echo;
mod flood;
mod goals;
mod loaded;
mod messages;
mod payments;
mod report;
mod verdicts;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};

pub use drops::DropFigures;
pub use echo::EchoFigures;
pub use flood::{FloodFigures, Level};
pub use goals::Goal;
pub use payments::PaymentFigures;
pub use report::{FilterReport, report_text, write};
pub use verdicts::VerdictFigures;

use crate::cpu;
use crate::generator::Interrupted;
use crate::link::{LinkRequest, NapiScheduling};
use crate::machine::{self, Machine};
use crate::progress::Console;
use crate::scenario;

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Nanoseconds for each verdict.
    Verdicts,
    /// Packets dropped a second.
    Drops,
    /// Packets answered a second on each rung.
    Echo,
    /// Payments settled a second on each rung.
    Payments,
    /// Payments settled while somebody floods.
    Flood,
}

impl Part {
    /// All, in their order.
    pub const ALL: [Part; 5] = [Part::Verdicts, Part::Drops, Part::Echo, Part::Payments, Part::Flood];

    /// Whether it needs a daemon.
    pub fn has_payments(self) -> bool {
        matches!(self, Part::Payments | Part::Flood)
    }
}

/// What is measured, and for how long.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which parts.
    pub parts: Vec<Part>,
    /// Seconds of each measurement of packets.
    pub seconds: f64,
    /// How often everything is measured.
    pub rounds: usize,
    /// How payments are measured, except for the rung. Nothing: not at all, nor what a flood does to them.
    pub payments: Option<scenario::Options>,
    /// Where a report goes.
    pub folder: PathBuf,
}

/// Measures what was asked for.
///
/// # Errors
/// Without the rights for namespaces and programs, or if something cannot be started, or the user interrupts.
pub fn run(request: &Request, stop: &AtomicBool, console: &Console) -> Result<FilterReport> {
    ensure!(cpu::core_count() >= 2, "two cores are needed: one receives and answers, the other sends");
    let wants = |part| request.parts.contains(&part);
    let check_stop = || -> Result<()> {
        ensure!(!stop.load(Ordering::Relaxed), Interrupted);
        Ok(())
    };
    let mut report = FilterReport::new(&Machine::this(), machine::commit(), request);
    if wants(Part::Verdicts) {
        report.verdicts = verdicts::measure(request.rounds, verdicts::REPEAT, console)?;
        check_stop()?;
    }
    if wants(Part::Drops) {
        report.drops = drops::measure(request.seconds, request.rounds, stop, console)?;
        check_stop()?;
    }
    if wants(Part::Echo) {
        report.echo = echo::measure(request.seconds, request.rounds, stop, console)?;
        check_stop()?;
    }
    if let Some(options) = request.payments.as_ref().filter(|_| wants(Part::Payments)) {
        report.payments = payments::measure(options, request.rounds, stop, console)?;
        check_stop()?;
    }
    if let Some(options) = request.payments.as_ref().filter(|_| wants(Part::Flood)) {
        report.flood = flood::measure(options, request.rounds, stop, console)?;
    }
    report.goals = goals::goals(&report);
    Ok(report)
}

/// A link whose authority's side receives on core 1 and whose generator's side on core 0, as in a run with payments.
fn link_request(napi_scheduling: NapiScheduling) -> LinkRequest {
    LinkRequest { napi_scheduling, ..LinkRequest::new(1, 0) }
}

/// The median of figures of several rounds; 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([].into_iter()), 0.0);
    }
}
