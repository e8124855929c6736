//! What can go wrong with a journal, in words for the operator: what happened, to which file, and what to do next.

use super::format::Chain;
use super::{Kind, Position};
use std::io;
use std::sync::Arc;

/// A journal could not be made, opened, read or closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A call to the storage failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, to what.
        what: String,
        /// What the storage said.
        source: io::Error,
    },
    /// Another process uses the directory.
    #[error(
        "{directory} is in use by {holder}; stop it first, two processes on one journal would sign against each other"
    )]
    InUse {
        /// The directory.
        directory: String,
        /// "process 4711", as far as the lock file tells.
        holder: String,
    },
    /// The directory lies on memory, which no power cut survives.
    #[error(
        "{directory} lies on {filesystem}, which is memory: a power cut takes every vote with it. Put it on a disk, or ask for durability = \"process\", which survives a killed process only"
    )]
    Volatile {
        /// The directory.
        directory: String,
        /// Name of its file system.
        filesystem: String,
    },
    /// A value of the configuration is out of bounds.
    #[error("journal configuration: {0}")]
    Config(String),
    /// A journal or mark is there already.
    #[error("{place} exists already; a journal is made once in its life, use another directory")]
    Exists {
        /// Directory or file.
        place: String,
    },
    /// The directory holds no segment.
    #[error(
        "{directory} holds no journal. A key whose journal is lost must not vote again, since it may have signed what nobody remembers here: retire it"
    )]
    Missing {
        /// The directory.
        directory: String,
    },
    /// A segment in the middle is not there.
    #[error("{file} is missing between segments that are there; bring it back from where it went")]
    SegmentMissing {
        /// Name of the missing file.
        file: String,
    },
    /// The checkpoint needs segments that were archived.
    #[error(
        "replay must begin at {from}, but the first segment kept here begins at {first}; bring the segments between back"
    )]
    Archived {
        /// Where replay must begin.
        from: Position,
        /// Where the first segment begins.
        first: Position,
    },
    /// The mark is not there.
    #[error(
        "{file} is missing. It says how far the journal was durable, and without it a journal that lost votes cannot be told from a whole one; bring it back, or retire the key"
    )]
    MarkMissing {
        /// Where the mark should be.
        file: String,
    },
    /// Neither half of the mark can be read.
    #[error("both halves of {file} are damaged; bring it back, or retire the key")]
    MarkDamaged {
        /// Where the mark is.
        file: String,
    },
    /// A file of another journal.
    #[error("{file} belongs to another journal than the key; key and journal start only together")]
    OtherJournal {
        /// The file.
        file: String,
    },
    /// A file of this journal for another network.
    #[error("{file} belongs to another network (its genesis differs)")]
    OtherNetwork {
        /// The file.
        file: String,
    },
    /// A file in another format.
    #[error("{file} has format {found}, this program reads format {}", super::format::FORMAT_VERSION)]
    OtherFormat {
        /// The file.
        file: String,
        /// Version found.
        found: u32,
    },
    /// The journal ends before the position to which it was once durable.
    #[error(
        "the journal ends at {head}, but was durable to {mark}: it is older than its mark, so it was restored from a backup or lost its end. It must not vote, since it may have signed what it no longer knows; bring the newer journal back, or retire the key"
    )]
    OlderThanMark {
        /// End of the journal found.
        head: Position,
        /// What the mark says.
        mark: Position,
    },
    /// The journal is not the one that was marked.
    #[error(
        "the journal's content at {mark} is not what its mark says: it is another history of this authority (a copy that went on by itself); it must not vote"
    )]
    OtherHistory {
        /// Position of the mark.
        mark: Position,
        /// Chain in the mark.
        marked: Chain,
        /// Chain found there, if a frame ends there.
        found: Option<Chain>,
    },
    /// The directory is a copy of the one that was marked.
    #[error(
        "{directory} is a copy of the directory in which this journal last ran. Two copies of an authority sign against each other, so it does not start; if the other one is destroyed for good, adopt this copy expressly"
    )]
    Copied {
        /// The directory.
        directory: String,
    },
    /// Bytes that were once durable are not what was written.
    #[error("{file} is damaged at byte {offset}: {why}. Restore this file's content at that place, or retire the key")]
    Damaged {
        /// The file.
        file: String,
        /// Byte in the file where the damaged unit begins.
        offset: u64,
        /// What does not hold.
        why: &'static str,
    },
    /// The machine went down while the journal ran without syncs.
    #[error(
        "the machine stopped while the journal ran with durability = \"process\", which does not survive that: votes may be lost, so this key must not vote again; retire it"
    )]
    ProcessOnly,
    /// A record of a kind that the owner does not know.
    #[error(
        "{file} holds a record of unknown kind {kind} at byte {offset}; it was written by a newer program, use that one"
    )]
    UnknownKind {
        /// The kind.
        kind: Kind,
        /// The file.
        file: String,
        /// Byte in the file where the record begins.
        offset: u64,
    },
    /// The checkpoint is ahead of the journal.
    #[error(
        "the journal ends at {head} but a checkpoint of it stands at {from}: records that were durable are missing. This authority must not vote again; keep the directory as evidence and join the next epoch with a new key"
    )]
    CheckpointAhead {
        /// Where replay should begin.
        from: Position,
        /// Where the journal ends.
        head: Position,
    },
    /// The checkpoint's chain is not the journal's at its position.
    #[error(
        "a checkpoint of this journal was made at {from} of another history: two copies of this authority have run, or records were replaced. It must not vote again; keep the directory as evidence and join the next epoch with a new key"
    )]
    CheckpointOfOtherHistory {
        /// Where the checkpoint stands.
        from: Position,
    },
    /// The owner refused a record during replay.
    #[error("record at {position} could not be applied")]
    Apply {
        /// Where the record stands.
        position: Position,
        /// What the owner said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The journal failed while it ran.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl JournalError {
    /// Names what was being done when the storage failed.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Why a running journal stopped for good. What was not durable by then never will be: the process must exit and start again.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "journal stopped: {what}: {source}; nothing is answered any more, start the process again (see the kernel log for the disk)"
)]
pub struct Failure {
    /// What was being done, to what.
    pub what: String,
    /// What the storage said.
    pub source: Arc<io::Error>,
}

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The frame that is being filled has no room; try again when the journal thread has taken it, which it does at once.
    #[error("the journal's buffer is full for now")]
    Full,
    /// The disk is full; the journal tries to allocate again each second.
    #[error("the journal's disk is full")]
    NoRoom,
    /// The journal was stopped, or failed.
    #[error("the journal is stopped")]
    Stopped,
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The record is not durable yet.
    #[error("the record at {0} is not durable yet")]
    NotDurable(Position),
    /// The segment was archived away.
    #[error("the record at {position} is in {file}, which is not here any more")]
    Archived {
        /// Where the record stands.
        position: Position,
        /// The file it was in.
        file: String,
    },
    /// No record stands at this position, or it is damaged.
    #[error("no whole record at {position} ({file}, byte {offset})")]
    Damaged {
        /// The position asked for.
        position: Position,
        /// The file.
        file: String,
        /// Byte in the file.
        offset: u64,
    },
    /// The buffer does not hold the payload.
    #[error("the record at {position} has {needed} bytes, more than the buffer")]
    TooSmall {
        /// The position asked for.
        position: Position,
        /// Bytes of the payload.
        needed: usize,
    },
    /// The storage failed.
    #[error("reading {file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the storage said.
        source: io::Error,
    },
}
