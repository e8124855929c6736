//! Brings certificates to authorities that lag behind, and finds those certificates first where the wallet does not hold them.
//!
//! An authority executes an account's certificates in the order of their sequences, whatever the balance (DESIGN 5.7, 5.13). So
//! whatever an authority lacks comes down to *chains*: the certificates of one account up to a sequence. A chain starts at its
//! target and goes back only as far as the authority says that it must. Certificates come from the book, or by query from any
//! authority; each is checked before it is used.
//!
//! What always holds:
//! - what an authority says changes only what *it* is sent; a lie costs its teller's share of the work, and that is bounded by the
//!   constants below;
//! - nothing here signs anything.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use meshpay_wire::{Executed, ExecutionStatus, PublicKey, RefusalBody, RefusalCode};

use super::fetcher::{ASK_AGAIN_AFTER, Fetched, Fetcher, PATIENCE};
use super::{Answer, Answered, Exchange, RequestKey};
use crate::{Certificate, CertificateBook, Request, Verifier};

/// Most certificates that one authority is brought in one run, beside those that are the run's aim; the next run goes on from there.
pub const CATCH_UP_MAX: u64 = 4_096;
/// Certificates of one chain under way to one authority at once.
pub const CHAIN_WINDOW: u64 = 8;
/// How often an authority may ask for yet earlier certificates of one chain before it is left alone.
pub const CHAIN_REGRESSIONS_MAX: u32 = 16;
/// Chains of different payers under way to one authority at once, while it lacks credits.
pub const CREDIT_CHAINS_MAX: usize = 4;
/// Most credits that are presented in one run.
pub const CREDITS_MAX: usize = 1_024;
/// Most credits that are followed at one authority in one walk.
pub const WALK_STEPS_MAX: usize = 1_024;

/// What came of it.
#[derive(Clone, Debug)]
pub enum CourierEvent {
    /// An authority says that it has executed this certificate.
    Delivered {
        /// Place in the committee.
        authority: usize,
        /// The certificate.
        certificate: Arc<Certificate>,
        /// Whether it was executed by this request, rather than before.
        now: bool,
    },
    /// A chain has reached its target.
    ChainDone {
        /// Place in the committee.
        authority: usize,
        /// Whose certificates.
        account: PublicKey,
    },
    /// An authority was brought [`CATCH_UP_MAX`] certificates, or changed its mind too often; its chain was given up for this run.
    ChainAbandoned {
        /// Place in the committee.
        authority: usize,
        /// Whose certificates.
        account: PublicKey,
    },
    /// As many credits as were lacking, or all that could be found, were presented.
    CreditsPresented {
        /// Place in the committee.
        authority: usize,
        /// Minor units that it executed because of that; 0 where it had executed all of them before.
        gained: u64,
    },
    /// An authority sent what signatures disprove.
    Lied {
        /// Place in the committee.
        authority: usize,
    },
    /// An authority refused a certificate for a reason that more certificates do not heal.
    Refused {
        /// Place in the committee.
        authority: usize,
        /// The reason it gave, unsigned.
        code: RefusalCode,
    },
    /// A certificate was fetched and checked.
    Learned(Arc<Certificate>),
}

struct Presented {
    key: RequestKey,
    certificate: Arc<Certificate>,
    refused: bool,
}

struct Chain {
    /// Lowest sequence that the authority seems not to have executed.
    next: u64,
    /// All sequences below were acknowledged; a refusal that names one of them is late, or a lie.
    acknowledged: u64,
    target: u64,
    window: BTreeMap<u64, Presented>,
    regressions: u32,
}

#[derive(Default)]
struct CreditNeed {
    shortfall: u64,
    gained: u64,
    pending: BTreeSet<PublicKey>,
}

/// A walk along an account's credits, at one authority after the other.
#[derive(Default)]
struct Walk {
    order: VecDeque<usize>,
    current: Option<(usize, RequestKey)>,
    steps: usize,
    /// Locator at which the current walk began, once known.
    head: u64,
    /// For each authority, the head of the last walk that went through to its end: older credits are known.
    completed: Vec<u64>,
    again_at: Option<Duration>,
}

