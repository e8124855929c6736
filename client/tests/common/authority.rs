//! One authority: the protocol crate's reference over memory, with answers as bytes, and the ways in which it may misbehave.

use std::collections::HashMap;

use meshpay_client::Randomness;
use meshpay_protocol::genesis::{Allocation, allocate};
use meshpay_protocol::{Accounts, Applied, Authority, Ed25519Signatures, MemoryAccounts, Refusal, Rules};
use meshpay_wire::*;
use zerocopy::FromZeros;

/// How an authority behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Honest,
    /// Hears and says nothing.
    Silent,
    /// Votes with signatures that are wrong, acknowledges what it did not execute, shows certificates with wrong votes.
    WrongSignatures,
    /// Answers everything with refusals and states that it makes up.
    FalseRefusals,
    /// Sends bytes that are no message.
    Garbage,
}

struct Executed1 {
    certificate: Vec<u8>,
    links: CertificateLinks,
}

pub struct TestAuthority {
    pub inner: Authority<MemoryAccounts, Ed25519Signatures>,
    pub behaviour: Behaviour,
    locked: HashMap<PublicKey, SignedOrder>,
    executed: Vec<Executed1>,
    debits: HashMap<(PublicKey, u64), usize>,
    random: Randomness,
    place: u8,
    /// Orders that were heard, in order of arrival.
    pub orders_heard: Vec<SignedOrder>,
    /// Orders voted for.
    pub voted: Vec<SignedOrder>,
}

impl TestAuthority {
    pub fn new(rules: Rules, signatures: Ed25519Signatures, place: u8, allocations: &[Allocation]) -> Self {
        let mut accounts = MemoryAccounts::default();
        allocate(&mut accounts, allocations).unwrap();
        Self {
            inner: Authority::new(rules, accounts, signatures, place),
            behaviour: Behaviour::Honest,
            locked: HashMap::new(),
            executed: Vec::new(),
            debits: HashMap::new(),
            random: Randomness::new([place; 32]),
            place,
            orders_heard: Vec::new(),
            voted: Vec::new(),
        }
    }

    pub fn balance(&self, account: &PublicKey) -> i128 {
        self.inner.accounts.balance(account, super::EUR)
    }

    pub fn next_sequence(&self, account: &PublicKey) -> u64 {
        self.inner.accounts.account(account).map_or(0, |account| account.next_sequence.get())
    }

    /// Answers to one datagram, as one datagram.
    pub fn answer(&mut self, datagram: &[u8], now_ms: u64) -> Option<Vec<u8>> {
        if self.behaviour == Behaviour::Silent {
            return None;
        }
        if self.behaviour == Behaviour::Garbage {
            let length = self.random.below(datagram.len() as u64) as usize;
            return Some((0..length).map(|_| self.random.next_bytes()[0]).collect());
        }
        let mut out = Vec::new();
        for message in messages(datagram) {
            let message = message.expect("a wallet sends only well-formed messages");
            let before = out.len();
            let mut buffer = vec![0; DATAGRAM_MAX];
            let length = self.answer_message(&message, &mut buffer, now_ms);
            out.extend(&buffer[..length]);
            let asked = message.header().length.get() as usize;
            assert!(out.len() - before <= asked, "an answer is longer than its request");
        }
        Some(out)
    }

    fn refuse(&self, buffer: &mut [u8], header: &Header, refusal: Refusal) -> usize {
        let mut locked = None;
        if refusal.code == RefusalCode::Conflict {
            locked = self.locked.get(&header.account);
        }
        meshpay_wire::refusal(buffer, header, [self.place + 1; 8], &refusal.body(), locked)
    }

