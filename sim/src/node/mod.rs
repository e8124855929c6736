//! One honest authority: the real workers, journal, recovery and checkpoints, over simulated ports.
//!
//! What always holds: what runs here is the daemon's own code; this file does what the daemon's threads and the operator's hands do, one step at
//! a time, and nothing that decides anything.

mod filter;
mod image;
mod port;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use meshpay_authority::JournalPort;
use meshpay_authority::accounts::{AccountTable, Image, Layout, Stamp};
use meshpay_authority::filter::PlainTables;
use meshpay_authority::journal::{
    self, CrashFault, Disk, FaultDisk, Handle, Identity, Journal, JournalConfig, MarkPlace, Position,
};
use meshpay_authority::pace::Pace;
use meshpay_authority::pipeline::counters::WorkerCounters;
use meshpay_authority::pipeline::{Fatal, Turn, Voting, Worker, WorkerParts, crossings};
use meshpay_authority::state::{self, Checkpointer, RecoverySources, known_kinds};
use meshpay_net::Peer;
use meshpay_protocol::account::{SLOT_LENGTH, slot_kind};
use meshpay_protocol::record::{FOREIGN_CREDIT, GenesisRecord, Record, kind};
use meshpay_protocol::{Account, Accounts, SlotName, apply};
use meshpay_wire::{AccountAnswer, Message, OrderBody, PublicKey, TokenKey, account_answer, account_flags};
use zerocopy::{FromBytes as _, FromZeros, IntoBytes};

use crate::Canary;
use crate::canary::{Glance, SimAccounts, SimJournal};
use crate::checker::{Content, content};
use crate::dice::Dice;
use crate::setting::Setting;
use crate::signing::AuthoritySignatures;
use filter::SimFilter;
use image::ImageFile;
use port::{SimClock, SimPort};

/// How long a proven equivocation bars new orders, milliseconds.
const PENALTY_MS: u64 = 2_000;
/// Wall time at which simulations begin, milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_800_000_000_000;
/// Turns within which a stopping authority comes to rest.
const DRAIN_TURNS_MAX: usize = 2_000;

/// Where the slots begin in the file of the account image.
const IMAGE_HEADER_BYTES: usize = 4096;

/// A record as a worker appended it.
pub struct Appended {
    /// Where it stands.
    pub position: u64,
    /// Its kind.
    pub kind: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Appended {
    /// A few words for people.
    pub fn describe(&self) -> String {
        let of = |body: &OrderBody| format!("sequence {} of {}", body.sequence, hex::encode(&body.sender[..4]));
        match Record::parse(self.kind, &self.payload) {
            Some(Record::Lock(lock)) => format!("locks {}", of(&lock.order.body)),
            Some(Record::Execution(_, certificate)) => format!("executes {}", of(&certificate.head.order.body)),
            Some(Record::Evidence(evidence)) => format!("holds evidence about {}", of(&evidence.conflicting.body)),
            Some(Record::VotingStopped(_)) => "stops voting".to_owned(),
            _ => format!("appends a record of kind {}", self.kind),
        }
    }
}

/// What the workers of one authority append, for the checker to see.
#[derive(Clone, Default)]
pub struct Tap(Rc<RefCell<Vec<Appended>>>);

impl Tap {
    /// Notes a record.
    pub fn record(&self, position: u64, kind: u8, parts: &[&[u8]]) {
        self.0.borrow_mut().push(Appended { position, kind, payload: parts.concat() });
    }

