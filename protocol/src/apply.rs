//! What effects do to accounts. Live and in replay the same functions run, so state is a fold over the journal (DESIGN 3).

use meshpay_wire::{Digest, PublicKey, SignedOrder};
use zerocopy::little_endian::{I128, U64};

use crate::account::{DEBIT_LEVELS, DEBIT_STRIDE};
use crate::record::{CreditLinkRecord, ExecutionHead, FOREIGN_CREDIT, LEFT_OWING, Record};
use crate::{Accounts, SlotIndex, SlotName, TableFull, VerifiedCertificate};

/// Locks an order at its sender's next sequence; `position` is that of its lock record.
pub fn lock(accounts: &mut impl Accounts, order: &SignedOrder, digest: Digest, position: u64) -> Result<(), TableFull> {
    let at = accounts.account_or_insert(&order.body.sender, order.body.token.get())?;
    let account = accounts.slot_mut(at);
    account.lock_position = U64::new(position);
    account.lock_digest = digest;
    account.lock_signature = order.signature;
    Ok(())
}

/// The head of the record with which a certificate is executed here. Changes nothing.
pub fn execution_head(accounts: &impl Accounts, verified: &VerifiedCertificate<'_>) -> ExecutionHead {
    let body = &verified.certificate().head.order.body;
    let (mut debit_links, mut beaten_lock) = ([U64::new(0); DEBIT_LEVELS], U64::new(0));
    let token = body.token.get();
    let mut balance = None;
    if let Some(account) = accounts.account(&body.sender) {
        // Most accounts have one token, whose balance is in the slot at hand.
        balance = (account.token.get() == token).then(|| account.balance.get());
        debit_links = account.debit_heads;
        if account.is_locked() && account.lock_digest != verified.digest() {
            beaten_lock = account.lock_position;
        }
    }
    let mut flags = 0;
    let foreign = !accounts.owns(&body.recipient);
    let mut previous_credit = U64::new(0);
    if foreign {
        flags |= FOREIGN_CREDIT;
    } else if let Some(recipient) = accounts.account(&body.recipient) {
        previous_credit = recipient.credit_head;
    }
    let to_self = body.recipient == body.sender;
    let balance = balance.unwrap_or_else(|| accounts.balance(&body.sender, token));
    if !to_self && balance < i128::from(body.amount.get()) {
        flags |= LEFT_OWING;
    }
    ExecutionHead {
        digest: verified.digest(),
        debit_links,
        previous_credit,
        beaten_lock,
        flags: flags.into(),
        reserved: 0.into(),
    }
}

/// The sender's half of an execution: debit, next sequence, lock gone, history extended. May leave the balance below zero
/// (DESIGN 5.13).
pub fn debit(
    accounts: &mut impl Accounts,
    order: &SignedOrder,
    digest: Digest,
    position: u64,
) -> Result<(), TableFull> {
    let body = &order.body;
    let (balance_at, at) = slots_of(accounts, &body.sender, body.token.get())?;
    let slot = accounts.slot_mut(balance_at);
    slot.balance = I128::new(slot.balance.get() - i128::from(body.amount.get()));
    let account = accounts.slot_mut(at);
    let sequence = body.sequence.get();
    // Nothing is executed above SEQUENCE_MAX; what a damaged record says of a sequence must not begin again at 0.
    account.next_sequence = U64::new(sequence.saturating_add(1));
    account.last_executed = digest;
    account.unlock();
    let mut stride = 1;
    for head in &mut account.debit_heads {
        if sequence.is_multiple_of(stride) {
            *head = U64::new(position);
        }
        stride *= DEBIT_STRIDE;
    }
    Ok(())
}

/// The recipient's half of an execution. `head` is the position that becomes the newest in the recipient's history of credits, if any.
pub fn credit(
    accounts: &mut impl Accounts,
    recipient: &PublicKey,
    token: u32,
    amount: u64,
    head: Option<u64>,
) -> Result<(), TableFull> {
    let (balance_at, at) = slots_of(accounts, recipient, token)?;
    let slot = accounts.slot_mut(balance_at);
    slot.balance = I128::new(slot.balance.get() + i128::from(amount));
    if let Some(position) = head {
        accounts.slot_mut(at).credit_head = U64::new(position);
    }
    Ok(())
}

/// The slot of a token's balance and the account's own, which for its first token are one; made where there are none.
fn slots_of(accounts: &mut impl Accounts, key: &PublicKey, token: u32) -> Result<(SlotIndex, SlotIndex), TableFull> {
    let at = accounts.account_or_insert(key, token)?;
    let balance_at = match accounts.slot(at).token.get() == token {
        true => at,
        false => accounts.balance_slot_or_insert(key, token)?,
    };
    Ok((balance_at, at))
}

/// Enters a foreign credit into its recipient's history.
pub fn credit_link(accounts: &mut impl Accounts, record: &CreditLinkRecord, position: u64) {
    if let Some(at) = accounts.find(SlotName::account(&record.recipient)) {
        accounts.slot_mut(at).credit_head = U64::new(position);
    }
}

/// Refuses new orders of an account until a time.
pub fn penalise(accounts: &mut impl Accounts, sender: &PublicKey, until_ms: u64) {
    if let Some(at) = accounts.find(SlotName::account(sender)) {
        accounts.slot_mut(at).penalised_until_ms = U64::new(until_ms);
    }
}

/// Applies one record of the journal to a table that owns all shards.
///
/// # Errors
/// Where the table is too small for what it held before.
pub fn replay(accounts: &mut impl Accounts, record: &Record<'_>, position: u64) -> Result<(), TableFull> {
    match record {
        Record::Genesis(_) | Record::VotingStopped(_) => Ok(()),
        Record::Lock(record) => lock(accounts, &record.order, record.digest, position),
        Record::Execution(head, certificate) => {
            let order = &certificate.head.order;
            debit(accounts, order, head.digest, position)?;
            let foreign = head.flags.get() & FOREIGN_CREDIT != 0;
            let body = &order.body;
            credit(accounts, &body.recipient, body.token.get(), body.amount.get(), (!foreign).then_some(position))
        }
        Record::CreditLink(record) => {
            credit_link(accounts, record, position);
            Ok(())
        }
        Record::Evidence(record) => {
            penalise(accounts, &record.conflicting.body.sender, record.penalised_until_ms.get());
            Ok(())
        }
    }
}
