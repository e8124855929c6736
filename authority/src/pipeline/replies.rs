//! Answers wait here until everything they could have seen is durable (DESIGN 5.1), then are composed and sent in order.
//!
//! An answer is kept as what it says, not as bytes: what it needs from the journal can be read only once it is durable. Every answer is
//! at most as long as its request; [`Replies::push`] replaces one that is not by a refusal that names the length needed.

use std::collections::VecDeque;

use meshpay_net::Peer;
use meshpay_protocol::Refusal;
use meshpay_protocol::account::DEBIT_LEVELS;
use meshpay_wire::{AccountAnswer, Digest, Executed, HEADER_LENGTH, Header, RefusalCode, Signature, Vote};

/// Most answers that wait.
pub const REPLIES_MAX: usize = 8192;

/// An account as it was when it was asked for. The locked order itself is read from the journal when the answer is composed: held
/// here it would make every waiting answer three times as large, and the whole queue too large for the cache.
#[derive(Clone, Copy, Debug)]
pub struct AccountState {
    pub balance: i128,
    pub token: u32,
    /// Bits of [`meshpay_wire::account_flags`].
    pub flags: u32,
    pub next_sequence: u64,
    pub last_executed: Digest,
    pub debit_locator: u64,
    pub credit_locator: u64,
    /// Where the locked order stands, 0 where none is.
    pub lock_position: u64,
}

/// What an answer says.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// A vote; its signature is filled in before it leaves.
    Vote { order: Digest, signature: Signature },
    /// What was executed.
    Executed(Executed),
    /// A refusal.
    Refused(Refusal),
    /// A refusal with the order that is locked at this position.
    Conflict { refusal: Refusal, lock_position: u64 },
    /// What was executed at an old sequence, to be looked up.
    ExecutedLongAgo { sequence: u64, next_sequence: u64, debit_heads: [u64; DEBIT_LEVELS] },
    /// An account's state, with the lock at its position, if any.
    Account(AccountState),
    /// The certificate with which the account paid at a sequence.
    Debit { sequence: u64, next_sequence: u64, debit_heads: [u64; DEBIT_LEVELS] },
    /// A certificate that paid the account.
    Credit { locator: u64 },
}

impl Answer {
    /// Length of the message that it becomes, as far as it is known before the journal is read.
    fn length(&self) -> usize {
        match self {
            Answer::Vote { .. } => HEADER_LENGTH + size_of::<Vote>(),
            Answer::Executed(_) | Answer::ExecutedLongAgo { .. } => HEADER_LENGTH + size_of::<Executed>(),
            Answer::Refused(_) => meshpay_wire::REFUSAL_LENGTH,
            Answer::Conflict { .. } => meshpay_wire::REFUSAL_WITH_ORDER_LENGTH,
            Answer::Account(_) => HEADER_LENGTH + size_of::<AccountAnswer>(),
            Answer::Debit { .. } | Answer::Credit { .. } => meshpay_wire::certificate_answer_length(1),
        }
    }
}

/// An answer on its way.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// It may leave when the journal is durable up to here.
    pub ticket: u64,
    /// When it was queued, monotonic nanoseconds.
    pub queued_ns: u64,
    /// To whom.
    pub peer: Peer,
    /// Whether the request shared its datagram with others, so that the answer may too.
    pub bundled: bool,
    /// The request's header, whose length bounds the answer's.
    pub request: Header,
    /// What it says.
    pub answer: Answer,
}

// Answers pass through the whole ring, so each byte here costs cache.
const _: () = assert!(size_of::<Reply>() <= 320);

/// The queue of answers. Tickets never fall from front to back, since each is the journal's end at the time of queueing.
pub struct Replies {
    queue: VecDeque<Reply>,
    /// Answers from here on were queued in this turn.
    fresh: usize,
}

impl Replies {
    pub fn new() -> Self {
        Self { queue: VecDeque::with_capacity(REPLIES_MAX), fresh: 0 }
    }

    /// How many more find room.
    pub fn room(&self) -> usize {
        REPLIES_MAX - self.queue.len()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// What the first one waits for.
    pub fn first_ticket(&self) -> Option<u64> {
        self.queue.front().map(|reply| reply.ticket)
    }

    /// Queues an answer. The caller has made sure of room.
    pub fn push(&mut self, mut reply: Reply) {
        debug_assert!(self.queue.len() < REPLIES_MAX);
        let needed = reply.answer.length();
        if needed > usize::from(reply.request.length.get()) {
            reply.answer = Answer::Refused(Refusal::new(RefusalCode::RequestTooShort).value(needed as u32));
        }
        self.queue.push_back(reply);
    }

    /// The answers queued in this turn, for filling in signatures and tickets.
    pub fn fresh_mut(&mut self) -> impl Iterator<Item = &mut Reply> {
        self.queue.iter_mut().skip(self.fresh)
    }

    /// Ends a turn: what is queued now is no longer fresh.
    pub fn settle(&mut self) {
        self.fresh = self.queue.len();
    }

    /// The next answer that may leave.
    pub fn peek_durable(&self, durable: u64) -> Option<&Reply> {
        self.queue.front().filter(|reply| reply.ticket <= durable)
    }

    /// Takes the next answer, if it may leave.
    pub fn pop_durable(&mut self, durable: u64) -> Option<Reply> {
        self.peek_durable(durable)?;
        self.fresh = self.fresh.saturating_sub(1);
        self.queue.pop_front()
    }
}