enum Role {
    Present { account: PublicKey, sequence: u64 },
    Walk,
}

/// Carries certificates to authorities on behalf of one account.
pub struct Courier<B> {
    /// Requests under way; those that are not the courier's own belong to whoever asked them.
    pub exchange: Exchange,
    /// Where certificates are found and kept.
    pub book: B,
    verifier: Arc<Verifier>,
    account: PublicKey,
    roles: HashMap<RequestKey, Role>,
    chains: Vec<BTreeMap<PublicKey, Chain>>,
    /// For each authority, how many certificates it was presented on the way to a target.
    brought: Vec<u64>,
    needs: Vec<Option<CreditNeed>>,
    credits: Vec<(PublicKey, u64)>,
    /// For each authority, how many of `credits` it was presented.
    credits_presented: Vec<usize>,
    credits_known: HashSet<(PublicKey, u64)>,
    fetcher: Fetcher,
    walk: Walk,
    events: VecDeque<CourierEvent>,
}

impl<B: CertificateBook> Courier<B> {
    /// A courier for an account, with nothing to do yet.
    pub fn new(verifier: Arc<Verifier>, exchange: Exchange, book: B, account: PublicKey) -> Self {
        let authorities = verifier.authorities();
        let credits = book.credits(&account, CREDITS_MAX);
        Self {
            exchange,
            book,
            verifier,
            account,
            roles: HashMap::new(),
            chains: (0..authorities).map(|_| BTreeMap::new()).collect(),
            brought: vec![0; authorities],
            needs: (0..authorities).map(|_| None).collect(),
            credits_known: credits.iter().copied().collect(),
            credits,
            credits_presented: vec![0; authorities],
            fetcher: Fetcher::default(),
            walk: Walk { completed: vec![0; authorities], ..Walk::default() },
            events: VecDeque::new(),
        }
    }

    /// What has come of it since the last call.
    pub fn poll_event(&mut self) -> Option<CourierEvent> {
        self.events.pop_front()
    }

    /// Brings an account's certificates up to `target` to an authority. `next` is the first that it seems to lack: the authority's
    /// own word where it gave one, else the target itself.
    pub fn deliver(&mut self, authority: usize, account: PublicKey, next: u64, target: u64, now: Duration) {
        let chain = self.chains[authority].entry(account).or_insert_with(|| Chain {
            next: next.min(target),
            acknowledged: 0,
            target,
            window: BTreeMap::new(),
            regressions: 0,
        });
        chain.target = chain.target.max(target);
        self.pump(authority, account, now);
    }

    /// Presents credits of the account to an authority until it has executed `shortfall` more minor units, or no more are found.
    /// `funded` are the places, as bits, of authorities that seem to have them all: these are asked first.
    pub fn require_credits(&mut self, authority: usize, shortfall: u64, funded: u32, now: Duration) {
        if self.needs[authority].is_some() {
            return;
        }
        self.needs[authority] = Some(CreditNeed { shortfall, ..CreditNeed::default() });
        if self.walk.current.is_none() && self.walk.order.is_empty() && self.walk.again_at.is_none() {
            let others = (0..self.verifier.authorities()).filter(|place| *place != authority);
            let (first, second): (Vec<usize>, Vec<usize>) = others.partition(|place| funded >> place & 1 == 1);
            self.walk.order = first.into_iter().chain(second).chain([authority]).collect();
        }
        self.pump_credits(authority, now);
    }

    /// Whether an authority is being brought certificates now.
    pub fn is_feeding(&self, authority: usize) -> bool {
        !self.chains[authority].is_empty() || self.needs[authority].is_some()
    }

