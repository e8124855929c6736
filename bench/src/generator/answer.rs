//! Reads an answer and compares it with what it must be.

use std::net::SocketAddr;

use meshpay_wire::{Message, RefusalCode};

use super::request_id::{RequestId, Step};
use super::{AnswerCheck, Plan};

/// What an answer says, after all comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The vote that this authority must give.
    Vote,
    /// The execution of this very payment.
    Executed,
    /// A refusal, with its code where this version has it.
    Refused(Option<RefusalCode>),
    /// It answers a request of ours with something that it must not say.
    Wrong(&'static str),
}

/// Which request a message answers: nothing where it is none of this batch's or comes from somebody else.
pub fn request_of(plan: &Plan<'_>, message: &Message<'_>, from: SocketAddr) -> Option<RequestId> {
    let request = RequestId::from_bytes(message.header().request_id);
    let asked = plan.targets.iter().any(|target| target.place == request.place && target.address == from);
    let ours = request.batch == plan.batch_number && (request.payment as usize) < plan.batch.len();
    (asked && ours).then_some(request)
}

/// Compares a message with what the answer to `request` must be.
pub fn check(plan: &Plan<'_>, request: &RequestId, message: &Message<'_>) -> Answer {
    let payment = &plan.batch.payments()[request.payment as usize];
    let header = message.header();
    let body = &payment.order.body;
    let echoed = header.account == body.sender
        && header.sequence == body.sequence
        && header.epoch == body.epoch
        && header.network == plan.rules.network
        && header.tag_matches(&payment.digest);
    if !echoed {
        return Answer::Wrong("a header that does not echo the request's");
    }
    // Under `SizeOnly` the comparisons are made all the same, so that they cost what they cost.
    let lenient = plan.check == AnswerCheck::SizeOnly;
    match message {
        Message::TransferResponse(_, vote) => {
            let place = usize::from(request.place);
            let expected = plan.batch.vote(request.payment as usize, place);
            let same = vote.authority == request.place && vote.order == payment.digest && vote.signature == *expected;
            match request.step {
                Step::Vote if same || lenient => Answer::Vote,
                Step::Vote => Answer::Wrong("a vote that differs from the one this authority's key makes"),
                Step::Execute => Answer::Wrong("a vote in answer to a certificate"),
            }
        }
        Message::ConfirmationResponse(_, executed) => {
            let same = executed.order == payment.digest && executed.next_sequence.get() > body.sequence.get();
            if same || lenient { Answer::Executed } else { Answer::Wrong("the execution of another order") }
        }
        Message::Refusal(_, refusal, _) => Answer::Refused(RefusalCode::from_number(refusal.code.get())),
        _ => Answer::Wrong("a message of a kind that was not asked for"),
    }
}