    fn answer_message(&mut self, message: &Message<'_>, buffer: &mut [u8], now_ms: u64) -> usize {
        let token = [self.place + 1; 8];
        let header = message.header();
        assert_eq!(header.network, self.inner.rules.network);
        if self.behaviour == Behaviour::FalseRefusals {
            return self.make_something_up(header, buffer);
        }
        match message {
            Message::TransferRequest(header, order) => {
                self.orders_heard.push(**order);
                self.order(header, order, buffer, now_ms)
            }
            Message::ConfirmationRequest(header, certificate) => self.certificate(header, certificate, buffer),
            Message::AccountQuery(header, query) => {
                let mut answer = AccountAnswer::new_zeroed();
                answer.token = query.token;
                if let Some(account) = self.inner.accounts.account(&header.account) {
                    let balance = self.inner.accounts.balance(&header.account, query.token.get());
                    let mut flags = account_flags::KNOWN;
                    if account.is_locked() {
                        flags |= account_flags::LOCKED;
                        answer.locked = self.locked[&header.account];
                    }
                    if balance < 0 {
                        flags |= account_flags::OWING;
                    }
                    answer.balance = balance.into();
                    answer.flags = flags.into();
                    answer.next_sequence = account.next_sequence;
                    answer.last_executed = account.last_executed;
                    answer.debit_locator = account.debit_heads[0];
                    answer.credit_locator = account.credit_head;
                }
                account_answer(buffer, header, token, &answer)
            }
            Message::CertificateQuery(header, query) => {
                let at = if query.direction == DIRECTION_DEBIT {
                    self.debits.get(&(header.account, header.sequence.get())).copied()
                } else {
                    let head = self.inner.accounts.account(&header.account).map_or(0, |a| a.credit_head.get());
                    let locator = if query.locator.get() == 0 { head } else { query.locator.get() };
                    self.executed.iter().position(|executed| {
                        let (view, _) = CertificateView::parse(&executed.certificate).unwrap();
                        executed.links.locator.get() == locator && view.head.order.body.recipient == header.account
                    })
                };
                let Some(at) = at else {
                    return self.refuse(buffer, header, Refusal::new(RefusalCode::NotFound));
                };
                let executed = &self.executed[at];
                let mut bytes = executed.certificate.clone();
                if self.behaviour == Behaviour::WrongSignatures {
                    *bytes.last_mut().unwrap() ^= 1;
                }
                let (view, _) = CertificateView::parse(&bytes).unwrap();
                certificate_answer(buffer, header, token, &executed.links, &view)
            }
            other => panic!("a wallet never sends {other:?}"),
        }
    }

    fn order(&mut self, header: &Header, order: &SignedOrder, buffer: &mut [u8], now_ms: u64) -> usize {
        let token = [self.place + 1; 8];
        let verified = match self.inner.verify_transfer(order, now_ms) {
            Err(refusal) => return self.refuse(buffer, header, refusal),
            Ok(None) => return self.say_executed(header, ExecutionStatus::Before, buffer),
            Ok(Some(verified)) => verified,
        };
        let mut vote = match self.inner.sign_vote(&verified, now_ms) {
            Err(refusal) => return self.refuse(buffer, header, refusal),
            Ok(vote) => vote,
        };
        self.locked.insert(order.body.sender, *order);
        self.voted.push(*order);
        if self.behaviour == Behaviour::WrongSignatures {
            vote.signature[5] ^= 1;
        }
        transfer_response(buffer, header, token, &vote)
    }

    fn say_executed(&mut self, header: &Header, status: ExecutionStatus, buffer: &mut [u8]) -> usize {
        let at = self.debits.get(&(header.account, header.sequence.get())).copied();
        let mut order = Digest::default();
        if let Some(at) = at {
            let (view, _) = CertificateView::parse(&self.executed[at].certificate).unwrap();
            order = order_digest(&self.inner.rules.genesis, &view.head.order.body);
        }
        if self.behaviour == Behaviour::WrongSignatures {
            order.0[0] ^= 1;
        }
        let next_sequence = self.next_sequence(&header.account).into();
        let executed = Executed { order, next_sequence, status: status as u8, reserved: [0; 7] };
        confirmation_response(buffer, header, [self.place + 1; 8], &executed)
    }

