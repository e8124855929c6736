//! An honest client: the wallet's real machines, put together as the wallet command does, over simulated packets and time.
//!
//! What always holds: an order is kept before it is sent, and nothing new is signed while an order has no certificate. What a killed phone
//! loses is what the command would have in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use meshpay_client::machine::{Machine, Pace, Payment, PaymentEvent, PersistedOrder, Settlement, Survey, Transmission};
use meshpay_client::{Certificate, CertificateBook, MemoryBook, Randomness, Transfer};
use meshpay_wire::{CertificateView, PublicKey, SignedOrder, order_digest};

use crate::dice::Dice;
use crate::setting::Setting;
use crate::signing::Signer;

/// How long a command tries before it ends.
const TIMEOUT: Duration = Duration::from_secs(8);

/// A book that a machine and its wallet share.
#[derive(Clone, Default)]
pub struct Book(Rc<RefCell<MemoryBook>>);

impl CertificateBook for Book {
    fn certificate(&self, account: &PublicKey, sequence: u64) -> Option<Arc<Certificate>> {
        self.0.borrow().certificate(account, sequence)
    }
    fn credits(&self, recipient: &PublicKey, limit: usize) -> Vec<(PublicKey, u64)> {
        self.0.borrow().credits(recipient, limit)
    }
    fn keep(&mut self, certificate: &Arc<Certificate>) {
        self.0.borrow_mut().keep(certificate);
    }
}

/// What shall be paid.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// To whom.
    pub recipient: PublicKey,
    /// Which token.
    pub token: u32,
    /// How much.
    pub amount: u64,
}

enum Activity {
    Idle,
    Survey(Box<Survey>, Wish),
    Payment(Box<Payment<Book>>),
    Settlement(Box<Settlement<Book>>),
}

/// What a wallet tells the simulation.
pub enum Told {
    /// A payment became final.
    Certified(Arc<Certificate>),
    /// An order was signed.
    Signed,
    /// A payment's run has ended with a certificate. Times since the order was first sent.
    Finished {
        /// When the order was first sent.
        began: Duration,
        /// To the certificate.
        certified: Duration,
        /// To the acknowledgements of a quorum.
        settled: Option<Duration>,
    },
}

/// An honest client.
pub struct Wallet {
    setting: Rc<Setting>,
    signer: Signer,
    account: PublicKey,
    random: Randomness,
    /// Kept on disk.
    book: Book,
    /// Orders without a certificate, all of one sequence. Kept on disk.
    pending: Vec<PersistedOrder>,
    next_sequence: u64,
    /// Certificates that no quorum has acknowledged yet, received and sent. Kept on disk.
    unsettled: BTreeMap<(PublicKey, u64), Arc<Certificate>>,
    activity: Activity,
    /// Was restored from a backup: it may have signed two orders without knowing.
    pub forgetful: bool,
    /// Where it is; its address depends on it.
    pub place: u32,
    /// It hears and sends nothing.
    pub away_until_us: u64,
    told: Vec<Told>,
    began: Duration,
    last_report: String,
}

impl Wallet {
    /// A wallet that has done nothing yet.
    pub fn new(setting: Rc<Setting>, signer: Signer, dice: &mut Dice) -> Self {
        Self {
            account: signer.key(),
            signer,
            setting,
            random: Randomness::new(dice.bytes()),
            book: Book::default(),
            pending: Vec::new(),
            next_sequence: 0,
            unsettled: BTreeMap::new(),
            activity: Activity::Idle,
            forgetful: false,
            place: 0,
            away_until_us: 0,
            told: Vec::new(),
            began: Duration::ZERO,
            last_report: String::new(),
        }
    }

    /// Its account.
    pub fn account(&self) -> PublicKey {
        self.account
    }

    /// How its last payment went, for a report.
    pub fn explain(&self) -> String {
        let at: Vec<u64> = self.pending.iter().map(|order| order.order().body.sequence.get()).collect();
        let own = format!("{} next {} pending {at:?}", crate::checker::short(&self.account), self.next_sequence);
        let Activity::Payment(payment) = &self.activity else { return format!("{own} {}", self.last_report) };
        format!("{own} under way: {:?}", payment.report().authorities)
    }

    /// Whether it does nothing now.
    pub fn is_idle(&self) -> bool {
        matches!(self.activity, Activity::Idle)
    }

