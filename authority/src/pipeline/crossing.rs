//! What passes from one worker to another inside the process: messages about the other's accounts, and credits.
//!
//! A credit is sent only after its execution record was appended, so the recipient's worker can act on it only with records that
//! come later in the log (DESIGN 3). Credits have queues of their own: room is checked before the execution is decided, and each queue
//! has one sender, so a credit always finds its place. No credit ever comes from a socket.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use meshpay_net::Peer;
use meshpay_wire::{DATAGRAM_MAX, PublicKey};

/// Messages that may wait between two workers.
const MESSAGES_MAX: usize = 512;
/// Credits that may wait between two workers.
const CREDITS_MAX: usize = 4096;

/// A message about an account of another worker.
pub struct CrossingMessage {
    pub peer: Peer,
    pub length: u16,
    pub bytes: [u8; DATAGRAM_MAX],
}

/// The recipient's half of an execution that another worker has recorded.
#[derive(Clone, Copy, Debug)]
pub struct CrossingCredit {
    pub recipient: PublicKey,
    pub token: u32,
    pub amount: u64,
    /// Position of the execution record.
    pub execution: u64,
    /// A slot was set aside for it.
    pub reserved: bool,
}

/// The queues from one worker to another.
pub struct Crossing {
    pub(super) messages: ArrayQueue<CrossingMessage>,
    pub(super) credits: ArrayQueue<CrossingCredit>,
}

/// One worker's ends of all queues, indexed by the other worker. Its own place is never used.
pub struct CrossingPorts {
    pub(super) worker: usize,
    pub(super) to: Vec<Arc<Crossing>>,
    pub(super) from: Vec<Arc<Crossing>>,
    wake: Vec<Arc<dyn Fn() + Send + Sync>>,
}

impl CrossingPorts {
    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.to.len()
    }

    /// Makes another worker look at its queues.
    pub fn wake(&self, worker: usize) {
        (self.wake[worker])();
    }

    /// Whether another credit to that worker finds room.
    pub fn has_room_for_credit(&self, worker: usize) -> bool {
        let queue = &self.to[worker].credits;
        queue.len() < queue.capacity()
    }

    /// Whether nothing is on its way to this worker.
    pub fn is_empty(&self) -> bool {
        self.from.iter().all(|crossing| crossing.messages.is_empty() && crossing.credits.is_empty())
    }
}

/// Makes the queues between as many workers as there are wakers, and gives each worker its ends.
pub fn crossings(wake: Vec<Arc<dyn Fn() + Send + Sync>>) -> Vec<CrossingPorts> {
    let workers = wake.len();
    let (messages, credits) = if workers == 1 { (1, 1) } else { (MESSAGES_MAX, CREDITS_MAX) };
    let queue = || Arc::new(Crossing { messages: ArrayQueue::new(messages), credits: ArrayQueue::new(credits) });
    let grid: Vec<Vec<Arc<Crossing>>> = (0..workers).map(|_| (0..workers).map(|_| queue()).collect()).collect();
    (0..workers)
        .map(|worker| CrossingPorts {
            worker,
            to: grid[worker].clone(),
            from: grid.iter().map(|row| Arc::clone(&row[worker])).collect(),
            wake: wake.clone(),
        })
        .collect()
}
