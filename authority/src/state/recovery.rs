//! What happens between start and the first answer: the journal is read, the accounts are made from it.
//!
//! The image is believed only where it was stamped at a clean stop with the very head and chain at which the journal ends. Otherwise the
//! newest whole checkpoint, or else the genesis, is the start, and recorded effects are applied again; nothing is decided again (DESIGN 5.2).

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use meshpay_protocol::record::{CreditLinkRecord, kind};
use meshpay_protocol::{Accounts, Allocation, apply, genesis};
use zerocopy::IntoBytes;

use super::checkpoint::{self, CheckpointError};
use super::fold::{Fold, OpenCredits};
use crate::accounts::{AccountTable, Image, Layout, Stamp};
use crate::journal::{self, Disk, Identity, Journal, JournalConfig, JournalError, MarkPlace, Position, ReplayFrom};
use crate::pace::Pace;

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
    pub checkpoints: &'a Arc<dyn Disk>,
    /// Sizes of the table.
    pub layout: Layout,
    /// First balances; asked for only where there is no checkpoint.
    pub allocations: &'a dyn Fn() -> Result<&'a [Allocation]>,
    /// 16 random bytes: by them slots are placed, unless the image of a clean stop brings its own.
    pub hash_key: [u8; 16],
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
    let (image, stamp) = Image::open(&sources.image, sources.layout)?;
    if let Some(stamp) = stamp.filter(|stamp| stamp.genesis == sources.identity.network)
        && let Some((journal, read)) = from_image(sources, &stamp)?
    {
        let table = AccountTable::stamped(image, stamp.hash_key);
        let origin = "the image of a clean stop".to_owned();
        return Ok(Recovered { table, journal, read, voting_stopped: stamp.voting_stopped, origin });
    }
    from_checkpoint(sources, image)
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

fn from_checkpoint(sources: &RecoverySources<'_>, image: Image) -> Result<Recovered> {
    let pace = Pace::hurried();
    let mut table = AccountTable::empty(image, sources.hash_key, &pace)?;
    let mut from = ReplayFrom::from(Position::START);
    let (mut voting_stopped, mut open_credits) = (0, OpenCredits::default());
    let mut origin = "the genesis".to_owned();
    let mut view = table.whole().context("the account table is in use")?;
    let mut loaded = false;
    for (position, name) in checkpoint::list(&**sources.checkpoints) {
        match checkpoint::load(&**sources.checkpoints, &name, &sources.identity, &mut view, &pace) {
            Ok(checkpoint) => {
                (from, voting_stopped, open_credits) =
                    (checkpoint.at, checkpoint.voting_stopped, checkpoint.open_credits);
                origin = format!("the checkpoint at {position}");
                loaded = true;
                break;
            }
            Err(error @ (CheckpointError::Damaged(_) | CheckpointError::Io { .. })) => tracing::warn!("{error}"),
            Err(error) => return Err(error.into()),
        }
    }
    if !loaded {
        genesis::allocate(&mut view, (sources.allocations)()?)
            .context("accounts.capacity is smaller than the number of allocations")?;
    }
    let mut fold = Fold::new(&mut view, open_credits, voting_stopped, &pace);
    let (mut journal, read) =
        journal::recover_with(sources.disk, sources.mark, &sources.identity, &sources.journal, from, &mut fold)?;
    let (open_credits, voting_stopped) = fold.end();
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
