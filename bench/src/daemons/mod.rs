//! Authorities as processes: their directories, their start and stop, and the audit of what they leave behind.
//!
//! What always holds: a process started here ends with its handle, whatever ends that; it is stopped by its own id, politely at
//! first, and never outlives the bench (the kernel signals it when the bench dies).

mod audit;
mod directory;
mod metrics;
mod packet_io;
mod process;
mod ready;
mod sync_counts;

pub use audit::{AuditInput, Auditing, audit};
pub use directory::AuthorityDirectory;
pub use packet_io::PacketIo;
pub use process::{Process, START_MAX};
pub use ready::ReadyLine;
pub use sync_counts::{SyncCounts, SyncTimes};