    /// Takes what was appended since this was asked last.
    pub fn take(&self) -> Vec<Appended> {
        std::mem::take(&mut self.0.borrow_mut())
    }
}

type SimWorker = Worker<SimAccounts, SimJournal, AuthoritySignatures, SimFilter>;

/// An authority's process.
pub struct Process {
    workers: Vec<SimWorker>,
    ports: Vec<SimPort>,
    table: AccountTable,
    journal: Journal,
    handle: Handle,
    voting: Arc<Voting>,
    woken: Arc<AtomicU64>,
    glance: Glance,
    /// Answers of a canary that has not waited for the disk.
    early: Vec<(Peer, Vec<u8>)>,
    /// A frame was written and not synced yet.
    pub in_flight: bool,
}

/// Where a start ended.
pub struct Started {
    /// End of the journal that was found.
    pub head: u64,
    /// All slots of the recovered table.
    pub slots: Vec<Account>,
    /// From what the accounts were made.
    pub origin: String,
}

/// An authority: what survives its process, and the process while there is one.
pub struct Node {
    /// Its place in the committee.
    pub place: usize,
    setting: Rc<Setting>,
    /// Journal, mark and checkpoints.
    pub disk: FaultDisk,
    image: ImageFile,
    config: JournalConfig,
    clock: Rc<SimClock>,
    /// Error of its wall clock, milliseconds.
    pub skew_ms: i64,
    /// Workers of the next start.
    pub workers: usize,
    /// The process, while it runs.
    pub process: Option<Process>,
    tap: Tap,
    hash_key: [u8; 16],
    /// Starts so far: events of an earlier process are not for this one.
    pub incarnation: u64,
    after_crash: bool,
}

impl Node {
    /// A new authority with a journal that holds its genesis record.
    ///
    /// # Errors
    /// If the simulation lacks memory.
    pub fn new(setting: Rc<Setting>, place: usize, dice: &mut Dice) -> Result<Self> {
        let config = JournalConfig {
            segment_bytes: JournalConfig::SEGMENT_BYTES_MIN,
            frame_bytes: JournalConfig::FRAME_BYTES_MIN << dice.below(3),
            segments_ahead: dice.between(2, 4),
            ..JournalConfig::new(known_kinds())
        };
        let node = Self {
            place,
            disk: FaultDisk::new(),
            image: ImageFile::new()?,
            config,
            clock: Rc::new(SimClock { now_ms: Cell::new(EPOCH_MS), monotonic_ns: Cell::new(1) }),
            skew_ms: 0,
            workers: dice.between(1, 3) as usize,
            process: None,
            tap: Tap::default(),
            hash_key: dice.bytes(),
            incarnation: 0,
            after_crash: false,
            setting,
        };
        journal::create(&node.storage(), &node.mark(), &node.identity(), &node.config)?;
        let (mut journal, _) = journal::recover(
            &node.storage(),
            &node.mark(),
            &node.identity(),
            &node.config,
            Position::START,
            &mut |_, _, _| Ok(()),
        )?;
        let first =
            GenesisRecord { genesis: node.setting.rules.genesis.0, authority: node.setting.authorities[place].key() };
        journal.handle().append(kind::GENESIS, &[first.as_bytes()])?;
        journal.commit()?;
        journal.stop()?;
        Ok(node)
    }

    fn storage(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    fn mark(&self) -> MarkPlace {
        MarkPlace { disk: self.storage(), name: "key.mark".to_owned() }
    }

    fn identity(&self) -> Identity {
        Identity { journal: [self.place as u8 + 1; 32], network: self.setting.rules.genesis.0 }
    }

    fn layout(&self) -> Layout {
        Layout::for_capacity(0)
    }

    /// How far the mark beside the key says that the journal was durable.
    pub fn marked(&self) -> u64 {
        journal::marked(&self.mark(), &self.identity()).map_or(0, |position| position.0)
    }

    /// Hashes of all records that the journal holds, by position.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn held(&self) -> Result<BTreeMap<u64, Content>> {
        let mut held = BTreeMap::new();
        journal::inspect(
            &*self.storage(),
            Some(&self.identity()),
            None,
            known_kinds(),
            &mut |position, kind, payload| {
                held.insert(position.0, content(kind, payload));
                Ok(())
            },
        )?;
        Ok(held)
    }

    /// What a start does before the first worker runs.
    ///
    /// # Errors
    /// The refusal, as the operator would read it.
    fn recover(&self, dice: &mut Dice) -> Result<state::Recovered> {
        let storage = self.storage();
        state::recover(&RecoverySources {
            disk: &storage,
            mark: &self.mark(),
            identity: self.identity(),
            journal: self.config.clone(),
            image: self.image.path(),
            checkpoints: &storage,
            layout: self.layout(),
            allocations: &|| Ok(&self.setting.allocations),
            hash_key: dice.bytes(),
        })
    }

    /// Starts as far as the accounts are there, and ends again as if killed: for judging what a disk holds.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn look(&mut self, dice: &mut Dice) -> Result<Started> {
        let state::Recovered { mut table, read, origin, .. } = self.recover(dice)?;
        let slots = table.slots().into_iter().flatten().copied().collect();
        Ok(Started { head: read.head.0, slots, origin })
    }

