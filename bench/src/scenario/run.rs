//! A scenario from nothing to its report: stage, session, search, measurement, stop, check of the generator, audit.

use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, ensure};

use super::capacity::{Search, Trial, search, seconds_ns};
use super::generator_check::{GeneratorCheck, LATENESS_P99_MAX_US, check_generator};
use super::loads::{Load, measure_loads, measure_with_syncs};
use super::measure::CpuAccount;
use super::options::WARM_UP_SECONDS;
use super::session::Session;
use super::stage::Stage;
use super::{Cores, Options, Scenario};
use crate::daemons::{Auditing, PacketIo, SyncTimes};
use crate::generator::{Outcome, Pacing, Schedule};
use crate::link::LinkKind;
use crate::machine::{FileSystem, SyncTime};
use crate::progress::Console;
use crate::workload::{Batch, Trace, Wallets};

/// Everything that a run came to.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Which scenario.
    pub scenario: Scenario,
    /// What the generator saw.
    pub outcome: Outcome,
    /// Payments offered a second in the measured part.
    pub offered_per_second: f64,
    /// How the rate was found, unless it was given.
    pub search: Option<Search>,
    /// Runs at a found rate that was not sustained for the whole time, before the last one.
    pub stepped_down: Vec<Trial>,
    /// Who used the authorities' cores.
    pub cpu: CpuAccount,
    /// Syncs of the journals in the measured part, as the daemons timed them.
    pub journal_syncs: Option<SyncTimes>,
    /// Latency at shares of the rate.
    pub loads: Vec<Load>,
    /// The generator by itself.
    pub generator_check: GeneratorCheck,
    /// The audit.
    pub auditing: Auditing,
    /// Who ran where.
    pub cores: Cores,
    /// The link in words.
    pub link: String,
    /// What the link is.
    pub link_kind: LinkKind,
    /// Packets that the link's interfaces dropped during the measured batch: towards the authorities, towards the generator.
    pub link_drops: [u64; 2],
    /// The file system of the journals.
    pub file_system: FileSystem,
    /// How long its disk takes to sync.
    pub sync_time: SyncTime,
    /// What the daemon said of its durability.
    pub durability: String,
    /// What the daemon said of its packet I/O.
    pub rung: String,
    /// By which means it exchanged packets, with counters.
    pub packet_io: PacketIo,
    /// Address-port pairs that the generator sent from.
    pub sources: usize,
    /// Most requests that shared a datagram.
    pub bundle: usize,
    /// Accounts.
    pub accounts: usize,
    /// Authorities in the committee.
    pub committee: usize,
    /// What makes this a failed run; empty if nothing does.
    pub failures: Vec<String>,
}

/// Most times that a rate found by short trials is lowered because the long run does not sustain it.
const STEP_DOWNS_MAX: usize = 4;

/// By how much it is lowered.
const STEP_DOWN: f64 = 0.94;

/// Runs a scenario.
///
/// # Errors
/// If something cannot be started or ends early, or the user interrupts. A run that came to its end with something wrong is no
/// error but has [`Measured::failures`].
pub fn run(
    scenario: Scenario,
    options: &Options,
    wallets: &Wallets,
    trace: Option<&Trace>,
    stop: &AtomicBool,
    console: &Console,
) -> Result<Measured> {
    let console = console.part(scenario.name());
    let stage = Stage::build(scenario, options, &console)?;
    let link = &stage.link;
    let mut session = Session::start(stage.request(options, wallets, trace, stop, &console))?;
    let ready = session.daemons().first().context("no daemon was started")?.ready().clone();

    let (search, rate) = match (options.rate, trace) {
        (None, None) => {
            let found = search(&mut session)?;
            let rate = found.rate;
            (Some(found), Some(rate))
        }
        (rate, _) => (None, rate),
    };
    let measuring = measure_at(&mut session, rate, trace, search.is_some())?;
    let loads = measure_loads(&mut session, measuring.offered_per_second)?;
    let mut ended = session.end()?;
    let generator_check = check_generator(&mut ended, measuring.offered_per_second, &measuring.batch)?;
    let auditing = ended.audit();

    let mut measured = Measured {
        scenario,
        offered_per_second: measuring.offered_per_second,
        outcome: measuring.outcome,
        search,
        stepped_down: measuring.stepped_down,
        cpu: measuring.cpu,
        journal_syncs: measuring.journal_syncs,
        loads,
        generator_check,
        auditing,
        link: link.description().to_owned(),
        link_kind: link.kind(),
        link_drops: measuring.link_drops,
        file_system: stage.file_system.clone(),
        sync_time: stage.sync_time,
        durability: ready.fact("durability", options.durability.name()).to_owned(),
        rung: ready.fact("rung", "udp").to_owned(),
        packet_io: ended.packet_io.clone(),
        sources: ended.clients.count(),
        bundle: options.bundle,
        accounts: wallets.count(),
        committee: options.committee,
        cores: stage.cores.clone(),
        failures: Vec::new(),
    };
    measured.failures = failures(&measured);
    Ok(measured)
}

