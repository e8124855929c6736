//! How far the journal is durable, or that it failed, and who sleeps until then.
//!
//! What always holds: a worker that announced what it waits for is woken when that is durable or the journal failed, or was told beforehand not to
//! sleep; what is durable never goes back. Neither side takes a lock that the other holds for long: one commit asks each waiter for one word.

use super::Position;
use super::error::Failure;
use meshpay_sync::atomic::{AtomicU64, Ordering, fence};
use meshpay_sync::{OnceLock, RwLock, Waker};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, PoisonError};

const NOT_WAITING: u64 = u64::MAX;

/// See the module's documentation.
pub(super) struct Progress {
    durable: AtomicU64,
    failure: OnceLock<Failure>,
    sleepers: RwLock<Vec<Arc<Sleeper>>>,
}

/// What one worker waits for.
struct Sleeper {
    target: AtomicU64,
    waker: Waker,
}

impl Progress {
    pub fn new(durable: Position) -> Self {
        Self { durable: AtomicU64::new(durable.0), failure: OnceLock::new(), sleepers: RwLock::new(Vec::new()) }
    }

    /// Everything before this is durable.
    pub fn durable(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    /// Why the journal stopped for good, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// Everything before `end` is durable from now on.
    pub fn publish(&self, end: Position) {
        self.durable.store(end.0, Ordering::Release);
        self.wake_who_waits_for(end);
    }

    /// Nothing more becomes durable. The first failure stays.
    pub fn fail(&self, failure: Failure) {
        let _ = self.failure.set(failure);
    }

    /// Wakes everybody, since nothing that they wait for will come.
    pub fn wake_all(&self) {
        self.wake_who_waits_for(Position(u64::MAX));
    }

    fn wake_who_waits_for(&self, end: Position) {
        // Between what was published and the look at what is waited for, as in `announce` between the announcement and the look at what was
        // published: one of the two sees the other.
        fence(Ordering::SeqCst);
        for sleeper in self.sleepers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            sleeper.wake_if_reached(end);
        }
    }
}

impl Sleeper {
    fn wake_if_reached(&self, end: Position) {
        let target = self.target.load(Ordering::Acquire);
        if target != NOT_WAITING
            && target <= end.0
            && self.target.compare_exchange(target, NOT_WAITING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            self.waker.wake();
        }
    }
}

/// Wakes one worker when the journal is durable far enough.
///
/// Before it sleeps in `poll` or `epoll` with this descriptor among the others, the worker calls [`announce`](Self::announce), and if that
/// says `true`, it must not sleep. When the descriptor was readable, it calls [`clear`](Self::clear). A failure of the journal wakes too.
pub struct Waiter {
    sleeper: Arc<Sleeper>,
    progress: Arc<Progress>,
}

impl Waiter {
    /// A waiter of its own for one worker.
    ///
    /// # Errors
    /// When the process or the machine is out of descriptors.
    pub(super) fn new(progress: Arc<Progress>) -> io::Result<Self> {
        let sleeper = Arc::new(Sleeper { target: AtomicU64::new(NOT_WAITING), waker: Waker::new()? });
        progress.sleepers.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&sleeper));
        Ok(Self { sleeper, progress })
    }

    /// Asks to be woken once when the journal is durable up to `position`; a later call takes the place of an earlier one. True if there is
    /// nothing to wait for (it is durable already, or the journal failed).
    pub fn announce(&self, position: Position) -> bool {
        self.sleeper.target.store(position.0, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.progress.durable() >= position || self.progress.failure().is_some() {
            self.withdraw();
            return true;
        }
        false
    }

    /// Wants no wake-up any more, for instance because a packet came first.
    pub fn withdraw(&self) {
        self.sleeper.target.store(NOT_WAITING, Ordering::Release);
    }

    /// Makes the descriptor unreadable again.
    pub fn clear(&self) {
        self.sleeper.waker.clear();
    }

    /// What `poll` does in an ordinary build.
    #[cfg(all(test, feature = "loom"))]
    pub(super) fn sleep(&self) {
        self.sleeper.waker.wait();
    }
}

impl AsFd for Waiter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sleeper.waker.as_fd()
    }
}

#[cfg(all(test, feature = "loom"))]
mod under_loom {
    use super::*;
    use meshpay_sync::{Fault, explore, must_find, thread};

    fn failure() -> Failure {
        Failure { what: "syncing".into(), source: Arc::new(io::Error::other("the disk")) }
    }

    fn sleeps_until(waiter: &Waiter, progress: &Progress, position: Position) {
        while !waiter.announce(position) {
            waiter.sleep();
            waiter.clear();
            waiter.withdraw();
        }
        assert!(progress.durable() >= position || progress.failure().is_some(), "woken for nothing");
    }

    /// Two workers sleep until records of theirs are durable, which two commits make them.
    fn commits() {
        let progress = Arc::new(Progress::new(Position(0)));
        let workers: Vec<_> = [Position(1), Position(2)]
            .into_iter()
            .map(|position| {
                let waiter = Waiter::new(Arc::clone(&progress)).expect("a descriptor");
                let progress = Arc::clone(&progress);
                thread::spawn(move || sleeps_until(&waiter, &progress, position))
            })
            .collect();
        progress.publish(Position(1));
        progress.publish(Position(2));
        workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    }

    #[test]
    fn nobody_sleeps_through_the_commit_that_he_waits_for() {
        println!("{} schedules, with up to 3 preemptions", explore(Some(3), commits));
        must_find(Fault::NoFences, Some(3), commits);
        must_find(Fault::LostWakes, Some(3), commits);
    }

    /// The disk fails instead of the commit.
    fn a_failing_disk() {
        let progress = Arc::new(Progress::new(Position(0)));
        let waiter = Waiter::new(Arc::clone(&progress)).expect("a descriptor");
        let worker = thread::spawn({
            let progress = Arc::clone(&progress);
            move || sleeps_until(&waiter, &progress, Position(1))
        });
        progress.fail(failure());
        progress.wake_all();
        worker.join().expect("no panic");
    }

    #[test]
    fn nobody_sleeps_through_a_failure() {
        println!("{} schedules, all there are", explore(None, a_failing_disk));
        must_find(Fault::NoFences, None, a_failing_disk);
    }
}