    /// Starts the process: the daemon's recovery, then its workers.
    ///
    /// # Errors
    /// The refusal, as the operator would read it.
    pub fn start(&mut self, dice: &mut Dice) -> Result<Started> {
        self.incarnation += 1;
        if self.setting.canary == Some(Canary::TrustsImage) && self.after_crash {
            self.trust_image()?;
        }
        let state::Recovered { mut table, journal, read, voting_stopped, origin } = self.recover(dice)?;
        self.break_recovered(&mut table)?;
        self.after_crash = true;
        self.hash_key = table.hash_key();
        let slots = table.slots().into_iter().flatten().copied().collect();
        let voting = Arc::new(Voting::new(voting_stopped));
        let token_key = TokenKey::new(dice.bytes());
        let tables = Rc::new(PlainTables::new(filter::TABLES, dice.bytes(), token_key.clone()));
        let woken = Arc::new(AtomicU64::new(0));
        let wakers = (0..self.workers)
            .map(|worker| {
                let woken = Arc::clone(&woken);
                let wake = move || {
                    woken.fetch_or(1 << worker, Ordering::Relaxed);
                };
                Arc::new(wake) as Arc<dyn Fn() + Send + Sync>
            })
            .collect();
        let glance = Glance::default();
        let handle = journal.handle();
        let views = table.split(self.workers).unwrap_or_default();
        let workers = crossings(wakers)
            .into_iter()
            .zip(views)
            .map(|(crossing, accounts)| {
                Worker::new(WorkerParts {
                    rules: Arc::clone(&self.setting.rules),
                    place: self.place,
                    accounts: SimAccounts::new(accounts, self.setting.canary, &glance),
                    journal: SimJournal::new(JournalPort(handle.clone()), self.tap.clone(), self.setting.canary),
                    signatures: AuthoritySignatures::new(
                        &self.setting.rules.committee,
                        &self.setting.scribe,
                        &self.setting.authorities[self.place],
                        self.setting.canary == Some(Canary::DuplicateSigners),
                    ),
                    filter: SimFilter { tables: Rc::clone(&tables), clock: Rc::clone(&self.clock) },
                    crossing,
                    voting: Arc::clone(&voting),
                    token_key: token_key.clone(),
                    source_key: dice.bytes(),
                    penalty_ms: PENALTY_MS,
                    counters: Arc::<WorkerCounters>::default(),
                })
            })
            .collect();
        let ports = (0..self.workers).map(|_| SimPort::default()).collect();
        self.tap.take();
        self.process = Some(Process {
            workers,
            ports,
            table,
            journal,
            handle,
            voting,
            woken,
            glance,
            early: Vec::new(),
            in_flight: false,
        });
        Ok(Started { head: read.head.0, slots, origin })
    }

