//! What happens between start and the first answer: the journal is read, the accounts are made from it.
//!
//! The image is believed only where it was stamped at a clean stop with the very head and chain at which the journal ends. Otherwise the
//! newest whole checkpoint, or else the genesis, is the start, and recorded effects are applied again; nothing is decided again (DESIGN 5.2).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use meshpay_protocol::record::{CreditLinkRecord, FOREIGN_CREDIT, Record, kind};
use meshpay_protocol::{Accounts, Allocation, apply, genesis};
use meshpay_wire::PublicKey;
use zerocopy::IntoBytes;

use super::checkpoint::{self, CheckpointError};
use crate::accounts::{AccountTable, Image, Layout, Stamp};
use crate::journal::{self, Disk, Identity, Journal, JournalConfig, JournalError, MarkPlace, Position};

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

    pub fn insert(&mut self, position: u64, recipient: PublicKey) {
        self.0.insert(position, recipient);
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &PublicKey)> {
        self.0.iter().map(|(position, recipient)| (*position, recipient))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Where recovery reads from.
pub struct RecoverySources<'a> {
    /// The journal's disk.
    pub disk: &'a Arc<dyn Disk>,
    /// The mark beside the key.
    pub mark: &'a MarkPlace,
    /// Key and network that the journal must belong to.
    pub identity: Identity,
    /// How the journal is kept.
    pub journal: JournalConfig,
    /// The image's file.
    pub image: PathBuf,
    /// Where checkpoints lie.
    pub checkpoints: PathBuf,
    /// Sizes of the table.
    pub layout: Layout,
    /// First balances.
    pub allocations: &'a [Allocation],
}

/// What recovery leads to.
pub struct Recovered {
    /// The accounts at the journal's end.
    pub table: AccountTable,
    /// The journal, ready for appending.
    pub journal: Journal,
    /// What was read.
    pub read: journal::Recovered,
    /// Why voting has stopped, 0 if it has not.
    pub voting_stopped: u32,
    /// From what the accounts were made, for the log.
    pub origin: String,
}

/// Recovers an authority's state.
pub fn recover(sources: &RecoverySources<'_>) -> Result<Recovered> {
    let (mut image, stamp) = Image::open(&sources.image, sources.layout)?;
    if let Some(stamp) = stamp.filter(|stamp| stamp.genesis == sources.identity.network) {
        if let Some(recovered) = from_image(sources, &stamp)? {
            let table = AccountTable::new(image, stamp.hash_key);
            let (journal, read) = recovered;
            let origin = "the image of a clean stop".to_owned();
            return Ok(Recovered { table, journal, read, voting_stopped: stamp.voting_stopped, origin });
        }
        image.clear()?;
    }
    let mut hash_key = [0; 16];
    getrandom::fill(&mut hash_key).map_err(|error| anyhow::anyhow!("the kernel gave no random bytes: {error}"))?;
    from_checkpoint(sources, image, hash_key)
}

/// Opens the journal if it ends exactly where the image was stamped.
fn from_image(sources: &RecoverySources<'_>, stamp: &Stamp) -> Result<Option<(Journal, journal::Recovered)>> {
    let mut records = 0;
    let opened = journal::recover(
        sources.disk,
        sources.mark,
        &sources.identity,
        &sources.journal,
        Position(stamp.journal_head),
        &mut |_, _, _| {
            records += 1;
            Ok(())
        },
    );
    let (journal, read) = match opened {
        // An image from elsewhere says nothing about the journal.
        Err(JournalError::CheckpointAhead { .. }) => return Ok(None),
        opened => opened?,
    };
    let same = records == 0 && read.head.0 == stamp.journal_head && read.chain == stamp.journal_chain;
    Ok(same.then_some((journal, read)))
}

fn from_checkpoint(sources: &RecoverySources<'_>, image: Image, hash_key: [u8; 16]) -> Result<Recovered> {
    let mut table = AccountTable::new(image, hash_key);
    let (mut from, mut voting_stopped, mut open_credits) = (Position::START, 0, OpenCredits::default());
    let mut origin = "the genesis".to_owned();
    let mut view = table.whole().context("the account table is in use")?;
    let mut loaded = false;
    for (position, path) in checkpoint::list(&sources.checkpoints) {
        match checkpoint::load(&path, &sources.identity, &mut view) {
            Ok(checkpoint) => {
                (from, voting_stopped, open_credits) =
                    (checkpoint.position, checkpoint.voting_stopped, checkpoint.open_credits);
                origin = format!("the checkpoint at {position}");
                loaded = true;
                break;
            }
            Err(error @ (CheckpointError::Damaged(_) | CheckpointError::Io { .. })) => tracing::warn!("{error}"),
            Err(error) => return Err(error.into()),
        }
    }
    if !loaded {
        genesis::allocate(&mut view, sources.allocations)
            .context("accounts.capacity is smaller than the number of allocations")?;
    }
    let (mut journal, read) = journal::recover(
        sources.disk,
        sources.mark,
        &sources.identity,
        &sources.journal,
        from,
        &mut |position, record_kind, payload| {
            let record = Record::parse(record_kind, payload).ok_or_else(|| {
                format!("the record of kind {record_kind} at {position} does not have that kind's form")
            })?;
            open_credits.note(&record, position.0);
            if let Record::VotingStopped(stopped) = &record {
                voting_stopped = stopped.reason.get();
            }
            if record_kind == kind::LOCK && crate::fault::forget_lock() {
                return Ok(());
            }
            apply::replay(&mut view, &record, position.0).map_err(|error| error.to_string())?;
            Ok(())
        },
    )?;
    if read.head < from {
        anyhow::bail!(
            "the journal ends at {} but a checkpoint of it stands at {from}: records that were durable are missing. \
             This authority must not vote again; keep the directory as evidence and join the next epoch with a new key.",
            read.head
        );
    }
    link_open_credits(&mut view, &mut journal, &open_credits)?;
    drop(view);
    Ok(Recovered { table, journal, read, voting_stopped, origin })
}

/// A crash may have lost the link of a credit whose execution is durable. The money is there; its history gets the link now.
fn link_open_credits(accounts: &mut impl Accounts, journal: &mut Journal, open: &OpenCredits) -> Result<()> {
    let handle = journal.handle();
    for (execution, recipient) in open.iter() {
        let previous = accounts.account(recipient).map_or(0, |account| account.credit_head.get());
        let link =
            CreditLinkRecord { recipient: *recipient, execution: execution.into(), previous_credit: previous.into() };
        let mut appended = handle.append(kind::CREDIT_LINK, &[link.as_bytes()]);
        if appended.is_err() {
            journal.commit()?;
            appended = handle.append(kind::CREDIT_LINK, &[link.as_bytes()]);
        }
        // On a full disk the history stays without this link until a later start; money and answers do not depend on it.
        let Ok(position) = appended else { break };
        apply::credit_link(accounts, &link, position.0);
    }
    journal.commit()?;
    Ok(())
}
