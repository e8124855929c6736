//! One authority in process, made of the daemon's own parts: journal and threads on a real directory, account table, workers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use meshpay_authority::JournalPort;
use meshpay_authority::accounts::{AccountTable, WorkerAccounts};
use meshpay_authority::journal::{
    self, Disk, Handle, Hooks, Identity, JournalConfig, JournalThread, MarkPlace, Position, RealDisk, Waiter,
};
use meshpay_authority::pace::Pace;
use meshpay_authority::pipeline::counters::WorkerCounters;
use meshpay_authority::pipeline::{NoFilter, Voting, Worker, WorkerParts, crossings_between};
use meshpay_authority::state::{self, Checkpointer, RecoverySources, known_kinds};
use meshpay_net::Waker;
use meshpay_protocol::record::{GenesisRecord, kind};
use meshpay_protocol::{Accounts as _, Ed25519Signatures};
use zerocopy::IntoBytes as _;

use super::options::{JournalSizes, PipelineOptions};
use super::supply::{PLACE, Scene};
use crate::scenario::Durability;
use crate::workload::TOKEN;
use crate::{affinity, allocations, slowdown};

/// The worker as the daemon runs it.
pub type InProcessWorker = Worker<WorkerAccounts, JournalPort, Ed25519Signatures>;

/// How long a proven equivocation bars new orders. None happens here.
const PENALTY_MS: u64 = 60_000;

/// What the journal's commit thread has used, told by itself after each commit.
#[derive(Default)]
pub struct JournalUse {
    /// Nanoseconds on a core.
    pub cpu_ns: AtomicU64,
    /// Allocations.
    pub allocations: AtomicU64,
    /// Commits.
    pub commits: AtomicU64,
    /// Microseconds in which the disk synced.
    pub sync_us: AtomicU64,
}

/// A started authority whose workers stand still.
pub struct InProcess {
    /// One for each worker.
    pub workers: Vec<InProcessWorker>,
    /// What each counts.
    pub counters: Vec<Arc<WorkerCounters>>,
    /// Wakes each.
    pub wakers: Vec<Arc<Waker>>,
    /// By what each waits for the journal.
    pub waiters: Vec<Waiter>,
    /// What the journal's thread has used.
    pub journal_use: Arc<JournalUse>,
    handle: Handle,
    // Dropped in this order: the threads end, the table is unmapped, the locks and the files go.
    journal: JournalThread,
    table: AccountTable,
    place: Place,
    home: Home,
}

/// An authority's directory.
pub struct Home {
    path: PathBuf,
    /// Number of the journal in it.
    journal: [u8; 32],
    /// Removes it.
    temporary: Option<tempfile::TempDir>,
}

impl Home {
    /// A directory of its own below `work`, which is removed with this.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn temporary(work: &Path) -> Result<Self> {
        std::fs::create_dir_all(work).with_context(|| format!("cannot make the folder {}", work.display()))?;
        let directory = tempfile::Builder::new()
            .prefix("pipeline-")
            .tempdir_in(work)
            .with_context(|| format!("cannot make a directory in {}", work.display()))?;
        Ok(Self { path: directory.path().to_owned(), journal: [0x11; 32], temporary: Some(directory) })
    }

    /// A directory that the daemon's `init` has made, with the number of the journal in it.
    pub fn of_daemon(path: &Path, journal: [u8; 32]) -> Self {
        Self { path: path.to_owned(), journal, temporary: None }
    }
}

