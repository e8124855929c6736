//! From a datagram to messages. Strict: what is not exactly as `docs/wire.md` says is malformed and gets no answer.

use zerocopy::FromBytes;

use crate::{
    AccountAnswer, AccountQuery, CertificateLinks, CertificateQuery, CertificateView, DATAGRAM_MAX, DIRECTION_CREDIT,
    DIRECTION_DEBIT, Executed, HEADER_LENGTH, Header, Kind, MAGIC, REFUSAL_WITH_ORDER_LENGTH, REQUEST_MIN, RefusalBody,
    RefusalCode, SignedOrder, TRANSFER_REQUEST_LENGTH, VERSION, Vote,
};

/// Why bytes are no message. Each has a counter at the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Malformed {
    /// Fewer bytes than a header, or than the header's length says.
    Truncated,
    /// More bytes than a datagram may have.
    Oversized,
    /// Not our magic.
    Magic,
    /// A version that this crate does not speak.
    Version,
    /// The class is not that of the kind.
    Class,
    /// A kind that has no number here.
    Kind,
    /// The length does not fit the kind.
    Length,
    /// A reserved or padding byte is not zero.
    Reserved,
    /// The header's account, sequence or epoch is not that of the body.
    HeaderMismatch,
    /// A field holds a value that it cannot have.
    Value,
}

impl Malformed {
    /// Every reason.
    pub const ALL: [Malformed; 10] = [
        Malformed::Truncated,
        Malformed::Oversized,
        Malformed::Magic,
        Malformed::Version,
        Malformed::Class,
        Malformed::Kind,
        Malformed::Length,
        Malformed::Reserved,
        Malformed::HeaderMismatch,
        Malformed::Value,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Malformed::Truncated => "truncated",
            Malformed::Oversized => "oversized",
            Malformed::Magic => "magic",
            Malformed::Version => "version",
            Malformed::Class => "class",
            Malformed::Kind => "kind",
            Malformed::Length => "length",
            Malformed::Reserved => "reserved",
            Malformed::HeaderMismatch => "header_mismatch",
            Malformed::Value => "value",
        }
    }
}