    /// Ends a chain, for instance because its end no longer matters.
    fn abandon(&mut self, authority: usize, account: PublicKey, now: Duration) {
        if let Some(chain) = self.chains[authority].remove(&account) {
            for presented in chain.window.values() {
                self.roles.remove(&presented.key);
                self.exchange.finish(presented.key);
            }
            self.events.push_back(CourierEvent::ChainAbandoned { authority, account });
            self.credit_chain_ended(authority, account, now);
        }
    }

    /// Presents what a chain's window has room for, and fetches what is missing there.
    fn pump(&mut self, authority: usize, account: PublicKey, now: Duration) {
        let Some(chain) = self.chains[authority].get_mut(&account) else { return };
        let end = chain.target.min(chain.next.saturating_add(CHAIN_WINDOW - 1));
        let mut missing = Vec::new();
        for sequence in chain.next..=end {
            if let Some(presented) = chain.window.get_mut(&sequence) {
                // It was refused because of a gap before it; that gap is closed once it is the next one.
                if presented.refused && sequence == chain.next {
                    presented.refused = false;
                    self.exchange.repeat_now(presented.key, now);
                }
                continue;
            }
            match self.book.certificate(&account, sequence) {
                Some(certificate) if missing.is_empty() => {
                    if sequence < chain.target {
                        if self.brought[authority] == CATCH_UP_MAX {
                            break;
                        }
                        self.brought[authority] += 1;
                    }
                    let key = self.exchange.ask(authority, Request::Confirm(certificate.clone()), now);
                    self.roles.insert(key, Role::Present { account, sequence });
                    chain.window.insert(sequence, Presented { key, certificate, refused: false });
                }
                Some(_) => {}
                None => missing.push(sequence),
            }
        }
        if chain.window.is_empty() && self.brought[authority] == CATCH_UP_MAX {
            return self.abandon(authority, account, now);
        }
        for sequence in missing {
            // The authority that lacks it is asked last.
            self.fetcher.want(&mut self.exchange, account, sequence, authority + 1, now);
        }
    }

    /// When [`Courier::advance`] has something to do, the exchange included.
    pub fn next_timer(&self) -> Option<Duration> {
        let timers = [self.exchange.next_timer(), self.fetcher.next_timer(), self.walk.again_at];
        timers.into_iter().flatten().min()
    }

    /// Repeats and goes on with what is due.
    pub fn advance(&mut self, now: Duration) {
        self.exchange.advance(now);
        let chains = &self.chains;
        let is_wanted = |account: &PublicKey, sequence: u64| {
            let mut of_account = chains.iter().filter_map(|chains| chains.get(account));
            of_account.any(|chain| (chain.next..=chain.target).contains(&sequence))
        };
        self.fetcher.advance(&mut self.exchange, now, is_wanted);
        self.pump_idle_chains(now);
        if let Some((_, key)) = self.walk.current
            && self.exchange.transmissions(key) > PATIENCE
        {
            self.walk_elsewhere(now);
            self.pump_all_credits(now);
        }
        if self.walk.again_at.is_some_and(|again_at| again_at <= now) {
            self.walk.again_at = None;
            self.walk.order = (0..self.verifier.authorities()).collect();
            self.pump_all_credits(now);
        }
    }

    /// Goes on with chains that found no room among the fetches before.
    fn pump_idle_chains(&mut self, now: Duration) {
        for authority in 0..self.chains.len() {
            let idle = self.chains[authority].iter().filter(|(_, chain)| chain.window.is_empty());
            for account in idle.map(|(account, _)| *account).collect::<Vec<_>>() {
                self.pump(authority, account, now);
            }
        }
    }

