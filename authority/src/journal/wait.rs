//! How a worker sleeps until the journal is durable: an eventfd of its own, written only when it has announced that it waits.

use super::{Handle, Position};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const NOT_WAITING: u64 = u64::MAX;

/// Wakes one worker when the journal is durable far enough.
///
/// Before it sleeps in `poll` or `epoll` with this descriptor among the others, the worker calls [`announce`](Self::announce), and if that
/// says `true`, it must not sleep. When the descriptor was readable, it calls [`clear`](Self::clear). A failure of the journal wakes too.
pub struct Waiter {
    state: Arc<WaiterState>,
    handle: Handle,
}

impl Waiter {
    pub(super) fn new(state: Arc<WaiterState>, handle: Handle) -> Self {
        Self { state, handle }
    }

    /// Asks to be woken once when the journal is durable up to `position`; a later call takes the place of an earlier one. True if there is
    /// nothing to wait for (it is durable already, or the journal failed).
    pub fn announce(&self, position: Position) -> bool {
        self.state.target.store(position.0, Ordering::SeqCst);
        if self.handle.shared.durable.load(Ordering::SeqCst) >= position.0 || self.handle.shared.failure.get().is_some()
        {
            self.withdraw();
            return true;
        }
        false
    }

    /// Wants no wake-up any more, for instance because a packet came first.
    pub fn withdraw(&self) {
        self.state.target.store(NOT_WAITING, Ordering::SeqCst);
    }

    /// Makes the descriptor unreadable again.
    pub fn clear(&self) {
        let mut count = [0; 8];
        // The descriptor does not block: if nothing was written there is nothing to clear.
        let _ = rustix::io::read(&self.state.event, &mut count);
    }
}

impl AsFd for Waiter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.state.event.as_fd()
    }
}

pub(super) struct WaiterState {
    event: OwnedFd,
    target: AtomicU64,
}

impl WaiterState {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            event: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            target: AtomicU64::new(NOT_WAITING),
        })
    }

    pub fn wake_if_reached(&self, end: Position) {
        let target = self.target.load(Ordering::SeqCst);
        if target != NOT_WAITING
            && target <= end.0
            && self.target.compare_exchange(target, NOT_WAITING, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        {
            // An eventfd refuses only a counter near 2^64, which one write per sleep never reaches.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }
}
