//! Collects what an account paid and what it was paid, each proven by its certificate.
//!
//! Debits are asked for by sequence. Credits are followed by locators, at every authority, because one alone could leave some out;
//! none can invent one. The union is complete where one honest authority that has executed everything was walked to its end.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use meshpay_wire::{PublicKey, RefusalCode};

use super::fetcher::{Fetched, Fetcher};
use super::{Answer, Answered, Exchange, FETCHES_MAX, Machine, Pace, RequestKey, Transmission};
use crate::{Certificate, CertificateBook, Randomness, Request, Verifier};

/// Most debits, and most credits, that one walk collects.
pub const HISTORY_MAX: usize = 10_000;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What the account paid, newest first.
    pub debits: Vec<Arc<Certificate>>,
    /// Sequences whose certificate nobody showed.
    pub debits_missing: Vec<u64>,
    /// What it was paid, newest first as the authority tells that told most, then what only others told.
    pub credits: Vec<Arc<Certificate>>,
    /// Whether more credits exist than were asked for.
    pub credits_cut_off: bool,
    /// Places of the authorities whose credits were walked to the end or to the limit, as bits.
    pub walked: u32,
}

#[derive(Default)]
struct CreditWalk {
    request: Option<RequestKey>,
    found: Vec<Arc<Certificate>>,
    ended: bool,
    cut_off: bool,
}

/// Collects an account's history.
pub struct HistoryWalk<B> {
    exchange: Exchange,
    fetcher: Fetcher,
    book: B,
    verifier: Arc<Verifier>,
    account: PublicKey,
    pace: Pace,
    limit: usize,
    debits: BTreeMap<u64, Arc<Certificate>>,
    wanted: BTreeSet<u64>,
    denied: BTreeSet<u64>,
    walks: Vec<CreditWalk>,
    quorum_at: Option<Duration>,
    started: Duration,
    now: Duration,
    done: bool,
}

impl<B: CertificateBook> HistoryWalk<B> {
    /// Begins to collect the newest `limit` debits below `next_sequence` and the newest `limit` credits.
    #[allow(clippy::too_many_arguments, reason = "the ports come one by one")]
    pub fn new(
        verifier: Arc<Verifier>,
        account: PublicKey,
        next_sequence: u64,
        limit: usize,
        book: B,
        pace: Pace,
        random: Randomness,
        now: Duration,
    ) -> Self {
        let limit = limit.min(HISTORY_MAX);
        let mut walk = Self {
            exchange: Exchange::new(verifier.clone(), pace.retry, random),
            fetcher: Fetcher::default(),
            book,
            account,
            pace,
            limit,
            debits: BTreeMap::new(),
            wanted: BTreeSet::new(),
            denied: BTreeSet::new(),
            walks: (0..verifier.authorities()).map(|_| CreditWalk::default()).collect(),
            quorum_at: None,
            started: now,
            now,
            done: false,
            verifier,
        };
        for sequence in next_sequence.saturating_sub(limit as u64)..next_sequence {
            match walk.book.certificate(&account, sequence) {
                Some(certificate) => drop(walk.debits.insert(sequence, certificate)),
                None => drop(walk.wanted.insert(sequence)),
            }
        }
        walk.fetch_more(now);
        for authority in 0..walk.walks.len() {
            if limit > 0 {
                walk.follow(authority, 0, now);
            } else {
                walk.walks[authority].ended = true;
            }
        }
        walk.conclude(now);
        walk
    }

    /// What was found so far.
    pub fn history(&self) -> History {
        let mut seen = HashSet::new();
        let mut walks: Vec<&CreditWalk> = self.walks.iter().collect();
        walks.sort_by_key(|walk| std::cmp::Reverse(walk.found.len()));
        let credits = walks.iter().flat_map(|walk| &walk.found);
        let credits = credits.filter(|credit| seen.insert((credit.sender(), credit.sequence()))).cloned().collect();
        let walked = self.walks.iter().enumerate().filter(|(_, walk)| walk.ended);
        History {
            debits: self.debits.values().rev().cloned().collect(),
            debits_missing: self.wanted.iter().chain(&self.denied).copied().collect(),
            credits,
            credits_cut_off: self.walks.iter().any(|walk| walk.cut_off),
            walked: walked.fold(0, |bits, (place, _)| bits | 1 << place),
        }
    }

    /// Gives the book back.
    pub fn into_book(self) -> B {
        self.book
    }

