//! The audit: reads a journal from its first record and believes nothing that it cannot check: hash chain, every signature, every
//! sequence, every balance (DESIGN 5.2). It changes nothing and needs no secret.
//!
//! It is written apart from recovery on purpose: recovery applies effects, the audit asks whether they were right.

use std::collections::HashMap;
use std::sync::Arc;

use meshpay_crypto::SigningKey;
use meshpay_protocol::account::slot_kind;
use meshpay_protocol::record::{ExecutionHead, FOREIGN_CREDIT, GenesisRecord, LEFT_OWING, LockRecord, Record, kind};
use meshpay_protocol::{
    Accounts, Allocation, Ed25519Signatures, MemoryAccounts, PendingCertificate, PendingOrder, Rules, StateDigest,
    apply, genesis, verify_certificates, verify_orders,
};
use meshpay_wire::{CertificateView, OPERATION_TRANSFER, PublicKey, order_digest, vote_digest};
use rayon::prelude::*;
use serde::Serialize;

use super::known_kinds;
use crate::journal::{self, Disk, Identity, Position};

/// Signatures are checked in parallel once this many records wait.
const BATCH: usize = 4096;

/// What an audit found.
#[derive(Clone, Debug, Serialize)]
pub struct AuditReport {
    /// "passed", or what failed, and where.
    pub result: String,
    /// Genesis digest in hex.
    pub genesis: String,
    /// Records read.
    pub records: u64,
    /// Orders locked.
    pub locks: u64,
    /// Certificates executed.
    pub executions: u64,
    /// Proofs of equivocation.
    pub evidence: u64,
    /// End of the journal.
    pub head: u64,
    /// Digest of balances and sequences: equal at authorities that executed the same certificates.
    pub state_digest: String,
    /// Per token, what was issued.
    pub issued: HashMap<u32, String>,
    /// Per token, the sum of all balances.
    pub balances: HashMap<u32, String>,
    /// Accounts with a balance below zero.
    pub owing_accounts: u64,
    /// Accounts.
    pub accounts: u64,
}

/// A signature check that is put off until a batch is full.
enum Waiting {
    Order(Position, Box<LockRecord>),
    Certificate(Position, Vec<u8>),
}

/// Audits the journal of `identity` that lies on `disk` and whose mark says that it was durable up to `marked`. Returns the report, whose
/// `result` says whether it passed, and the accounts at the end.
pub fn audit(
    disk: &Arc<dyn Disk>,
    identity: &Identity,
    marked: Position,
    rules: &Rules,
    authority: &PublicKey,
    allocations: &[Allocation],
) -> (AuditReport, MemoryAccounts) {
    let mut auditor = Auditor {
        rules,
        authority,
        place: rules.committee.place_of(authority),
        accounts: MemoryAccounts::default(),
        voting_stopped: false,
        waiting: Vec::with_capacity(BATCH),
        open_credits: HashMap::new(),
        records: 0,
        locks: 0,
        executions: 0,
        evidence: 0,
    };
    let mut head = 0;
    let result = auditor.run(disk, identity, allocations, &mut head).and_then(|()| {
        if head >= marked.0 {
            return Ok(());
        }
        Err(format!(
            "the journal can be read up to {head} only, but was durable up to {marked}: answers were given on records that are gone"
        ))
    });
    let mut report = auditor.report(head);
    if let Err(failure) = result {
        report.result = failure;
    }
    (report, auditor.accounts)
}

struct Auditor<'a> {
    rules: &'a Rules,
    authority: &'a PublicKey,
    /// The authority's place in the committee.
    place: Option<usize>,
    accounts: MemoryAccounts,
    /// The journal says by now that voting has stopped.
    voting_stopped: bool,
    waiting: Vec<Waiting>,
    /// Foreign executions whose link has not come yet.
    open_credits: HashMap<u64, PublicKey>,
    records: u64,
    locks: u64,
    executions: u64,
    evidence: u64,
}

