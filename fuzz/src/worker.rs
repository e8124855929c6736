//! The worker loop as a whole: raw datagrams and nearly right ones against an authority of two workers over a disk that can lose its power.
//!
//! Promised: no datagram panics or ends the authority; no client is sent more bytes than came from it; every answer is well formed; one vote for a
//! sequence; nothing is sent before the journal holds what it says: after a power cut every vote is locked or executed and every
//! execution is there; money is conserved.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use meshpay_authority::JournalPort;
use meshpay_authority::accounts::{AccountTable, Layout, WorkerAccounts};
use meshpay_authority::journal::{
    self, CrashFault, Disk, FaultDisk, Identity, Journal, JournalConfig, MarkPlace, Position,
};
use meshpay_authority::pipeline::counters::WorkerCounters;
use meshpay_authority::pipeline::{Clock, NoFilter, Voting, Worker, WorkerParts, crossings};
use meshpay_authority::state::{RecoverySources, known_kinds, recover};
use meshpay_net::{BURST_MAX, PacketPort, Peer, PortCounters, Sent};
use meshpay_protocol::Account;
use meshpay_protocol::record::{GenesisRecord, kind};
use meshpay_wire::{
    CertificateHead, CertificateQuery, CertificateView, DATAGRAM_MAX, DIRECTION_CREDIT, DIRECTION_DEBIT, Digest,
    Envelope, Message, PublicKey, Signature, SignedOrder, TokenKey, account_query, certificate_query,
    confirmation_request, messages, transfer_request,
};
use zerocopy::IntoBytes;

use crate::chance::Chance;
use crate::network::{AUTHORITIES, Hashes, NETWORK, TOKENS, WALLETS};

/// Our authority's place in the committee.
const PLACE: usize = 0;
const WORKERS: usize = 2;
/// Addresses that datagrams come from.
const CLIENTS: usize = 8;
/// Datagrams of one life, and power cuts in it: each start costs milliseconds.
const DATAGRAMS_MAX: usize = 64;
const POWER_CUTS_MAX: usize = 2;
/// Turns after which an authority that is not done never will be.
const TURNS_MAX: usize = 1_000;
const NOW_MS: u64 = 1_800_000_000_000;
const IDENTITY_NUMBER: [u8; 32] = [0x11; 32];

/// A packet port of vectors.
#[derive(Default)]
struct Port {
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
        self.queued.push((*to, parts.concat()));
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

struct HandClock {
    now_ms: Cell<u64>,
    monotonic_ns: Cell<u64>,
}

impl Clock for HandClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }
    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.get()
    }
}

/// A disk with a new journal on it; every life begins with a copy.
static NEW: LazyLock<FaultDisk> = LazyLock::new(|| {
    let disk = FaultDisk::new();
    let (shared, mark) = places(&disk);
    journal::create(&shared, &mark, &identity(), &config()).expect("a new journal in memory");
    let mut start = |_: Position, _: u8, _: &[u8]| Ok(());
    let (mut journal, _) = journal::recover(&shared, &mark, &identity(), &config(), Position::START, &mut start)
        .expect("a journal that was just made");
    let first = GenesisRecord { genesis: NETWORK.rules.genesis.0, authority: *NETWORK.key_of(PLACE) };
    journal.handle().append(kind::GENESIS, &[first.as_bytes()]).expect("room for one record");
    journal.commit().expect("a disk without faults");
    journal.stop().expect("a disk without faults");
    disk
});

fn config() -> JournalConfig {
    JournalConfig {
        segment_bytes: JournalConfig::SEGMENT_BYTES_MIN,
        frame_bytes: JournalConfig::FRAME_BYTES_MIN,
        segments_ahead: JournalConfig::SEGMENTS_AHEAD_MIN,
        ..JournalConfig::new(known_kinds())
    }
}

fn identity() -> Identity {
    Identity { journal: IDENTITY_NUMBER, network: NETWORK.rules.genesis.0 }
}

