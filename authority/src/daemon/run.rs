//! From a directory to a running authority, and back to a clean stop.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use meshpay_net::host::{User, drop_privileges};
use meshpay_net::{RingSlot, UdpConfig, UdpGroup, UdpPort, WorkerPort};
use meshpay_protocol::Ed25519Signatures;
use meshpay_wire::filter::TableSizes;
use meshpay_wire::{Header, TokenKey};

use super::first_balances::FirstBalances;
use super::worker_thread::{self, ThreadShared};
use crate::accounts::{Layout, Stamp};
use crate::control::{self, ControlSocket, ControlState, StageHistograms};
use crate::directory::Directory;
use crate::dump::{DumpRing, WatchedPort};
use crate::fault;
use crate::filter::PlainTables;
use crate::journal::{Disk, Hooks, Identity, JournalConfig, JournalThread, MarkPlace, PacedDisk, RealDisk};
use crate::journal_port::JournalPort;
use crate::key::KeyFile;
use crate::network::{self, Coverage, Keeper, NetworkRequest, Prepared, Tables, WorkerFilter};
use crate::pace::Pace;
use crate::pipeline::counters::WorkerCounters;
use crate::pipeline::{Voting, Worker, WorkerParts, crossings};
use crate::settings::Settings;
use crate::state::{self, Checkpointer, RecoverySources};

/// How long a stop waits for what is under way.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether a checkpoint is due.
const CHECKPOINT_LOOK: Duration = Duration::from_secs(2);

/// What stands between an authority's directory and its running: everything that is read before anything is answered.
pub(crate) fn journal_config(settings: &Settings) -> JournalConfig {
    let mut config = JournalConfig::new(state::known_kinds());
    config.segment_bytes = settings.journal.segment_mib << 20;
    config.durability = settings.journal.durability.durability();
    config.commit_spacing_us = settings.journal.commit_spacing_us;
    if settings.journal.reserve_mib > 0 {
        config.reserve_bytes = Some(settings.journal.reserve_mib << 20);
        config.segments_ahead = settings.journal.reserve_mib.div_ceil(settings.journal.segment_mib) + 1;
    }
    config
}

