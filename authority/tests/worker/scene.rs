//! An authority in process: its workers, its journal on a disk that can crash, its directory, and the hands that move time and packets.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use meshpay_authority::JournalPort;
use meshpay_authority::accounts::{AccountTable, Layout, Stamp, WorkerAccounts};
use meshpay_authority::filter::{self, PlainTables};
use meshpay_authority::journal::{
    self, CrashFault, Disk, FaultDisk, Handle, Identity, Journal, JournalConfig, MarkPlace, Position, RealDisk,
};
use meshpay_authority::pace::Pace;
use meshpay_authority::pipeline::counters::WorkerCounters;
use meshpay_authority::pipeline::{Clock, Fatal, Filter, Turn, Voting, Worker, WorkerParts, crossings};
use meshpay_authority::state::{self, AuditReport, Checkpointer, RecoverySources, known_kinds};
use meshpay_net::{BURST_MAX, DATAGRAM_MAX_BYTES, PacketPort, Peer, PortCounters, Sent};
use meshpay_protocol::record::{self, GenesisRecord, kind};
use meshpay_protocol::{Account, StateDigest};
use meshpay_wire::filter::{FilterWriter, Outcome};
use meshpay_wire::{PublicKey, TokenKey};
use zerocopy::IntoBytes;

use crate::network::{Answer, EURO, NOW_MS, Network, PLACE, Signatures, answers};

const IDENTITY_NUMBER: [u8; 32] = [0x11; 32];
pub const PENALTY_MS: u64 = 60_000;
/// Turns after which an authority that is not done never will be.
const TURNS_MAX: usize = 20_000;

/// A packet port made of vectors.
#[derive(Default)]
pub struct Port {
    incoming: VecDeque<(Vec<u8>, Peer)>,
    burst: Vec<(Vec<u8>, Peer)>,
    queued: Vec<(Peer, Vec<u8>)>,
    sent: Vec<(Peer, Vec<u8>)>,
}

impl PacketPort for Port {
    fn receive(&mut self) -> io::Result<usize> {
        let count = self.incoming.len().min(BURST_MAX);
        self.burst = self.incoming.drain(..count).collect();
        Ok(count)
    }

    fn packet(&self, index: usize) -> (&[u8], Peer) {
        let (bytes, peer) = &self.burst[index];
        (bytes, *peer)
    }

    fn queue(&mut self, to: &Peer, parts: &[&[u8]]) -> bool {
        if self.queued.len() == BURST_MAX {
            return false;
        }
        let datagram = parts.concat();
        assert!(datagram.len() <= DATAGRAM_MAX_BYTES);
        self.queued.push((*to, datagram));
        true
    }

    fn flush(&mut self) -> io::Result<Sent> {
        let sent = self.queued.len();
        self.sent.append(&mut self.queued);
        Ok(Sent { sent, refused: 0 })
    }

    fn counters(&self) -> PortCounters {
        PortCounters::default()
    }
}

/// A clock that stands until it is moved.
pub struct HandClock {
    pub now_ms: Cell<u64>,
    pub monotonic_ns: Cell<u64>,
}

impl Clock for HandClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }
    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.get()
    }
}

pub type TestWorker = Worker<WorkerAccounts, JournalPort, Signatures, Told>;

/// What a filter in front of the workers was told, newest word only.
#[derive(Clone, Default)]
pub struct Told {
    pub accounts: Arc<Mutex<HashMap<PublicKey, Account>>>,
    pub sources: Arc<Mutex<Vec<(IpAddr, bool)>>>,
    /// Tables to judge by, and the time; without, everything passes.
    pub tables: Arc<Mutex<Option<(PlainTables, u64)>>>,
}

impl Filter for Told {
    fn account(&mut self, account: &Account) {
        self.accounts.lock().unwrap().insert(account.key, *account);
        if let Some((tables, now_ns)) = &*self.tables.lock().unwrap() {
            filter::note_account(&FilterWriter::new(tables.tables()), account, *now_ns, NOW_MS);
        }
    }
    fn source(&mut self, source: IpAddr, valid: bool) {
        self.sources.lock().unwrap().push((source, valid));
    }
    fn judge(&mut self, datagram: &[u8], peer: &Peer) -> Option<Outcome> {
        let judging = self.tables.lock().unwrap();
        judging.as_ref().and_then(|(tables, now_ns)| filter::judge(&tables.tables(), datagram, peer, *now_ns))
    }
}

