//! Finds certificates that the wallet does not hold: asks one authority, then one more at a time until one of them proves what is asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use meshpay_wire::{PublicKey, RefusalCode};

use super::{Answer, Answered, Exchange, RequestKey};
use crate::{Certificate, Request};

/// Certificates that are being fetched at once.
pub const FETCHES_MAX: usize = 64;
/// A certificate is asked of one more authority each time this has passed without success.
pub const FETCH_WAVE_INTERVAL: Duration = Duration::from_millis(150);
/// After all authorities have denied having something, they are asked again after this time.
pub const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Transmissions without answer after which somebody who only collects stops hoping for an authority.
pub(super) const PATIENCE: u32 = 3;

#[derive(Default)]
struct Fetch {
    first: usize,
    asked: usize,
    keys: Vec<RequestKey>,
    next_wave: Duration,
}

/// What an answer came to.
#[derive(Clone, Debug)]
pub(super) enum Fetched {
    /// The answer belongs to somebody else.
    NotMine,
    /// Nothing yet; another authority was asked where one is left.
    NotYet,
    /// As [`Fetched::NotYet`], and what the authority sent is disproved by signatures.
    Lie,
    /// The certificate, checked.
    Found(Arc<Certificate>),
}

/// Certificates that are being looked for.
#[derive(Default)]
pub(super) struct Fetcher {
    fetches: BTreeMap<(PublicKey, u64), Fetch>,
    roles: HashMap<RequestKey, (PublicKey, u64)>,
}

impl Fetcher {
    /// Begins to look for a certificate, first at the authority with place `first`. Returns false where [`FETCHES_MAX`] are under way.
    pub fn want(
        &mut self,
        exchange: &mut Exchange,
        account: PublicKey,
        sequence: u64,
        first: usize,
        now: Duration,
    ) -> bool {
        if self.fetches.contains_key(&(account, sequence)) {
            return true;
        }
        if self.fetches.len() >= FETCHES_MAX {
            return false;
        }
        let first = first % exchange.verifier().authorities();
        self.fetches.insert((account, sequence), Fetch { first, ..Fetch::default() });
        self.ask_next(exchange, (account, sequence), now);
        true
    }

    /// Whether all authorities have denied having it, or kept silent for [`PATIENCE`] transmissions.
    pub fn is_denied(&self, exchange: &Exchange, account: PublicKey, sequence: u64) -> bool {
        self.fetches.get(&(account, sequence)).is_some_and(|fetch| {
            let all_asked = fetch.asked >= exchange.verifier().authorities();
            fetch.keys.is_empty() || all_asked && fetch.keys.iter().all(|key| exchange.transmissions(*key) > PATIENCE)
        })
    }

    fn ask_next(&mut self, exchange: &mut Exchange, name: (PublicKey, u64), now: Duration) {
        let authorities = exchange.verifier().authorities();
        let Some(fetch) = self.fetches.get_mut(&name) else { return };
        if fetch.asked < authorities {
            let authority = (fetch.first + fetch.asked) % authorities;
            fetch.asked += 1;
            fetch.next_wave = now + FETCH_WAVE_INTERVAL;
            let (account, sequence) = name;
            let key = exchange.ask(authority, Request::Debit { account, sequence }, now);
            self.roles.insert(key, name);
            fetch.keys.push(key);
            return;
        }
        if fetch.keys.is_empty() {
            // All have denied it; perhaps one of them learns it.
            fetch.asked = 0;
        }
        fetch.next_wave = now + ASK_AGAIN_AFTER;
    }

    /// Gives a search up.
    pub fn give_up(&mut self, exchange: &mut Exchange, account: PublicKey, sequence: u64) {
        for key in self.fetches.remove(&(account, sequence)).map(|fetch| fetch.keys).unwrap_or_default() {
            self.roles.remove(&key);
            exchange.finish(key);
        }
    }

    /// When [`Fetcher::advance`] has something to do.
    pub fn next_timer(&self) -> Option<Duration> {
        self.fetches.values().map(|fetch| fetch.next_wave).min()
    }

    /// Asks one more authority where the others took too long, and gives up what nobody wants any more.
    pub fn advance(&mut self, exchange: &mut Exchange, now: Duration, is_wanted: impl Fn(&PublicKey, u64) -> bool) {
        let due: Vec<(PublicKey, u64)> =
            self.fetches.iter().filter(|(_, fetch)| fetch.next_wave <= now).map(|(name, _)| *name).collect();
        for (account, sequence) in due {
            if is_wanted(&account, sequence) {
                self.ask_next(exchange, (account, sequence), now);
            } else {
                self.give_up(exchange, account, sequence);
            }
        }
    }

    /// Takes an answer.
    pub fn receive(&mut self, exchange: &mut Exchange, answered: &Answered<'_>, now: Duration) -> Fetched {
        let Some((account, sequence)) = self.roles.get(&answered.key).copied() else { return Fetched::NotMine };
        let mut lie = false;
        match &answered.answer {
            Answer::Certificate(_, view) => {
                let body = &view.head.order.body;
                if body.sender == account
                    && body.sequence.get() == sequence
                    && let Ok(certificate) = exchange.verifier().check_certificate(view)
                {
                    self.give_up(exchange, account, sequence);
                    return Fetched::Found(Arc::new(certificate));
                }
                lie = true;
            }
            Answer::Refusal(RefusalCode::RetryLater, body, _) => {
                exchange.repeat_later(answered.key, Duration::from_millis(u64::from(body.value.get())), now);
                return Fetched::NotYet;
            }
            _ => {}
        }
        self.roles.remove(&answered.key);
        exchange.finish(answered.key);
        if let Some(fetch) = self.fetches.get_mut(&(account, sequence)) {
            fetch.keys.retain(|key| *key != answered.key);
        }
        self.ask_next(exchange, (account, sequence), now);
        if lie { Fetched::Lie } else { Fetched::NotYet }
    }
}