/// Runs the authority of a directory until SIGTERM or SIGINT.
pub fn run(directory: &Directory, settings: &Settings) -> Result<ExitCode> {
    let inherited = network::inherited_links();
    settings.check()?;
    let genesis = directory.read_genesis_alone()?;
    let rules = Arc::new(genesis.rules()?);
    let key = KeyFile::read(&directory.key())?;
    let signing_key = key.signing_key();
    let Some(place) = rules.committee.place_of(&signing_key.public_key()) else {
        bail!(
            "the key in {} ({}) is not in the committee of {}; check that directory and genesis belong together",
            directory.key().display(),
            hex::encode(signing_key.public_key()),
            directory.genesis().display()
        );
    };
    let Some(journal_number) = key.journal else {
        bail!(
            "no journal was made for {} yet: run `meshpay-authority init --directory {} --genesis ... --allocations ...`",
            directory.key().display(),
            directory.path().display()
        );
    };
    // All that needs rights, before recovery, which may take long, and before any thread, since rights belong to threads.
    let token_key = TokenKey::new(random()?);
    let sockets = open_sockets(settings)?;
    let listen = sockets[0].local_address();
    let prepared =
        network::prepare(NetworkRequest { settings, token_key: &token_key, table_key: random()?, inherited })?;
    say_rung(&prepared);
    let tables = match &prepared.filter {
        Some(filter) => filter.program.tables().clone(),
        None => Tables::Plain(Arc::new(PlainTables::new(TableSizes::ORDINARY, random()?, token_key.clone()))),
    };
    let coverage = Coverage::default();
    // Before the first worker looks: what waits in its socket has met the program, and would be taken for its own echo.
    coverage.set(prepared.filter.as_ref().map(|filter| filter.index));
    give_up_rights(settings)?;

    let identity = Identity { journal: journal_number, network: rules.genesis.0 };
    let durability = settings.journal.durability.durability();
    let disk: Arc<dyn Disk> = fault::journal_disk(Arc::new(RealDisk::open_for(&directory.journal(), durability)?));
    let store: Arc<dyn Disk> = Arc::new(RealDisk::open_for(directory.path(), durability)?);
    let mark = MarkPlace { disk: Arc::clone(&store), name: Directory::MARK.to_owned() };
    let layout = Layout::for_capacity(settings.accounts.capacity.max(genesis.allocations.count));
    let started = Instant::now();
    let first_balances = FirstBalances::begin_reading(directory, genesis)?;
    let mut recovered = state::recover(&RecoverySources {
        disk: &disk,
        mark: &mark,
        identity,
        journal: journal_config(settings),
        image: directory.image(),
        checkpoints: &store,
        layout,
        allocations: &|| Ok(first_balances.get()?),
        hash_key: random()?,
    })?;
    let allocations = Arc::clone(first_balances.get()?);
    tracing::info!(
        origin = recovered.origin,
        records = recovered.read.records,
        head = recovered.read.head.0,
        torn_tail = recovered.read.cut.is_some(),
        accounts = recovered.table.used(),
        milliseconds = started.elapsed().as_millis() as u64,
        "recovered"
    );
    let voting = Arc::new(Voting::new(recovered.voting_stopped));
    if let Some(reason) = voting.stopped() {
        tracing::error!(reason, "this authority has stopped voting for good; it executes certificates only");
    }

    let commits = Arc::new(StageHistograms::default());
    let journal = JournalThread::start(recovered.journal, journal_hooks(&commits))
        .context("cannot start the journal's threads")?;
    let handle = journal.handle();

    let threads: Vec<Arc<ThreadShared>> =
        (0..settings.workers).map(|_| ThreadShared::new().map(Arc::new)).collect::<Result<_, _>>()?;
    let wakers: Vec<Arc<dyn Fn() + Send + Sync>> = threads
        .iter()
        .map(|shared| {
            let shared = Arc::clone(shared);
            Arc::new(move || shared.waker.wake()) as Arc<dyn Fn() + Send + Sync>
        })
        .collect();
    let counters: Vec<Arc<WorkerCounters>> = (0..settings.workers).map(|_| Arc::default()).collect();
    let views = recovered.table.split(settings.workers).context("the account table is in use")?;
    let gauge = recovered.table.gauge();
    let mut joins = Vec::new();
    let mut parts = Vec::new();
    for (crossing, accounts) in crossings(wakers).into_iter().zip(views) {
        let worker = parts.len();
        parts.push(WorkerParts {
            rules: Arc::clone(&rules),
            place,
            accounts,
            journal: JournalPort(handle.clone()),
            signatures: Ed25519Signatures::new(&rules.committee, key.signing_key())?,
            filter: WorkerFilter::new(tables.clone(), coverage.clone()),
            crossing,
            voting: Arc::clone(&voting),
            token_key: token_key.clone(),
            source_key: random()?,
            penalty_ms: settings.penalty_ms,
            counters: Arc::clone(&counters[worker]),
        });
    }
    drop(key);
    let dump = Arc::new(DumpRing::default());
    let slots: Vec<Arc<RingSlot>> = (0..settings.workers).map(|_| RingSlot::new()).collect::<Result<_, _>>()?;
    for (worker, (parts, socket)) in parts.into_iter().zip(sockets).enumerate() {
        let port = WorkerPort::new(socket, Arc::clone(&slots[worker]));
        let port = WatchedPort::new(port, Arc::clone(&dump), listen);
        let shared = Arc::clone(&threads[worker]);
        let waiter = handle.waiter().context("cannot make a worker's wake-up")?;
        let core = (!settings.cores.is_empty()).then(|| settings.cores[worker % settings.cores.len()]);
        let thread = std::thread::Builder::new().name(format!("worker-{worker}")).spawn(move || {
            if let Some(core) = core {
                pin(core);
            }
            let _guard = EndsWithItsThread;
            match worker_thread::run(Worker::new(parts), port, &waiter, &shared) {
                Ok(worker) => worker,
                Err(fatal) => {
                    tracing::error!(worker, "{fatal}; the process ends, start it again");
                    std::process::exit(1);
                }
            }
        })?;
        joins.push(thread);
    }

    let network = Keeper::start(prepared, &slots, &counters, coverage, settings)?;

    let control = Arc::new(ControlState {
        authority: hex::encode(rules.committee.members()[place].key),
        name: rules.committee.members()[place].name.clone(),
        genesis: hex::encode(rules.genesis.0),
        durability: settings.journal.durability.durability().name(),
        signatures: meshpay_crypto::implementation(),
        listen,
        journal: handle.clone(),
        voting: Arc::clone(&voting),
        gauge: Mutex::new(Some(gauge)),
        workers: counters,
        threads: threads.clone(),
        network: Arc::clone(&network),
        dump,
        commits,
        checkpoint: AtomicU64::new(0),
        started: Instant::now(),
    });
    // A checkpoint can wait; a commit beside it cannot.
    let pace = Arc::new(Pace::gentle());
    let paced = |disk: Arc<dyn Disk>| -> Arc<dyn Disk> { Arc::new(PacedDisk::new(disk, Arc::clone(&pace))) };
    let checkpointer = Checkpointer {
        store: paced(store),
        disk: paced(Arc::clone(&disk)),
        identity,
        layout,
        allocations,
        pace: Arc::clone(&pace),
    };
    control.checkpoint.store(checkpointer.newest(), Ordering::Relaxed);
    checkpoint_thread(checkpointer, settings.journal.checkpoint_mib << 20, &control)?;

    let socket = ControlSocket::bind(directory.path())?;
    let stopped = control::serve(settings.metrics, &control, socket, |metrics: SocketAddr| {
        // A stdout that nobody reads any more is no reason to end.
        let _ = writeln!(
            std::io::stdout(),
            "ready listen={listen} metrics={metrics} durability={} workers={} rung={} signatures={} authority={} genesis={}",
            control.durability,
            settings.workers,
            network.rung(),
            control.signatures,
            control.authority,
            &control.genesis[..16]
        );
        // The line must be seen at once, also through a pipe.
        let _ = std::io::stdout().flush();
        if settings.journal.durability.durability() == crate::journal::Durability::Process {
            tracing::warn!("durability is \"process\": a power cut loses votes. Never use this for real money.");
        }
    })?;
    tracing::info!(signal = stopped, "stopping");
    network.close();
    let clean = drain(&threads);
    for shared in &threads {
        shared.ended.store(true, Ordering::Release);
        shared.waker.wake();
    }
    let mut workers = Vec::new();
    for join in joins {
        match join.join() {
            Ok(worker) => workers.push(worker),
            Err(_) => bail!("a worker panicked; the next start recovers from the journal"),
        }
    }
    // Asked when all have ended, so that it is exact: a credit still on its way would be missing from the image forever.
    let all_credited = workers.iter().all(Worker::has_taken_all_credits);
    drop(workers);
    let end = journal.stop()?;
    drop(control.gauge.lock().map(|mut gauge| gauge.take()));
    if !clean {
        tracing::warn!("not every request was answered in time; its client asks again");
    }
    if !all_credited {
        tracing::warn!("a credit was still on its way between two workers; the next start recovers from the journal");
        return Ok(ExitCode::SUCCESS);
    }
    let hash_key = recovered.table.hash_key();
    if let Some(image) = recovered.table.image_mut() {
        image.stamp(&Stamp {
            genesis: rules.genesis.0,
            journal_head: end.head.0,
            journal_chain: end.chain,
            voting_stopped: voting.stopped().unwrap_or(0),
            hash_key,
        })?;
    }
    tracing::info!(head = end.head.0, "stopped cleanly");
    Ok(ExitCode::SUCCESS)
}

