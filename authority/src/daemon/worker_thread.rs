//! The thread around a worker: turns while there is work, sleep while there is none, drain before the end.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use meshpay_net::{PacketPort, Peer, PortCounters, Sent, Waitable, Waker, WorkerPort};
use meshpay_protocol::Ed25519Signatures;

use super::clock::SystemClock;
use crate::accounts::WorkerAccounts;
use crate::dump::WatchedPort;
use crate::journal::{Position, Waiter};
use crate::journal_port::JournalPort;
use crate::network::WorkerFilter;
use crate::pipeline::{Fatal, Worker};

/// Longest sleep; what a worker waits for wakes it sooner.
const SLEEP_MAX: Duration = Duration::from_millis(200);
/// How often the port's counters reach the metrics page, also under full load.
const COUNT_INTERVAL: Duration = Duration::from_millis(200);

/// The worker as the daemon runs it.
pub type DaemonWorker = Worker<WorkerAccounts, JournalPort, Ed25519Signatures, WorkerFilter>;

/// What a worker thread shares with the rest of the daemon.
pub struct ThreadShared {
    /// No more packets are taken; what is under way is finished.
    pub stopping: AtomicBool,
    /// The thread returns.
    pub ended: AtomicBool,
    /// Nothing is left to do in this worker. Set and cleared by its thread.
    pub drained: AtomicBool,
    /// Wakes the thread.
    pub waker: Waker,
    /// What the port counts, copied now and then.
    pub port: std::sync::Mutex<PortCounters>,
}

impl ThreadShared {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            stopping: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            waker: Waker::new()?,
            port: std::sync::Mutex::new(PortCounters::default()),
        })
    }
}

/// Runs until told to end, or until the worker cannot go on.
pub fn run(
    mut worker: DaemonWorker,
    mut port: WatchedPort<WorkerPort>,
    waiter: &Waiter,
    shared: &Arc<ThreadShared>,
) -> Result<DaemonWorker, Fatal> {
    let clock = SystemClock::new();
    let mut counted = Instant::now();
    while !shared.ended.load(Ordering::Acquire) {
        let turn = if shared.stopping.load(Ordering::Acquire) {
            let turn = worker.turn(&mut Deaf(&mut port), &clock)?;
            shared.drained.store(turn.drained, Ordering::Release);
            turn
        } else {
            worker.turn(&mut port, &clock)?
        };
        if counted.elapsed() >= COUNT_INTERVAL
            && let Ok(mut counters) = shared.port.try_lock()
        {
            *counters = port.counters();
            port.inner().publish();
            counted = Instant::now();
        }
        if turn.busy {
            continue;
        }
        if let Some(ticket) = turn.waits_for
            && waiter.announce(Position(ticket))
        {
            continue;
        }
        // Deaf ports still have packets waiting, so a stopping worker sleeps on its wakers only, for a moment.
        if shared.stopping.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        } else {
            let woken = port.wait(SLEEP_MAX, &[waiter.as_fd(), shared.waker.as_fd()])?;
            if woken.others & 0b10 != 0 {
                shared.waker.clear();
            }
            if woken.others & 0b01 != 0 {
                waiter.clear();
            }
        }
        waiter.withdraw();
    }
    Ok(worker)
}

/// A port that hears nothing more but still answers.
struct Deaf<'a>(&'a mut WatchedPort<WorkerPort>);

impl PacketPort for Deaf<'_> {
    fn receive(&mut self) -> io::Result<usize> {
        Ok(0)
    }
    fn packet(&self, _index: usize) -> (&[u8], Peer) {
        unreachable!("a deaf port never has packets")
    }
    fn queue(&mut self, to: &Peer, parts: &[&[u8]]) -> bool {
        self.0.queue(to, parts)
    }
    fn flush(&mut self) -> io::Result<Sent> {
        self.0.flush()
    }
    fn counters(&self) -> PortCounters {
        self.0.counters()
    }
}
