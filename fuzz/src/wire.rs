//! Datagrams: the strict decoder, the encoders, and the filter's look at message heads.
//!
//! Promised: no bytes make the decoder panic; the messages and what follows them make up the datagram; what is decoded and encoded again has the
//! same bytes (padding that a request may choose apart); and the kernel's filter takes every head that the decoder takes.

use meshpay_wire::filter::{SlicePacket, message};
use meshpay_wire::{
    BUNDLE_MAX, CertificateView, DATAGRAM_MAX, Digest, Envelope, HEADER_LENGTH, Header, Message, REQUEST_MIN,
    SIGNERS_MAX, account_answer, account_query, certificate_answer, certificate_answer_length, certificate_query,
    confirmation_request, confirmation_response, messages, refusal, transfer_request, transfer_response,
};

pub fn datagram(bytes: &[u8]) {
    let (mut at, mut count, mut malformed) = (0, 0, false);
    for message in messages(bytes) {
        assert!(!malformed, "nothing can be read behind a malformed message");
        match message {
            Ok(message) => {
                let length = usize::from(message.header().length.get());
                encodes_to_the_same(&message, &bytes[at..at + length]);
                the_filter_takes(&message, &bytes[at..], length);
                at += length;
                count += 1;
            }
            Err(reason) => {
                assert!(!reason.name().is_empty());
                malformed = true;
            }
        }
    }
    assert!(count <= BUNDLE_MAX, "{count} messages in one datagram");
    assert!(malformed || at == bytes.len(), "{} bytes were passed over", bytes.len() - at);
    certificate(bytes);
}

fn certificate(bytes: &[u8]) {
    if let Some((view, length)) = CertificateView::parse(bytes) {
        assert_eq!(view.parts().concat(), &bytes[..length]);
        assert_eq!(view.votes().count(), view.signatures.len());
    }
}

fn encodes_to_the_same(message: &Message<'_>, bytes: &[u8]) {
    let header = message.header();
    let envelope = Envelope {
        network: header.network,
        epoch: header.epoch.get(),
        request_id: header.request_id,
        return_token: header.return_token,
    };
    let mut digest = Digest::default();
    digest.0[..8].copy_from_slice(&header.order_tag);
    let mut buffer = [0; DATAGRAM_MAX];
    let to = &mut buffer[..];
    let token = header.return_token;
    let length = match message {
        Message::TransferRequest(_, order) => transfer_request(to, &envelope, order, &digest),
        Message::TransferResponse(_, vote) => transfer_response(to, header, token, vote),
        Message::ConfirmationRequest(_, certificate) => confirmation_request(to, &envelope, certificate, &digest),
        Message::ConfirmationResponse(_, executed) => confirmation_response(to, header, token, executed),
        Message::AccountQuery(_, query) => account_query(to, &envelope, &header.account, query.token.get()),
        Message::AccountAnswer(_, answer) => account_answer(to, header, token, answer),
        Message::CertificateQuery(_, query) => {
            let fits = |signers: &usize| certificate_answer_length(*signers).max(REQUEST_MIN) == bytes.len();
            let signers = (1..=SIGNERS_MAX).find(fits).unwrap_or(1);
            certificate_query(to, &envelope, &header.account, header.sequence.get(), query, signers)
        }
        Message::CertificateAnswer(_, links, certificate) => certificate_answer(to, header, token, links, certificate),
        Message::Refusal(_, body, locked) => refusal(to, header, token, body, *locked),
        Message::Reserved(..) => return,
    };
    let encoded = &buffer[..length];
    if length == bytes.len() {
        assert_eq!(encoded, bytes, "{message:?}");
    } else {
        // Padding is the requester's choice: apart from it and the length, the bytes are the same.
        let is_padded = matches!(
            message,
            Message::ConfirmationRequest(..) | Message::AccountQuery(..) | Message::CertificateQuery(..)
        );
        assert!(is_padded, "{message:?} has {} bytes and is encoded to {length}", bytes.len());
        let (body, both) = (HEADER_LENGTH.., length.min(bytes.len()));
        assert_eq!(&encoded[body.clone()][..both - HEADER_LENGTH], &bytes[body][..both - HEADER_LENGTH]);
    }
    let (again, rest) = Message::decode(encoded).expect("what was encoded is well formed");
    assert!(rest.is_empty());
    assert_eq!(again.header().kind(), header.kind());
}

/// The filter sees heads only; it must never end what the decoder takes.
fn the_filter_takes(message: &Message<'_>, bytes: &[u8], length: usize) {
    let header: &Header = message.header();
    let head = message::head(&SlicePacket(bytes), 0, bytes.len()).expect("the filter takes what decodes");
    assert_eq!((Some(head.kind), head.class, head.length), (header.kind(), header.class, length));
}
