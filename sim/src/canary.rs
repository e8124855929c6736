//! Builds with a fault in them, to see that the checker sees.
//!
//! What always holds: a canary lives here, in wrappers around an authority's ports and in what a simulated start does; the authority itself has
//! no switch for it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use meshpay_authority::JournalPort;
use meshpay_authority::accounts::WorkerAccounts;
use meshpay_authority::pipeline::{AppendRefused, Journal, ReadRefused, Room};
use meshpay_protocol::account::slot_kind;
use meshpay_protocol::record::{ExecutionHead, kind};
use meshpay_protocol::{Account, Accounts, SlotIndex, SlotName, TableFull};
use meshpay_wire::PublicKey;
use zerocopy::FromBytes;

use crate::node::Tap;

/// What is wrong with a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Nothing is wrong with the build, but the liars weigh more than the committee tolerates.
    TooManyLiars,
    /// It answers before the journal is durable.
    AnswersBeforeSync,
    /// It forgets its locks at a restart.
    ForgetsLocks,
    /// A member's vote counts in every place where it stands.
    DuplicateSigners,
    /// Recovery applies a credit between workers a second time.
    CreditsTwice,
    /// A debit stops at zero instead of being refused.
    Saturates,
    /// A lock keeps a certificate for another order from being executed.
    LockStopsCertificate,
    /// Queries are answered ahead of the disk.
    QueriesAheadOfDisk,
    /// The account image is believed after a crash.
    TrustsImage,
}

impl Canary {
    /// All of them.
    pub const ALL: [Canary; 9] = [
        Canary::TooManyLiars,
        Canary::AnswersBeforeSync,
        Canary::ForgetsLocks,
        Canary::DuplicateSigners,
        Canary::CreditsTwice,
        Canary::Saturates,
        Canary::LockStopsCertificate,
        Canary::QueriesAheadOfDisk,
        Canary::TrustsImage,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Canary::TooManyLiars => "too-many-liars",
            Canary::AnswersBeforeSync => "answers-before-sync",
            Canary::ForgetsLocks => "forgets-locks",
            Canary::DuplicateSigners => "duplicate-signers",
            Canary::CreditsTwice => "credits-twice",
            Canary::Saturates => "saturates",
            Canary::LockStopsCertificate => "lock-stops-certificate",
            Canary::QueriesAheadOfDisk => "queries-ahead-of-disk",
            Canary::TrustsImage => "trusts-image",
        }
    }

    /// The canary of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|canary| canary.name() == name)
    }
}

/// The journal port of a simulated worker: the real one, with a tap for the checker, and room for a canary.
pub struct SimJournal {
    inner: JournalPort,
    tap: Tap,
    canary: Option<Canary>,
}

impl SimJournal {
    /// Around a worker's access to the journal.
    pub fn new(inner: JournalPort, tap: Tap, canary: Option<Canary>) -> Self {
        Self { inner, tap, canary }
    }
}

impl Journal for SimJournal {
    fn append(&mut self, kind: u8, parts: &[&[u8]]) -> Result<u64, AppendRefused> {
        if self.canary == Some(Canary::LockStopsCertificate)
            && kind == kind::EXECUTION
            && ExecutionHead::ref_from_bytes(parts[0]).is_ok_and(|head| head.beaten_lock.get() != 0)
        {
            return Err(AppendRefused::Busy);
        }
        let position = self.inner.append(kind, parts)?;
        self.tap.record(position, kind, parts);
        Ok(position)
    }

    fn appended(&self) -> u64 {
        self.inner.appended()
    }

    fn submit(&mut self) {
        self.inner.submit();
    }

    fn durable(&self) -> u64 {
        match self.canary {
            Some(Canary::AnswersBeforeSync) => self.inner.appended(),
            _ => self.inner.durable(),
        }
    }

    fn room(&self) -> Room {
        self.inner.room()
    }

    fn read(&mut self, position: u64, buffer: &mut [u8]) -> Result<(u8, usize), ReadRefused> {
        self.inner.read(position, buffer)
    }
}

/// Slots as they are in memory at this moment, durable or not: what a build would answer queries from that forgets the disk.
pub type Glance = Rc<RefCell<BTreeMap<PublicKey, Account>>>;

/// The accounts of a simulated worker: the real ones, with room for a canary.
pub struct SimAccounts {
    inner: WorkerAccounts,
    saturates: bool,
    glance: Option<Glance>,
    /// The slot that was handed out for writing last.
    written: Cell<Option<SlotIndex>>,
}

impl SimAccounts {
    /// Around a worker's accounts.
    pub fn new(inner: WorkerAccounts, canary: Option<Canary>, glance: &Glance) -> Self {
        let glance = (canary == Some(Canary::QueriesAheadOfDisk)).then(|| Rc::clone(glance));
        Self { inner, saturates: canary == Some(Canary::Saturates), glance, written: Cell::new(None) }
    }

    fn note_written(&self) {
        if let (Some(glance), Some(at)) = (&self.glance, self.written.take()) {
            let slot = self.inner.slot(at);
            if slot.kind == slot_kind::ACCOUNT {
                glance.borrow_mut().insert(slot.key, *slot);
            }
        }
    }
}

impl Accounts for SimAccounts {
    fn owns(&self, key: &PublicKey) -> bool {
        self.note_written();
        self.inner.owns(key)
    }
    fn exists(&self, key: &PublicKey) -> bool {
        self.inner.exists(key)
    }
    fn credit_takes_slot(&self, key: &PublicKey, token: u32) -> bool {
        self.inner.credit_takes_slot(key, token)
    }
    fn find(&self, name: SlotName<'_>) -> Option<SlotIndex> {
        self.note_written();
        self.inner.find(name)
    }
    fn slot(&self, at: SlotIndex) -> &Account {
        self.inner.slot(at)
    }
    fn slot_mut(&mut self, at: SlotIndex) -> &mut Account {
        self.note_written();
        self.written.set(Some(at));
        let slot = self.inner.slot_mut(at);
        if self.saturates && slot.balance.get() < 0 {
            slot.balance = 0.into();
        }
        slot
    }
    fn insert(&mut self, name: SlotName<'_>, token: u32) -> Result<SlotIndex, TableFull> {
        self.inner.insert(name, token)
    }
    fn room_for_vote(&self, recipient: &PublicKey) -> bool {
        self.inner.room_for_vote(recipient)
    }
    fn reserve(&mut self, recipient: &PublicKey) -> Result<(), TableFull> {
        self.inner.reserve(recipient)
    }
    fn release_reserved(&mut self, recipient: &PublicKey) {
        self.inner.release_reserved(recipient);
    }
    fn balance(&self, key: &PublicKey, token: u32) -> i128 {
        if self.saturates {
            return i128::from(u64::MAX);
        }
        self.inner.balance(key, token)
    }
}
