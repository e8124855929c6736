//! The fold over the journal's records that makes the accounts, at a start and for a checkpoint.
//!
//! What always holds: recorded effects are applied again, nothing is decided again (DESIGN 5.2); a fold with a limit stops before the first record that is not
//! below it.

use std::collections::BTreeMap;

use meshpay_protocol::record::{FOREIGN_CREDIT, Record, kind};
use meshpay_protocol::{Accounts, apply};
use meshpay_wire::PublicKey;

use crate::accounts::WorkerAccounts;
use crate::journal::{Kind, Position, Replay};
use crate::pace::Pace;

/// Foreign executions whose credit link was not seen yet, by position. Their money is applied; the link only extends a history.
#[derive(Clone, Debug, Default)]
pub struct OpenCredits(BTreeMap<u64, PublicKey>);

impl OpenCredits {
    /// Follows one record.
    pub fn note(&mut self, record: &Record<'_>, position: u64) {
        match record {
            Record::Execution(head, certificate) if head.flags.get() & FOREIGN_CREDIT != 0 => {
                self.0.insert(position, certificate.head.order.body.recipient);
            }
            Record::CreditLink(link) => {
                self.0.remove(&link.execution.get());
            }
            _ => {}
        }
    }

    /// Adds an execution, by its position.
    pub fn insert(&mut self, position: u64, recipient: PublicKey) {
        self.0.insert(position, recipient);
    }

    /// Positions and recipients, by rising position.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &PublicKey)> {
        self.0.iter().map(|(position, recipient)| (*position, recipient))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Records between the look for where an account lies and the look at the account itself.
const EXPECTED_SOON: usize = 4;

/// The fold, see the file's head.
pub struct Fold<'a> {
    accounts: &'a mut WorkerAccounts,
    open_credits: OpenCredits,
    voting_stopped: u32,
    limit: Option<Position>,
    has_reached_limit: bool,
    pace: &'a Pace,
    /// Accounts of the last records that were announced: what finds them is on its way into the cache, they themselves are next.
    expected: [Option<[PublicKey; 2]>; EXPECTED_SOON],
    next: usize,
}

impl<'a> Fold<'a> {
    /// Goes on from `accounts` as they are, with the credits that are open there and why voting has stopped, 0 if it has not.
    pub fn new(
        accounts: &'a mut WorkerAccounts,
        open_credits: OpenCredits,
        voting_stopped: u32,
        pace: &'a Pace,
    ) -> Self {
        let (limit, has_reached_limit) = (None, false);
        let (expected, next) = ([None; EXPECTED_SOON], 0);
        Self { accounts, open_credits, voting_stopped, limit, has_reached_limit, pace, expected, next }
    }

    /// The fold will end the replay, by an error, at the first record that is not below `limit`.
    pub fn up_to(self, limit: Position) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Whether the replay was ended for that reason.
    pub fn has_reached_limit(&self) -> bool {
        self.has_reached_limit
    }

    /// Credits that are open now, and why voting has stopped, 0 if it has not.
    pub fn end(self) -> (OpenCredits, u32) {
        (self.open_credits, self.voting_stopped)
    }
}

impl Replay for Fold<'_> {
    fn expect(&mut self, kind: Kind, payload: &[u8]) {
        let parties = match Record::parse(kind, payload) {
            Some(Record::Lock(lock)) => Some([lock.order.body.sender; 2]),
            Some(Record::Execution(_, certificate)) => {
                let body = &certificate.head.order.body;
                Some([body.sender, body.recipient])
            }
            _ => None,
        };
        for party in parties.iter().flatten() {
            self.accounts.expect(party);
        }
        let soon = std::mem::replace(&mut self.expected[self.next], parties);
        self.next = (self.next + 1) % EXPECTED_SOON;
        for party in soon.iter().flatten() {
            self.accounts.expect_slot(party);
        }
    }

    fn pause(&mut self) {
        self.pace.rest_if_due();
    }

    fn apply(
        &mut self,
        position: Position,
        record_kind: Kind,
        payload: &[u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.limit.is_some_and(|limit| position >= limit) {
            self.has_reached_limit = true;
            return Err("reached the limit".into());
        }
        let record = Record::parse(record_kind, payload)
            .ok_or_else(|| format!("the record of kind {record_kind} at {position} does not have that kind's form"))?;
        self.open_credits.note(&record, position.0);
        if let Record::VotingStopped(stopped) = &record {
            self.voting_stopped = stopped.reason.get();
        }
        if record_kind == kind::LOCK && crate::fault::forget_lock() {
            return Ok(());
        }
        apply::replay(self.accounts, &record, position.0).map_err(|error| error.to_string())?;
        Ok(())
    }
}