    fn certificate(&mut self, header: &Header, certificate: &CertificateView<'_>, buffer: &mut [u8]) -> usize {
        let verified = match self.inner.verify_certificate(*certificate) {
            Err(refusal) => return self.refuse(buffer, header, refusal),
            Ok(None) => return self.say_executed(header, ExecutionStatus::Before, buffer),
            Ok(Some(verified)) => verified,
        };
        let body = &certificate.head.order.body;
        let accounts = &self.inner.accounts;
        let previous_credit = accounts.account(&body.recipient).map_or(0, |account| account.credit_head.get());
        let previous_debit = accounts.account(&body.sender).map_or(0, |account| account.debit_heads[0].get());
        match self.inner.apply_certificate(&verified) {
            Err(refusal) => self.refuse(buffer, header, refusal),
            Ok(Applied::Before) => self.say_executed(header, ExecutionStatus::Before, buffer),
            Ok(Applied::Now(_)) => {
                self.locked.remove(&body.sender);
                let locator = self.inner.accounts.account(&body.sender).unwrap().debit_heads[0];
                let links = CertificateLinks {
                    locator,
                    previous_debit: previous_debit.into(),
                    previous_credit: previous_credit.into(),
                    reserved: 0.into(),
                };
                self.debits.insert((body.sender, body.sequence.get()), self.executed.len());
                self.executed.push(Executed1 { certificate: certificate.parts().concat(), links });
                self.say_executed(header, ExecutionStatus::Now, buffer)
            }
        }
    }

    /// Votes for an order, as if somebody had asked for it.
    pub fn vote(&mut self, order: &SignedOrder) -> Vote {
        let digest = order_digest(&self.inner.rules.genesis, &order.body);
        let request = meshpay_client::Request::Vote { order: *order, digest };
        let datagram = request.message(&self.inner.rules.clone(), [8; 8], [0; 8]);
        let answer = self.answer(&datagram, 0).unwrap();
        match messages(&answer).next() {
            Some(Ok(Message::TransferResponse(_, vote))) => *vote,
            other => panic!("no vote but {other:?}"),
        }
    }

    /// Executes a certificate directly, as if somebody had brought it.
    pub fn execute(&mut self, certificate: &meshpay_client::Certificate) {
        let request = meshpay_client::Request::Confirm(std::sync::Arc::new(certificate.clone()));
        let datagram = request.message(&self.inner.rules.clone(), [9; 8], [0; 8]);
        self.answer(&datagram, 0);
    }

    fn make_something_up(&mut self, header: &Header, buffer: &mut [u8]) -> usize {
        let token = [0; 8];
        if header.kind() == Some(Kind::AccountQuery) {
            let mut answer = AccountAnswer::new_zeroed();
            answer.flags = (account_flags::KNOWN | account_flags::LOCKED).into();
            answer.token = super::EUR.into();
            answer.balance = i128::from(self.random.below(1 << 40)).into();
            answer.next_sequence = self.random.below(20).into();
            answer.locked.body.sender = header.account;
            answer.locked.body.sequence = answer.next_sequence;
            return account_answer(buffer, header, token, &answer);
        }
        let codes = RefusalCode::ALL;
        let code = codes[self.random.below(codes.len() as u64) as usize];
        let refusal = Refusal {
            code,
            value: self.random.below(1 << 20) as u32,
            sequence: self.random.below(20),
            amount: self.random.below(20_000),
        };
        let mut made_up = SignedOrder::new_zeroed();
        made_up.body.sender = header.account;
        made_up.body.sequence = header.sequence;
        made_up.body.amount = 7.into();
        let locked = (code == RefusalCode::Conflict).then_some(&made_up);
        if locked.is_some() && (header.length.get() as usize) < REFUSAL_WITH_ORDER_LENGTH {
            return meshpay_wire::refusal(buffer, header, token, &Refusal::new(RefusalCode::BadVote).body(), None);
        }
        meshpay_wire::refusal(buffer, header, token, &refusal.body(), locked)
    }
}
