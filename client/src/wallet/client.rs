//! What the commands do: machines, driver and store put together in the order that keeps money safe.
//!
//! What always holds:
//! - nothing is signed while an earlier order has no certificate;
//! - nothing is signed before a quorum has said what it holds of this account, so that a wallet that forgot an order (restored from
//!   a backup, or used on two devices) gets it back and finishes it instead of signing another for the same sequence;
//! - an order goes to disk, then to the air ([`Store::persist_order`]).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meshpay_crypto::SigningKey;
use meshpay_protocol::Equivocation;
use meshpay_wire::{PublicKey, SignedOrder};

use super::driver::{Driver, DriverError};
use super::store::{PendingPayment, Store, StoreError};
use crate::machine::{
    History, HistoryWalk, Outcome, Pace, Payment, PaymentEvent, PaymentReport, Settlement, SettlementReport, Survey,
    SurveyReport,
};
use crate::{Certificate, CertificateError, Randomness, Transfer, Verifier};

/// Part of the time until the deadline that what comes before a payment may take: settling what was received, asking what is locked.
const FIRST_PART: u32 = 4;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The wallet directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The network.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// No randomness.
    #[error("the system gives no randomness: {0}")]
    Entropy(String),
    /// An earlier order has no certificate yet.
    #[error("an earlier payment (sequence {}) is not final yet; run `meshpay resume` to finish it, then pay again", .0.sequence)]
    PendingFirst(Box<PendingPayment>),
    /// Too few authorities answered to know what may be signed.
    #[error(
        "only {answered} of {authorities} authorities answered, a quorum is needed before anything is signed; check the network \
         and try again. Nothing was signed"
    )]
    NoQuorum {
        /// How many answered.
        answered: u32,
        /// How many there are.
        authorities: usize,
        /// What they said.
        report: Box<SurveyReport>,
    },
    /// Authorities claim payments of this account that nobody can show.
    #[error(
        "authorities say that the account's next sequence is {claimed}, but certificates prove {proven} only; somebody may be rewriting \
         their answers. Try again, over another network if it stays. Nothing was signed"
    )]
    Unproven {
        /// What they say.
        claimed: u64,
        /// What is proven.
        proven: u64,
    },
    /// Not enough money.
    #[error("the account has too little of this token; nothing was signed")]
    Insufficient {
        /// What can be spent, in minor units.
        spendable: i128,
        /// What was asked for, in minor units.
        amount_minor: u64,
        /// What the authorities said.
        report: Box<SurveyReport>,
    },
    /// The recipient has no account yet, and the amount is too small to open one.
    #[error("the recipient has no account yet, and the first payment to an account must be larger; nothing was signed")]
    BelowFirstCredit {
        /// Least amount of a first payment, in minor units.
        minimum_minor: u64,
    },
    /// The certificate pays somebody else.
    #[error("the certificate does not pay this wallet but {}", hex::encode(.0))]
    NotForUs(PublicKey),
    /// The certificate is not valid.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The key is not this wallet's.
    #[error("the key belongs to another account than this wallet")]
    OtherKey,
}

/// What shall be paid.
#[derive(Clone, Copy, Debug)]
pub struct PaymentRequest {
    /// Who receives.
    pub recipient: PublicKey,
    /// Token number.
    pub token: u32,
    /// Minor units, at least 1.
    pub amount_minor: u64,
    /// 32 bytes for the recipient.
    pub memo: [u8; 32],
}

/// How a payment went, and what was written.
#[derive(Clone, Debug)]
pub struct PaymentDone {
    /// The machine's report.
    pub report: PaymentReport,
    /// The orders that were carried, the wanted one first.
    pub pending: PendingPayment,
    /// Evidence files that were written.
    pub evidence: Vec<PathBuf>,
    /// Whether an order that this wallet had forgotten was carried instead of signing the one asked for.
    pub resumed_instead: bool,
    /// From the first vote request to the certificate.
    pub finality: Option<Duration>,
}

/// What became of an imported certificate.
#[derive(Clone, Debug)]
pub struct Received {
    /// Who has executed it.
    pub settlement: SettlementReport,
}

/// What a resume did.
#[derive(Clone, Debug, Default)]
pub struct Resumed {
    /// Payments that were carried on.
    pub payments: Vec<PaymentDone>,
    /// Certificates, sent and received, that were carried to all authorities.
    pub settled: Vec<SettlementReport>,
}