impl InProcess {
    /// Starts from a directory as the daemon does, after making a journal in one of our own as `init` does.
    ///
    /// # Errors
    /// If the folder cannot be used or the journal not be made.
    pub fn start(options: &PipelineOptions, scene: &Scene, home: Home) -> Result<Self> {
        let place = Place::new(&home, options, scene)?;
        if home.temporary.is_some() {
            place.create(scene)?;
        }
        let recovered = place.recover(scene)?;
        let mut table = recovered.table;

        let journal_use = Arc::new(JournalUse::default());
        let hooks = hooks(&journal_use);
        let journal = affinity::tied_to(&options.cores(), || JournalThread::start(recovered.journal, hooks))?
            .context("cannot start the journal's threads")?;
        let handle = journal.handle();
        let wakers: Vec<Arc<Waker>> =
            (0..options.workers).map(|_| Waker::new().map(Arc::new)).collect::<Result<_, _>>()?;
        let waiters = (0..options.workers).map(|_| handle.waiter()).collect::<Result<_, _>>()?;
        let counters: Vec<Arc<WorkerCounters>> = (0..options.workers).map(|_| Arc::default()).collect();
        let rules = Arc::new(scene.network.rules.clone());
        let voting = Arc::new(Voting::new(recovered.voting_stopped));
        let views = table.split(options.workers).context("the account table is in use")?;
        let mut workers = Vec::with_capacity(options.workers);
        for ((crossing, accounts), counters) in crossings_between(&wakers).into_iter().zip(views).zip(&counters) {
            workers.push(Worker::new(WorkerParts {
                rules: Arc::clone(&rules),
                place: PLACE,
                filter: NoFilter,
                accounts,
                journal: JournalPort(handle.clone()),
                signatures: Ed25519Signatures::new(&rules.committee, scene.authority_key())?,
                crossing,
                voting: Arc::clone(&voting),
                token_key: scene.token_key.clone(),
                source_key: [3; 16],
                penalty_ms: PENALTY_MS,
                counters: Arc::clone(counters),
            }));
        }
        Ok(Self { workers, counters, wakers, waiters, journal_use, handle, journal, table, place, home })
    }

    /// Makes a checkpoint of what is durable now, as the daemon's thread for it does.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn checkpoint(&self, scene: &Scene) -> Result<()> {
        let checkpointer = Checkpointer {
            store: Arc::clone(&self.place.mark.disk),
            disk: Arc::clone(&self.place.disk),
            identity: self.place.identity,
            layout: scene.layout(),
            allocations: Arc::new(scene.network.allocations.clone()),
            pace: Arc::new(Pace::hurried()),
        };
        checkpointer.make(&self.handle, [6; 16]).context("making a checkpoint")?;
        Ok(())
    }

    /// Stops the journal without a word to the image, as if killed, and compares all accounts with the scene's books. All payments must have been
    /// settled.
    ///
    /// # Errors
    /// If an account differs from the books, or the journal fails.
    pub fn end(self, scene: &Scene) -> Result<Home> {
        let Self { workers, waiters, handle, journal, mut table, place, home, .. } = self;
        ensure!(workers.iter().all(Worker::has_taken_all_credits), "a credit is still on its way between two workers");
        drop((workers, waiters, handle));
        journal.stop().context("stopping the journal")?;
        compare(&mut table, scene)?;
        drop((table, place));
        Ok(home)
    }
}

/// Starts again from the directory of an authority that has ended, and says how long that took and how many records were read. Then compares
/// all accounts with the books.
///
/// # Errors
/// If the start fails or an account differs.
pub fn restart(home: &Home, options: &PipelineOptions, scene: &Scene) -> Result<(f64, u64)> {
    let place = Place::new(home, options, scene)?;
    let begun = std::time::Instant::now();
    let mut recovered = place.recover(scene)?;
    let seconds = begun.elapsed().as_secs_f64();
    compare(&mut recovered.table, scene)?;
    Ok((seconds, recovered.read.records))
}

/// Accounts between the look for where one lies, the fetching of it, and its comparison. Of ten million none is in a cache.
const COMPARED_AHEAD: usize = 8;