/// Opens the workers' sockets; the kernel steers by the first message's account.
fn open_sockets(settings: &Settings) -> Result<Vec<UdpPort>> {
    Ok(UdpGroup::open(&UdpConfig::new(settings.listen), settings.workers, Header::ACCOUNT_OFFSET as u32)?)
}

/// Says by which means packets come and go, and what stood in the way of better ones.
fn say_rung(prepared: &Prepared) {
    for missed in &prepared.missed {
        tracing::info!("not {missed}");
    }
    match &prepared.filter {
        Some(filter) => {
            tracing::info!(rung = %prepared.rung, interface = filter.interface, "{}", prepared.rung.description())
        }
        None => tracing::info!(rung = %prepared.rung, "{}", prepared.rung.description()),
    }
}

/// From here on the daemon works by the descriptors that it holds. Root, without a filter and without a user to become, keeps what it has,
/// since nothing was asked for.
fn give_up_rights(settings: &Settings) -> Result<()> {
    let user = match settings.filter.user.as_str() {
        "" => None,
        name => Some(User::named(name)?),
    };
    if user.is_none() && settings.filter.interface.is_empty() && rustix::process::geteuid().is_root() {
        return Ok(());
    }
    drop_privileges(user.as_ref())?;
    tracing::info!(user = user.as_ref().map_or("unchanged", User::name), "all rights were given up");
    Ok(())
}

