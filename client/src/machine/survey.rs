//! Asks all authorities for an account and says what can be relied on.
//!
//! Account answers are unsigned. What this machine says of them, and why it may be relied on:
//! - a *next sequence* is believed where authorities of more than the faulty weight report it or more, so that an honest one has
//!   executed up to it; or where the certificate just before it was shown and checked. Whoever signs at it wants the latter
//!   ([`Survey::proving_beyond`]): on their way, unsigned answers of any number of authorities can be rewritten;
//! - an order *locked* at that sequence is believed to be ours because of our own signature on it. Once a quorum has answered, no
//!   order of ours that could still have a certificate escapes: its quorum and the one that answered share an honest authority;
//! - a *balance* is only what so and so many authorities say, and is shown as that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meshpay_wire::{AccountAnswer, PublicKey, SignedOrder, account_flags};

use super::{Answer, Answered, Exchange, Machine, Pace, RefusalHint, RequestKey, Transmission};
use crate::{Certificate, Randomness, Request, Verifier};

/// How long proof of an unconfirmed claim is waited for, once a quorum has answered: time for about five transmissions. A liar who
/// claims and then keeps silent costs this much and no more.
pub const PROOF_PATIENCE: Duration = Duration::from_secs(2);

/// What one authority says of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// It knows the account.
    pub known: bool,
    /// Sequence of the next order, there.
    pub next_sequence: u64,
    /// Balance of each token that was asked for, in minor units.
    pub balances: BTreeMap<u32, i128>,
    /// A balance is below zero there: it lacks credits.
    pub owing: bool,
    /// It has stopped voting.
    pub not_voting: bool,
    /// The order it has locked at its next sequence, where that order carries the account's valid signature.
    pub locked: Option<SignedOrder>,
}

/// What all said.
#[derive(Clone, Debug)]
pub struct SurveyReport {
    /// By place in the committee; nothing where no answer came.
    pub views: Vec<Option<AccountView>>,
    /// The last refusal, by place.
    pub refusals: Vec<Option<RefusalHint>>,
    /// Who answered, as bits.
    pub answered: u32,
    /// Whether these are a quorum.
    pub quorum_answered: bool,
    /// The next sequence that can be relied on; nothing where too few answered.
    pub next_sequence: Option<u64>,
    /// The next sequence that authorities of more than the faulty weight claim, or a certificate proves. Only with
    /// [`Survey::proving_beyond`] can it be above `next_sequence`; then nothing may be signed, since the claim was not proven.
    pub claimed_sequence: Option<u64>,
    /// The certificate that proved it, where the word of enough authorities did not.
    pub proof: Option<Arc<Certificate>>,
    /// Weight that surely includes an honest authority.
    honest_weight: u64,
    weights: Vec<u64>,
}

impl SurveyReport {
    /// The balance of a token that authorities of more than the faulty weight agree on, among those that are not behind on the
    /// account's own payments; where several are, the one of the greatest weight.
    pub fn balance(&self, token: u32) -> Option<i128> {
        let mut weights: BTreeMap<i128, u64> = BTreeMap::new();
        for (balance, weight) in self.current_balances(token) {
            *weights.entry(balance).or_default() += weight;
        }
        let agreed = weights.into_iter().filter(|(_, weight)| *weight >= self.honest_weight);
        agreed.max_by_key(|(_, weight)| *weight).map(|(balance, _)| balance)
    }

    /// The most that can be spent of a token: the highest balance that authorities of more than the faulty weight report or exceed,
    /// so that an honest one is among them and the others can be brought up to it.
    pub fn spendable(&self, token: u32) -> Option<i128> {
        let mut balances: Vec<(i128, u64)> = self.current_balances(token).collect();
        balances.sort_by_key(|(balance, _)| std::cmp::Reverse(*balance));
        let mut weight = 0;
        balances.into_iter().find_map(|(balance, more)| {
            weight += more;
            (weight >= self.honest_weight).then_some(balance)
        })
    }

    /// Balances of those that have executed all of the account's payments, with their weights.
    fn current_balances(&self, token: u32) -> impl Iterator<Item = (i128, u64)> + '_ {
        let next = self.next_sequence.unwrap_or(0);
        let views = self.views.iter().zip(&self.weights);
        views.filter_map(move |(view, weight)| {
            let view = view.as_ref().filter(|view| view.next_sequence >= next)?;
            view.balances.get(&token).map(|balance| (*balance, *weight))
        })
    }

    /// Places of authorities that answered and lack some of the account's own payments, as bits.
    pub fn lagging(&self) -> u32 {
        let next = self.next_sequence.unwrap_or(0);
        let lags = |view: &Option<AccountView>| view.as_ref().is_some_and(|view| view.next_sequence < next);
        self.views.iter().enumerate().filter(|(_, view)| lags(view)).fold(0, |bits, (place, _)| bits | 1 << place)
    }

    /// Orders with the account's own signature that are locked at the next sequence, with the places that hold them, as bits; the
    /// one that weighs most comes first.
    pub fn locked(&self) -> Vec<(SignedOrder, u32)> {
        let next = self.next_sequence.unwrap_or(0);
        let mut found: Vec<(SignedOrder, u32, u64)> = Vec::new();
        for (place, view) in self.views.iter().enumerate() {
            let Some(locked) = view.as_ref().and_then(|view| view.locked) else { continue };
            if locked.body.sequence.get() != next {
                continue;
            }
            match found.iter_mut().find(|(order, _, _)| order.body == locked.body) {
                Some((_, places, weight)) => {
                    *places |= 1 << place;
                    *weight += self.weights[place];
                }
                None => found.push((locked, 1 << place, self.weights[place])),
            }
        }
        found.sort_by_key(|(_, _, weight)| std::cmp::Reverse(*weight));
        found.into_iter().map(|(order, places, _)| (order, places)).collect()
    }
}

