//! What the journal holds: the payload of each record kind, byte for byte. `docs/journal.md` draws them.
//!
//! Records carry effects, not requests: replay applies them and decides nothing again (DESIGN 5.2).

use meshpay_wire::{CertificateView, Digest, PublicKey, SignedOrder};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::account::DEBIT_LEVELS;

/// Numbers of the record kinds. A kind that this version does not know refuses the start.
pub mod kind {
    /// First record of every journal: [`super::GenesisRecord`].
    pub const GENESIS: u8 = 1;
    /// An order was locked: [`super::LockRecord`].
    pub const LOCK: u8 = 2;
    /// A certificate was executed: [`super::ExecutionHead`], then the certificate.
    pub const EXECUTION: u8 = 3;
    /// A credit from another worker's account entered its recipient's history: [`super::CreditLinkRecord`].
    pub const CREDIT_LINK: u8 = 4;
    /// A sender signed two orders for one sequence: [`super::EvidenceRecord`].
    pub const EVIDENCE: u8 = 5;
    /// This authority stopped voting: [`super::VotingStoppedRecord`].
    pub const VOTING_STOPPED: u8 = 6;
    /// Closing record of an epoch, reserved.
    pub const EPOCH_CLOSE: u8 = 16;
    /// Every kind that this version replays.
    pub const KNOWN: [u8; 6] = [GENESIS, LOCK, EXECUTION, CREDIT_LINK, EVIDENCE, VOTING_STOPPED];
}

/// Payload of [`kind::GENESIS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GenesisRecord {
    /// Digest of the genesis.
    pub genesis: [u8; 32],
    /// The authority's public key.
    pub authority: PublicKey,
}

/// Payload of [`kind::LOCK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LockRecord {
    /// Digest of the order.
    pub digest: Digest,
    /// The order.
    pub order: SignedOrder,
}

/// First part of the payload of [`kind::EXECUTION`]; the certificate's bytes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExecutionHead {
    /// Digest of the order.
    pub digest: Digest,
    /// For each level k, position of the sender's newest earlier debit whose sequence is a multiple of 64^k; 0 where there is
    /// none. An old sequence is found in at most 63 + 63 + n/4096 steps.
    pub debit_links: [U64; DEBIT_LEVELS],
    /// Position of the recipient's previous credit; 0 where there is none or [`FOREIGN_CREDIT`] is set.
    pub previous_credit: U64,
    /// Position of the lock record that this certificate overruled; 0 where none. Both orders are then in the journal, as evidence.
    pub beaten_lock: U64,
    /// Bits: [`FOREIGN_CREDIT`], [`LEFT_OWING`].
    pub flags: U32,
    /// Zero.
    pub reserved: U32,
}

const _: () = assert!(size_of::<LockRecord>() == 232 && size_of::<ExecutionHead>() == 80);

/// The recipient belongs to another worker, which records the link by [`kind::CREDIT_LINK`]. The amount still comes from this record.
pub const FOREIGN_CREDIT: u32 = 1;
/// The debit took the sender below zero here (DESIGN 5.13).
pub const LEFT_OWING: u32 = 2;

/// Payload of [`kind::CREDIT_LINK`]. Moves no money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CreditLinkRecord {
    /// Who was paid.
    pub recipient: PublicKey,
    /// Position of the execution record.
    pub execution: U64,
    /// Position of the recipient's previous credit: an execution or a credit link; 0 where there is none.
    pub previous_credit: U64,
}

/// Payload of [`kind::EVIDENCE`]: with the lock record that it names, a proof of equivocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EvidenceRecord {
    /// Position of the lock record of the order that is locked here.
    pub lock_position: U64,
    /// The other order, for the same sender and sequence, also signed.
    pub conflicting: SignedOrder,
    /// New orders of the sender are refused until then, milliseconds since 1970.
    pub penalised_until_ms: U64,
}

/// Payload of [`kind::VOTING_STOPPED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct VotingStoppedRecord {
    /// 1: shown a valid vote of its own that the journal does not hold. 2: the directory is a copy or was restored. 3: by the operator.
    pub reason: U32,
    /// Zero.
    pub reserved: U32,
    /// Reason 1: the order that the unknown vote is for.
    pub order: Digest,
}

/// A record, read from its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// See [`kind::GENESIS`].
    Genesis(&'a GenesisRecord),
    /// See [`kind::LOCK`].
    Lock(&'a LockRecord),
    /// See [`kind::EXECUTION`].
    Execution(&'a ExecutionHead, CertificateView<'a>),
    /// See [`kind::CREDIT_LINK`].
    CreditLink(&'a CreditLinkRecord),
    /// See [`kind::EVIDENCE`].
    Evidence(&'a EvidenceRecord),
    /// See [`kind::VOTING_STOPPED`].
    VotingStopped(&'a VotingStoppedRecord),
}

impl<'a> Record<'a> {
    /// Reads a payload of this kind. Returns nothing where it does not fit, which means that the journal is not ours.
    pub fn parse(kind: u8, payload: &'a [u8]) -> Option<Self> {
        Some(match kind {
            kind::GENESIS => Record::Genesis(GenesisRecord::ref_from_bytes(payload).ok()?),
            kind::LOCK => Record::Lock(LockRecord::ref_from_bytes(payload).ok()?),
            kind::EXECUTION => {
                let (head, rest) = ExecutionHead::ref_from_prefix(payload).ok()?;
                let (certificate, used) = CertificateView::parse(rest)?;
                if used != rest.len() {
                    return None;
                }
                Record::Execution(head, certificate)
            }
            kind::CREDIT_LINK => Record::CreditLink(CreditLinkRecord::ref_from_bytes(payload).ok()?),
            kind::EVIDENCE => Record::Evidence(EvidenceRecord::ref_from_bytes(payload).ok()?),
            kind::VOTING_STOPPED => Record::VotingStopped(VotingStoppedRecord::ref_from_bytes(payload).ok()?),
            _ => return None,
        })
    }
}