/// What an authority's restart leaves alone: disk, directory, settings.
pub struct Place {
    pub network: Network,
    pub disk: FaultDisk,
    pub directory: tempfile::TempDir,
    pub store: Arc<dyn Disk>,
    pub config: JournalConfig,
    pub capacity: u64,
    pub workers: usize,
}

impl Place {
    /// A fresh authority with a journal that holds its genesis record.
    pub fn new(network: Network, workers: usize) -> Self {
        Self::with_frames(network, workers, 256 * 1024)
    }

    /// As [`Place::new`], with journal frames of another size.
    pub fn with_frames(network: Network, workers: usize, frame_bytes: usize) -> Self {
        let config = JournalConfig {
            segment_bytes: JournalConfig::SEGMENT_BYTES_MIN,
            frame_bytes,
            ..JournalConfig::new(known_kinds())
        };
        let directory = tempfile::tempdir().unwrap();
        let place = Self {
            network,
            disk: FaultDisk::new(),
            store: Arc::new(RealDisk::open(directory.path()).unwrap()),
            directory,
            config,
            capacity: 0,
            workers,
        };
        let disk = place.journal_disk();
        journal::create(&disk, &place.mark(), &place.identity(), &place.config).unwrap();
        let (mut journal, _) = journal::recover(
            &disk,
            &place.mark(),
            &place.identity(),
            &place.config,
            Position::START,
            &mut |_, _, _| Ok(()),
        )
        .unwrap();
        let first = GenesisRecord { genesis: place.network.rules.genesis.0, authority: place.network.authority() };
        journal.handle().append(kind::GENESIS, &[first.as_bytes()]).unwrap();
        journal.commit().unwrap();
        journal.stop().unwrap();
        place
    }

    pub fn journal_disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    pub fn mark(&self) -> MarkPlace {
        MarkPlace { disk: self.journal_disk(), name: "key.mark".to_owned() }
    }

    pub fn identity(&self) -> Identity {
        Identity { journal: IDENTITY_NUMBER, network: self.network.rules.genesis.0 }
    }

    pub fn layout(&self) -> Layout {
        Layout::for_capacity(self.capacity)
    }

    pub fn image(&self) -> std::path::PathBuf {
        self.directory.path().join("accounts.image")
    }

    pub fn recover(&self) -> anyhow::Result<state::Recovered> {
        let disk = self.journal_disk();
        let mark = self.mark();
        state::recover(&RecoverySources {
            disk: &disk,
            mark: &mark,
            identity: self.identity(),
            journal: self.config.clone(),
            image: self.image(),
            checkpoints: &self.store,
            layout: self.layout(),
            allocations: &|| Ok(&self.network.allocations),
            hash_key: [5; 16],
        })
    }

    pub fn checkpointer(&self) -> Checkpointer {
        Checkpointer {
            store: Arc::clone(&self.store),
            disk: self.journal_disk(),
            identity: self.identity(),
            layout: self.layout(),
            allocations: Arc::new(self.network.allocations.clone()),
            pace: Arc::new(Pace::hurried()),
        }
    }

    /// Starts the authority. For a start that shall be refused, see [`Place::recover`].
    pub fn start(self) -> Scene {
        match self.recover() {
            Ok(recovered) => Scene::new(self, recovered),
            Err(error) => panic!("refused to start: {error:#}"),
        }
    }

    /// Audits what is on the disk. Needs real signatures.
    pub fn audit(&self) -> AuditReport {
        let marked = journal::marked(&self.mark(), &self.identity()).unwrap();
        state::audit(
            &self.journal_disk(),
            &self.identity(),
            marked,
            &self.network.rules,
            &self.network.authority(),
            &self.network.allocations,
        )
        .0
    }
}

/// A running authority.
pub struct Scene {
    pub place: Place,
    pub clock: HandClock,
    pub workers: Vec<TestWorker>,
    pub ports: Vec<Port>,
    pub counters: Vec<Arc<WorkerCounters>>,
    pub voting: Arc<Voting>,
    pub journal: Journal,
    pub table: AccountTable,
    pub origin: String,
    pub token_key: TokenKey,
    maintained_ms: u64,
    /// What the filter in front was told.
    pub told: Told,
}