    /// Takes an answer that belongs to the courier; returns false where it is somebody else's.
    pub fn receive(&mut self, answered: &Answered<'_>, now: Duration) -> bool {
        let authority = answered.authority;
        match self.fetcher.receive(&mut self.exchange, answered, now) {
            Fetched::NotMine => {}
            Fetched::NotYet => return true,
            Fetched::Lie => {
                self.events.push_back(CourierEvent::Lied { authority });
                return true;
            }
            Fetched::Found(certificate) => {
                self.book.keep(&certificate);
                let account = certificate.sender();
                self.events.push_back(CourierEvent::Learned(certificate));
                for authority in 0..self.chains.len() {
                    self.pump(authority, account, now);
                }
                return true;
            }
        }
        match self.roles.get(&answered.key) {
            None => return false,
            Some(Role::Present { account, sequence }) => {
                let (account, sequence) = (*account, *sequence);
                match answered.answer {
                    Answer::Executed(executed) => self.executed(authority, account, sequence, executed, now),
                    Answer::Refusal(code, body, _) => {
                        self.refused(answered.key, authority, account, sequence, code, body, now)
                    }
                    _ => {}
                }
            }
            Some(Role::Walk) => self.walked(answered, now),
        }
        true
    }

    fn executed(&mut self, authority: usize, account: PublicKey, sequence: u64, executed: &Executed, now: Duration) {
        let Some(chain) = self.chains[authority].get_mut(&account) else { return };
        let Some(presented) = chain.window.get(&sequence) else { return };
        // The certificate is proven, so whoever executed something else there is no honest authority.
        if executed.order != presented.certificate.digest() || executed.next_sequence.get() <= sequence {
            self.events.push_back(CourierEvent::Lied { authority });
            return;
        }
        let certificate = presented.certificate.clone();
        let executed_now = executed.status == ExecutionStatus::Now as u8;
        // Whoever executed this one has executed all before it.
        let later = chain.window.split_off(&(sequence + 1));
        for done in std::mem::replace(&mut chain.window, later).into_values() {
            self.roles.remove(&done.key);
            self.exchange.finish(done.key);
        }
        chain.acknowledged = chain.acknowledged.max(sequence + 1);
        chain.next = chain.next.max(sequence + 1);
        let chain_done = chain.next > chain.target;
        if executed_now
            && certificate.recipient() == self.account
            && let Some(need) = &mut self.needs[authority]
        {
            need.gained = need.gained.saturating_add(certificate.amount_minor());
        }
        self.events.push_back(CourierEvent::Delivered { authority, certificate, now: executed_now });
        if chain_done {
            self.chains[authority].remove(&account);
            self.events.push_back(CourierEvent::ChainDone { authority, account });
            self.credit_chain_ended(authority, account, now);
        } else {
            self.pump(authority, account, now);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "each is a fact of one answer, used once")]
    fn refused(
        &mut self,
        key: RequestKey,
        authority: usize,
        account: PublicKey,
        sequence: u64,
        code: RefusalCode,
        body: &RefusalBody,
        now: Duration,
    ) {
        let Some(chain) = self.chains[authority].get_mut(&account) else { return };
        match code {
            RefusalCode::MissingCertificate => {
                let missing = body.sequence.get();
                if missing >= sequence {
                    return;
                }
                if let Some(presented) = chain.window.get_mut(&sequence) {
                    presented.refused = true;
                }
                // Late, or a lie: the ordinary repetition shows which.
                if missing < chain.acknowledged {
                    return;
                }
                if missing < chain.next {
                    chain.regressions += 1;
                    if chain.regressions > CHAIN_REGRESSIONS_MAX {
                        return self.abandon(authority, account, now);
                    }
                }
                if missing != chain.next {
                    chain.next = missing;
                    self.pump(authority, account, now);
                }
            }
            RefusalCode::RetryLater => {
                self.exchange.repeat_later(key, Duration::from_millis(u64::from(body.value.get())), now);
            }
            code => self.events.push_back(CourierEvent::Refused { authority, code }),
        }
    }

    fn credit_chain_ended(&mut self, authority: usize, payer: PublicKey, now: Duration) {
        if let Some(need) = &mut self.needs[authority] {
            need.pending.remove(&payer);
            self.pump_credits(authority, now);
        }
    }

