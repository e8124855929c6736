//! Latency at shares of the capacity that was found, each a measurement of its own in an open loop, with the journal's own syncs beside it.

use std::sync::mpsc;

use anyhow::{Context as _, Result, ensure};

use super::capacity::{SUSTAINED_RETRY_SHARE_MAX, seconds_ns};
use super::measure::{CpuAccount, measure};
use super::options::{Durability, LOAD_WARM_UP_SECONDS};
use super::session::Session;
use crate::affinity;
use crate::daemons::{ReadyLine, SyncCounts, SyncTimes};
use crate::generator::{Outcome, Pacing, Schedule};
use crate::link::Side;
use crate::workload::Batch;

/// One load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Percent of the capacity that were asked for.
    pub percent: f64,
    /// Payments offered a second.
    pub offered_per_second: f64,
    /// What the generator saw; without the fate of each payment, which is booked.
    pub outcome: Outcome,
    /// Who used the authorities' cores.
    pub cpu: CpuAccount,
    /// Syncs of the journals meanwhile; nothing where there were none, or where the daemons did not say.
    pub syncs: Option<SyncTimes>,
}

impl Load {
    /// Whether nothing was lost and next to nothing had to be repeated.
    pub fn is_calm(&self) -> bool {
        self.outcome.lost == 0 && self.outcome.retry_share() <= SUSTAINED_RETRY_SHARE_MAX
    }
}

/// Measures each load that was asked for.
///
/// # Errors
/// If a daemon ends, or the user interrupts.
pub fn measure_loads(session: &mut Session<'_>, capacity: f64) -> Result<Vec<Load>> {
    let options = session.request().options;
    let (seconds, percents) = (options.load_seconds, options.loads.clone());
    percents.iter().enumerate().map(|(at, percent)| measure_load(session, capacity, *percent, seconds, at)).collect()
}

fn measure_load(session: &mut Session<'_>, capacity: f64, percent: f64, seconds: f64, at: usize) -> Result<Load> {
    let rate = capacity * percent / 100.0;
    // A seed of its own: two loads whose payments come in one pattern would be one sample of chance.
    let seed = session.request().options.seed ^ (at as u64 + 1) << 48;
    let mut schedule = Schedule::poisson(seed, rate, seconds_ns(LOAD_WARM_UP_SECONDS), seconds_ns(seconds));
    let batch = session.sign(schedule.len())?;
    schedule.truncate(batch.len());
    ensure!(!batch.is_empty(), "a load of {percent} percent has no payment in {seconds} s; raise --load-seconds");
    let offered_per_second = schedule.offered_per_second();
    let what = format!("latency at {percent} percent, {offered_per_second:.0} payments a second");
    let (mut outcome, cpu, syncs) = measure_with_syncs(session, &what, &batch, Pacing::Open(schedule))?;
    outcome.progress = Vec::new();
    Ok(Load { percent, offered_per_second, outcome, cpu, syncs })
}

/// Runs a batch, takes the cores' accounts, and reads the journals' syncs at the edges of its measured part.
///
/// # Errors
/// As [`measure`]. Syncs that cannot be read are no error, but said.
pub fn measure_with_syncs(
    session: &mut Session<'_>,
    what: &str,
    batch: &Batch,
    pacing: Pacing,
) -> Result<(Outcome, CpuAccount, Option<SyncTimes>)> {
    let request = session.request();
    let (console, side, generator_core) = (request.console, &request.link.authority, request.cores.generator);
    if request.options.durability == Durability::Process {
        let (outcome, cpu) = measure(session, what, batch, pacing, |_| {})?;
        return Ok((outcome, cpu, None));
    }
    let daemons: Vec<ReadyLine> = session.daemons().iter().map(|daemon| daemon.ready().clone()).collect();
    let (ask, asked) = mpsc::channel();
    std::thread::scope(|scope| {
        // A thread of its own, since an answer takes milliseconds in which the generator would be late.
        let read = move || asked.iter().map(|()| read_syncs(&daemons, side)).collect::<Vec<Result<SyncCounts>>>();
        let start = || std::thread::Builder::new().name("sync-reader".to_owned()).spawn_scoped(scope, read);
        let reader = affinity::tied_to(&[generator_core], start)??;
        let measured = measure(session, what, batch, pacing, |_| {
            // It listens as long as there is somebody to ask.
            let _ = ask.send(());
        });
        drop(ask);
        let readings = reader.join().map_err(|panic| std::panic::resume_unwind(panic)).unwrap_or_default();
        let (outcome, cpu) = measured?;
        let syncs = between(readings).unwrap_or_else(|error| {
            console.say(&format!("the journals' syncs are unknown: {error:#}"));
            None
        });
        Ok((outcome, cpu, syncs))
    })
}

/// Of all daemons together.
fn read_syncs(daemons: &[ReadyLine], side: &Side) -> Result<SyncCounts> {
    let mut sum = SyncCounts::default();
    for daemon in daemons {
        sum.add(&SyncCounts::ask(daemon, side)?);
    }
    Ok(sum)
}

fn between(readings: Vec<Result<SyncCounts>>) -> Result<Option<SyncTimes>> {
    let mut readings = readings.into_iter();
    let (begin, end) = (readings.next(), readings.next());
    let begin = begin.context("the run had no measured part")??;
    let end = end.context("the measured part had no end")??;
    Ok(begin.until(&end))
}
