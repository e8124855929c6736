//! Writes messages into buffers that the caller owns. Each function returns the message's length.
//!
//! A buffer shorter than the message is the caller's fault and panics; [`crate::DATAGRAM_MAX`] bytes suffice for any one message.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use crate::{
    AccountAnswer, AccountQuery, CertificateLinks, CertificateQuery, CertificateView, Class, Digest, Executed,
    HEADER_LENGTH, Header, Kind, MAGIC, Network, PublicKey, REQUEST_MIN, RefusalBody, SignedOrder,
    TRANSFER_REQUEST_LENGTH, VERSION, Vote,
};

/// What a client's messages have in common.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    /// Network of the genesis.
    pub network: Network,
    /// Epoch that is addressed.
    pub epoch: u32,
    /// Fresh for this transmission.
    pub request_id: [u8; 8],
    /// As the authority's last answer gave it, or zero.
    pub return_token: [u8; 8],
}

fn request_header(
    envelope: &Envelope,
    kind: Kind,
    length: usize,
    account: &PublicKey,
    sequence: u64,
    order_tag: [u8; 8],
) -> Header {
    Header {
        magic: MAGIC,
        version: VERSION,
        class: kind.class() as u8,
        kind: kind as u8,
        flags: 0,
        length: U16::new(length as u16),
        reserved: U16::new(0),
        epoch: U32::new(envelope.epoch),
        network: envelope.network,
        account: *account,
        sequence: U64::new(sequence),
        order_tag,
        request_id: envelope.request_id,
        return_token: envelope.return_token,
    }
}

/// The header of an answer: the request's, with kind, length and token replaced. Thus request id, account, sequence and tag are echoed.
fn answer_header(request: &Header, kind: Kind, class: u8, length: usize, return_token: [u8; 8]) -> Header {
    Header { kind: kind as u8, class, length: U16::new(length as u16), return_token, ..*request }
}

/// Writes `parts` one after the other and zeroes up to `length`.
fn write(buffer: &mut [u8], length: usize, parts: &[&[u8]]) -> usize {
    let mut at = 0;
    for part in parts {
        buffer[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    buffer[at..length].fill(0);
    length
}

fn tag(digest: &Digest) -> [u8; 8] {
    let mut tag = [0; 8];
    tag.copy_from_slice(&digest.0[..8]);
    tag
}

/// `TRANSFER_REQUEST`, padded to [`TRANSFER_REQUEST_LENGTH`].
pub fn transfer_request(buffer: &mut [u8], envelope: &Envelope, order: &SignedOrder, digest: &Digest) -> usize {
    let body = &order.body;
    let length = TRANSFER_REQUEST_LENGTH;
    let header =
        request_header(envelope, Kind::TransferRequest, length, &body.sender, body.sequence.get(), tag(digest));
    write(buffer, length, &[header.as_bytes(), order.as_bytes()])
}

/// Length of a confirmation request with this many signatures.
pub const fn confirmation_request_length(signers: usize) -> usize {
    HEADER_LENGTH + CertificateView::length_for(signers)
}

/// `CONFIRMATION_REQUEST`.
pub fn confirmation_request(
    buffer: &mut [u8],
    envelope: &Envelope,
    certificate: &CertificateView<'_>,
    digest: &Digest,
) -> usize {
    let body = &certificate.head.order.body;
    let length = HEADER_LENGTH + certificate.length();
    let header =
        request_header(envelope, Kind::ConfirmationRequest, length, &body.sender, body.sequence.get(), tag(digest));
    let [head, signatures] = certificate.parts();
    write(buffer, length, &[header.as_bytes(), head, signatures])
}

/// An account query, padded to the length of its answer.
pub fn account_query(buffer: &mut [u8], envelope: &Envelope, account: &PublicKey, token: u32) -> usize {
    let length = HEADER_LENGTH + size_of::<AccountAnswer>();
    let header = request_header(envelope, Kind::AccountQuery, length, account, 0, [0; 8]);
    let query = AccountQuery { token: U32::new(token), reserved: U32::new(0) };
    write(buffer, length, &[header.as_bytes(), query.as_bytes()])
}

/// Length of the answer to a certificate query, for a certificate with this many signatures.
pub const fn certificate_answer_length(signers: usize) -> usize {
    HEADER_LENGTH + size_of::<CertificateLinks>() + CertificateView::length_for(signers)
}

/// A certificate query, padded for a certificate of `signers` signatures, the most that the committee's minimal quorums have.
pub fn certificate_query(
    buffer: &mut [u8],
    envelope: &Envelope,
    account: &PublicKey,
    sequence: u64,
    query: &CertificateQuery,
    signers: usize,
) -> usize {
    let length = certificate_answer_length(signers).max(REQUEST_MIN);
    let header = request_header(envelope, Kind::CertificateQuery, length, account, sequence, [0; 8]);
    write(buffer, length, &[header.as_bytes(), query.as_bytes()])
}

/// `TRANSFER_RESPONSE`: a vote.
pub fn transfer_response(buffer: &mut [u8], request: &Header, return_token: [u8; 8], vote: &Vote) -> usize {
    let length = HEADER_LENGTH + size_of::<Vote>();
    let header = answer_header(request, Kind::TransferResponse, Class::Bcb as u8, length, return_token);
    write(buffer, length, &[header.as_bytes(), vote.as_bytes()])
}

/// `CONFIRMATION_RESPONSE`.
pub fn confirmation_response(buffer: &mut [u8], request: &Header, return_token: [u8; 8], executed: &Executed) -> usize {
    let length = HEADER_LENGTH + size_of::<Executed>();
    let header = answer_header(request, Kind::ConfirmationResponse, Class::Bcb as u8, length, return_token);
    write(buffer, length, &[header.as_bytes(), executed.as_bytes()])
}

/// An account's state.
pub fn account_answer(buffer: &mut [u8], request: &Header, return_token: [u8; 8], answer: &AccountAnswer) -> usize {
    let length = HEADER_LENGTH + size_of::<AccountAnswer>();
    let header = answer_header(request, Kind::AccountAnswer, Class::PaymentData as u8, length, return_token);
    write(buffer, length, &[header.as_bytes(), answer.as_bytes()])
}

/// A certificate with its links.
pub fn certificate_answer(
    buffer: &mut [u8],
    request: &Header,
    return_token: [u8; 8],
    links: &CertificateLinks,
    certificate: &CertificateView<'_>,
) -> usize {
    let length = certificate_answer_length(certificate.signatures.len());
    let header = answer_header(request, Kind::CertificateAnswer, Class::PaymentData as u8, length, return_token);
    let [head, signatures] = certificate.parts();
    write(buffer, length, &[header.as_bytes(), links.as_bytes(), head, signatures])
}

/// A refusal, in the class of the request; `locked` goes with [`crate::RefusalCode::Conflict`] and with nothing else.
pub fn refusal(
    buffer: &mut [u8],
    request: &Header,
    return_token: [u8; 8],
    body: &RefusalBody,
    locked: Option<&SignedOrder>,
) -> usize {
    let order = locked.map_or(&[][..], |order| order.as_bytes());
    let length = crate::REFUSAL_LENGTH + order.len();
    let header = answer_header(request, Kind::Refusal, request.class, length, return_token);
    write(buffer, length, &[header.as_bytes(), body.as_bytes(), order])
}