impl Scene {
    fn new(place: Place, recovered: state::Recovered) -> Self {
        let state::Recovered { mut table, journal, voting_stopped, origin, .. } = recovered;
        let voting = Arc::new(Voting::new(voting_stopped));
        let token_key = TokenKey::new([9; 16]);
        let counters: Vec<Arc<WorkerCounters>> = (0..place.workers).map(|_| Arc::default()).collect();
        let wakers = (0..place.workers).map(|_| Arc::new(|| ()) as Arc<dyn Fn() + Send + Sync>).collect();
        let views = table.split(place.workers).unwrap();
        let told = Told::default();
        let workers = crossings(wakers)
            .into_iter()
            .zip(views)
            .zip(&counters)
            .map(|((crossing, accounts), counters)| {
                Worker::new(WorkerParts {
                    rules: Arc::clone(&place.network.rules),
                    place: PLACE,
                    accounts,
                    journal: JournalPort(journal.handle()),
                    signatures: place.network.signatures(),
                    filter: told.clone(),
                    crossing,
                    voting: Arc::clone(&voting),
                    token_key: token_key.clone(),
                    source_key: [3; 16],
                    penalty_ms: PENALTY_MS,
                    counters: Arc::clone(counters),
                })
            })
            .collect();
        let ports = (0..place.workers).map(|_| Port::default()).collect();
        let clock = HandClock { now_ms: Cell::new(NOW_MS), monotonic_ns: Cell::new(1) };
        Self {
            place,
            clock,
            workers,
            ports,
            counters,
            voting,
            journal,
            table,
            origin,
            token_key,
            maintained_ms: 0,
            told,
        }
    }

    pub fn net(&self) -> &Network {
        &self.place.network
    }

    /// The worker that owns an account.
    pub fn owner(&self, account: &PublicKey) -> usize {
        meshpay_protocol::account::shard_of(account) % self.place.workers
    }

    /// A datagram arrives at a worker.
    pub fn deliver(&mut self, worker: usize, from: &Peer, datagram: &[u8]) {
        self.ports[worker].incoming.push_back((datagram.to_vec(), *from));
    }

    pub fn try_turn(&mut self, worker: usize) -> Result<Turn, Fatal> {
        self.clock.monotonic_ns.set(self.clock.monotonic_ns.get() + 1_000);
        self.workers[worker].turn(&mut self.ports[worker], &self.clock)
    }

    pub fn turn(&mut self, worker: usize) -> Turn {
        self.try_turn(worker).unwrap()
    }

    /// Makes durable what was appended.
    pub fn commit(&mut self) {
        self.journal.commit().unwrap();
    }

    /// Lets the journal allocate and mark, a second later each time.
    pub fn maintain(&mut self) {
        self.maintained_ms += 1_000;
        self.journal.maintain(self.maintained_ms).unwrap();
    }

