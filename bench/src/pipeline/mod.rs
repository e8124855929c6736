//! The whole worker loop in process: real worker, real signatures, real account table, real journal on a real directory, and no network.
//!
//! What it is for: what the software costs by itself, without a kernel's packets and another process's noise. Hence it is what a
//! change is judged by (`cargo xtask regress`), and how scale is measured: accounts, committees, weights, workers on cores of their own.
//!
//! | file | what |
//! |---|---|
//! | `options` | what can be asked for |
//! | `supply` | orders and certificates signed beforehand, as the datagrams that arrive |
//! | `port` | a packet port made of memory, which is also the clients: it checks every answer and sends what follows |
//! | `clock` | the worker's clock, which counts the time that its thread has run |
//! | `authority` | journal, accounts and workers, as the daemon makes them |
//! | `drive` | the threads, and where measuring begins and ends |
//! | `report` | figures as text and JSON |
//!
//! What always holds: answers are compared with what they must be, byte by byte where it is a vote; what is put off is offered again as a client
//! would, and counted; a request that is dropped fails the run; after a run every account is compared with books of our own; and time is that of the
//! threads on their cores, so that what else runs on the machine hardly counts.

mod authority;
mod clock;
mod drive;
mod options;
mod port;
mod report;
mod supply;

pub use authority::Home;
pub use drive::WorkerOutcome;
pub use options::{JournalSizes, PipelineOptions};
pub use report::{PipelineReport, StageTimes};

use anyhow::{Context as _, Result, ensure};
use meshpay_authority::KeyFile;
use meshpay_protocol::genesis;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::authority::InProcess;
use self::port::MemoryPort;
use self::supply::Scene;
use crate::daemons::AuthorityDirectory;
use crate::generator::Interrupted;
use crate::progress::Console;

/// Signs, runs, and reports.
///
/// # Errors
/// If the journal's folder cannot be used, if an answer is not what it must be, or if one does not come.
pub fn run(options: &PipelineOptions, stop: &AtomicBool, console: &Console) -> Result<PipelineReport> {
    let mut pipeline = Pipeline::start(options, stop, console)?;
    let step = console.step("running", 0);
    let workers = pipeline.round(1, stop)?;
    step.finish(&format!("{} payments settled while measured", workers.iter().map(|it| it.settled).sum::<u64>()));
    let ended = pipeline.end()?;
    let restart = options.restart.then(|| ended.restart()).transpose()?;
    Ok(PipelineReport::new(options, &ended.scene, &workers, restart))
}

/// A network, what its clients will send, and the authority that gets it.
///
/// Its payments can be settled in several rounds, so that several pipelines are measured in turns.
pub struct Pipeline {
    options: PipelineOptions,
    ports: Vec<MemoryPort>,
    authority: InProcess,
    scene: Scene,
}

/// What is left of one: the directory, as after a kill.
pub struct Ended {
    options: PipelineOptions,
    scene: Scene,
    home: Home,
}

impl Pipeline {
    /// Signs everything and starts an authority in a directory of its own.
    ///
    /// # Errors
    /// If a bound is broken, or the journal's folder cannot be used.
    pub fn start(options: &PipelineOptions, stop: &AtomicBool, console: &Console) -> Result<Self> {
        options.check()?;
        let scene = Scene::make(options, None, console)?;
        Self::start_at(options, scene, Home::temporary(&options.work)?, stop)
    }

    /// As [`Pipeline::start`], with the key of the daemon's `directory` and in that directory, which is made by the daemon's `init` and can be run by
    /// the daemon when the pipeline has ended. Genesis and allocations are left beside it.
    ///
    /// # Errors
    /// As [`Pipeline::start`], and if the daemon refuses.
    pub fn start_in(
        options: &PipelineOptions,
        directory: &AuthorityDirectory,
        stop: &AtomicBool,
        console: &Console,
    ) -> Result<Self> {
        options.check()?;
        directory.make_key()?;
        let key_file = directory.path().join("key");
        let scene = Scene::make(options, Some(KeyFile::read(&key_file)?), console)?;
        let [genesis, allocations] =
            ["genesis.toml", "allocations.csv"].map(|name| directory.path().with_file_name(name));
        let write = |path: &Path, text: String| {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write(&genesis, scene.network.genesis.text())?;
        write(&allocations, genesis::allocations_text(&scene.network.allocations))?;
        let segment_mib = (options.journal.segment_bytes >> 20).to_string();
        let flags = ["--segment-mib", &segment_mib, "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
        // No checkpoint comes unasked.
        let flags = [&flags[..], &["--checkpoint-mib", "1048576"]].concat();
        directory.make_journal_with(&genesis, &allocations, options.durability.name(), &flags)?;
        let journal = KeyFile::read(&key_file)?.journal.context("`init` made no journal")?;
        Self::start_at(options, scene, Home::of_daemon(directory.path(), journal), stop)
    }

    fn start_at(options: &PipelineOptions, scene: Scene, home: Home, stop: &AtomicBool) -> Result<Self> {
        if stop.load(Ordering::Relaxed) {
            return Err(Interrupted.into());
        }
        let authority = InProcess::start(options, &scene, home)?;
        let port = |supply: &Arc<_>| MemoryPort::new(Arc::clone(supply), options.in_flight);
        let ports = scene.supplies.iter().map(port).collect();
        Ok(Self { options: options.clone(), ports, authority, scene })
    }

    /// Makes a checkpoint of what was settled so far.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn checkpoint(&self) -> Result<()> {
        self.authority.checkpoint(&self.scene)
    }

    /// Signatures in a certificate, on average of all payments.
    pub fn signatures_per_certificate(&self) -> f64 {
        let payments: usize = self.scene.supplies.iter().map(|supply| supply.payments.len()).sum();
        self.scene.signatures as f64 / payments as f64
    }

    /// Settles what is left, divided by `rounds_left`, and says what each worker did in the part that is measured.
    ///
    /// # Errors
    /// If an answer is not what it must be, or one does not come.
    pub fn round(&mut self, rounds_left: u32, stop: &AtomicBool) -> Result<Vec<WorkerOutcome>> {
        let payments: Vec<u32> = self.ports.iter().map(|port| port.left().div_ceil(rounds_left.max(1))).collect();
        drive::round(&self.options, &mut self.authority, &mut self.ports, &payments, stop)
    }

    /// Ends the authority as if killed, and compares all accounts with the books.
    ///
    /// # Errors
    /// If not everything was settled, or an account differs.
    pub fn end(self) -> Result<Ended> {
        let Self { options, ports, authority, scene } = self;
        let left: u32 = ports.iter().map(MemoryPort::left).sum();
        ensure!(left == 0 && ports.iter().all(MemoryPort::is_done), "{left} payments were never offered");
        let home = authority.end(&scene)?;
        Ok(Ended { options, scene, home })
    }
}

impl Ended {
    /// Starts again in process, says how many seconds that took and how many records were read, and compares all accounts with the books.
    ///
    /// # Errors
    /// If the start fails, or an account differs.
    pub fn restart(&self) -> Result<(f64, u64)> {
        authority::restart(&self.home, &self.options, &self.scene)
    }
}
