//! The depot of a queue: the two rings that all its sockets share, and the frames on their way between workers and kernel.
//!
//! ```text
//!                     worker 0                 worker 1
//!   receive ring 0 -> burst                    burst <- receive ring 1
//!                       |   returned (bounded)   |
//!                       +---------> [ ] <--------+
//!                                    |  by whoever owns the rings at the moment
//!                                    v
//!                          fill ring -> kernel
//!   transmit ring 0 -> kernel -> completion ring
//!                                    |  sorted by the worker that the frame belongs to
//!                       +--- [ ] <---+---> [ ] ---+
//!                       v                         v
//!                  free frames 0             free frames 1
//! ```
//!
//! The fill and completion rings are single-producer and single-consumer, so they have one owner at a time. The owner is
//! not a fixed worker: a sleeping one would let the others starve. Whoever has frames to return tries to become the owner; whoever
//! does not get it leaves his frames in a bounded queue, which the owner looks at again after it has let go. Nobody waits.
//!
//! What always holds: every frame is in exactly one place; a queue has room for every frame that can be put into it, so putting
//! never fails; a transmit frame comes back to the worker that it was made for.

use super::frame::Frame;
use super::frame_rings::{CompletionRing, FillRing, NotOurs};
use meshpay_sync::atomic::{AtomicU64, Ordering, fence};
use meshpay_sync::{ArrayQueue, Mutex, MutexGuard, try_lock};

/// Who may send from which frames: the first frames are for receiving, then come those of each worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// Frames to receive into, of all workers.
    pub(super) receive: u32,
    /// Frames to send from, for each worker.
    pub(super) transmit: u32,
    /// Workers.
    pub(super) workers: u32,
}

impl Shares {
    pub(super) fn total(&self) -> u32 {
        self.receive + self.transmit * self.workers
    }

    /// The worker that sends from frame `number`; `None` for a frame to receive into.
    fn sender(&self, number: u32) -> Option<usize> {
        let place = number.checked_sub(self.receive)?;
        Some((place / self.transmit.max(1)) as usize).filter(|worker| *worker < self.workers as usize)
    }
}

/// The rings that one worker at a time owns.
struct SharedRings {
    fill: FillRing,
    completion: CompletionRing,
}

/// See the module's documentation.
pub(super) struct Depot {
    shares: Shares,
    rings: Mutex<SharedRings>,
    returned: ArrayQueue<Frame>,
    sent: Box<[ArrayQueue<Frame>]>,
    lost: AtomicU64,
}

impl Depot {
    /// Takes all frames of a UMEM, which `shares` must divide exactly: those to receive into go to the kernel as far as the fill ring
    /// has room.
    pub(super) fn new(shares: Shares, fill: FillRing, completion: CompletionRing, frames: Vec<Frame>) -> Self {
        assert_eq!(frames.len(), shares.total() as usize);
        let depot = Self {
            shares,
            rings: Mutex::new(SharedRings { fill, completion }),
            // A queue holds at least one.
            returned: ArrayQueue::new(shares.receive.max(1) as usize),
            sent: (0..shares.workers).map(|_| ArrayQueue::new(shares.transmit.max(1) as usize)).collect(),
            lost: AtomicU64::new(0),
        };
        for frame in frames {
            match shares.sender(frame.number()) {
                Some(worker) => depot.put_sent(worker, frame),
                None => depot.put_returned(frame),
            }
        }
        if let Some(mut rings) = depot.try_own() {
            depot.give(&mut rings, &mut Vec::new());
        }
        depot
    }

    /// Frames that each worker sends from.
    pub(super) fn transmit_frames(&self) -> usize {
        self.shares.transmit as usize
    }

