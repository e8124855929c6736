//! What passes from one worker to another inside the process: messages about the other's accounts, and credits.
//!
//! A credit is sent only after its execution record was appended, so the recipient's worker can act on it only with records that
//! come later in the log (DESIGN 3). Credits have queues of their own: room is checked before the execution is decided, and each queue
//! has one sender, so a credit always finds its place. No credit ever comes from a socket.

use std::sync::Arc;

use meshpay_net::Peer;
use meshpay_sync::{ArrayQueue, Waker};
use meshpay_wire::{DATAGRAM_MAX, PublicKey};

/// Messages that may wait between two workers.
const MESSAGES_MAX: usize = 512;
/// Credits that may wait between two workers.
const CREDITS_MAX: usize = 4096;
/// Messages that may wait for one worker in all; with many workers each pair gets less, so that queues of 64 workers do not take gigabytes.
const MESSAGES_FOR_ONE_MAX: usize = 4096;
/// Credits that may wait for one worker in all.
const CREDITS_FOR_ONE_MAX: usize = 16_384;

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
    /// A bit for each worker that something was sent to since [`CrossingPorts::wake_others`].
    to_wake: u64,
}

impl CrossingPorts {
    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.to.len()
    }

    /// Notes that something was sent to another worker. A wake-up is a system call, so each is woken once a turn.
    pub(super) fn wake_later(&mut self, worker: usize) {
        self.to_wake |= 1 << worker;
    }

    /// Makes those workers look at their queues to whom something was sent.
    pub(super) fn wake_others(&mut self) {
        let mut left = std::mem::take(&mut self.to_wake);
        while left != 0 {
            (self.wake[left.trailing_zeros() as usize])();
            left &= left - 1;
        }
    }

    /// Whether another credit to that worker finds room.
    pub fn has_room_for_credit(&self, worker: usize) -> bool {
        let queue = &self.to[worker].credits;
        queue.len() < queue.capacity()
    }

    /// Whether no credit is on its way to this worker.
    pub(super) fn has_no_credit(&self) -> bool {
        self.from.iter().all(|crossing| crossing.credits.is_empty())
    }

    /// Whether nothing is on its way to this worker.
    pub fn is_empty(&self) -> bool {
        self.from.iter().all(|crossing| crossing.messages.is_empty() && crossing.credits.is_empty())
    }
}

/// Makes the queues between as many workers as there are wakers, and gives each worker its ends.
///
/// # Panics
/// With more than 64 workers.
pub fn crossings(wake: Vec<Arc<dyn Fn() + Send + Sync>>) -> Vec<CrossingPorts> {
    let workers = wake.len();
    assert!(workers <= u64::BITS as usize, "a word has a bit for each worker");
    let queue = |from, to| {
        // A worker sends nothing to itself.
        let share = |most: usize, for_one: usize| if from == to { 1 } else { most.min(for_one / workers) };
        Arc::new(Crossing {
            messages: ArrayQueue::new(share(MESSAGES_MAX, MESSAGES_FOR_ONE_MAX)),
            credits: ArrayQueue::new(share(CREDITS_MAX, CREDITS_FOR_ONE_MAX)),
        })
    };
    let grid: Vec<Vec<Arc<Crossing>>> =
        (0..workers).map(|from| (0..workers).map(|to| queue(from, to)).collect()).collect();
    (0..workers)
        .map(|worker| CrossingPorts {
            worker,
            to: grid[worker].clone(),
            from: grid.iter().map(|row| Arc::clone(&row[worker])).collect(),
            wake: wake.clone(),
            to_wake: 0,
        })
        .collect()
}

/// [`crossings`] between workers of which each sleeps on a waker of its own.
pub fn crossings_between(wakers: &[Arc<Waker>]) -> Vec<CrossingPorts> {
    let wake = |waker: &Arc<Waker>| {
        let waker = Arc::clone(waker);
        Arc::new(move || waker.wake()) as Arc<dyn Fn() + Send + Sync>
    };
    crossings(wakers.iter().map(wake).collect())
}

#[cfg(all(test, feature = "loom"))]
mod under_loom {
    use super::*;
    use meshpay_sync::{Fault, explore, must_find, thread};

    /// What a turn does, in which order.
    #[derive(Clone, Copy)]
    enum Order {
        SendThenWake,
        WakeThenSend,
    }

    fn credit(amount: u64) -> CrossingCredit {
        CrossingCredit { recipient: [7; 32], token: 1, amount, execution: amount, reserved: false }
    }

    /// Two workers pay each other's accounts, and each sleeps until its credits have come.
    fn credits(order: Order) {
        let wakers: Vec<Arc<Waker>> = (0..2).map(|_| Arc::new(Waker::new().expect("a descriptor"))).collect();
        let workers: Vec<_> = crossings_between(&wakers)
            .into_iter()
            .zip(wakers)
            .map(|(ports, waker)| thread::spawn(move || worker(ports, &waker, order)))
            .collect();
        let ended: Vec<CrossingPorts> = workers.into_iter().map(|worker| worker.join().expect("no panic")).collect();
        assert!(ended.iter().all(|ports| ports.has_no_credit() && ports.is_empty()), "asked when all have ended");
    }

    fn worker(mut ports: CrossingPorts, waker: &Waker, order: Order) -> CrossingPorts {
        let other = 1 - ports.worker;
        assert!(ports.has_room_for_credit(other));
        ports.wake_later(other);
        if let Order::WakeThenSend = order {
            ports.wake_others();
        }
        assert!(ports.to[other].credits.push(credit(1)).is_ok(), "room was asked for, and nobody else sends");
        ports.wake_others();
        let mut received = 0;
        while received == 0 {
            match ports.from[other].credits.pop() {
                Some(credit) => received += credit.amount,
                None => {
                    waker.wait();
                    waker.clear();
                }
            }
        }
        assert_eq!(received, 1);
        ports
    }

    #[test]
    fn every_credit_comes_once_and_nobody_sleeps_through_it() {
        let scene = || credits(Order::SendThenWake);
        println!("{} schedules, with up to 3 preemptions", explore(Some(3), scene));
        must_find(Fault::LostWakes, Some(3), scene);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_build_that_wakes_before_it_sends_is_found() {
        explore(Some(3), || credits(Order::WakeThenSend));
    }
}