/// Ends the process when its thread panics: accounts that nobody serves any more must not look like a healthy authority.
struct EndsWithItsThread;

impl Drop for EndsWithItsThread {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "a worker panicked; the process ends, start it again: the journal holds all that was answered"
            );
            std::process::exit(1);
        }
    }
}

/// Lets the workers finish what they have taken, and takes nothing more. True if nothing seems to be left anywhere.
fn drain(threads: &[Arc<ThreadShared>]) -> bool {
    for shared in threads {
        shared.stopping.store(true, Ordering::Release);
        shared.waker.wake();
    }
    let deadline = Instant::now() + DRAIN_MAX;
    let mut quiet = 0;
    while Instant::now() < deadline {
        // A worker that was drained may get a credit from one that was not, so all must be quiet several times in a row.
        let all = threads.iter().all(|shared| shared.drained.load(Ordering::Acquire));
        quiet = if all { quiet + 1 } else { 0 };
        if quiet == 4 {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

fn journal_hooks(commits: &Arc<StageHistograms>) -> Hooks {
    let commits = Arc::clone(commits);
    Hooks {
        on_failure: Some(Box::new(|failure| {
            tracing::error!("{failure}");
            // What was not durable never will be; only a new process may read the disk again (DESIGN 5.2).
            std::process::exit(1);
        })),
        on_commit: Some(Box::new(move |report| {
            commits.write.record_ns(report.write_us * 1_000);
            commits.sync.record_ns(report.sync_us * 1_000);
            commits.sync_latency.record_us(report.sync_us);
        })),
    }
}

/// Makes checkpoints as the journal grows, at the lowest priority.
fn checkpoint_thread(checkpointer: Checkpointer, interval_bytes: u64, control: &Arc<ControlState>) -> Result<()> {
    let control = Arc::downgrade(control);
    std::thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
        let _ = rustix::process::nice(19);
        loop {
            std::thread::sleep(CHECKPOINT_LOOK);
            let Some(control) = control.upgrade() else { return };
            if control.journal.durable().0 < control.checkpoint.load(Ordering::Relaxed) + interval_bytes {
                continue;
            }
            let made = random().and_then(|hash_key| Ok(checkpointer.make(&control.journal, hash_key)?));
            match made {
                Ok(position) => {
                    control.checkpoint.store(position.0, Ordering::Relaxed);
                    tracing::info!(position = position.0, "checkpoint made");
                }
                Err(error) => tracing::warn!("no checkpoint was made, it is tried again: {error}"),
            }
        }
    })?;
    Ok(())
}

fn pin(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(core, "cannot pin a worker: {error}");
    }
}

fn random() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the kernel gave no random bytes: {error}"))?;
    Ok(bytes)
}