    /// The order that has no certificate yet.
    pub fn pending(&self) -> Option<&SignedOrder> {
        self.pending.first().map(PersistedOrder::order)
    }

    /// Whether everything that it began or received has settled.
    pub fn is_done(&self) -> bool {
        self.is_idle() && self.pending.is_empty() && self.unsettled.is_empty()
    }

    /// Certificates that are not acknowledged by a quorum yet.
    pub fn unsettled(&self) -> usize {
        self.unsettled.len()
    }

    fn pace(now: Duration) -> Pace {
        Pace::until(now + TIMEOUT)
    }

    /// Goes on with what is unfinished, or pays. With nothing to do and no wish it stays idle.
    pub fn begin(&mut self, wish: Option<Wish>, now: Duration) {
        if !self.is_idle() {
            return;
        }
        if !self.pending.is_empty() {
            let (wanted, others) = (self.pending[0], self.pending[1..].to_vec());
            return self.carry(wanted, &others, &[], now);
        }
        if let Some(wish) = wish {
            let random = self.random.split();
            let survey =
                Survey::new(self.setting.verifier.clone(), self.account, &[wish.token], Self::pace(now), random, now);
            self.activity = Activity::Survey(Box::new(survey.proving_beyond(self.next_sequence)), wish);
            return;
        }
        self.settle(now);
    }

    /// Carries what is unsettled to all authorities.
    pub fn settle(&mut self, now: Duration) {
        if self.is_idle() && !self.unsettled.is_empty() {
            let certificates = self.unsettled.values().cloned().collect();
            let random = self.random.split();
            let settlement = Settlement::new(
                self.setting.verifier.clone(),
                self.account,
                certificates,
                self.book.clone(),
                Self::pace(now),
                random,
                now,
            );
            self.activity = Activity::Settlement(Box::new(settlement));
        }
    }

    fn carry(
        &mut self,
        wanted: PersistedOrder,
        others: &[PersistedOrder],
        locked: &[(SignedOrder, u32)],
        now: Duration,
    ) {
        let random = self.random.split();
        let payment = Payment::new(
            self.setting.verifier.clone(),
            wanted,
            others,
            locked,
            self.book.clone(),
            Self::pace(now),
            random,
            now,
        );
        self.activity = Activity::Payment(Box::new(payment));
    }

    /// A certificate that pays this wallet is handed over.
    pub fn receive_certificate(&mut self, bytes: &[u8]) {
        let Some((view, _)) = CertificateView::parse(bytes) else { return };
        let Ok(certificate) = self.setting.verifier.check_certificate(&view) else { return };
        if certificate.recipient() == self.account {
            let certificate = Arc::new(certificate);
            self.book.keep(&certificate);
            self.unsettled.insert((certificate.sender(), certificate.sequence()), certificate);
        }
    }

    /// For whoever offers everything that exists to everybody: takes any certificate.
    pub fn adopt_certificate(&mut self, bytes: &[u8]) {
        let Some((view, _)) = CertificateView::parse(bytes) else { return };
        if let Ok(certificate) = self.setting.verifier.check_certificate(&view) {
            let certificate = Arc::new(certificate);
            self.book.keep(&certificate);
            self.unsettled.insert((certificate.sender(), certificate.sequence()), certificate);
        }
    }

    /// The phone is killed: what was only in memory is gone.
    pub fn kill(&mut self) {
        self.activity = Activity::Idle;
    }

    /// The phone is replaced and a backup restored: what is newer than the backup is gone.
    pub fn forget(&mut self) {
        self.activity = Activity::Idle;
        self.pending.clear();
        self.next_sequence = 0;
        self.forgetful = true;
    }

    fn machine(&mut self) -> Option<&mut dyn Machine> {
        match &mut self.activity {
            Activity::Idle => None,
            Activity::Survey(survey, _) => Some(&mut **survey),
            Activity::Payment(payment) => Some(&mut **payment),
            Activity::Settlement(settlement) => Some(&mut **settlement),
        }
    }

    /// A datagram came from an authority.
    pub fn receive(&mut self, authority: usize, datagram: &[u8], now: Duration) {
        if let Some(machine) = self.machine() {
            machine.receive(authority, datagram, now);
        }
        self.after(now);
    }