fn places(disk: &FaultDisk) -> (Arc<dyn Disk>, MarkPlace) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    (Arc::clone(&shared), MarkPlace { disk: shared, name: "key.mark".to_owned() })
}

/// An authority that runs.
struct Running {
    workers: Vec<Worker<WorkerAccounts, JournalPort, Hashes>>,
    ports: Vec<Port>,
    journal: Journal,
    table: AccountTable,
}

impl Running {
    fn start(disk: &FaultDisk) -> Self {
        let image = rustix::fs::memfd_create("fuzz", rustix::fs::MemfdFlags::CLOEXEC).expect("a file in memory");
        let (shared, mark) = places(disk);
        let recovered = recover(&RecoverySources {
            disk: &shared,
            mark: &mark,
            identity: identity(),
            journal: config(),
            image: PathBuf::from(format!("/proc/self/fd/{}", image.as_raw_fd())),
            checkpoints: &shared,
            layout: Layout::for_capacity(0),
            allocations: &|| Ok(&NETWORK.allocations),
            hash_key: [5; 16],
        })
        .expect("an undamaged authority starts");
        let (mut table, journal) = (recovered.table, recovered.journal);
        let voting = Arc::new(Voting::new(recovered.voting_stopped));
        let wakers = (0..WORKERS).map(|_| Arc::new(|| ()) as Arc<dyn Fn() + Send + Sync>).collect();
        let views = table.split(WORKERS).expect("no view lives");
        let workers = crossings(wakers)
            .into_iter()
            .zip(views)
            .map(|(crossing, accounts)| {
                Worker::new(WorkerParts {
                    rules: Arc::new(NETWORK.rules.clone()),
                    place: PLACE,
                    accounts,
                    journal: JournalPort(journal.handle()),
                    signatures: Hashes { place: PLACE },
                    filter: NoFilter,
                    crossing,
                    voting: Arc::clone(&voting),
                    token_key: TokenKey::new([9; 16]),
                    source_key: [3; 16],
                    penalty_ms: 60_000,
                    counters: Arc::new(WorkerCounters::default()),
                })
            })
            .collect();
        Self { workers, ports: (0..WORKERS).map(|_| Port::default()).collect(), journal, table }
    }

    /// Ends the workers and gives the slots.
    fn into_slots(mut self) -> Vec<Account> {
        self.workers.clear();
        self.table.slots().expect("no view lives").copied().collect()
    }
}

/// What clients have sent and heard.
#[derive(Default)]
struct Heard {
    bytes_sent: [usize; CLIENTS],
    bytes_heard: [usize; CLIENTS],
    votes: BTreeMap<(PublicKey, u64), Digest>,
    executed: BTreeMap<(PublicKey, u64), Digest>,
}

impl Heard {
    fn hear(&mut self, to: &Peer, datagram: &[u8]) {
        let client = usize::from(to.address.port()) - 4_000;
        assert!(datagram.len() <= DATAGRAM_MAX, "{} bytes in a datagram", datagram.len());
        self.bytes_heard[client] += datagram.len();
        assert!(self.bytes_heard[client] <= self.bytes_sent[client], "client {client} is sent more than it sent");
        for message in messages(datagram) {
            match message.expect("an answer is well formed") {
                Message::TransferResponse(header, vote) => {
                    let of = (header.account, header.sequence.get());
                    let voted = self.votes.entry(of).or_insert(vote.order);
                    assert_eq!(*voted, vote.order, "two orders of one sequence have a vote");
                    assert_eq!(vote.signature, NETWORK.vote(PLACE, &vote.order), "a vote that is not signed");
                }
                Message::ConfirmationResponse(header, executed) => {
                    let of = (header.account, header.sequence.get());
                    let first = self.executed.entry(of).or_insert(executed.order);
                    assert_eq!(*first, executed.order, "two orders of one sequence were executed");
                }
                Message::AccountAnswer(..) | Message::CertificateAnswer(..) | Message::Refusal(..) => {}
                other => panic!("an authority says {other:?}"),
            }
        }
    }