    /// Returns received frames (`returning` is empty afterwards) and collects the frames of `worker` that were sent into `free`.
    /// Never waits.
    pub(super) fn exchange(&self, returning: &mut Vec<Frame>, worker: usize, free: &mut Vec<Frame>) {
        let mut owned = self.try_own();
        if owned.is_none() {
            for frame in returning.drain(..) {
                self.put_returned(frame);
            }
            // Before looking at the lock again: either we get it, or the owner, who lets go later than our look, finds these
            // frames when it looks at the queue afterwards (its fence stands between the two).
            fence(Ordering::SeqCst);
            owned = self.try_own();
        }
        while let Some(mut rings) = owned {
            let has_room = self.give(&mut rings, returning);
            self.collect(&mut rings, worker, free);
            drop(rings);
            fence(Ordering::SeqCst);
            let more = has_room && !self.returned.is_empty();
            owned = if more { self.try_own() } else { None };
        }
        self.take_sent(worker, free);
    }

    /// Takes what others have collected for `worker`.
    fn take_sent(&self, worker: usize, free: &mut Vec<Frame>) {
        while let Some(frame) = self.sent[worker].pop() {
            free.push(frame);
        }
    }

    /// Fills the fill ring, from `returning` first. Returns whether there is room for more.
    fn give(&self, rings: &mut SharedRings, returning: &mut Vec<Frame>) -> bool {
        let mut given = false;
        let has_room = loop {
            if rings.fill.room() == 0 {
                break false;
            }
            let Some(frame) = returning.pop().or_else(|| self.returned.pop()) else { break true };
            rings.fill.give(frame);
            given = true;
        };
        if given {
            rings.fill.publish();
        }
        for frame in returning.drain(..) {
            self.put_returned(frame);
        }
        has_room
    }

    /// Sorts the frames that the kernel has sent: to `free` what is this worker's, to its queue what is another's.
    fn collect(&self, rings: &mut SharedRings, worker: usize, free: &mut Vec<Frame>) {
        let mut any = false;
        while let Some(frame) = rings.completion.take() {
            any = true;
            match frame.map(|frame| (self.shares.sender(frame.number()), frame)) {
                Ok((Some(owner), frame)) if owner == worker => free.push(frame),
                Ok((Some(owner), frame)) => self.put_sent(owner, frame),
                // Never given to be sent, yet it came back: of use again, whatever happened.
                Ok((None, frame)) => self.put_returned(frame),
                Err(NotOurs) => self.count_lost(),
            }
        }
        if any {
            rings.completion.release();
        }
    }

    fn put_returned(&self, frame: Frame) {
        let overflow = self.returned.push(frame);
        debug_assert!(overflow.is_ok(), "more frames than were made");
    }

    fn put_sent(&self, worker: usize, frame: Frame) {
        let overflow = self.sent[worker].push(frame);
        debug_assert!(overflow.is_ok(), "more frames than were made");
    }

    /// A frame of which the kernel spoke nonsense.
    pub(super) fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The kernel wants a system call since it ran out of frames to receive into.
    pub(super) fn fill_needs_wakeup(&self) -> bool {
        self.try_own().is_some_and(|rings| rings.fill.needs_wakeup())
    }

    /// Frames in the shared rings and queues: to receive into, and sent. For tests and gauges; exact only when all is quiet.
    pub(super) fn count(&self) -> (usize, usize) {
        let mut rings = self.rings.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let sent: usize = self.sent.iter().map(ArrayQueue::len).sum();
        (rings.fill.pending() + self.returned.len(), rings.completion.available() + sent)
    }

    fn try_own(&self) -> Option<MutexGuard<'_, SharedRings>> {
        // Nobody panics between the steps on a ring's index, so what is behind a poisoned lock is whole.
        try_lock(&self.rings)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring::fake::{self, Kernel};
    use super::super::umem::Umem;
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    const SHARES: Shares = Shares { receive: 24, transmit: 4, workers: 2 };

    type Scene = (Arc<Umem>, Depot, Arc<Kernel<u64>>, Arc<Kernel<u64>>);