/// An open wallet with a network.
#[derive(Debug)]
pub struct Wallet {
    verifier: Arc<Verifier>,
    store: Store,
    driver: Driver,
    random: Randomness,
    timeout: Duration,
}

impl Wallet {
    /// Puts a wallet together. `timeout` bounds each call from its beginning.
    ///
    /// # Errors
    /// Where no socket or randomness can be had.
    pub fn new(
        store: Store,
        verifier: Arc<Verifier>,
        addresses: &[Option<SocketAddr>],
        timeout: Duration,
    ) -> Result<Self, WalletError> {
        let random = Randomness::from_system().map_err(|error| WalletError::Entropy(error.to_string()))?;
        Ok(Self { verifier, store, driver: Driver::new(addresses)?, random, timeout })
    }

    /// The directory.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The rules and keys.
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    fn pace(&self) -> Pace {
        Pace::until(self.driver.now() + self.timeout)
    }

    /// Asks all authorities for an account.
    ///
    /// # Errors
    /// Where the socket fails.
    pub fn survey(&mut self, account: PublicKey, tokens: &[u32]) -> Result<SurveyReport, WalletError> {
        self.survey_within(account, tokens, self.timeout)
    }

    fn survey_within(
        &mut self,
        account: PublicKey,
        tokens: &[u32],
        timeout: Duration,
    ) -> Result<SurveyReport, WalletError> {
        let pace = Pace::until(self.driver.now() + timeout);
        let now = self.driver.now();
        let survey = Survey::new(self.verifier.clone(), account, tokens, pace, self.random.split(), now);
        self.run_survey(survey)
    }

    fn run_survey(&mut self, mut survey: Survey) -> Result<SurveyReport, WalletError> {
        self.driver.run(&mut survey, |_| Ok::<(), WalletError>(()))?;
        Ok(survey.report())
    }

    /// Pays. Signs nothing where an earlier order is unfinished, where no quorum answers, or where the money does not suffice.
    ///
    /// # Errors
    /// Where nothing was signed. Once an order was signed, the result says how far it got.
    pub fn pay(&mut self, key: &SigningKey, request: PaymentRequest) -> Result<PaymentDone, WalletError> {
        if key.public_key() != self.store.account() {
            return Err(WalletError::OtherKey);
        }
        if let Some(first) = self.store.pending()?.into_iter().next() {
            return Err(WalletError::PendingFirst(Box::new(first)));
        }
        let deadline = self.driver.now() + self.timeout;
        let unsettled = self.settle_incoming(self.timeout / FIRST_PART)?;
        let (account, now, known) = (self.store.account(), self.driver.now(), self.store.next_sequence()?);
        let (pace, random) = (self.pace(), self.random.split());
        let survey = Survey::new(self.verifier.clone(), account, &[request.token], pace, random, now);
        let report = self.run_survey(survey.proving_beyond(known))?;
        if !report.quorum_answered {
            let (answered, authorities) = (report.answered.count_ones(), self.verifier.authorities());
            return Err(WalletError::NoQuorum { answered, authorities, report: Box::new(report) });
        }
        self.keep_proof(&report);
        let next_sequence = report.next_sequence.unwrap_or(0).max(known);
        if let Some(claimed) = report.claimed_sequence.filter(|claimed| *claimed > next_sequence) {
            return Err(WalletError::Unproven { claimed, proven: next_sequence });
        }
        let forgotten: Vec<_> =
            report.locked().into_iter().filter(|(order, _)| order.body.sequence.get() == next_sequence).collect();
        if !forgotten.is_empty() {
            let mut orders = Vec::new();
            for (order, _) in &forgotten {
                orders.push(self.store.adopt_order(*order)?);
            }
            let pending = PendingPayment { sequence: next_sequence, orders };
            let mut done = self.carry(pending, &forgotten, deadline)?;
            done.resumed_instead = true;
            return Ok(done);
        }
        let spendable = self.spendable(&report, request.token, next_sequence, &unsettled);
        if spendable < i128::from(request.amount_minor) {
            let amount_minor = request.amount_minor;
            return Err(WalletError::Insufficient { spendable, amount_minor, report: Box::new(report) });
        }
        self.refuse_dust(&request)?;
        let transfer = Transfer {
            sequence: next_sequence,
            token: request.token,
            recipient: request.recipient,
            amount_minor: request.amount_minor,
            memo: request.memo,
            expiry_ms: 0,
        };
        let order = self.store.persist_order(transfer.sign(self.verifier.rules(), key))?;
        self.carry(PendingPayment { sequence: next_sequence, orders: vec![order] }, &[], deadline)
    }

