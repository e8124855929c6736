//! Carries certificates that exist already to all authorities: what was received, and what was paid but not yet acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meshpay_wire::PublicKey;

use super::{Courier, CourierEvent, Exchange, Machine, Pace, Transmission};
use crate::{Certificate, CertificateBook, Randomness, Verifier};

/// Who has acknowledged a certificate.
#[derive(Clone, Debug)]
pub struct SettlementReport {
    /// The certificate.
    pub certificate: Arc<Certificate>,
    /// Committee places that said they have executed it, as bits. These words are unsigned.
    pub acknowledged: u32,
    /// Whether they are a quorum.
    pub quorum: bool,
}

/// Carries certificates to all authorities, until each was acknowledged by a quorum and the rest had their time.
pub struct Settlement<B> {
    courier: Courier<B>,
    verifier: Arc<Verifier>,
    pace: Pace,
    started: Duration,
    wanted: BTreeMap<(PublicKey, u64), (Arc<Certificate>, u32)>,
    quorum_at: Option<Duration>,
    done: bool,
}

impl<B: CertificateBook> Settlement<B> {
    /// Begins to carry these certificates. They are kept in the book.
    pub fn new(
        verifier: Arc<Verifier>,
        account: PublicKey,
        certificates: Vec<Arc<Certificate>>,
        mut book: B,
        pace: Pace,
        random: Randomness,
        now: Duration,
    ) -> Self {
        let mut wanted = BTreeMap::new();
        for certificate in certificates {
            book.keep(&certificate);
            wanted.insert((certificate.sender(), certificate.sequence()), (certificate, 0));
        }
        let exchange = Exchange::new(verifier.clone(), pace.retry, random);
        let mut courier = Courier::new(verifier.clone(), exchange, book, account);
        for (sender, sequence) in wanted.keys() {
            for authority in 0..verifier.authorities() {
                courier.deliver(authority, *sender, *sequence, *sequence, now);
            }
        }
        let done = wanted.is_empty();
        Self { courier, verifier, pace, started: now, wanted, quorum_at: None, done }
    }

    /// Who has acknowledged what so far.
    pub fn report(&self) -> Vec<SettlementReport> {
        let committee = &self.verifier.rules().committee;
        let report = |(certificate, acknowledged): &(Arc<Certificate>, u32)| SettlementReport {
            certificate: certificate.clone(),
            acknowledged: *acknowledged,
            quorum: committee.is_quorum(*acknowledged),
        };
        self.wanted.values().map(report).collect()
    }

    /// Gives the book back.
    pub fn into_book(self) -> B {
        self.courier.book
    }

    /// When the slower authorities are no longer waited for, once a quorum has answered.
    fn linger_end(&self) -> Option<Duration> {
        self.quorum_at.map(|quorum_at| self.pace.linger_until(self.started, quorum_at))
    }

    fn take_events(&mut self, now: Duration) {
        while let Some(event) = self.courier.poll_event() {
            let CourierEvent::Delivered { authority, certificate, .. } = event else { continue };
            // Whoever executed this one has executed all earlier ones of the same account.
            let (sender, sequence) = (certificate.sender(), certificate.sequence());
            for (_, acknowledged) in self.wanted.range_mut((sender, 0)..=(sender, sequence)).map(|(_, entry)| entry) {
                *acknowledged |= 1 << authority;
            }
        }
        let committee = &self.verifier.rules().committee;
        if self.wanted.values().all(|(_, acknowledged)| committee.is_quorum(*acknowledged)) {
            self.quorum_at.get_or_insert(now);
        }
        let all = (1u64 << self.verifier.authorities()) - 1;
        let lingered = self.linger_end().is_some_and(|end| now >= end);
        self.done |= lingered
            || now >= self.pace.deadline
            || self.wanted.values().all(|(_, acknowledged)| u64::from(*acknowledged) == all);
    }
}

impl<B: CertificateBook> Machine for Settlement<B> {
    fn receive(&mut self, authority: usize, datagram: &[u8], now: Duration) {
        for answered in self.courier.exchange.receive(authority, datagram) {
            self.courier.receive(&answered, now);
        }
        self.take_events(now);
    }

    fn advance(&mut self, now: Duration) {
        self.courier.advance(now);
        self.take_events(now);
    }

    fn next_timer(&self) -> Option<Duration> {
        if self.done {
            return None;
        }
        let lingered = self.linger_end();
        self.courier.next_timer().into_iter().chain(lingered).chain([self.pace.deadline]).min()
    }

    fn transmit(&mut self) -> Option<Transmission> {
        self.courier.exchange.transmit()
    }

    fn is_done(&self) -> bool {
        self.done
    }
}