    /// Time has passed.
    pub fn advance(&mut self, now: Duration) {
        if let Some(machine) = self.machine()
            && machine.next_timer().is_none_or(|timer| timer <= now)
        {
            machine.advance(now);
        }
        self.after(now);
    }

    /// When it must be woken.
    pub fn next_timer(&mut self) -> Option<Duration> {
        self.machine().and_then(|machine| machine.next_timer())
    }

    /// The next datagram to send.
    pub fn transmit(&mut self) -> Option<Transmission> {
        self.machine().and_then(Machine::transmit)
    }

    /// What happened since this was asked last.
    pub fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    fn after(&mut self, now: Duration) {
        if let Activity::Payment(payment) = &mut self.activity {
            while let Some(event) = payment.poll_event() {
                match event {
                    PaymentEvent::Adopted(order) => self.pending.push(PersistedOrder::assume(order)),
                    PaymentEvent::Certified(certificate) => {
                        self.pending.clear();
                        self.next_sequence = self.next_sequence.max(certificate.sequence() + 1);
                        self.unsettled.insert((certificate.sender(), certificate.sequence()), Arc::clone(&certificate));
                        self.told.push(Told::Certified(certificate));
                    }
                    PaymentEvent::Voted { .. } | PaymentEvent::Acknowledged { .. } | PaymentEvent::Equivocation(_) => {}
                }
            }
        }
        if !self.machine().is_some_and(|machine| machine.is_done()) {
            return;
        }
        match std::mem::replace(&mut self.activity, Activity::Idle) {
            Activity::Idle => {}
            Activity::Survey(survey, wish) => self.surveyed(&survey, wish, now),
            Activity::Payment(payment) => {
                let report = payment.report();
                if report.certified_at.is_none() {
                    self.last_report = format!("{:?}", report.authorities);
                }
                if let Some(certificate) = report.outcome.certificate().filter(|_| report.quorum_acknowledged) {
                    self.unsettled.remove(&(certificate.sender(), certificate.sequence()));
                }
                if let Some(certified_at) = report.certified_at {
                    self.told.push(Told::Finished {
                        began: self.began,
                        certified: certified_at - self.began,
                        settled: report.settled_at.map(|settled_at| settled_at - self.began),
                    });
                }
            }
            Activity::Settlement(settlement) => {
                for report in settlement.report().iter().filter(|report| report.quorum) {
                    self.unsettled.remove(&(report.certificate.sender(), report.certificate.sequence()));
                }
            }
        }
    }

    fn surveyed(&mut self, survey: &Survey, wish: Wish, now: Duration) {
        let report = survey.report();
        if !report.quorum_answered {
            return;
        }
        if let Some(proof) = &report.proof {
            self.book.keep(proof);
        }
        let next_sequence = report.next_sequence.unwrap_or(0).max(self.next_sequence);
        if report.claimed_sequence.is_some_and(|claimed| claimed > next_sequence) {
            return;
        }
        let locked: Vec<_> =
            report.locked().into_iter().filter(|(order, _)| order.body.sequence.get() == next_sequence).collect();
        if let Some((first, _)) = locked.first() {
            self.pending = locked.iter().map(|(order, _)| PersistedOrder::assume(*order)).collect();
            let others = self.pending[1..].to_vec();
            return self.carry(PersistedOrder::assume(*first), &others, &locked, now);
        }
        let reported = report.spendable(wish.token).unwrap_or(0);
        let own = |certificate: &&Arc<Certificate>| certificate.token() == wish.token;
        let outgoing: i128 = (report.next_sequence.unwrap_or(0)..next_sequence)
            .filter_map(|sequence| self.book.certificate(&self.account, sequence))
            .filter(|certificate| own(&certificate) && certificate.recipient() != self.account)
            .map(|certificate| i128::from(certificate.amount_minor()))
            .sum();
        if reported - outgoing < i128::from(wish.amount) {
            // What was received may not have reached the authorities.
            return self.settle(now);
        }
        let rules = &self.setting.rules;
        let transfer = Transfer::new(next_sequence, wish.token, wish.recipient, wish.amount);
        let body = transfer.body(rules, self.account);
        let order = SignedOrder { body, signature: self.signer.sign(&order_digest(&rules.genesis, &body).0) };
        let order = PersistedOrder::assume(order);
        self.pending = vec![order];
        self.began = now;
        self.told.push(Told::Signed);
        self.carry(order, &[], &[], now);
    }
}