    /// An order for less than the minimum first credit, to an account that a quorum does not know, would never get its votes and keep
    /// the account waiting: it is not signed.
    fn refuse_dust(&mut self, request: &PaymentRequest) -> Result<(), WalletError> {
        let minimum_minor = self.verifier.rules().minimum_first_credit;
        if request.amount_minor >= minimum_minor || request.recipient == self.store.account() {
            return Ok(());
        }
        let report = self.survey(request.recipient, &[request.token])?;
        let known = (report.views.iter().enumerate())
            .filter(|(_, view)| view.as_ref().is_some_and(|view| view.known))
            .fold(0u32, |bits, (place, _)| bits | 1 << place);
        if self.verifier.rules().committee.is_quorum(known) {
            Ok(())
        } else {
            Err(WalletError::BelowFirstCredit { minimum_minor })
        }
    }

    /// What the authorities report, with what they have not executed yet: received certificates in, own certificates out.
    fn spendable(&self, report: &SurveyReport, token: u32, next_sequence: u64, unsettled: &[SettlementReport]) -> i128 {
        use crate::CertificateBook;
        let reported = report.spendable(token).unwrap_or(0);
        let incoming = unsettled.iter().map(|settlement| &settlement.certificate);
        let incoming: i128 = incoming.filter(|c| c.token() == token).map(|c| i128::from(c.amount_minor())).sum();
        let outgoing: i128 = (report.next_sequence.unwrap_or(0)..next_sequence)
            .filter_map(|sequence| self.store.certificate(&self.store.account(), sequence))
            .filter(|certificate| certificate.token() == token && certificate.recipient() != self.store.account())
            .map(|certificate| i128::from(certificate.amount_minor()))
            .sum();
        reported + incoming - outgoing
    }

    fn keep_proof(&mut self, report: &SurveyReport) {
        use crate::CertificateBook;
        if let Some(proof) = &report.proof {
            self.store.keep(proof);
        }
    }

    /// Carries orders for one sequence to a certificate, and that to all authorities.
    fn carry(
        &mut self,
        pending: PendingPayment,
        locked: &[(SignedOrder, u32)],
        deadline: Duration,
    ) -> Result<PaymentDone, WalletError> {
        let account = self.store.account();
        let pace = Pace::until(deadline);
        let started = self.driver.now();
        let random = self.random.split();
        let (wanted, others) = match pending.orders.split_first() {
            Some((wanted, others)) => (*wanted, others),
            None => return Err(StoreError::ForeignOrder.into()),
        };
        let mut payment =
            Payment::new(self.verifier.clone(), wanted, others, locked, &mut self.store, pace, random, started);
        let mut evidence: Vec<Equivocation> = Vec::new();
        self.driver.run(&mut payment, |payment| {
            while let Some(event) = payment.poll_event() {
                match event {
                    PaymentEvent::Equivocation(proof) => evidence.push(*proof),
                    // It was on the air before; on disk it survives this run too.
                    PaymentEvent::Adopted(order) => drop(payment.book_mut().adopt_order(order)?),
                    PaymentEvent::Certified(_) => crate::fault::reached("certified"),
                    PaymentEvent::Voted { .. } | PaymentEvent::Acknowledged { .. } => {}
                }
            }
            Ok::<(), WalletError>(())
        })?;
        let report = payment.report();
        drop(payment);
        if report.quorum_acknowledged {
            self.store.mark_sent_settled(pending.sequence)?;
        }
        // Evidence is about an account of two devices or a restored backup; a failure to write it must not hide the payment.
        let genesis = self.verifier.rules().genesis;
        let proven =
            evidence.iter().filter(|proof| proof.first.body.sender == account && proof.verify(&genesis).is_ok());
        let evidence = proven.filter_map(|proof| self.store.save_evidence(proof).ok()).collect();
        let finality = report.certified_at.map(|certified_at| certified_at.saturating_sub(started));
        Ok(PaymentDone { report, pending, evidence, resumed_instead: false, finality })
    }

    /// Presents what was imported to all authorities; returns what a quorum has not acknowledged.
    fn settle_incoming(&mut self, timeout: Duration) -> Result<Vec<SettlementReport>, WalletError> {
        let incoming = self.store.incoming()?;
        let reports = self.settle(incoming, timeout)?;
        Ok(reports.into_iter().filter(|report| !report.quorum).collect())
    }

