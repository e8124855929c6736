//! The daemon's start, from exec to its ready line, by the real program on the real disk.
//!
//! The directory holds a checkpoint of all accounts and, behind it, a lock and an execution for each payment. They are written by the worker loop in process,
//! into a directory that the daemon's `init` has made; then the daemon itself is started, killed and stopped there, again and again. After a kill the image of
//! the accounts is not to be trusted, and all that stands behind the checkpoint is applied again; after a clean stop the image is read and checked.
//! 'Warm' is with the directory in the page cache, as when a service manager starts a daemon that was killed; 'cold' is without, as after a boot.
//! The program itself is in the page cache always.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::cache::drop_pages_below;
use super::{Request, median};
use crate::cpu;
use crate::daemons::{AuthorityDirectory, Process};
use crate::link::{Link, LinkRequest};
use crate::pipeline::{Pipeline, PipelineOptions};
use crate::progress::Console;

/// How the daemon starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestartReport {
    /// Accounts in the checkpoint.
    pub accounts: usize,
    /// Records behind it.
    pub records: u64,
    /// By how the daemon ended before, and what was in the page cache.
    pub starts: Vec<StartFigures>,
}

/// Starts of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartFigures {
    /// How the daemon ended before: "kill" or "stop".
    pub after: String,
    /// Whether the directory was in the page cache.
    pub warm: bool,
    /// Median seconds from exec to ready.
    pub seconds: f64,
    /// Of each start.
    pub rounds: Vec<f64>,
    /// Median seconds that its threads ran on cores until then, of all of them together: what other programs do hardly counts.
    pub cpu_seconds: f64,
}

/// Starts the daemon `request.rounds` times in each way.
pub fn measure(request: &Request, stop: &AtomicBool, console: &Console) -> Result<RestartReport> {
    std::fs::create_dir_all(&request.work)?;
    let folder = tempfile::Builder::new().prefix("restart-").tempdir_in(&request.work)?;
    let directory = AuthorityDirectory::new(&request.authority_binary, &folder.path().join("authority"));
    let options = PipelineOptions {
        accounts: request.restart_accounts,
        payments: request.restart_payments,
        ..request.pipeline()
    };
    let mut pipeline = Pipeline::start_in(&options, &directory, stop, console)?;
    let step = console.step("making the checkpoint", 0);
    pipeline.checkpoint()?;
    step.finish("made");
    let step = console.step("writing records", 0);
    pipeline.round(1, stop)?;
    let ended = pipeline.end()?;
    step.finish(&format!("{} payments", request.restart_payments));

    let mut daemon = Daemon {
        directory: &directory,
        link: Link::open_loopback(LinkRequest::new(0, 0), "the daemon is only started")?,
        log: folder.path().join("log"),
        stop,
    };
    // What the first start finds was left behind by this process, cleanly. It is killed, which nothing of it survives.
    daemon.start()?.process.kill()?;
    let mut starts = Vec::new();
    let step = console.step("starting the daemon", u64::from(4 * request.rounds));
    for (after, is_clean) in [("kill", false), ("stop", true)] {
        if is_clean {
            daemon.start()?.process.stop()?;
        }
        let mut taken = [(true, Vec::new(), Vec::new()), (false, Vec::new(), Vec::new())];
        for _ in 0..request.rounds {
            for (warm, seconds, cpu_seconds) in &mut taken {
                if !*warm {
                    drop_pages_below(directory.path())?;
                }
                let started = daemon.start()?;
                seconds.push(started.seconds);
                cpu_seconds.push(started.cpu_seconds);
                if is_clean {
                    started.process.stop()?
                } else {
                    started.process.kill()?
                }
                step.advance(1);
            }
        }
        starts.extend(taken.map(|(warm, rounds, cpu_seconds)| StartFigures {
            after: after.to_owned(),
            warm,
            seconds: median(rounds.iter().copied()),
            rounds,
            cpu_seconds: median(cpu_seconds),
        }));
    }
    step.finish(&format!("{} times", starts.len() * request.rounds as usize));
    // Without the image of the last clean stop, so that all that was settled must come from the checkpoint and the records behind it.
    std::fs::remove_file(directory.path().join("accounts.image"))?;
    let (_, records) = ended.restart()?;
    ensure!(
        records == 2 * request.restart_payments as u64,
        "{records} records stand behind the checkpoint, expected {}",
        2 * request.restart_payments
    );
    Ok(RestartReport { accounts: request.restart_accounts, records, starts })
}

struct Daemon<'a> {
    directory: &'a AuthorityDirectory,
    link: Link,
    log: std::path::PathBuf,
    stop: &'a AtomicBool,
}

impl Daemon<'_> {
    /// Starts it on all cores.
    fn start(&mut self) -> Result<Started> {
        let cores: Vec<usize> = (0..cpu::core_count()).collect();
        let begun = Instant::now();
        let command = self.directory.command("run");
        let process = Process::start("the daemon", command, &self.link.authority, &cores, &self.log, self.stop)?;
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Started { seconds, cpu_seconds: cpu::process_seconds(process.id())?, process })
    }
}

/// A daemon that is ready.
struct Started {
    process: Process,
    /// From exec to its ready line.
    seconds: f64,
    /// On cores until then.
    cpu_seconds: f64,
}