enum Asked {
    Account(u32),
    Proof(u64),
}

/// Asks all authorities for an account.
pub struct Survey {
    exchange: Exchange,
    verifier: Arc<Verifier>,
    account: PublicKey,
    tokens: Vec<u32>,
    pace: Pace,
    asked: BTreeMap<RequestKey, (usize, Asked)>,
    views: Vec<Option<AccountView>>,
    refusals: Vec<Option<RefusalHint>>,
    proof: Option<Arc<Certificate>>,
    /// The next sequence as the wallet itself knows it, where nobody's word shall count beyond it.
    known_sequence: Option<u64>,
    /// For each authority, the highest next sequence whose proof it was asked for.
    proof_asked: Vec<u64>,
    quorum_at: Option<Duration>,
    started: Duration,
    now: Duration,
    done: bool,
}

impl Survey {
    /// Begins to ask. Without tokens, the first token of the network is asked for.
    pub fn new(
        verifier: Arc<Verifier>,
        account: PublicKey,
        tokens: &[u32],
        pace: Pace,
        random: Randomness,
        now: Duration,
    ) -> Self {
        let mut tokens = tokens.to_vec();
        if tokens.is_empty() {
            tokens.push(verifier.rules().tokens.first().map_or(0, |token| token.id));
        }
        let mut exchange = Exchange::new(verifier.clone(), pace.retry, random);
        let mut asked = BTreeMap::new();
        for authority in 0..verifier.authorities() {
            for token in &tokens {
                let key = exchange.ask(authority, Request::Account { account, token: *token }, now);
                asked.insert(key, (authority, Asked::Account(*token)));
            }
        }
        let authorities = verifier.authorities();
        Self {
            exchange,
            verifier,
            account,
            tokens,
            pace,
            asked,
            views: vec![None; authorities],
            refusals: vec![None; authorities],
            proof: None,
            known_sequence: None,
            proof_asked: vec![0; authorities],
            quorum_at: None,
            started: now,
            now,
            done: false,
        }
    }

    /// For whoever will sign: beyond the next sequence that the wallet knows by its own certificates, only what a certificate proves counts. An
    /// order signed at a sequence that does not come blocks its account until it comes.
    pub fn proving_beyond(mut self, known_sequence: u64) -> Self {
        self.known_sequence = Some(known_sequence);
        self
    }

    /// What is known so far.
    pub fn report(&self) -> SurveyReport {
        let answered = self.complete();
        SurveyReport {
            views: self.views.clone(),
            refusals: self.refusals.clone(),
            answered,
            quorum_answered: self.verifier.rules().committee.is_quorum(answered),
            next_sequence: self.next_sequence(),
            claimed_sequence: self.claimed_sequence(),
            proof: self.proof.clone(),
            honest_weight: self.verifier.honest_weight(),
            weights: (0..self.verifier.authorities()).map(|place| self.verifier.weight(place)).collect(),
        }
    }

    /// Places that have answered for every token, as bits.
    fn complete(&self) -> u32 {
        let whole =
            |view: &Option<AccountView>| view.as_ref().is_some_and(|view| view.balances.len() == self.tokens.len());
        self.views.iter().enumerate().filter(|(_, view)| whole(view)).fold(0, |bits, (place, _)| bits | 1 << place)
    }

    /// The next sequence that may be relied on.
    fn next_sequence(&self) -> Option<u64> {
        match self.known_sequence {
            Some(known) => Some(known.max(self.proof.as_ref().map_or(0, |proof| proof.sequence() + 1))),
            None => self.claimed_sequence(),
        }
    }

    /// The highest sequence that enough authorities report or exceed, or that a certificate proves.
    fn claimed_sequence(&self) -> Option<u64> {
        let views = self.views.iter().enumerate();
        let mut claims: Vec<(u64, u64)> = views
            .filter_map(|(place, view)| view.as_ref().map(|view| (view.next_sequence, self.verifier.weight(place))))
            .collect();
        claims.sort_by_key(|(next, _)| std::cmp::Reverse(*next));
        let mut weight = 0;
        let agreed = claims.into_iter().find_map(|(next, more)| {
            weight += more;
            (weight >= self.verifier.honest_weight()).then_some(next)
        });
        agreed.max(self.proof.as_ref().map(|proof| proof.sequence() + 1))
    }

