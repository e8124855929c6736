//! The journal: an append-only, checksummed, hash-chained log with group commit, which is the truth of an authority.
//!
//! Records are opaque bytes with a kind; this module knows nothing of payments. `docs/journal.md` draws every byte and argues why a
//! commit is safe.
//!
//! What always holds: nothing is called durable that the disk has not confirmed; what is recovered is a prefix of what was appended and
//! holds everything that was ever durable, or the start is refused by name.
//!
//! How it is used, by the daemon:
//! ```no_run
//! use meshpay_authority::journal::*;
//! use std::sync::Arc;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let identity = Identity { journal: [1; 32], network: [2; 32] };
//! let disk: Arc<dyn Disk> = Arc::new(RealDisk::open("/var/lib/meshpay/journal".as_ref())?); // locks the directory
//! let mark = MarkPlace { disk: Arc::new(RealDisk::open("/etc/meshpay/key".as_ref())?), name: "journal.mark".into() };
//! let config = JournalConfig::new(Kinds::of(&[1, 2]));
//! create(&disk, &mark, &identity, &config)?; // once in its life
//! let (journal, recovered) = recover(&disk, &mark, &identity, &config, Position::START, &mut |position, kind, payload| {
//!     println!("{position}: a record of kind {kind}, {} bytes", payload.len());
//!     Ok(())
//! })?;
//! println!("recovered to {}", recovered.head);
//! let handle = journal.handle(); // clone one for each worker
//! let thread = JournalThread::start(journal, Hooks::default())?;
//!
//! let position = handle.append(1, &[b"head", b"body"])?;
//! handle.submit();
//! let answer_after = handle.appended();
//! let waiter = handle.waiter()?; // or poll `durable` in the worker's own loop
//! while handle.durable() < answer_after {
//!     if !waiter.announce(answer_after) { /* poll(waiter.as_fd()) together with the sockets */ }
//! }
//! let mut payload = [0; RECORD_PAYLOAD_BYTES_MAX];
//! let (kind, length) = handle.read(position, &mut payload)?;
//! # let _ = (kind, length);
//! let stopped = thread.stop()?; // clean stop: everything appended is durable and marked
//! # let _ = stopped; Ok(()) }
//! ```
//! A simulator drives a [`Journal`] itself, in one thread: `begin` (closes and writes a frame), later `finish` (syncs it), now and then
//! `maintain`. It is the same code over a [`FaultDisk`].

mod blocks;
mod config;
mod counters;
mod disk;
mod driver;
mod error;
mod fault_disk;
mod format;
mod handle;
mod keeper;
mod mark;
mod paced_disk;
mod progress;
mod real_disk;
mod recovery;
mod scan;
mod segments;
mod thread;
mod writer;

pub(crate) use blocks::BlockBuffer;
pub use config::{Durability, JournalConfig, Kind, Kinds};
pub use counters::JournalCounters;
pub use disk::{Disk, DiskFile, Medium};
pub use driver::{Journal, Stopped};
pub use error::{AppendError, Failure, JournalError, ReadError};
pub use fault_disk::{CrashFault, FaultDisk};
pub use format::{
    BLOCK_BYTES, Chain, FORMAT_VERSION, FRAME_HEADER_BYTES, Identity, RECORD_HEADER_BYTES, RECORD_PAYLOAD_BYTES_MAX,
    segment_name,
};
pub use handle::{Handle, Room};
pub use mark::MarkPlace;
pub use paced_disk::PacedDisk;
pub use progress::Waiter;
pub use real_disk::RealDisk;
pub use recovery::{adopt, create, inspect, inspect_with, marked, recover, recover_with};
pub use scan::{Apply, Cut, Recovered, Replay, ReplayFrom};
pub use thread::{CommitHook, CommitReport, FailureHook, Hooks, JournalThread};

/// A place in the log, in bytes from its beginning: segment number times segment size, plus the offset in the segment's file. Positions of
/// records never change, and are never given twice to records that anybody had an answer about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// The beginning of every journal: replay from here replays all.
    pub const START: Self = Self(0);
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
