//! The generator against a server that does nothing, at half as much again: what it could not offer there, it cannot be trusted to
//! have offered in the run.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use meshpay_wire::DEFAULT_PORT;
use serde::{Deserialize, Serialize};

use super::capacity::seconds_ns;
use super::session::{BatchPlan, Ended, drive, quorum_of};
use crate::daemons::Process;
use crate::generator::{AnswerCheck, Outcome, Pacing, Schedule, Target};
use crate::workload::Batch;

/// The rate of this check over that of the run.
pub const CHECK_FACTOR: f64 = 1.5;

const CHECK_SECONDS: f64 = 2.0;
const CHECK_WARM_UP_SECONDS: f64 = 0.5;

/// The 99th percentile of lateness must stay below this, in microseconds, here and in the run: a retry's timeout is
/// fifty times longer, and lateness only ever makes latencies look worse.
pub const LATENESS_P99_MAX_US: u64 = 10_000;

/// Share of the offered payments that must come back within the measured part. The rest may still be under way at its end; none may
/// be lost.
const KEPT_UP: f64 = 0.9;

/// How the generator did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeneratorCheck {
    /// Payments offered a second.
    pub offered_per_second: f64,
    /// Payments that came back a second, each in two answers.
    pub settled_per_second: f64,
    /// 99th percentile of the generator's lateness, in microseconds.
    pub lateness_p99_us: u64,
    /// 99th percentile of the time to the first answer, from the intended send time.
    pub answer_p99_us: u64,
    /// Whether it kept up.
    pub passed: bool,
}

/// Runs the check with payments that were run before: the null server does not mind. Nothing where the batch is too short for it.
///
/// # Errors
/// If the null server cannot be started, or the user interrupts.
pub fn check_generator(ended: &mut Ended<'_>, rate: f64, batch: &Batch) -> Result<GeneratorCheck> {
    let rate = rate * CHECK_FACTOR;
    let mut servers = Vec::new();
    let mut targets = Vec::new();
    for (place, core) in ended.request.cores.authority.iter().enumerate() {
        let log = ended.request.folder.join(format!("null-server-{place}.log"));
        let server = start_null_server(ended, *core, &log)?;
        targets.push(Target { place: place as u8, address: server.ready().listen });
        servers.push(server);
    }
    // At most so long that the batch's payments suffice.
    let enough = batch.len() as f64 / rate / 1.05;
    let seconds = CHECK_SECONDS.min(enough - CHECK_WARM_UP_SECONDS.min(enough / 4.0));
    let warm_up = CHECK_WARM_UP_SECONDS.min(enough / 4.0);
    let seed = ended.request.options.seed ^ 0x6e75_6c6c;
    let mut schedule = Schedule::poisson(seed, rate, seconds_ns(warm_up), seconds_ns(seconds));
    schedule.truncate(batch.len());
    ended.batches += 1;
    let offered_per_second = schedule.offered_per_second();
    let plan = BatchPlan {
        targets: &targets,
        quorum: quorum_of(ended.request.scenario),
        check: AnswerCheck::SizeOnly,
        batch,
        number: ended.batches,
        pacing: Pacing::Open(schedule),
    };
    let what = format!("checking the generator against a null server at {rate:.0} a second");
    let (ports, clients) = (&mut ended.ports, &mut ended.clients);
    let outcome = drive(&ended.request, &ended.network, &what, plan, ports, clients, |_| {})?;
    Ok(judge(offered_per_second, &outcome))
}

fn judge(offered_per_second: f64, outcome: &Outcome) -> GeneratorCheck {
    let lateness_p99_us = outcome.lateness_us.value_at_quantile(0.99);
    let settled_per_second = outcome.settled_per_second();
    GeneratorCheck {
        offered_per_second,
        settled_per_second,
        lateness_p99_us,
        answer_p99_us: outcome.finality_us.value_at_quantile(0.99),
        passed: lateness_p99_us <= LATENESS_P99_MAX_US
            && settled_per_second >= KEPT_UP * offered_per_second
            && outcome.lost == 0,
    }
}

fn start_null_server(ended: &Ended<'_>, core: usize, log: &Path) -> Result<Process> {
    let side = &ended.request.link.authority;
    let mut command = Command::new(&ended.request.options.bench_binary);
    // By rings, so that the generator is the slower of the two. Several servers cannot share an interface's one queue.
    let rings = side.namespace().is_some() && ended.request.cores.authority.len() == 1;
    let port = if rings { DEFAULT_PORT } else { 0 };
    command.args(["null-server", "--listen", &format!("{}:{port}", side.ipv4())]);
    if rings {
        side.make_way();
        command.args(["--interface", side.interface()]);
    }
    let server = Process::start("the null server", command, side, &[core], log, ended.request.stop)?;
    if rings {
        side.pin_receiving()?;
    }
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_or_slow_generator_fails() {
        let mut outcome = Outcome::new(0);
        (outcome.settled_in_window, outcome.window_seconds) = (990, 1.0);
        outcome.lateness_us.saturating_record(100);
        assert!(judge(1_000.0, &outcome).passed);
        assert!(!judge(1_200.0, &outcome).passed);
        assert!(!judge(1_000.0, &Outcome { lost: 1, ..outcome.clone() }).passed);
        outcome.lateness_us.saturating_record(2 * LATENESS_P99_MAX_US);
        assert!(!judge(1_000.0, &outcome).passed);
    }
}