impl Auditor<'_> {
    fn run(
        &mut self,
        disk: &Arc<dyn Disk>,
        identity: &Identity,
        allocations: &[Allocation],
        head: &mut u64,
    ) -> Result<(), String> {
        genesis::allocate(&mut self.accounts, allocations).map_err(|error| error.to_string())?;
        let read = journal::inspect(
            &**disk,
            Some(identity),
            Some(Position::START.into()),
            known_kinds(),
            &mut |position, kind, payload| {
                self.record(position, kind, payload).map_err(|what| format!("record at {position}: {what}").into())
            },
        )
        .map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
        self.check_signatures()?;
        *head = read.head.0;
        for (token, sum) in self.sums() {
            let issued = self.rules.token(token).map_or(0, |token| i128::from(token.supply));
            if sum != issued {
                return Err(format!("token {token}: {issued} were issued, but balances sum to {sum}"));
            }
        }
        Ok(())
    }

    fn record(&mut self, position: Position, record_kind: u8, payload: &[u8]) -> Result<(), String> {
        let record = Record::parse(record_kind, payload).ok_or("it does not have the form of its kind")?;
        if (self.records == 0) != (record_kind == kind::GENESIS) {
            return Err("a genesis record stands first, and nowhere else".to_owned());
        }
        self.records += 1;
        match &record {
            Record::Genesis(first) => self.genesis(first)?,
            Record::Lock(lock) => self.lock(position, lock)?,
            Record::Execution(head, certificate) => self.execution(position, head, certificate, payload)?,
            Record::CreditLink(link) => {
                let expected = self.open_credits.remove(&link.execution.get());
                if expected != Some(link.recipient) {
                    return Err("it links a credit that no open execution made".to_owned());
                }
                let previous = self.accounts.account(&link.recipient).map_or(0, |account| account.credit_head.get());
                if previous != link.previous_credit.get() {
                    return Err("it does not continue its recipient's history".to_owned());
                }
            }
            Record::Evidence(evidence) => {
                self.evidence += 1;
                let locked = self.accounts.account(&evidence.conflicting.body.sender);
                let digest = order_digest(&self.rules.genesis, &evidence.conflicting.body);
                if !locked.is_some_and(|account| {
                    account.lock_position == evidence.lock_position
                        && account.next_sequence == evidence.conflicting.body.sequence
                        && account.lock_digest != digest
                }) {
                    return Err("the evidence does not contradict the lock that it names".to_owned());
                }
                let lock = LockRecord { digest, order: evidence.conflicting };
                self.wait(Waiting::Order(position, Box::new(lock)))?;
            }
            Record::VotingStopped(_) => self.voting_stopped = true,
        }
        apply::replay(&mut self.accounts, &record, position.0).map_err(|error| error.to_string())
    }

    fn genesis(&self, first: &GenesisRecord) -> Result<(), String> {
        if first.genesis != self.rules.genesis.0 {
            return Err("the journal belongs to another network".to_owned());
        }
        if first.authority != *self.authority {
            return Err("the journal belongs to another authority".to_owned());
        }
        Ok(())
    }

    fn lock(&mut self, position: Position, lock: &LockRecord) -> Result<(), String> {
        self.locks += 1;
        let body = &lock.order.body;
        if order_digest(&self.rules.genesis, body) != lock.digest {
            return Err("the digest is not that of the order".to_owned());
        }
        if body.epoch.get() != self.rules.epoch {
            return Err(format!("a vote was given in epoch {}", body.epoch));
        }
        if body.operation != OPERATION_TRANSFER {
            return Err(format!("a vote was given for the unknown operation {}", body.operation));
        }
        let token = self.rules.token(body.token.get()).ok_or("a vote was given for an unknown token")?;
        let amount = body.amount.get();
        if amount == 0 || amount > token.supply {
            return Err(format!("a vote was given for {amount}, which is zero or above the supply"));
        }
        // Of several workers each may know a little less than the journal, never more: it is enough to ask what the journal knew.
        if !self.accounts.exists(&body.recipient) && amount < self.rules.minimum_first_credit {
            return Err(format!("a vote was given for a first credit of {amount}"));
        }
        let sender = self.accounts.account(&body.sender).ok_or("the sender has no account")?;
        if sender.is_locked() {
            return Err("a second order was locked at one sequence".to_owned());
        }
        if sender.next_sequence != body.sequence {
            return Err("the order is not at its sender's next sequence".to_owned());
        }
        let balance = self.accounts.balance(&body.sender, body.token.get());
        if balance < i128::from(amount) {
            return Err(format!("a vote was given on a balance of {balance}"));
        }
        self.wait(Waiting::Order(position, Box::new(*lock)))
    }

    fn execution(
        &mut self,
        position: Position,
        head: &ExecutionHead,
        certificate: &CertificateView<'_>,
        payload: &[u8],
    ) -> Result<(), String> {
        self.executions += 1;
        let body = &certificate.head.order.body;
        if order_digest(&self.rules.genesis, body) != head.digest {
            return Err("the digest is not that of the order".to_owned());
        }
        let sender = self.accounts.account(&body.sender);
        let next = sender.map_or(0, |account| account.next_sequence.get());
        if body.sequence.get() != next {
            return Err(format!("sequence {} was executed where {next} was next", body.sequence));
        }
        if head.debit_links != sender.map(|account| account.debit_heads).unwrap_or_default() {
            return Err("it does not continue its sender's history".to_owned());
        }
        let lock = sender.filter(|account| account.is_locked());
        let locked = lock.is_some_and(|account| account.lock_digest == head.digest);
        let beaten = lock.filter(|_| !locked).map_or(0, |account| account.lock_position.get());
        if head.beaten_lock.get() != beaten {
            return Err(format!("it names {} as the lock that it overruled, which is {beaten}", head.beaten_lock));
        }
        let voted = self.place.is_some_and(|place| certificate.head.signers.get() >> place & 1 == 1);
        if voted && !locked && !self.voting_stopped {
            return Err(
                "it holds a vote of this authority that the journal does not, and voting did not stop".to_owned()
            );
        }
        // A worker may not have seen every credit that the journal holds by then, so the mark may stand where the audit sees enough.
        let balance = self.accounts.balance(&body.sender, body.token.get());
        let owing = body.recipient != body.sender && balance < i128::from(body.amount.get());
        if owing && head.flags.get() & LEFT_OWING == 0 {
            return Err(format!("it takes {} from a balance of {balance} and is not marked as owing", body.amount));
        }
        let foreign = head.flags.get() & FOREIGN_CREDIT != 0;
        let previous = self.accounts.account(&body.recipient).filter(|_| !foreign).map(|account| account.credit_head);
        if previous.unwrap_or_default() != head.previous_credit {
            return Err("it does not continue its recipient's history".to_owned());
        }
        if foreign {
            self.open_credits.insert(position.0, body.recipient);
        }
        self.wait(Waiting::Certificate(position, payload[size_of::<ExecutionHead>()..].to_vec()))
    }

    fn wait(&mut self, check: Waiting) -> Result<(), String> {
        self.waiting.push(check);
        if self.waiting.len() >= BATCH { self.check_signatures() } else { Ok(()) }
    }

    fn check_signatures(&mut self) -> Result<(), String> {
        let waiting = std::mem::take(&mut self.waiting);
        // The port wants a key for signing, which an audit never does.
        let verifier = || Ed25519Signatures::new(&self.rules.committee, SigningKey::from_seed(&[0; 32]));
        let bad = waiting
            .par_chunks(256)
            .map(|chunk| -> Result<(), String> {
                let mut signatures = verifier().map_err(|error| error.to_string())?;
                check_chunk(self.rules, &mut signatures, chunk)
            })
            .find_first(Result::is_err);
        bad.unwrap_or(Ok(()))
    }

    fn sums(&self) -> HashMap<u32, i128> {
        let mut sums: HashMap<u32, i128> = self.rules.tokens.iter().map(|token| (token.id, 0)).collect();
        for slot in self.accounts.slots() {
            if slot.balance.get() != 0 {
                *sums.entry(slot.token.get()).or_default() += slot.balance.get();
            }
        }
        sums
    }

    fn report(&self, head: u64) -> AuditReport {
        let mut digest = StateDigest::default();
        let (mut owing_accounts, mut accounts) = (0, 0);
        for slot in self.accounts.slots() {
            digest.add(slot);
            owing_accounts += u64::from(slot.balance.get() < 0);
            accounts += u64::from(slot.kind == slot_kind::ACCOUNT);
        }
        AuditReport {
            result: "passed".to_owned(),
            genesis: hex::encode(self.rules.genesis.0),
            records: self.records,
            locks: self.locks,
            executions: self.executions,
            evidence: self.evidence,
            head,
            state_digest: hex::encode(digest.bytes()),
            issued: self.rules.tokens.iter().map(|token| (token.id, token.supply.to_string())).collect(),
            balances: self.sums().into_iter().map(|(token, sum)| (token, sum.to_string())).collect(),
            owing_accounts,
            accounts,
        }
    }
}