    fn account_answered(&mut self, authority: usize, token: u32, answer: &AccountAnswer) -> bool {
        if answer.token.get() != token {
            return false;
        }
        let flags = answer.flags.get();
        let known = flags & account_flags::KNOWN != 0;
        let next_sequence = if known { answer.next_sequence.get() } else { 0 };
        let is_ours = |locked: &SignedOrder| {
            locked.body.sender == self.account
                && locked.body.sequence.get() == next_sequence
                && locked.body.epoch.get() == self.verifier.rules().epoch
                && self.verifier.order_is_signed(locked)
        };
        let locked = (flags & account_flags::LOCKED != 0).then_some(answer.locked).filter(is_ours);
        let view = self.views[authority].get_or_insert_with(|| AccountView {
            known,
            next_sequence,
            balances: BTreeMap::new(),
            owing: false,
            not_voting: false,
            locked: None,
        });
        view.known |= known;
        view.next_sequence = view.next_sequence.max(next_sequence);
        view.owing |= flags & account_flags::OWING != 0;
        view.not_voting |= flags & account_flags::NOT_VOTING != 0;
        view.locked = locked.or(view.locked);
        view.balances.insert(token, if known { answer.balance.get() } else { 0 });
        true
    }

    fn take(&mut self, answered: &Answered<'_>) {
        let authority = answered.authority;
        let finished = match (self.asked.get(&answered.key), &answered.answer) {
            (None, _) => return,
            (Some((_, Asked::Account(token))), Answer::Account(answer)) => {
                self.account_answered(authority, *token, answer)
            }
            (Some((_, Asked::Account(_))), Answer::Refusal(code, body, _)) => {
                self.refusals[authority] = Some(RefusalHint::new(*code, body));
                false
            }
            (Some((_, Asked::Proof(sequence))), Answer::Certificate(_, view)) => {
                if let Ok(certificate) = self.verifier.check_certificate(view)
                    && certificate.sender() == self.account
                    && certificate.sequence() == *sequence
                    && self.proof.as_ref().is_none_or(|proof| proof.sequence() < *sequence)
                {
                    self.proof = Some(Arc::new(certificate));
                }
                true
            }
            (Some((_, Asked::Proof(_))), _) => true,
            _ => false,
        };
        if finished {
            self.asked.remove(&answered.key);
            self.exchange.finish(answered.key);
        }
    }

    /// Asks whoever claims a higher sequence than is believed to prove it.
    fn ask_for_proofs(&mut self, now: Duration) {
        let believed = self.next_sequence().unwrap_or(0);
        for authority in 0..self.views.len() {
            let claimed = self.views[authority].as_ref().map_or(0, |view| view.next_sequence);
            if claimed > believed && claimed > self.proof_asked[authority] {
                self.proof_asked[authority] = claimed;
                let request = Request::Debit { account: self.account, sequence: claimed - 1 };
                let key = self.exchange.ask(authority, request, now);
                self.asked.insert(key, (authority, Asked::Proof(claimed - 1)));
            }
        }
    }

    /// When the slower authorities are no longer waited for, once a quorum has answered.
    fn linger_end(&self) -> Option<Duration> {
        self.quorum_at.map(|quorum_at| self.pace.linger_until(self.started, quorum_at))
    }

    fn conclude(&mut self, now: Duration) {
        self.now = now;
        let complete = self.complete();
        if self.verifier.rules().committee.is_quorum(complete) {
            self.quorum_at.get_or_insert(now);
            self.ask_for_proofs(now);
        }
        let all = (1u64 << self.verifier.authorities()) - 1;
        let proving = self.asked.values().any(|(_, asked)| matches!(asked, Asked::Proof(_)));
        let enough = match self.linger_end() {
            None => false,
            Some(end) => {
                let everybody = u64::from(complete) == all;
                let lingered = now >= end;
                let patient = now < end + PROOF_PATIENCE;
                (everybody || lingered) && !(proving && patient)
            }
        };
        self.done |= enough || now >= self.pace.deadline;
    }
}

impl Machine for Survey {
    fn receive(&mut self, authority: usize, datagram: &[u8], now: Duration) {
        for answered in self.exchange.receive(authority, datagram) {
            self.take(&answered);
        }
        self.conclude(now);
    }

    fn advance(&mut self, now: Duration) {
        self.exchange.advance(now);
        self.conclude(now);
    }

    fn next_timer(&self) -> Option<Duration> {
        if self.done {
            return None;
        }
        let ends = self.linger_end();
        let ends = ends.into_iter().flat_map(|end| [end, end + PROOF_PATIENCE]).filter(|end| *end > self.now);
        self.exchange.next_timer().into_iter().chain(ends).chain([self.pace.deadline]).min()
    }

    fn transmit(&mut self) -> Option<Transmission> {
        self.exchange.transmit()
    }

    fn is_done(&self) -> bool {
        self.done
    }
}
