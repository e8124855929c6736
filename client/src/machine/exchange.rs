//! Asking and hearing, without a socket: requests that are repeated with backoff and jitter until somebody is content with an
//! answer, each transmission under a fresh request id; answers that are matched to what was asked; return tokens.
//!
//! What always holds:
//! - an answer is looked at only where it echoes a request id that was sent to that very authority, and the request's account,
//!   sequence and order tag; everything else is counted and dropped;
//! - an answer does not end a request: whoever asked decides ([`Exchange::finish`]), because answers are unsigned hints and the
//!   next one may be better (DESIGN 5.10);
//! - requests, transmission ids and what waits to be sent are bounded.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use meshpay_wire::{
    AccountAnswer, CertificateLinks, CertificateView, DATAGRAM_MAX, Executed, FIRST_RETRY_MS, Header, Message,
    RefusalBody, RefusalCode, SignedOrder, Vote, messages,
};

use crate::{Randomness, Request, Verifier};

/// Longest wait that an unsigned 'retry later' can impose.
pub const RETRY_LATER_MAX: Duration = Duration::from_secs(5);

/// Transmissions of one request whose answers are still recognised; an answer to an older one is dropped.
pub const REQUEST_IDS_KEPT: usize = 8;

/// Requests under way at once; what is asked beyond waits until others are finished.
pub const REQUESTS_MAX: usize = 4_096;

/// When a request is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Wait before the first repetition, without jitter; never below [`FIRST_RETRY_MS`]. Doubles each time.
    pub first: Duration,
    /// Longest wait, without jitter. Jitter adds up to half.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), longest: Duration::from_secs(2) }
    }
}

impl RetryPolicy {
    /// Wait after the transmission with this number, counted from 1.
    fn wait(&self, transmission: u32, random: &mut Randomness) -> Duration {
        let first = self.first.max(Duration::from_millis(FIRST_RETRY_MS));
        let doubled = first.saturating_mul(1 << transmission.saturating_sub(1).min(16));
        let base = doubled.min(self.longest.max(first));
        base + Duration::from_micros(random.below(base.as_micros() as u64 / 2))
    }
}

/// Names a request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey(u64);

/// A datagram for an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmission {
    /// Its place in the committee.
    pub authority: usize,
    /// At most [`DATAGRAM_MAX`] bytes.
    pub datagram: Vec<u8>,
}

/// What an authority said, not yet verified.
#[derive(Clone, Debug)]
pub enum Answer<'a> {
    /// A vote.
    Vote(&'a Vote),
    /// What was executed at the sequence.
    Executed(&'a Executed),
    /// An account's state.
    Account(&'a AccountAnswer),
    /// A certificate.
    Certificate(&'a CertificateLinks, CertificateView<'a>),
    /// A refusal, with the locked order where it is a conflict.
    Refusal(RefusalCode, &'a RefusalBody, Option<&'a SignedOrder>),
}

/// An answer with what was asked.
#[derive(Clone, Debug)]
pub struct Answered<'a> {
    /// Names the request.
    pub key: RequestKey,
    /// Who answered, by place in the committee.
    pub authority: usize,
    /// What was asked.
    pub request: Request,
    /// What was said.
    pub answer: Answer<'a>,
}

/// What happened to datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExchangeCounters {
    /// Messages sent, repetitions included.
    pub transmitted: u64,
    /// Of these, repetitions.
    pub repeated: u64,
    /// Answers that were handed on.
    pub answered: u64,
    /// Dropped: not well formed.
    pub malformed: u64,
    /// Dropped: no request of ours has that id, any more or ever.
    pub unasked: u64,
    /// Dropped: the id is right, but network, epoch, account, sequence, tag or kind are not.
    pub mismatched: u64,
}

struct Outstanding {
    authority: usize,
    request: Request,
    transmissions: u32,
    repeat_at: Duration,
    ids: VecDeque<[u8; 8]>,
}

/// Requests under way to the authorities of one committee.
pub struct Exchange {
    verifier: Arc<Verifier>,
    retry: RetryPolicy,
    random: Randomness,
    return_tokens: Vec<[u8; 8]>,
    outstanding: BTreeMap<RequestKey, Outstanding>,
    by_id: HashMap<[u8; 8], RequestKey>,
    next_key: u64,
    outbox: VecDeque<(usize, Vec<u8>)>,
    counters: ExchangeCounters,
}

impl Exchange {
    /// Nothing is under way.
    pub fn new(verifier: Arc<Verifier>, retry: RetryPolicy, random: Randomness) -> Self {
        let authorities = verifier.authorities();
        Self {
            verifier,
            retry,
            random,
            return_tokens: vec![[0; 8]; authorities],
            outstanding: BTreeMap::new(),
            by_id: HashMap::new(),
            next_key: 0,
            outbox: VecDeque::new(),
            counters: ExchangeCounters::default(),
        }
    }

    /// What answers are checked with.
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// What happened so far.
    pub fn counters(&self) -> ExchangeCounters {
        self.counters
    }

    /// Asks an authority now, and again until [`Exchange::finish`].
    pub fn ask(&mut self, authority: usize, request: Request, now: Duration) -> RequestKey {
        let key = RequestKey(self.next_key);
        self.next_key += 1;
        let ids = VecDeque::with_capacity(1);
        self.outstanding.insert(key, Outstanding { authority, request, transmissions: 0, repeat_at: now, ids });
        if self.outstanding.len() <= REQUESTS_MAX {
            self.send(key, now);
        }
        key
    }

    /// Ends a request: no more repetitions, and answers to it are dropped.
    pub fn finish(&mut self, key: RequestKey) {
        if let Some(ended) = self.outstanding.remove(&key) {
            for id in ended.ids {
                self.by_id.remove(&id);
            }
        }
    }