    /// Turns and commits until nothing is left to do.
    pub fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let turns: Vec<Turn> = (0..self.workers.len()).map(|worker| self.turn(worker)).collect();
            self.commit();
            self.maintain();
            let empty = self.ports.iter().all(|port| port.incoming.is_empty());
            if empty && turns.iter().all(|turn| turn.drained && !turn.busy) {
                return;
            }
        }
        panic!("the workers never came to rest");
    }

    /// What a worker has sent since this was asked last.
    pub fn sent(&mut self, worker: usize) -> Vec<(Peer, Vec<u8>)> {
        std::mem::take(&mut self.ports[worker].sent)
    }

    /// All answers sent since this was asked last, by all workers.
    pub fn answers(&mut self) -> Vec<Answer> {
        (0..self.workers.len())
            .flat_map(|worker| self.sent(worker))
            .flat_map(|(_, datagram)| answers(&datagram))
            .collect()
    }

    /// Sends a datagram to the worker of its first message, as the kernel does, lets everything settle, and returns the answers
    /// that came since.
    pub fn ask(&mut self, datagram: &[u8]) -> Vec<Answer> {
        let mut account = [0; 32];
        account.copy_from_slice(&datagram[24..56]);
        let worker = self.owner(&account);
        self.answers();
        self.deliver(worker, &peer(1), datagram);
        self.settle();
        self.answers()
    }

    /// As [`Scene::ask`], for a datagram of one message.
    pub fn ask_one(&mut self, datagram: &[u8]) -> Answer {
        let mut answers = self.ask(datagram);
        assert_eq!(answers.len(), 1, "expected one answer");
        answers.remove(0)
    }

    /// Slots of the account table taken or set aside.
    pub fn table_used(&self) -> u64 {
        self.table.used()
    }

    pub fn total(&self, pick: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.counters.iter().map(|counters| pick(counters)).sum()
    }

    /// Ends all workers, as a kill or the end of a stop does, and gives what is left.
    pub fn end_workers(mut self) -> (Place, Journal, AccountTable, Arc<Voting>) {
        self.workers.clear();
        (self.place, self.journal, self.table, self.voting)
    }

    /// The power goes at once; what was not durable is treated as `fault` says.
    pub fn crash(self, fault: CrashFault, seed: u64) -> Place {
        let (place, journal, table, _) = self.end_workers();
        drop((journal, table));
        place.disk.crash(fault, seed);
        place
    }

    /// The process is killed; the machine goes on.
    pub fn kill(self) -> Place {
        let (place, journal, table, _) = self.end_workers();
        drop((journal, table));
        place.disk.restart_process();
        place
    }

    /// Stops cleanly, with the image stamped, as the daemon does.
    pub fn stop(self) -> Place {
        let genesis = self.place.network.rules.genesis.0;
        let (place, journal, mut table, voting) = self.end_workers();
        let end = journal.stop().unwrap();
        let hash_key = table.hash_key();
        table
            .image_mut()
            .unwrap()
            .stamp(&Stamp {
                genesis,
                journal_head: end.head.0,
                journal_chain: end.chain,
                voting_stopped: voting.stopped().unwrap_or(0),
                hash_key,
            })
            .unwrap();
        place
    }

    /// Ends the workers and looks at the whole table, then goes on from the journal.
    pub fn state(self) -> (State, Place) {
        let (place, journal, mut table, _) = self.end_workers();
        let state = State::of(&mut table);
        drop((journal, table));
        place.disk.restart_process();
        (state, place)
    }
}

/// Money and sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub digest: [u8; 32],
    /// Sum of all balances of the first token.
    pub euros: i128,
    pub accounts: Vec<(PublicKey, u32, i128, u64)>,
}

impl State {
    pub fn of(table: &mut AccountTable) -> Self {
        let slots: Vec<Account> = table.slots().unwrap().copied().collect();
        let mut digest = StateDigest::default();
        slots.iter().for_each(|slot| digest.add(slot));
        let mut accounts: Vec<_> = slots
            .iter()
            .map(|slot| (slot.key, slot.token.get(), slot.balance.get(), slot.next_sequence.get()))
            .collect();
        accounts.sort_unstable();
        let euros = accounts.iter().filter(|slot| slot.1 == EURO).map(|slot| slot.2).sum();
        Self { digest: digest.bytes(), euros, accounts }
    }

    pub fn balance(&self, account: &PublicKey) -> i128 {
        self.accounts.iter().filter(|slot| slot.0 == *account && slot.1 == EURO).map(|slot| slot.2).sum()
    }
}

/// Appends to the frame until nothing more fits. The records mean nothing; such a journal is not for replay.
pub fn fill_frame(handle: &Handle) {
    let record = record::EvidenceRecord {
        lock_position: 0.into(),
        conflicting: zerocopy::FromZeros::new_zeroed(),
        penalised_until_ms: 0.into(),
    };
    let kind = kind::EVIDENCE;
    while handle.append(kind, &[record.as_bytes()]).is_ok() {}
    let link = record::CreditLinkRecord { recipient: [0; 32], execution: 0.into(), previous_credit: 0.into() };
    let kind = kind::CREDIT_LINK;
    while handle.append(kind, &[link.as_bytes()]).is_ok() {}
}

/// A client's address.
pub fn peer(n: u16) -> Peer {
    Peer::new(SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 4_000 + n)))
}

/// SplitMix64, so that every run is the same and a failure names its seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