    fn fetch_more(&mut self, now: Duration) {
        // Newest first; what does not fit is begun when others are found.
        for sequence in self.wanted.iter().rev().take(FETCHES_MAX) {
            let first = *sequence as usize % self.verifier.authorities();
            self.fetcher.want(&mut self.exchange, self.account, *sequence, first, now);
        }
    }

    fn follow(&mut self, authority: usize, locator: u64, now: Duration) {
        let request = Request::Credit { account: self.account, locator };
        self.walks[authority].request = Some(self.exchange.ask(authority, request, now));
    }

    fn take(&mut self, answered: &Answered<'_>, now: Duration) {
        match self.fetcher.receive(&mut self.exchange, answered, now) {
            Fetched::NotMine => self.credit_answered(answered, now),
            Fetched::Found(certificate) => {
                self.book.keep(&certificate);
                self.wanted.remove(&certificate.sequence());
                self.debits.insert(certificate.sequence(), certificate);
                self.fetch_more(now);
            }
            Fetched::NotYet | Fetched::Lie => {}
        }
    }

    fn credit_answered(&mut self, answered: &Answered<'_>, now: Duration) {
        let authority = answered.authority;
        let walk = &mut self.walks[authority];
        if walk.request != Some(answered.key) {
            return;
        }
        if let Answer::Refusal(RefusalCode::RetryLater, body, _) = &answered.answer {
            let wait = Duration::from_millis(u64::from(body.value.get()));
            return self.exchange.repeat_later(answered.key, wait, now);
        }
        walk.request = None;
        self.exchange.finish(answered.key);
        walk.ended = true;
        let Answer::Certificate(links, view) = &answered.answer else { return };
        let (here, previous) = (links.locator.get(), links.previous_credit.get());
        let Ok(certificate) = self.verifier.check_certificate(view) else { return };
        // Locators fall along a walk, so that no authority can lead it in circles.
        if certificate.recipient() != self.account || previous >= here {
            return;
        }
        let certificate = Arc::new(certificate);
        self.book.keep(&certificate);
        walk.found.push(certificate);
        walk.cut_off = previous != 0 && walk.found.len() >= self.limit;
        if previous != 0 && !walk.cut_off {
            walk.ended = false;
            self.follow(authority, previous, now);
        }
    }

    /// When the slower authorities are no longer waited for, once a quorum has answered.
    fn linger_end(&self) -> Option<Duration> {
        self.quorum_at.map(|quorum_at| self.pace.linger_until(self.started, quorum_at))
    }

    fn conclude(&mut self, now: Duration) {
        self.now = now;
        let ended = self.walks.iter().enumerate().filter(|(_, walk)| walk.ended);
        let ended = ended.fold(0u32, |bits, (place, _)| bits | 1 << place);
        // What all deny is missing, as far as this walk can tell; others get its place.
        let denied = |sequence: &u64| self.fetcher.is_denied(&self.exchange, self.account, *sequence);
        for sequence in self.wanted.iter().copied().filter(denied).collect::<Vec<_>>() {
            self.fetcher.give_up(&mut self.exchange, self.account, sequence);
            self.wanted.remove(&sequence);
            self.denied.insert(sequence);
        }
        self.fetch_more(now);
        let debits_found = self.wanted.is_empty();
        if debits_found && self.verifier.rules().committee.is_quorum(ended) {
            self.quorum_at.get_or_insert(now);
        }
        let all = self.walks.iter().all(|walk| walk.ended);
        let lingered = self.linger_end().is_some_and(|end| now >= end);
        self.done |= (debits_found && all) || lingered || now >= self.pace.deadline;
    }
}

impl<B: CertificateBook> Machine for HistoryWalk<B> {
    fn receive(&mut self, authority: usize, datagram: &[u8], now: Duration) {
        for answered in self.exchange.receive(authority, datagram) {
            self.take(&answered, now);
        }
        self.conclude(now);
    }

    fn advance(&mut self, now: Duration) {
        self.exchange.advance(now);
        self.fetcher.advance(&mut self.exchange, now, |_, _| true);
        self.conclude(now);
    }

    fn next_timer(&self) -> Option<Duration> {
        if self.done {
            return None;
        }
        let lingered = self.linger_end();
        let timers = [self.exchange.next_timer(), self.fetcher.next_timer(), lingered, Some(self.pace.deadline)];
        timers.into_iter().flatten().min()
    }

    fn transmit(&mut self) -> Option<Transmission> {
        self.exchange.transmit()
    }

    fn is_done(&self) -> bool {
        self.done
    }
}