/// A well-formed message, borrowed from the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A signed order asks for a vote.
    TransferRequest(&'a Header, &'a SignedOrder),
    /// A vote.
    TransferResponse(&'a Header, &'a Vote),
    /// A certificate to execute.
    ConfirmationRequest(&'a Header, CertificateView<'a>),
    /// What was executed.
    ConfirmationResponse(&'a Header, &'a Executed),
    /// Asks for an account.
    AccountQuery(&'a Header, &'a AccountQuery),
    /// An account's state.
    AccountAnswer(&'a Header, &'a AccountAnswer),
    /// Asks for a certificate.
    CertificateQuery(&'a Header, &'a CertificateQuery),
    /// A certificate with its links.
    CertificateAnswer(&'a Header, &'a CertificateLinks, CertificateView<'a>),
    /// A refusal, with the locked order where its code is [`RefusalCode::Conflict`].
    Refusal(&'a Header, &'a RefusalBody, Option<&'a SignedOrder>),
    /// A kind that this version knows by number only.
    Reserved(&'a Header, Kind),
}

impl<'a> Message<'a> {
    /// Reads the first message of `bytes` and returns it with what follows.
    ///
    /// # Errors
    /// Says why the bytes are no message; nothing after them can be read then, since their length is not known.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| Malformed::Truncated)?;
        if header.magic != MAGIC {
            return Err(Malformed::Magic);
        }
        if header.version != VERSION {
            return Err(Malformed::Version);
        }
        let length = header.length.get() as usize;
        // Also a kind that gets no answer has at least this length, so that BUNDLE_MAX bounds what a datagram can hold.
        if !(REQUEST_MIN..=DATAGRAM_MAX).contains(&length) {
            return Err(Malformed::Length);
        }
        if length > bytes.len() {
            return Err(Malformed::Truncated);
        }
        if header.flags != 0 || header.reserved.get() != 0 {
            return Err(Malformed::Reserved);
        }
        let (message, rest) = bytes.split_at(length);
        let body = &message[HEADER_LENGTH..];
        let kind = header.kind().ok_or(Malformed::Kind)?;
        // A refusal travels in the class of what it refuses, so it may carry any.
        if header.class != kind.class() as u8 && !(kind == Kind::Refusal && header.class <= 2) {
            return Err(Malformed::Class);
        }
        Ok((Self::decode_body(header, kind, body)?, rest))
    }

    fn decode_body(header: &'a Header, kind: Kind, body: &'a [u8]) -> Result<Self, Malformed> {
        let length = HEADER_LENGTH + body.len();
        match kind {
            Kind::TransferRequest => {
                if length != TRANSFER_REQUEST_LENGTH {
                    return Err(Malformed::Length);
                }
                let (order, padding) = prefix::<SignedOrder>(body)?;
                all_zero(padding)?;
                order_agrees(header, order)?;
                Ok(Message::TransferRequest(header, order))
            }
            Kind::TransferResponse => {
                let vote = exact::<Vote>(body)?;
                all_zero(&vote.reserved)?;
                Ok(Message::TransferResponse(header, vote))
            }
            Kind::ConfirmationRequest => {
                let (certificate, used) = CertificateView::parse(body).ok_or(Malformed::Value)?;
                all_zero(&body[used..])?;
                order_agrees(header, &certificate.head.order)?;
                Ok(Message::ConfirmationRequest(header, certificate))
            }
            Kind::ConfirmationResponse => {
                let executed = exact::<Executed>(body)?;
                if !(1..=2).contains(&executed.status) {
                    return Err(Malformed::Value);
                }
                all_zero(&executed.reserved)?;
                Ok(Message::ConfirmationResponse(header, executed))
            }
            Kind::AccountQuery => {
                let (query, padding) = prefix::<AccountQuery>(body)?;
                all_zero(padding)?;
                if query.reserved.get() != 0 || header.order_tag != [0; 8] || header.sequence.get() != 0 {
                    return Err(Malformed::Reserved);
                }
                Ok(Message::AccountQuery(header, query))
            }
            Kind::AccountAnswer => Ok(Message::AccountAnswer(header, exact(body)?)),
            Kind::CertificateQuery => {
                let (query, padding) = prefix::<CertificateQuery>(body)?;
                all_zero(padding)?;
                all_zero(&query.reserved)?;
                if header.order_tag != [0; 8] {
                    return Err(Malformed::Reserved);
                }
                match query.direction {
                    DIRECTION_DEBIT if query.locator.get() == 0 => {}
                    DIRECTION_CREDIT if header.sequence.get() == 0 => {}
                    _ => return Err(Malformed::Value),
                }
                Ok(Message::CertificateQuery(header, query))
            }
            Kind::CertificateAnswer => {
                let (links, rest) = prefix::<CertificateLinks>(body)?;
                let (certificate, used) = CertificateView::parse(rest).ok_or(Malformed::Value)?;
                if used != rest.len() {
                    return Err(Malformed::Length);
                }
                Ok(Message::CertificateAnswer(header, links, certificate))
            }
            Kind::Refusal => {
                let (refusal, rest) = prefix::<RefusalBody>(body)?;
                let conflict = refusal.code.get() == RefusalCode::Conflict as u16;
                match (conflict, length) {
                    (true, REFUSAL_WITH_ORDER_LENGTH) => Ok(Message::Refusal(header, refusal, Some(exact(rest)?))),
                    (false, crate::REFUSAL_LENGTH) => Ok(Message::Refusal(header, refusal, None)),
                    _ => Err(Malformed::Length),
                }
            }
            reserved => Ok(Message::Reserved(header, reserved)),
        }
    }

    /// The header, whatever the kind.
    pub fn header(&self) -> &'a Header {
        match self {
            Message::TransferRequest(header, _)
            | Message::TransferResponse(header, _)
            | Message::ConfirmationRequest(header, _)
            | Message::ConfirmationResponse(header, _)
            | Message::AccountQuery(header, _)
            | Message::AccountAnswer(header, _)
            | Message::CertificateQuery(header, _)
            | Message::CertificateAnswer(header, _, _)
            | Message::Refusal(header, _, _)
            | Message::Reserved(header, _) => header,
        }
    }
}

/// The messages of one datagram. Stops after the first malformed one.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
    oversized: bool,
}

/// Splits a datagram into its messages.
pub fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages { rest: datagram, oversized: datagram.len() > DATAGRAM_MAX }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if core::mem::take(&mut self.oversized) {
            self.rest = &[];
            return Some(Err(Malformed::Oversized));
        }
        if self.rest.is_empty() {
            return None;
        }
        match Message::decode(self.rest) {
            Ok((message, rest)) => {
                self.rest = rest;
                Some(Ok(message))
            }
            Err(malformed) => {
                self.rest = &[];
                Some(Err(malformed))
            }
        }
    }
}

fn prefix<T>(bytes: &[u8]) -> Result<(&T, &[u8]), Malformed>
where
    T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
{
    T::ref_from_prefix(bytes).map_err(|_| Malformed::Length)
}

fn exact<T>(bytes: &[u8]) -> Result<&T, Malformed>
where
    T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
{
    T::ref_from_bytes(bytes).map_err(|_| Malformed::Length)
}

fn all_zero(bytes: &[u8]) -> Result<(), Malformed> {
    if bytes.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Malformed::Reserved) }
}

fn order_agrees(header: &Header, order: &SignedOrder) -> Result<(), Malformed> {
    let body = &order.body;
    if header.account != body.sender || header.sequence != body.sequence || header.epoch != body.epoch {
        return Err(Malformed::HeaderMismatch);
    }
    all_zero(&body.reserved)
}