/// A measured batch with all its figures.
struct Measuring {
    batch: Batch,
    outcome: Outcome,
    offered_per_second: f64,
    cpu: CpuAccount,
    journal_syncs: Option<SyncTimes>,
    link_drops: [u64; 2],
    stepped_down: Vec<Trial>,
}

/// Measures at a rate, or a trace at its own times. A rate that was searched for in short trials is lowered until the long run
/// sustains it.
fn measure_at(
    session: &mut Session<'_>,
    rate: Option<f64>,
    trace: Option<&Trace>,
    may_step_down: bool,
) -> Result<Measuring> {
    let (seconds, seed) = (session.request().options.seconds, session.request().options.seed);
    let mut rate = rate;
    let mut stepped_down = Vec::new();
    loop {
        let mut schedule = match (trace, rate) {
            (Some(trace), _) => Schedule::of_trace(trace),
            (None, Some(rate)) => Schedule::poisson(seed, rate, seconds_ns(WARM_UP_SECONDS), seconds_ns(seconds)),
            (None, None) => anyhow::bail!("neither a rate nor a trace"),
        };
        let batch = session.sign(schedule.len())?;
        schedule.truncate(batch.len());
        ensure!(!batch.is_empty(), "there is no payment left to measure with");
        let offered_per_second = schedule.offered_per_second();
        let drops_before = link_drops(session)?;
        let what = format!("measuring at {offered_per_second:.0} payments a second");
        let (outcome, cpu, journal_syncs) = measure_with_syncs(session, &what, &batch, Pacing::Open(schedule))?;
        let drops_after = link_drops(session)?;
        let trial = Trial::of(offered_per_second, &outcome);
        if may_step_down && !trial.sustained && stepped_down.len() < STEP_DOWNS_MAX {
            stepped_down.push(trial);
            rate = rate.map(|rate| rate * STEP_DOWN);
            continue;
        }
        let link_drops = [0, 1].map(|side| drops_after[side].saturating_sub(drops_before[side]));
        return Ok(Measuring { batch, outcome, offered_per_second, cpu, journal_syncs, link_drops, stepped_down });
    }
}

fn link_drops(session: &Session<'_>) -> Result<[u64; 2]> {
    let link = session.request().link;
    Ok([link.authority.drops()?, link.generator.drops()?])
}

/// What makes a run a failed one.
fn failures(measured: &Measured) -> Vec<String> {
    let mut failures = Vec::new();
    if !measured.auditing.failures.is_empty() {
        failures.push(format!("the audit failed: {}", measured.auditing.result()));
    }
    let outcome = &measured.outcome;
    for (outcome, when) in std::iter::once((outcome, String::new()))
        .chain(measured.loads.iter().map(|load| (&load.outcome, format!(" at {} percent", load.percent))))
    {
        if outcome.wrong_answers > 0 {
            let first = outcome.first_wrong.as_deref().unwrap_or("unknown");
            failures.push(format!("{} wrong answers{when}; the first: {first}", outcome.wrong_answers));
        }
    }
    if !measured.generator_check.passed {
        let check = &measured.generator_check;
        failures.push(format!(
            "the generator cannot keep up: against the null server it was offered {:.0} a second and got {:.0}, p99 of its lateness {} us",
            check.offered_per_second, check.settled_per_second, check.lateness_p99_us
        ));
    }
    let lateness_us = outcome.lateness_us.value_at_quantile(0.99);
    if lateness_us > LATENESS_P99_MAX_US {
        failures.push(format!(
            "the generator was late: p99 {lateness_us} us, at most {LATENESS_P99_MAX_US} us are allowed"
        ));
    }
    if outcome.settled == 0 {
        failures.push("no payment was settled".to_owned());
    }
    failures
}