    /// Canaries that are a fault of recovery.
    fn break_recovered(&self, table: &mut AccountTable) -> Result<()> {
        match self.setting.canary {
            Some(Canary::ForgetsLocks) => {
                let keys: Vec<[u8; 32]> = table.slots().into_iter().flatten().map(|slot| slot.key).collect();
                let Some(mut view) = table.whole() else { return Ok(()) };
                for key in keys {
                    if let Some(at) = view.find(SlotName::account(&key)) {
                        view.slot_mut(at).unlock();
                    }
                }
            }
            Some(Canary::CreditsTwice) => {
                let mut last = None;
                journal::inspect(
                    &*self.storage(),
                    Some(&self.identity()),
                    None,
                    known_kinds(),
                    &mut |_, kind, payload| {
                        if let Some(Record::Execution(head, certificate)) = Record::parse(kind, payload)
                            && head.flags.get() & FOREIGN_CREDIT != 0
                        {
                            last = Some(certificate.head.order.body);
                        }
                        Ok(())
                    },
                )?;
                if let (Some(body), Some(mut view)) = (last, table.whole()) {
                    apply::credit(&mut view, &body.recipient, body.token.get(), body.amount.get(), None)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The canary that takes the image for what the journal says, whatever is in it.
    fn trust_image(&self) -> Result<()> {
        let bytes = std::fs::read(self.image.path())?;
        let found =
            journal::inspect(&*self.storage(), Some(&self.identity()), None, known_kinds(), &mut |_, _, _| Ok(()))?;
        let (image, _) = Image::open(&self.image.path(), self.layout())?;
        let mut table = AccountTable::empty(image, self.hash_key, &Pace::hurried())?;
        if let Some(mut view) = table.whole() {
            for slot in bytes.get(IMAGE_HEADER_BYTES..).unwrap_or_default().chunks_exact(SLOT_LENGTH) {
                let Ok(slot) = Account::ref_from_bytes(slot) else { continue };
                let name = match slot.kind {
                    slot_kind::EMPTY => continue,
                    slot_kind::BALANCE => SlotName::further(&slot.key, slot.token.get()),
                    _ => SlotName::account(&slot.key),
                };
                if let Ok(at) = view.insert(name, slot.token.get()) {
                    *view.slot_mut(at) = *slot;
                }
            }
        }
        let Some(image) = table.image_mut() else { return Ok(()) };
        image.stamp(&Stamp {
            genesis: self.setting.rules.genesis.0,
            journal_head: found.head.0,
            journal_chain: found.chain,
            voting_stopped: 0,
            hash_key: self.hash_key,
        })?;
        Ok(())
    }

    /// A datagram arrives at a worker's socket. False: it was dropped.
    pub fn deliver(&mut self, worker: usize, datagram: Vec<u8>, from: Peer) -> bool {
        match &mut self.process {
            Some(process) => {
                let worker = worker % process.ports.len();
                process.ports[worker].deliver(datagram, from)
            }
            None => false,
        }
    }

    /// Workers of the running process.
    pub fn running_workers(&self) -> usize {
        self.process.as_ref().map_or(0, |process| process.workers.len())
    }

    /// One turn of one worker at a time of the simulation.
    ///
    /// # Errors
    /// When the process must end.
    pub fn turn(&mut self, worker: usize, now_us: u64) -> Result<Turn, Fatal> {
        self.clock.now_ms.set((EPOCH_MS + now_us / 1_000).saturating_add_signed(self.skew_ms));
        self.clock.monotonic_ns.set(now_us * 1_000);
        let Some(process) = &mut self.process else { return Ok(Turn::default()) };
        let Process { workers, ports, glance, early, .. } = process;
        if self.setting.canary == Some(Canary::QueriesAheadOfDisk) {
            let port = &mut ports[worker];
            for (datagram, from) in port.take_incoming() {
                match answer_at_once(&glance.borrow(), &datagram) {
                    Some(answer) => early.push((from, answer)),
                    None => drop(port.deliver(datagram, from)),
                }
            }
        }
        workers[worker].turn(&mut ports[worker], &*self.clock)
    }

    /// What the workers have appended and sent since this was asked last; what was appended comes first.
    pub fn take_output(&mut self) -> (Vec<Appended>, Vec<(Peer, Vec<u8>)>) {
        let sent = match &mut self.process {
            Some(process) => {
                let mut sent: Vec<(Peer, Vec<u8>)> = process.ports.iter_mut().flat_map(SimPort::take_sent).collect();
                sent.append(&mut process.early);
                sent
            }
            None => Vec::new(),
        };
        (self.tap.take(), sent)
    }

    /// Workers that others have woken since this was asked last, as bits.
    pub fn take_woken(&self) -> u64 {
        self.process.as_ref().map_or(0, |process| process.woken.swap(0, Ordering::Relaxed))
    }

    /// Whether something was appended that no frame under way holds.
    pub fn wants_commit(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| !process.in_flight && process.handle.appended() > process.handle.durable())
    }

    /// Writes the frame that was filled.
    ///
    /// # Errors
    /// When the disk failed, and the process must end.
    pub fn begin(&mut self) -> Result<bool> {
        let Some(process) = &mut self.process else { return Ok(false) };
        process.in_flight = process.journal.begin()?;
        Ok(process.in_flight)
    }

    /// Syncs the frame in flight.
    ///
    /// # Errors
    /// As [`Node::begin`].
    pub fn finish(&mut self) -> Result<()> {
        if let Some(process) = &mut self.process {
            process.in_flight = false;
            process.journal.finish()?;
        }
        Ok(())
    }

    /// Allocates segments and writes the mark, where due.
    ///
    /// # Errors
    /// As [`Node::begin`].
    pub fn maintain(&mut self, now_us: u64) -> Result<()> {
        if let Some(process) = &mut self.process {
            process.journal.maintain(now_us / 1_000)?;
        }
        Ok(())
    }

    /// Makes a checkpoint. An error is one of the checkpoint only.
    pub fn checkpoint(&self, dice: &mut Dice) -> Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        let checkpointer = Checkpointer {
            store: self.storage(),
            disk: self.storage(),
            identity: self.identity(),
            layout: self.layout(),
            allocations: Arc::clone(&self.setting.allocations),
            pace: Arc::new(Pace::hurried()),
        };
        checkpointer.make(&process.handle, dice.bytes())?;
        Ok(())
    }

    /// Why it has stopped voting, if it has.
    pub fn voting_stopped(&self) -> Option<u32> {
        self.process.as_ref().and_then(|process| process.voting.stopped())
    }

    /// The process is killed; the machine goes on.
    pub fn kill(&mut self) {
        self.process = None;
        self.tap.take();
        self.disk.restart_process();
    }

    /// The power goes. What was not durable is treated as `fault` says, and the image as chance does.
    ///
    /// # Errors
    /// If the simulation's own file fails.
    pub fn crash(&mut self, fault: CrashFault, dice: &mut Dice) -> Result<()> {
        self.process = None;
        self.tap.take();
        self.disk.crash(fault, dice.word());
        self.image.scramble(dice)
    }

    /// A bit of the account image rots.
    ///
    /// # Errors
    /// If the simulation's own file fails.
    pub fn rot_image(&self, dice: &mut Dice) -> Result<()> {
        self.image.rot(dice)
    }

    /// Stops cleanly, as a daemon does at SIGTERM, and stamps the image. What was sent meanwhile stays to be taken.
    ///
    /// # Errors
    /// When the disk failed meanwhile; then it was a kill.
    pub fn stop(&mut self, now_us: u64, mut see: impl FnMut(&mut Self)) -> Result<bool> {
        let workers = self.running_workers();
        for process in self.process.iter_mut() {
            process.ports.iter_mut().for_each(|port| port.deaf = true);
        }
        let mut rested = false;
        for _ in 0..DRAIN_TURNS_MAX {
            let mut drained = true;
            for worker in 0..workers {
                let turn = self.turn(worker, now_us).map_err(anyhow::Error::from)?;
                drained &= turn.drained && !turn.busy;
                see(self);
            }
            let Some(process) = &mut self.process else { return Ok(false) };
            if !process.in_flight {
                process.journal.begin()?;
            }
            process.in_flight = false;
            process.journal.finish()?;
            process.journal.maintain(now_us / 1_000)?;
            if drained {
                rested = true;
                break;
            }
        }
        let Some(process) = self.process.take() else { return Ok(false) };
        let Process { workers, mut table, journal, voting, .. } = process;
        let credited = workers.iter().all(Worker::has_taken_all_credits);
        drop(workers);
        let end = journal.stop()?;
        if !credited {
            return Ok(rested);
        }
        let hash_key = table.hash_key();
        if let Some(image) = table.image_mut() {
            image.stamp(&Stamp {
                genesis: self.setting.rules.genesis.0,
                journal_head: end.head.0,
                journal_chain: end.chain,
                voting_stopped: voting.stopped().unwrap_or(0),
                hash_key,
            })?;
        }
        self.image.remember_stamp();
        self.after_crash = false;
        Ok(rested)
    }

    /// Ends the process and gives all slots of its table, for the last look.
    pub fn autopsy(&mut self) -> Vec<Account> {
        let Some(process) = self.process.take() else { return Vec::new() };
        let Process { workers, mut table, .. } = process;
        drop(workers);
        table.slots().into_iter().flatten().copied().collect()
    }
}

/// What a canary answers to an account query, from memory.
fn answer_at_once(glance: &BTreeMap<PublicKey, Account>, datagram: &[u8]) -> Option<Vec<u8>> {
    let Ok((Message::AccountQuery(header, query), _)) = Message::decode(datagram) else { return None };
    let account = glance.get(&header.account).filter(|account| !account.is_locked() && account.token == query.token)?;
    let mut answer = AccountAnswer::new_zeroed();
    answer.token = query.token;
    answer.flags = account_flags::KNOWN.into();
    answer.next_sequence = account.next_sequence;
    answer.last_executed = account.last_executed;
    answer.balance = account.balance;
    let mut buffer = vec![0; usize::from(header.length.get())];
    account_answer(&mut buffer, header, [0; 8], &answer);
    Some(buffer)
}