fn check_chunk(rules: &Rules, signatures: &mut Ed25519Signatures, chunk: &[Waiting]) -> Result<(), String> {
    let mut orders = Vec::new();
    let mut order_positions = Vec::new();
    let mut certificates = Vec::new();
    let mut certificate_positions = Vec::new();
    for waiting in chunk {
        match waiting {
            Waiting::Order(position, lock) => {
                orders.push(PendingOrder { order: &lock.order, digest: lock.digest });
                order_positions.push(*position);
            }
            Waiting::Certificate(position, bytes) => {
                let (certificate, _) =
                    CertificateView::parse(bytes).ok_or("a certificate changed while it was read")?;
                let digest = order_digest(&rules.genesis, &certificate.head.order.body);
                let vote_digest = vote_digest(&rules.genesis, rules.epoch, &digest);
                certificates.push(PendingCertificate {
                    certificate,
                    digest,
                    vote_digest,
                    sender_known: false,
                    own_vote: None,
                });
                certificate_positions.push(*position);
            }
        }
    }
    let mut bad = None;
    verify_orders(signatures, &orders, &mut vec![false; orders.len()], |at, verified| {
        if verified.is_none() {
            bad.get_or_insert(format!("record at {}: the sender's signature does not verify", order_positions[at]));
        }
    });
    verify_certificates(rules, signatures, &certificates, |at, verified| {
        if let Err(refusal) = verified {
            bad.get_or_insert(format!("record at {}: {}", certificate_positions[at], refusal.code.name()));
        }
    });
    bad.map_or(Ok(()), Err)
}
