//! An authority that lies: it signs anything, keeps silent towards some, repeats what is old, answers with what suits it.

use std::collections::VecDeque;
use std::rc::Rc;

use meshpay_wire::{
    AccountAnswer, CertificateLinks, CertificateView, Executed, ExecutionStatus, Header, Message, RefusalBody,
    RefusalCode, SignedOrder, Vote, account_answer, account_flags, certificate_answer, certificate_answer_length,
    confirmation_response, messages, order_digest, refusal, transfer_response, vote_digest,
};
use zerocopy::FromZeros;

use crate::dice::Dice;
use crate::setting::Setting;

/// Orders and certificates that a liar remembers.
const MEMORY_MAX: usize = 64;

/// A lying authority.
pub struct Liar {
    place: usize,
    setting: Rc<Setting>,
    dice: Dice,
    orders: VecDeque<SignedOrder>,
    certificates: VecDeque<Vec<u8>>,
    answers: VecDeque<Vec<u8>>,
    /// Clients to whom it never speaks, by the low bits of their number.
    silent_mask: u64,
}

impl Liar {
    /// A liar at a place of the committee.
    pub fn new(setting: Rc<Setting>, place: usize, mut dice: Dice) -> Self {
        let silent_mask = dice.word() & dice.word();
        Self {
            place,
            setting,
            dice,
            orders: VecDeque::new(),
            certificates: VecDeque::new(),
            answers: VecDeque::new(),
            silent_mask,
        }
    }

    /// What it says to a datagram of a client.
    pub fn answer(&mut self, client: usize, datagram: &[u8]) -> Vec<Vec<u8>> {
        let silent = self.silent_mask >> (client % 64) & 1 == 1;
        let mut out = Vec::new();
        for message in messages(datagram).flatten() {
            self.remember(&message);
            if silent || self.dice.chance(150_000) {
                continue;
            }
            let mut buffer = vec![0; 1400];
            let length = self.compose(&message, &mut buffer);
            buffer.truncate(length);
            if length > 0 {
                if self.answers.len() == MEMORY_MAX {
                    self.answers.pop_front();
                }
                self.answers.push_back(buffer.clone());
                out.push(buffer);
            }
            if !self.answers.is_empty() && self.dice.chance(30_000) {
                let at = self.dice.index(self.answers.len());
                out.push(self.answers[at].clone());
            }
        }
        out
    }

    /// Certificates that it was shown, to be misused by its friends.
    pub fn certificates(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.certificates.iter()
    }

    fn remember(&mut self, message: &Message<'_>) {
        match message {
            Message::TransferRequest(_, order) => {
                if self.orders.len() == MEMORY_MAX {
                    self.orders.pop_front();
                }
                self.orders.push_back(**order);
            }
            Message::ConfirmationRequest(_, certificate) => {
                if self.certificates.len() == MEMORY_MAX {
                    self.certificates.pop_front();
                }
                self.certificates.push_back(certificate.parts().concat());
            }
            _ => {}
        }
    }

    fn compose(&mut self, message: &Message<'_>, to: &mut [u8]) -> usize {
        let token = self.dice.bytes();
        match message {
            Message::TransferRequest(header, order) => match self.dice.below(10) {
                0..=5 => self.vote(header, order, token, to),
                6 => {
                    let mut vote = self.vote_for(order);
                    vote.signature = self.dice.bytes();
                    transfer_response(to, header, token, &vote)
                }
                7 => self.executed(header, token, to),
                8 if !self.orders.is_empty() => {
                    // Somebody's order as if it were locked here.
                    let at = self.dice.index(self.orders.len());
                    let locked = self.orders[at];
                    let mut body = RefusalBody::new_zeroed();
                    body.code = (RefusalCode::Conflict as u16).into();
                    refusal(to, header, token, &body, Some(&locked))
                }
                _ => self.refusal(header, token, to),
            },
            Message::ConfirmationRequest(header, certificate) => match self.dice.below(4) {
                0 => {
                    let order = order_digest(&self.setting.rules.genesis, &certificate.head.order.body);
                    let next_sequence = (header.sequence.get() + 1).into();
                    let status = ExecutionStatus::Now as u8;
                    confirmation_response(
                        to,
                        header,
                        token,
                        &Executed { order, next_sequence, status, reserved: [0; 7] },
                    )
                }
                1 => self.executed(header, token, to),
                _ => self.refusal(header, token, to),
            },
            Message::AccountQuery(header, query) => {
                let mut answer = AccountAnswer::new_zeroed();
                answer.token = query.token;
                let mut flags = account_flags::KNOWN;
                answer.balance = i128::from(self.dice.below(3_000_000)).into();
                answer.next_sequence = self.dice.below(40).into();
                answer.credit_locator = self.dice.below(100_000).into();
                let own = self.orders.iter().rev().find(|order| order.body.sender == header.account).copied();
                if let Some(order) = own.filter(|_| self.dice.chance(500_000)) {
                    answer.locked = order;
                    answer.next_sequence = order.body.sequence;
                    flags |= account_flags::LOCKED;
                }
                if self.dice.chance(100_000) {
                    flags |= account_flags::NOT_VOTING;
                }
                answer.flags = flags.into();
                account_answer(to, header, token, &answer)
            }
            Message::CertificateQuery(header, _) if !self.certificates.is_empty() && self.dice.chance(500_000) => {
                let at = self.dice.index(self.certificates.len());
                let Some((view, _)) = CertificateView::parse(&self.certificates[at]) else { return 0 };
                if certificate_answer_length(view.signatures.len()) > usize::from(header.length.get()) {
                    return 0;
                }
                let links = CertificateLinks {
                    locator: self.dice.below(100_000).into(),
                    previous_debit: self.dice.below(100_000).into(),
                    previous_credit: self.dice.below(100_000).into(),
                    reserved: 0.into(),
                };
                certificate_answer(to, header, token, &links, &view)
            }
            Message::CertificateQuery(header, _) => self.refusal(header, token, to),
            _ => 0,
        }
    }

    fn vote_for(&self, order: &SignedOrder) -> Vote {
        let rules = &self.setting.rules;
        let digest = order_digest(&rules.genesis, &order.body);
        let signature = self.setting.authorities[self.place].sign(&vote_digest(&rules.genesis, rules.epoch, &digest));
        Vote { authority: self.place as u8, reserved: [0; 3], order: digest, signature }
    }

    fn vote(&self, header: &Header, order: &SignedOrder, token: [u8; 8], to: &mut [u8]) -> usize {
        transfer_response(to, header, token, &self.vote_for(order))
    }

    fn executed(&mut self, header: &Header, token: [u8; 8], to: &mut [u8]) -> usize {
        let executed = Executed {
            order: meshpay_wire::Digest(self.dice.bytes()),
            next_sequence: self.dice.below(50).into(),
            status: ExecutionStatus::Before as u8,
            reserved: [0; 7],
        };
        confirmation_response(to, header, token, &executed)
    }

    fn refusal(&mut self, header: &Header, token: [u8; 8], to: &mut [u8]) -> usize {
        let mut codes = RefusalCode::ALL.iter().filter(|code| **code != RefusalCode::Conflict);
        let code = *codes.nth(self.dice.index(RefusalCode::ALL.len() - 1)).unwrap_or(&RefusalCode::NotFound);
        let mut body = RefusalBody::new_zeroed();
        body.code = (code as u16).into();
        body.value = (self.dice.below(3_000) as u32).into();
        body.sequence = self.dice.below(50).into();
        body.amount = self.dice.below(1_000_000).into();
        refusal(to, header, token, &body, None)
    }
}