    fn pump_all_credits(&mut self, now: Duration) {
        for authority in 0..self.needs.len() {
            self.pump_credits(authority, now);
        }
    }

    /// Presents the next credits to an authority that lacks some, and looks for more where all known ones were presented.
    fn pump_credits(&mut self, authority: usize, now: Duration) {
        loop {
            let Some(need) = &mut self.needs[authority] else { return };
            if need.gained >= need.shortfall {
                return self.end_need(authority);
            }
            if need.pending.len() >= CREDIT_CHAINS_MAX {
                return;
            }
            let Some((payer, sequence)) = self.credits.get(self.credits_presented[authority]).copied() else { break };
            self.credits_presented[authority] += 1;
            // What an account paid to itself brought it nothing.
            if payer != self.account {
                need.pending.insert(payer);
                self.deliver(authority, payer, sequence, sequence, now);
            }
        }
        if self.walk.current.is_none() && self.walk.again_at.is_none() {
            self.walk_elsewhere(now);
        }
        let idle = self.needs[authority].as_ref().is_some_and(|need| need.pending.is_empty());
        if idle && self.walk.again_at.is_some() {
            self.end_need(authority);
        }
    }

    fn end_need(&mut self, authority: usize) {
        if let Some(need) = self.needs[authority].take() {
            self.events.push_back(CourierEvent::CreditsPresented { authority, gained: need.gained });
        }
    }

    /// Begins the walk at the next authority, or puts it off where none is left.
    fn walk_elsewhere(&mut self, now: Duration) {
        if let Some((_, key)) = self.walk.current.take() {
            self.roles.remove(&key);
            self.exchange.finish(key);
        }
        (self.walk.steps, self.walk.head) = (0, 0);
        match self.walk.order.pop_front() {
            Some(authority) => self.walk_on(authority, 0, now),
            None => self.walk.again_at = Some(now + ASK_AGAIN_AFTER),
        }
    }

    fn walk_on(&mut self, authority: usize, locator: u64, now: Duration) {
        let key = self.exchange.ask(authority, Request::Credit { account: self.account, locator }, now);
        self.roles.insert(key, Role::Walk);
        self.walk.current = Some((authority, key));
    }

    fn walked(&mut self, answered: &Answered<'_>, now: Duration) {
        if self.walk.current != Some((answered.authority, answered.key)) {
            return;
        }
        match self.walk_step(answered) {
            Some(previous) if self.needs.iter().any(Option::is_some) => {
                self.walk.current = None;
                self.walk_on(answered.authority, previous, now);
            }
            _ => self.walk_elsewhere(now),
        }
        self.pump_all_credits(now);
    }

    /// Takes one credit of the walk; returns the locator of the one before it, or nothing where this authority has no more to tell.
    fn walk_step(&mut self, answered: &Answered<'_>) -> Option<u64> {
        self.roles.remove(&answered.key);
        self.exchange.finish(answered.key);
        let Answer::Certificate(links, view) = &answered.answer else { return None };
        let (here, previous) = (links.locator.get(), links.previous_credit.get());
        let certificate = match self.verifier.check_certificate(view) {
            // Locators fall along a walk, so that no authority can lead it in circles.
            Ok(certificate) if certificate.recipient() == self.account && previous < here => Arc::new(certificate),
            _ => {
                self.events.push_back(CourierEvent::Lied { authority: answered.authority });
                return None;
            }
        };
        let name = (certificate.sender(), certificate.sequence());
        if self.credits.len() < CREDITS_MAX && self.credits_known.insert(name) {
            self.credits.push(name);
            self.book.keep(&certificate);
            self.events.push_back(CourierEvent::Learned(certificate));
        }
        self.walk.steps += 1;
        if self.walk.head == 0 {
            self.walk.head = here;
        }
        let completed = &mut self.walk.completed[answered.authority];
        if previous <= *completed {
            *completed = self.walk.head;
            return None;
        }
        (self.walk.steps < WALK_STEPS_MAX).then_some(previous)
    }
}
