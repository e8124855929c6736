//! A journal that was recovered and can be driven: by a thread in production, step by step in a simulator.

use super::error::{Failure, JournalError};
use super::handle::{Handle, Shared};
use super::keeper::Keeper;
use super::writer::Writer;
use super::{Chain, Position};
use std::sync::Arc;

/// A journal that is open for appending. Give it to [`JournalThread`](super::JournalThread), or drive it by hand.
pub struct Journal {
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Writer,
    pub(super) keeper: Keeper,
}

/// Where a journal ended that was stopped cleanly. An image of its state stamped with both is known to be the image of this journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// End of the journal; all of it is durable.
    pub head: Position,
    /// Chain at `head`.
    pub chain: Chain,
}

impl Journal {
    /// Access for a worker.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Closes the frame that was filled and hands it to the disk. False if nothing was appended. Records may be appended while it is in
    /// flight; nothing of it is durable before [`finish`](Self::finish).
    ///
    /// # Errors
    /// When the disk fails: then the journal is dead, and so must be its process.
    ///
    /// # Panics
    /// If a frame is in flight already, which is the driver's mistake.
    pub fn begin(&mut self) -> Result<bool, Failure> {
        self.writer.begin()
    }

    /// Makes the frame in flight durable and returns the end of what is durable.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn finish(&mut self) -> Result<Position, Failure> {
        self.writer.finish()
    }

    /// Both at once: everything appended so far is durable afterwards, as far as it fitted one frame. Returns the end of what is durable.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn commit(&mut self) -> Result<Position, Failure> {
        self.begin()?;
        self.finish()
    }

    /// Allocates segments ahead and writes the mark, when either is due at `now_ms`, on any clock that never goes back. Returns when to call
    /// again at the latest.
    ///
    /// # Errors
    /// As [`begin`](Self::begin). A full disk is no error; it shows in [`Handle::room`].
    pub fn maintain(&mut self, now_ms: u64) -> Result<u64, Failure> {
        self.keeper.step(now_ms)
    }

    /// Stops cleanly: takes no further record, makes durable what was appended, and marks the end.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn stop(mut self) -> Result<Stopped, JournalError> {
        self.shared.filling().stopped = true;
        self.writer.finish()?;
        self.writer.begin()?;
        self.writer.finish()?;
        self.keeper.mark_clean()?;
        let (head, chain) = self.handle().durable_chain();
        Ok(Stopped { head, chain })
    }
}
