//! From the journal to accounts: recovery at start, checkpoints that bound it, and the audit that trusts nothing.

mod audit;
mod checkpoint;
mod fold;
mod recovery;

pub use audit::{AuditReport, audit};
pub use checkpoint::{CheckpointError, Checkpointer, Loaded, load as load_checkpoint};
pub use fold::OpenCredits;
pub use recovery::{Recovered, RecoverySources, recover};

use crate::journal::Kinds;
use meshpay_protocol::record::kind;

/// The record kinds that this version replays; any other refuses the start.
pub fn known_kinds() -> Kinds {
    Kinds::of(&kind::KNOWN)
}