    fn settle(
        &mut self,
        certificates: Vec<Arc<Certificate>>,
        timeout: Duration,
    ) -> Result<Vec<SettlementReport>, WalletError> {
        if certificates.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.driver.now();
        let pace = Pace::until(now + timeout);
        let (account, random) = (self.store.account(), self.random.split());
        let verifier = self.verifier.clone();
        let mut settlement = Settlement::new(verifier, account, certificates, &mut self.store, pace, random, now);
        self.driver.run(&mut settlement, |_| Ok::<(), WalletError>(()))?;
        let reports = settlement.report();
        drop(settlement);
        for report in reports.iter().filter(|report| report.quorum) {
            if report.certificate.sender() == account {
                self.store.mark_sent_settled(report.certificate.sequence())?;
            } else {
                self.store.mark_received_settled(&report.certificate)?;
            }
        }
        Ok(reports)
    }

    /// Goes on with what was begun: orders without a certificate, then certificates that no quorum has acknowledged. Where nothing was
    /// begun here, asks the authorities for an order that this wallet forgot.
    ///
    /// # Errors
    /// Where the directory or the socket fails.
    pub fn resume(&mut self) -> Result<Resumed, WalletError> {
        let mut resumed = Resumed::default();
        let pending = self.store.pending()?;
        // What the authorities hold decides which order can still win, where this wallet was used twice or lost one.
        let patience = if pending.is_empty() { self.timeout } else { self.timeout / FIRST_PART };
        let report = self.survey_within(self.store.account(), &[], patience)?;
        self.keep_proof(&report);
        let first = pending.first().map(|pending| pending.sequence);
        let sequence = match first {
            Some(sequence) => sequence,
            None => report.next_sequence.unwrap_or(0).max(self.store.next_sequence()?),
        };
        let locked: Vec<_> =
            report.locked().into_iter().filter(|(order, _)| order.body.sequence.get() == sequence).collect();
        for (order, _) in &locked {
            self.store.adopt_order(*order)?;
        }
        for payment in self.store.pending()? {
            let deadline = self.driver.now() + self.timeout;
            let locked = if payment.sequence == sequence { locked.as_slice() } else { &[] };
            let done = self.carry(payment, locked, deadline)?;
            let is_final = done.report.outcome.certificate().is_some();
            resumed.payments.push(done);
            // Later sequences cannot be voted for before this one is executed.
            if !is_final {
                return Ok(resumed);
            }
        }
        let mut unsettled = self.store.unsettled_sent()?;
        unsettled.extend(self.store.incoming()?);
        resumed.settled = self.settle(unsettled, self.timeout)?;
        Ok(resumed)
    }

    /// Takes a certificate that pays this wallet: keeps it, and presents it to all authorities.
    ///
    /// # Errors
    /// Where it pays somebody else, or the directory fails.
    pub fn receive(&mut self, certificate: Certificate) -> Result<Received, WalletError> {
        if certificate.recipient() != self.store.account() {
            return Err(WalletError::NotForUs(certificate.recipient()));
        }
        let certificate = Arc::new(certificate);
        self.store.import(&certificate)?;
        let mut reports = self.settle(vec![certificate.clone()], self.timeout)?;
        let settlement = reports.pop().unwrap_or(SettlementReport { certificate, acknowledged: 0, quorum: false });
        Ok(Received { settlement })
    }

    /// Collects the account's newest debits and credits, each proven by its certificate.
    ///
    /// # Errors
    /// Where the directory or the socket fails.
    pub fn history(&mut self, limit: usize) -> Result<(SurveyReport, History), WalletError> {
        let account = self.store.account();
        let report = self.survey(account, &[])?;
        let next_sequence = report.next_sequence.unwrap_or(0).max(self.store.next_sequence()?);
        let (pace, now, random) = (self.pace(), self.driver.now(), self.random.split());
        let verifier = self.verifier.clone();
        let mut walk = HistoryWalk::new(verifier, account, next_sequence, limit, &mut self.store, pace, random, now);
        self.driver.run(&mut walk, |_| Ok::<(), WalletError>(()))?;
        Ok((report, walk.history()))
    }
}

impl PaymentDone {
    /// Whether the payment that was asked for is final.
    pub fn is_certified(&self) -> bool {
        matches!(self.report.outcome, Outcome::Certified(_))
    }
}