    /// A depot, and the kernel's ends of its rings: fill and completion.
    fn depot(fill_size: u32) -> Scene {
        let (umem, frames) = Umem::heap(SHARES.total());
        let umem = Arc::new(umem);
        let (fill, kernel_fill) = fake::producer(fill_size, u32::MAX - 3);
        let (completion, kernel_completion) = fake::consumer(8, u32::MAX - 3);
        let fill = FillRing::new(fill, Arc::clone(&umem));
        let completion = CompletionRing::new(completion, Arc::clone(&umem));
        (Arc::clone(&umem), Depot::new(SHARES, fill, completion, frames), kernel_fill, kernel_completion)
    }

    /// What a receive ring would do: the kernel gives a filled frame to us.
    fn received(umem: &Umem, address: u64) -> Frame {
        // SAFETY: the address was taken from the fill ring by the test's kernel, which forgets it.
        unsafe { umem.retake(address, 60) }.expect("a frame of ours").0
    }

    #[test]
    fn frames_that_find_no_room_wait_and_follow() {
        let (umem, depot, fill, _completion) = depot(16);
        assert_eq!(depot.count(), (24, 8));
        let mut with_us = Vec::new();
        for _ in 0..16 {
            with_us.push(received(&umem, fill.take().expect("sixteen places")));
        }
        assert!(fill.take().is_none());
        let mut free = Vec::new();
        depot.exchange(&mut with_us, 0, &mut free);
        assert_eq!((with_us.len(), free.len()), (0, 4));
        let refilled = std::iter::from_fn(|| fill.take()).count();
        assert_eq!(refilled, 16);
        assert_eq!(depot.count(), (8, 4), "eight wait in the queue, and worker 1 has not fetched its four");
    }

    #[test]
    fn sent_frames_return_to_the_worker_they_belong_to() {
        let (umem, depot, _fill, completion) = depot(32);
        let (mut free_0, mut free_1) = (Vec::new(), Vec::new());
        depot.exchange(&mut Vec::new(), 1, &mut free_1);
        let mine: Vec<u32> = free_1.iter().map(Frame::number).collect();
        assert_eq!(mine, [28, 29, 30, 31]);
        for frame in free_1.drain(..) {
            assert!(completion.put(umem.surrender(frame)));
        }
        // Worker 0 comes by first.
        depot.exchange(&mut Vec::new(), 0, &mut free_0);
        assert!(free_0.iter().all(|frame| frame.number() < 28) && free_0.len() == 4);
        depot.exchange(&mut Vec::new(), 1, &mut free_1);
        assert_eq!(free_1.len(), 4);
    }

    #[test]
    fn an_address_that_is_none_of_ours_is_counted() {
        let (_umem, depot, _fill, completion) = depot(32);
        assert!(completion.put(u64::MAX - 5));
        depot.exchange(&mut Vec::new(), 0, &mut Vec::new());
        assert_eq!(depot.lost(), 1);
    }