    /// Repeats a request at once, because there is reason to hope for another answer.
    pub fn repeat_now(&mut self, key: RequestKey, now: Duration) {
        if let Some(outstanding) = self.outstanding.get_mut(&key) {
            outstanding.transmissions = 0;
            self.send(key, now);
        }
    }

    /// Repeats a request not before this time; an unsigned wish, hence bounded by [`RETRY_LATER_MAX`].
    pub fn repeat_later(&mut self, key: RequestKey, wait: Duration, now: Duration) {
        if let Some(outstanding) = self.outstanding.get_mut(&key) {
            outstanding.repeat_at = outstanding.repeat_at.max(now + wait.min(RETRY_LATER_MAX));
        }
    }

    /// How often a request has been sent since it was asked or hurried; 0 where it has ended.
    pub fn transmissions(&self, key: RequestKey) -> u32 {
        self.outstanding.get(&key).map_or(0, |outstanding| outstanding.transmissions)
    }

    /// When [`Exchange::advance`] has something to do.
    pub fn next_timer(&self) -> Option<Duration> {
        self.outstanding.values().take(REQUESTS_MAX).map(|outstanding| outstanding.repeat_at).min()
    }

    /// Repeats what is due.
    pub fn advance(&mut self, now: Duration) {
        let due: Vec<RequestKey> = self
            .outstanding
            .iter()
            .take(REQUESTS_MAX)
            .filter(|(_, outstanding)| outstanding.repeat_at <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            self.send(key, now);
        }
    }

    fn send(&mut self, key: RequestKey, now: Duration) {
        let Some(outstanding) = self.outstanding.get_mut(&key) else { return };
        let id = self.random.next_bytes();
        if outstanding.ids.len() == REQUEST_IDS_KEPT
            && let Some(forgotten) = outstanding.ids.pop_front()
        {
            self.by_id.remove(&forgotten);
        }
        outstanding.ids.push_back(id);
        self.by_id.insert(id, key);
        self.counters.transmitted += 1;
        self.counters.repeated += u64::from(outstanding.transmissions > 0);
        outstanding.transmissions = outstanding.transmissions.saturating_add(1);
        outstanding.repeat_at = now + self.retry.wait(outstanding.transmissions, &mut self.random);
        let authority = outstanding.authority;
        let message = outstanding.request.message(self.verifier.rules(), id, self.return_tokens[authority]);
        self.outbox.push_back((authority, message));
    }

    /// The next datagram to send. Messages for one authority share datagrams, in the order in which they were asked.
    pub fn transmit(&mut self) -> Option<Transmission> {
        let (authority, mut datagram) = self.outbox.pop_front()?;
        let mut at = 0;
        while at < self.outbox.len() {
            if self.outbox[at].0 != authority {
                at += 1;
            } else if datagram.len() + self.outbox[at].1.len() <= DATAGRAM_MAX {
                if let Some((_, message)) = self.outbox.remove(at) {
                    datagram.extend(message);
                }
            } else {
                break;
            }
        }
        Some(Transmission { authority, datagram })
    }

    /// Reads a datagram that came from an authority's address.
    pub fn receive<'a>(&mut self, authority: usize, datagram: &'a [u8]) -> Vec<Answered<'a>> {
        let mut out = Vec::new();
        for message in messages(datagram) {
            let Ok(message) = message else {
                self.counters.malformed += 1;
                break;
            };
            let header = message.header();
            let Some(key) = self.by_id.get(&header.request_id).copied() else {
                self.counters.unasked += 1;
                continue;
            };
            let Some(outstanding) = self.outstanding.get(&key).filter(|asked| asked.authority == authority) else {
                self.counters.unasked += 1;
                continue;
            };
            let answer = answer_of(&message).filter(|answer| fits(&outstanding.request, answer));
            match answer {
                Some(answer) if self.echoes(header, &outstanding.request) => {
                    self.counters.answered += 1;
                    self.return_tokens[authority] = header.return_token;
                    out.push(Answered { key, authority, request: outstanding.request.clone(), answer });
                }
                _ => self.counters.mismatched += 1,
            }
        }
        out
    }

    fn echoes(&self, header: &Header, request: &Request) -> bool {
        let rules = self.verifier.rules();
        let (account, sequence, tag) = request.echoed();
        header.network == rules.network
            && header.epoch.get() == rules.epoch
            && header.account == account
            && header.sequence.get() == sequence
            && header.order_tag == tag
    }
}

fn answer_of<'a>(message: &Message<'a>) -> Option<Answer<'a>> {
    match *message {
        Message::TransferResponse(_, vote) => Some(Answer::Vote(vote)),
        Message::ConfirmationResponse(_, executed) => Some(Answer::Executed(executed)),
        Message::AccountAnswer(_, answer) => Some(Answer::Account(answer)),
        Message::CertificateAnswer(_, links, certificate) => Some(Answer::Certificate(links, certificate)),
        Message::Refusal(_, body, locked) => {
            RefusalCode::from_number(body.code.get()).map(|code| Answer::Refusal(code, body, locked))
        }
        _ => None,
    }
}

/// Whether an answer is of a kind that the request can get.
fn fits(request: &Request, answer: &Answer<'_>) -> bool {
    matches!(
        (request, answer),
        (_, Answer::Refusal(..))
            | (Request::Vote { .. }, Answer::Vote(_) | Answer::Executed(_))
            | (Request::Confirm(_), Answer::Executed(_))
            | (Request::Account { .. }, Answer::Account(_))
            | (Request::Debit { .. } | Request::Credit { .. }, Answer::Certificate(..))
    )
}