/// Compares balance and next sequence of every account with the books.
fn compare(table: &mut AccountTable, scene: &Scene) -> Result<()> {
    let accounts = table.whole().context("the account table is in use")?;
    let allocations = &scene.network.allocations;
    for (at, allocation) in allocations.iter().enumerate() {
        if let Some(later) = allocations.get(at + 2 * COMPARED_AHEAD) {
            accounts.expect(&later.account);
        }
        if let Some(soon) = allocations.get(at + COMPARED_AHEAD) {
            accounts.expect_slot(&soon.account);
        }
        let number = at as u32;
        let found = accounts.account(&allocation.account).map(|account| {
            // Nobody holds any other token.
            (account.token.get(), account.next_sequence.get(), account.balance.get())
        });
        let expected = (TOKEN, scene.ledger.acknowledged_by(PLACE as u8, number), scene.ledger.balance(number));
        ensure!(
            found == Some(expected),
            "account {number} has token, next sequence and balance {found:?}, by the books {expected:?}"
        );
    }
    Ok(())
}

/// Lets the journal's thread say what it has used.
fn hooks(journal_use: &Arc<JournalUse>) -> Hooks {
    let told = Arc::clone(journal_use);
    Hooks {
        on_failure: Some(Box::new(|failure| eprintln!("meshpay-bench: the journal failed: {failure}"))),
        on_commit: Some(Box::new(move |report| {
            told.cpu_ns.store(slowdown::thread_time().as_nanos() as u64, Ordering::Relaxed);
            told.allocations.store(allocations::of_this_thread(), Ordering::Relaxed);
            told.commits.fetch_add(1, Ordering::Relaxed);
            told.sync_us.fetch_add(report.sync_us, Ordering::Relaxed);
        })),
    }
}

/// Files and identity of the authority.
struct Place {
    directory: PathBuf,
    disk: Arc<dyn Disk>,
    mark: MarkPlace,
    identity: Identity,
    config: JournalConfig,
}

impl Place {
    fn new(home: &Home, options: &PipelineOptions, scene: &Scene) -> Result<Self> {
        let directory = &home.path;
        let journal = directory.join("journal");
        std::fs::create_dir_all(&journal)?;
        let durability = match options.durability {
            Durability::PowerLoss => journal::Durability::PowerLoss,
            Durability::Process => journal::Durability::Process,
        };
        let JournalSizes { segment_bytes, frame_bytes } = options.journal;
        Ok(Self {
            directory: directory.clone(),
            disk: Arc::new(RealDisk::open_for(&journal, durability)?),
            mark: MarkPlace { disk: Arc::new(RealDisk::open(directory)?), name: "key.mark".to_owned() },
            identity: Identity { journal: home.journal, network: scene.network.rules.genesis.0 },
            config: JournalConfig { durability, segment_bytes, frame_bytes, ..JournalConfig::new(known_kinds()) },
        })
    }

    /// Makes the journal with its first record.
    fn create(&self, scene: &Scene) -> Result<()> {
        let Self { disk, mark, identity, config, .. } = self;
        journal::create(disk, mark, identity, config)?;
        let (mut journal, _) = journal::recover(disk, mark, identity, config, Position::START, &mut |_, _, _| Ok(()))?;
        let authority = scene.network.committee[PLACE].public_key();
        let first = GenesisRecord { genesis: scene.network.rules.genesis.0, authority };
        journal
            .handle()
            .append(kind::GENESIS, &[first.as_bytes()])
            .map_err(|error| anyhow::anyhow!("the journal took no first record: {error}"))?;
        journal.commit().map_err(|failure| anyhow::anyhow!("the journal failed: {failure}"))?;
        journal.stop()?;
        Ok(())
    }

    fn recover(&self, scene: &Scene) -> Result<state::Recovered> {
        state::recover(&RecoverySources {
            disk: &self.disk,
            mark: &self.mark,
            identity: self.identity,
            journal: self.config.clone(),
            image: self.directory.join("accounts.image"),
            checkpoints: &self.mark.disk,
            layout: scene.layout(),
            allocations: &|| Ok(&scene.network.allocations),
            hash_key: [5; 16],
        })
    }
}