    /// What was heard must be in the state after any power cut.
    fn check(&self, slots: &[Account]) {
        let slots_of = |account: &PublicKey| {
            let account = *account;
            slots.iter().filter(move |slot| slot.key == account)
        };
        for ((account, sequence), digest) in &self.votes {
            let kept = slots_of(account).any(|slot| {
                let next = slot.next_sequence.get();
                next > *sequence || (next == *sequence && slot.lock_digest == *digest)
            });
            assert!(kept, "a vote for sequence {sequence} of {} is forgotten", hex::encode(account));
        }
        for (account, sequence) in self.executed.keys() {
            let kept = slots_of(account).any(|slot| slot.next_sequence.get() > *sequence);
            assert!(kept, "an execution of sequence {sequence} of {} is forgotten", hex::encode(account));
        }
        for token in &NETWORK.rules.tokens {
            let held = slots.iter().filter(|slot| slot.token.get() == token.id);
            let sum: i128 = held.map(|slot| slot.balance.get()).sum();
            assert_eq!(sum, i128::from(token.supply), "token {}", token.id);
        }
    }
}

struct Life {
    disk: FaultDisk,
    running: Running,
    clock: HandClock,
    heard: Heard,
    orders: Vec<SignedOrder>,
    requests: u64,
}

impl Life {
    fn turn(&mut self) -> bool {
        let mut busy = false;
        for worker in 0..WORKERS {
            self.clock.monotonic_ns.set(self.clock.monotonic_ns.get() + 1_000);
            let turn = self.running.workers[worker].turn(&mut self.running.ports[worker], &self.clock);
            let turn = turn.unwrap_or_else(|fatal| panic!("peers' bytes end the authority: {fatal}"));
            busy |= turn.busy || !turn.drained || !self.running.ports[worker].incoming.is_empty();
            for (to, datagram) in std::mem::take(&mut self.running.ports[worker].sent) {
                self.heard.hear(&to, &datagram);
            }
        }
        busy
    }

