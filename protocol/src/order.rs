//! Orders: what is checked, in which order, and when an authority may lock and vote.
//!
//! Invariant: an order is locked only where nothing is locked at the account's next sequence, and only as a [`VerifiedOrder`].

use meshpay_wire::{Digest, OPERATION_TRANSFER, RefusalCode, SignedOrder};

use crate::{Accounts, Refusal, Rules, SenderCheck, Signatures};

/// An order whose signature is still to be checked.
#[derive(Clone, Copy, Debug)]
pub struct PendingOrder<'a> {
    /// The order as it came.
    pub order: &'a SignedOrder,
    /// Its digest, computed from the body.
    pub digest: Digest,
}

/// An order whose sender's signature verified. Only [`verify_orders`] makes one, so nothing unverified reaches an account.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedOrder<'a> {
    order: &'a SignedOrder,
    digest: Digest,
}

impl<'a> VerifiedOrder<'a> {
    /// The order.
    pub fn order(&self) -> &'a SignedOrder {
        self.order
    }

    /// Its digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// What an order comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderDecision {
    /// Lock it, make that durable, then vote.
    Lock,
    /// It is the locked order: vote for it again, whenever it comes (DESIGN 5.8, 5.9). True where the signature too is the locked
    /// one, byte for byte, and so need not be checked again.
    VoteAgain(bool),
    /// Another order is locked at this sequence. With both signatures verified this is a proof of equivocation (DESIGN 5.14).
    Conflict,
    /// Its sequence was executed before; say what was executed there (DESIGN 5.9).
    ExecutedBefore,
}

/// Highest sequence of an order. The one behind it must be a number too: an account that has come so far is used up, and nothing is ever executed
/// at a sequence twice because the next one began again at 0.
pub const SEQUENCE_MAX: u64 = u64::MAX - 1;

/// Everything about an order that needs no signature, cheapest first. A refusal here costs nanoseconds.
///
/// `now_ms` is wall time in milliseconds; it bounds the first lock and penalties, nothing else (DESIGN 5.8).
///
/// # Errors
/// The refusal to answer with.
pub fn screen_order(
    rules: &Rules,
    accounts: &impl Accounts,
    pending: &PendingOrder<'_>,
    now_ms: u64,
) -> Result<OrderDecision, Refusal> {
    let body = &pending.order.body;
    if body.epoch.get() != rules.epoch {
        return Err(Refusal::new(RefusalCode::WrongEpoch).value(rules.epoch));
    }
    if body.operation != OPERATION_TRANSFER {
        return Err(Refusal::new(RefusalCode::UnknownOperation));
    }
    let Some(sender) = accounts.account(&body.sender) else {
        return Err(Refusal::new(RefusalCode::UnknownSender));
    };
    let next = sender.next_sequence.get();
    let sequence = body.sequence.get();
    if sequence < next {
        return Ok(OrderDecision::ExecutedBefore);
    }
    if sequence > next || sequence > SEQUENCE_MAX {
        return Err(Refusal::new(RefusalCode::SequenceTooHigh).sequence(next));
    }
    if sender.is_locked() {
        // No check below concerns an order that is locked already: expiry bounds the first lock only, and a retry always gets
        // its answer (DESIGN 5.8, 5.9).
        return Ok(if sender.lock_digest == pending.digest {
            OrderDecision::VoteAgain(sender.lock_signature == pending.order.signature)
        } else {
            OrderDecision::Conflict
        });
    }
    if sender.penalised_until_ms.get() > now_ms {
        return Err(Refusal::new(RefusalCode::Penalised).sequence(next));
    }
    let expiry_ms = body.expiry_ms.get();
    if expiry_ms != 0 && expiry_ms <= now_ms {
        return Err(Refusal::new(RefusalCode::Expired).sequence(next));
    }
    let amount = body.amount.get();
    if amount == 0 {
        return Err(Refusal::new(RefusalCode::ZeroAmount).sequence(next));
    }
    let Some(token) = rules.token(body.token.get()) else {
        return Err(Refusal::new(RefusalCode::UnknownToken).sequence(next));
    };
    if amount > token.supply {
        return Err(Refusal::new(RefusalCode::AmountAboveSupply).sequence(next).amount(token.supply));
    }
    // Most accounts have one token, whose balance is in the slot at hand.
    let balance = match sender.token.get() == token.id {
        true => sender.balance.get(),
        false => accounts.balance(&body.sender, token.id),
    };
    if balance < i128::from(amount) {
        let seen = u64::try_from(balance.max(0)).unwrap_or(u64::MAX);
        return Err(Refusal::new(RefusalCode::InsufficientBalance).sequence(next).amount(seen));
    }
    // An account that has this token exists and needs no slot; only of others more is asked.
    if accounts.credit_takes_slot(&body.recipient, token.id) {
        if amount < rules.minimum_first_credit && !accounts.exists(&body.recipient) {
            return Err(Refusal::new(RefusalCode::BelowFirstCredit).sequence(next).amount(rules.minimum_first_credit));
        }
        // A further token takes a slot as a new account does (DESIGN 5.15).
        if !accounts.room_for_vote(&body.recipient) {
            return Err(Refusal::new(RefusalCode::RetryLater).sequence(next).value(RETRY_LATER_MS));
        }
    }
    Ok(OrderDecision::Lock)
}

/// What a refusal for want of room asks the client to wait, in milliseconds.
pub const RETRY_LATER_MS: u32 = 1_000;

/// Checks the signatures of many orders at once. `verified` gets, in the same order, the order where its signature verifies.
///
/// `valid` is scratch of at least the same length. Nothing is allocated beyond the growth of `verified`.
pub fn verify_orders<'a>(
    signatures: &mut impl Signatures,
    pending: &[PendingOrder<'a>],
    valid: &mut [bool],
    mut verified: impl FnMut(usize, Option<VerifiedOrder<'a>>),
) {
    const GROUP: usize = 64;
    for (base, group) in pending.chunks(GROUP).enumerate() {
        let first = &group[0];
        let fill =
            SenderCheck { key: &first.order.body.sender, message: &first.digest.0, signature: &first.order.signature };
        let mut checks = [fill; GROUP];
        for (check, item) in checks.iter_mut().zip(group) {
            *check =
                SenderCheck { key: &item.order.body.sender, message: &item.digest.0, signature: &item.order.signature };
        }
        let valid = &mut valid[..group.len()];
        signatures.verify_senders(&checks[..group.len()], valid);
        for (at, (item, valid)) in group.iter().zip(valid.iter()).enumerate() {
            let order = valid.then_some(VerifiedOrder { order: item.order, digest: item.digest });
            verified(base * GROUP + at, order);
        }
    }
}

/// Decides on a verified order. Repeats [`screen_order`], since orders before it in the same burst may have changed the account.
///
/// # Errors
/// The refusal to answer with.
pub fn decide_order(
    rules: &Rules,
    accounts: &impl Accounts,
    verified: &VerifiedOrder<'_>,
    now_ms: u64,
) -> Result<OrderDecision, Refusal> {
    screen_order(rules, accounts, &PendingOrder { order: verified.order, digest: verified.digest }, now_ms)
}
