//! The types of every ordinary build.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub use crossbeam::queue::ArrayQueue;
pub use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, RwLock};

/// Atomic numbers and fences.
pub mod atomic {
    pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
}

/// Threads.
pub mod thread {
    pub use std::thread::{Builder, JoinHandle, sleep};
}

/// A way for one thread to wake another that waits for descriptors: an eventfd, shared by reference (or in an `Arc`).
///
/// Wake-ups that nobody has seen yet merge into one, so a waker never blocks and never fills up.
#[derive(Debug)]
pub struct Waker {
    event: OwnedFd,
}

impl Waker {
    /// Makes a waker that nobody has woken yet.
    ///
    /// # Errors
    /// When the process or the machine is out of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self { event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Makes the waiting side return, now or at its next wait.
    pub fn wake(&self) {
        // The only refusal possible is EAGAIN of a counter at its maximum, and then the other side is awake anyway.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    /// Forgets the wake-ups so far; to be called by the side that was woken, before it looks for its work. Returns
    /// whether there were any.
    pub fn clear(&self) -> bool {
        let mut count = [0u8; 8];
        loop {
            match rustix::io::read(&self.event, &mut count) {
                Err(Errno::INTR) => continue,
                outcome => return outcome.is_ok(),
            }
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// Tries to get a lock; nothing where another thread has it. Behind a poisoned lock is what its last owner left there.
pub fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(std::sync::TryLockError::WouldBlock) => None,
    }
}