    fn commit(&mut self) {
        self.running.journal.commit().expect("a disk without faults");
        self.running.journal.maintain(self.clock.monotonic_ns.get() / 1_000_000).expect("a disk without faults");
    }

    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let busy = self.turn();
            self.commit();
            if !busy {
                return;
            }
        }
        panic!("the workers never come to rest");
    }

    /// The power goes; what was not synced is lost.
    fn lose_power(self) -> Self {
        let Self { disk, running, clock, heard, orders, requests } = self;
        drop(running);
        disk.crash(CrashFault::Lost, 0);
        // Looked at in a start of its own: slots are handed out only where no worker lives.
        heard.check(&Running::start(&disk).into_slots());
        disk.restart_process();
        let running = Running::start(&disk);
        Self { disk, running, clock, heard, orders, requests }
    }

    fn deliver(&mut self, worker: usize, client: usize, datagram: Vec<u8>) {
        self.heard.bytes_sent[client] += datagram.len();
        let from = Peer::new(SocketAddr::from(([10, 0, 0, client as u8], 4_000 + client as u16)));
        self.running.ports[worker].incoming.push_back((datagram, from));
    }

    fn envelope(&mut self) -> Envelope {
        self.requests += 1;
        Envelope {
            network: NETWORK.rules.network,
            epoch: NETWORK.rules.epoch,
            request_id: self.requests.to_le_bytes(),
            return_token: [0; 8],
        }
    }

    /// A request that is right, or nearly.
    fn request(&mut self, chance: &mut Chance<'_>) -> Vec<u8> {
        let envelope = self.envelope();
        let mut buffer = vec![0; DATAGRAM_MAX];
        let length = match chance.below(6) {
            0 | 1 => {
                let order = self.order(chance);
                transfer_request(&mut buffer, &envelope, &order, &NETWORK.digest(&order.body))
            }
            2 | 3 => {
                let order = self.order(chance);
                let digest = NETWORK.digest(&order.body);
                // Mostly a quorum of the others; our own vote among them would stop the voting where it was never given.
                let signers = if chance.one_in(4) { u32::from(chance.take::<u8>()) & 0xf } else { 0b1110 };
                let places = (0..AUTHORITIES).filter(|place| signers >> place & 1 == 1);
                let signatures: Vec<Signature> = places.map(|place| NETWORK.vote(place, &digest)).collect();
                let head = CertificateHead { order, signers: signers.into(), reserved: 0.into() };
                let view = CertificateView { head: &head, signatures: &signatures };
                confirmation_request(&mut buffer, &envelope, &view, &digest)
            }
            4 => {
                let account = NETWORK.wallets[chance.below(WALLETS)];
                account_query(&mut buffer, &envelope, &account, TOKENS[chance.below(2)])
            }
            _ => {
                let account = NETWORK.wallets[chance.below(WALLETS)];
                let direction = if chance.one_in(2) { DIRECTION_DEBIT } else { DIRECTION_CREDIT };
                let locator = if chance.one_in(2) { 0 } else { u64::from(chance.take::<u16>()) * 8 };
                let query = CertificateQuery { direction, reserved: [0; 7], locator: locator.into() };
                let signers = NETWORK.rules.committee.largest_minimal_quorum();
                certificate_query(&mut buffer, &envelope, &account, chance.below(8) as u64, &query, signers)
            }
        };
        buffer.truncate(length);
        buffer
    }

    fn order(&mut self, chance: &mut Chance<'_>) -> SignedOrder {
        if chance.one_in(2)
            && let Some(order) = self.orders.get(chance.below(self.orders.len().max(1)))
        {
            return *order;
        }
        let (from, to) = (chance.below(WALLETS), chance.below(WALLETS));
        let (sequence, token) = (chance.below(6) as u64, TOKENS[chance.below(2)]);
        let order = NETWORK.pay(from, sequence, to, token, u64::from(chance.take::<u8>()));
        self.orders.push(order);
        order
    }
}

pub fn datagrams(bytes: &[u8]) {
    let mut chance = Chance::new(bytes);
    let disk = NEW.fork();
    let mut life = Life {
        running: Running::start(&disk),
        disk,
        clock: HandClock { now_ms: Cell::new(NOW_MS), monotonic_ns: Cell::new(1) },
        heard: Heard::default(),
        orders: Vec::new(),
        requests: 0,
    };
    let (mut datagrams, mut power_cuts) = (0, 0);
    while !chance.is_over() && datagrams < DATAGRAMS_MAX {
        match chance.below(16) {
            0 => {
                life.turn();
            }
            1 => life.commit(),
            2 => {
                life.clock.monotonic_ns.set(life.clock.monotonic_ns.get() + u64::from(chance.take::<u32>()));
                life.clock.now_ms.set(NOW_MS + u64::from(chance.take::<u16>()));
            }
            3 if power_cuts < POWER_CUTS_MAX => {
                power_cuts += 1;
                life = life.lose_power();
            }
            4 | 5 => {
                // Whatever somebody writes into a packet.
                let length = usize::from(chance.take::<u16>()) % (DATAGRAM_MAX + 1);
                let datagram = chance.bytes(length).to_vec();
                datagrams += 1;
                life.deliver(chance.below(WORKERS), chance.below(CLIENTS), datagram);
            }
            what => {
                let mut datagram = life.request(&mut chance);
                while chance.one_in(4) {
                    let next = life.request(&mut chance);
                    if datagram.len() + next.len() <= DATAGRAM_MAX {
                        datagram.extend(next);
                    }
                }
                if what >= 14 {
                    let at = usize::from(chance.take::<u16>()) % datagram.len();
                    datagram[at] = chance.take();
                }
                datagrams += 1;
                life.deliver(chance.below(WORKERS), chance.below(CLIENTS), datagram);
            }
        }
    }
    life.settle();
    life.lose_power();
}