    /// Two workers and a kernel at once: the kernel sends what it gets and fills what it finds; no frame is ever lost.
    #[test]
    fn no_frame_is_lost_between_threads() {
        let rounds = if cfg!(miri) { 30 } else { 20_000 };
        let (umem, depot, fill, completion) = depot(16);
        let (umem, depot) = (&umem, &depot);
        let done = AtomicBool::new(false);
        let to_worker: [ArrayQueue<Frame>; 2] = std::array::from_fn(|_| ArrayQueue::new(32));
        let to_kernel: ArrayQueue<u64> = ArrayQueue::new(8);
        std::thread::scope(|scope| {
            let kernel = scope.spawn(|| {
                let mut turn = 0;
                while !done.load(Ordering::Acquire) {
                    while let Some(address) = fill.take() {
                        turn ^= 1;
                        assert!(to_worker[turn].push(received(umem, address)).is_ok());
                    }
                    while let Some(address) = to_kernel.pop() {
                        while !completion.put(address) {
                            std::thread::yield_now();
                        }
                    }
                    std::thread::yield_now();
                }
                while let Some(address) = to_kernel.pop() {
                    while !completion.put(address) {
                        std::thread::yield_now();
                    }
                }
            });
            let workers: Vec<_> = (0..2usize)
                .map(|worker| {
                    let (to_worker, to_kernel) = (&to_worker[worker], &to_kernel);
                    scope.spawn(move || {
                        let (mut returning, mut free) = (Vec::new(), Vec::new());
                        for _ in 0..rounds {
                            while let Some(frame) = to_worker.pop() {
                                returning.push(frame);
                            }
                            depot.exchange(&mut returning, worker, &mut free);
                            if let Some(frame) = free.pop() {
                                assert!(to_kernel.push(umem.surrender(frame)).is_ok());
                            }
                            std::thread::yield_now();
                        }
                        (returning.len(), free)
                    })
                })
                .collect();
            let rest: Vec<_> = workers.into_iter().map(|worker| worker.join().expect("no panic")).collect();
            done.store(true, Ordering::Release);
            kernel.join().expect("no panic");
            let mut free: Vec<Frame> = Vec::new();
            let mut returning = Vec::new();
            for (left, frames) in rest {
                assert_eq!(left, 0);
                free.extend(frames);
            }
            for queue in &to_worker {
                while let Some(frame) = queue.pop() {
                    returning.push(frame);
                }
            }
            depot.exchange(&mut returning, 0, &mut free);
            depot.exchange(&mut returning, 1, &mut free);
            let (receive, sent) = depot.count();
            assert_eq!((receive, sent + free.len()), (24, 8));
            let mut numbers: Vec<u32> = free.iter().map(Frame::number).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (24..32).collect::<Vec<_>>());
        });
    }
}

#[cfg(all(test, feature = "loom"))]
mod under_loom {
    use super::super::ring::fake;
    use super::super::umem::Umem;
    use super::*;
    use meshpay_sync::{Fault, explore, must_find, thread};
    use std::sync::Arc;

    const SHARES: Shares = Shares { receive: 2, transmit: 1, workers: 2 };

    /// Each of two workers returns a received frame, and then both sleep: no frame may wait for the next one who comes by, or the kernel would
    /// have nothing to receive into.
    ///
    /// Loom lets a thread that is about to try a lock wait while another has it, so it explores a failing try only in part: this does not show that the
    /// owner's second look at the queue is needed. `no_frame_is_lost_between_threads` runs that on real threads.
    fn returning() {
        let (umem, frames) = Umem::heap(SHARES.total());
        let umem = Arc::new(umem);
        let (fill, kernel) = fake::producer(4, 0);
        let (completion, _sent) = fake::consumer(4, 0);
        let fill = FillRing::new(fill, Arc::clone(&umem));
        let completion = CompletionRing::new(completion, Arc::clone(&umem));
        let depot = Arc::new(Depot::new(SHARES, fill, completion, frames));
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let address = kernel.take().expect("both frames were given");
                // SAFETY: the address was taken from the fill ring by the test's kernel, which forgets it.
                let frame = unsafe { umem.retake(address, 60) }.expect("a frame of ours").0;
                let depot = Arc::clone(&depot);
                thread::spawn(move || {
                    let mut free = Vec::new();
                    depot.exchange(&mut vec![frame], worker, &mut free);
                    assert_eq!(free.len(), 1, "its own frame to send from");
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
        let with_kernel = std::iter::from_fn(|| kernel.take()).count();
        assert_eq!((with_kernel, depot.returned.len()), (2, 0), "a frame waits while all sleep");
    }

    #[test]
    fn no_frame_waits_while_all_sleep() {
        println!("{} schedules, all that loom tells apart", explore(None, returning));
        must_find(Fault::TriedLocksFail, None, returning);
    }
}
