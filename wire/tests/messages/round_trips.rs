//! Every kind as written is read as meant; what the strict decoder refuses, and why.

use meshpay_wire::*;
use zerocopy::{FromBytes, IntoBytes};

use crate::samples::*;

fn decode(message: &[u8]) -> Result<Message<'_>, Malformed> {
    Message::decode(message).map(|(decoded, rest)| {
        assert!(rest.is_empty());
        decoded
    })
}

/// A message with one field of its header or body overwritten.
fn with(message: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut changed = message.to_vec();
    changed[offset..offset + bytes.len()].copy_from_slice(bytes);
    changed
}

fn sample(name: &str) -> Vec<u8> {
    every_kind(1).into_iter().find(|(other, _)| other == name).expect("a sample").1
}

#[test]
fn every_kind_is_read_as_written() {
    for seed in 0..100 {
        for (name, message) in every_kind(seed) {
            let decoded = decode(&message).unwrap_or_else(|malformed| panic!("{name}: {malformed:?}"));
            let header = decoded.header();
            assert_eq!(usize::from(header.length.get()), message.len(), "{name}");
            assert_eq!(header.as_bytes(), &message[..HEADER_LENGTH], "{name}");
            // Put together again from what was decoded, it is the same message.
            let (kind, token, to) = (header.kind().expect("a kind"), header.return_token, &mut [0; DATAGRAM_MAX]);
            let envelope = Envelope {
                network: header.network,
                epoch: header.epoch.get(),
                request_id: header.request_id,
                return_token: token,
            };
            let mut digest = Digest::default();
            digest.0[..8].copy_from_slice(&header.order_tag);
            let (read_as, length) = match decoded {
                Message::TransferRequest(_, order) => {
                    (Kind::TransferRequest, transfer_request(to, &envelope, order, &digest))
                }
                Message::TransferResponse(header, vote) => {
                    (Kind::TransferResponse, transfer_response(to, header, token, vote))
                }
                Message::ConfirmationRequest(_, certificate) => {
                    (Kind::ConfirmationRequest, confirmation_request(to, &envelope, &certificate, &digest))
                }
                Message::ConfirmationResponse(header, executed) => {
                    (Kind::ConfirmationResponse, confirmation_response(to, header, token, executed))
                }
                Message::AccountQuery(header, query) => {
                    (Kind::AccountQuery, account_query(to, &envelope, &header.account, query.token.get()))
                }
                Message::AccountAnswer(header, answer) => {
                    (Kind::AccountAnswer, account_answer(to, header, token, answer))
                }
                Message::CertificateQuery(header, query) => {
                    let signers = (message.len() - certificate_answer_length(0)) / 64;
                    let sequence = header.sequence.get();
                    let length = certificate_query(to, &envelope, &header.account, sequence, query, signers);
                    (Kind::CertificateQuery, length)
                }
                Message::CertificateAnswer(header, links, certificate) => {
                    (Kind::CertificateAnswer, certificate_answer(to, header, token, links, &certificate))
                }
                Message::Refusal(header, body, locked) => (Kind::Refusal, refusal(to, header, token, body, locked)),
                Message::Reserved(..) => panic!("{name} is not reserved"),
            };
            assert_eq!((read_as, &to[..length]), (kind, &message[..]), "{name}");
        }
    }
}

#[test]
fn answers_echo_what_was_asked() {
    let request = Random::seeded(5).request_header(Kind::TransferRequest);
    let vote = Vote::read_from_bytes(&[0; 100]).expect("a vote");
    let answer = written(|to| transfer_response(to, &request, [9; 8], &vote));
    let header = *decode(&answer).expect("well formed").header();
    let expected = Header { kind: Kind::TransferResponse as u8, length: 188.into(), return_token: [9; 8], ..request };
    assert_eq!(header, expected);
}

#[test]
fn a_refusal_travels_in_the_class_of_what_it_refuses() {
    for (kind, class) in [(Kind::TransferRequest, 0), (Kind::AccountQuery, 1), (Kind::PeerDiscovery, 2)] {
        let request = Random::seeded(6).request_header(kind);
        let body =
            RefusalBody { code: 22.into(), reserved: 0.into(), value: 0.into(), sequence: 0.into(), amount: 0.into() };
        let message = written(|to| refusal(to, &request, [0; 8], &body, None));
        assert_eq!(decode(&message).expect("well formed").header().class, class);
        assert_eq!(decode(&with(&message, 5, &[3])), Err(Malformed::Class));
    }
}

#[test]
fn lengths_of_the_kinds() {
    let length = |name| sample(name).len();
    assert_eq!(length("transfer request"), 312);
    assert_eq!(length("transfer response"), 188);
    assert_eq!(length("confirmation request with 3 votes"), 488);
    assert_eq!(length("confirmation response, Now"), 136);
    assert_eq!(length("account query"), 368);
    assert_eq!(length("account answer"), 368);
    assert_eq!(length("certificate query for a debit"), 520);
    assert_eq!(length("certificate answer with 3 votes"), 520);
    assert_eq!(length("certificate answer with 16 votes"), 1352);
    assert_eq!(length("refusal bad_signature"), 112);
    assert_eq!(length("refusal conflict"), 312);
}

#[test]
fn kinds_and_classes() {
    let message = sample("account query");
    for byte in 0..=255u8 {
        let changed = with(&message, 6, &[byte]);
        match Kind::from_byte(byte) {
            None => assert_eq!(decode(&changed), Err(Malformed::Kind), "kind {byte}"),
            Some(kind) => {
                assert_eq!(kind as u8, byte);
                let right = with(&changed, 5, &[kind.class() as u8]);
                let result = decode(&right);
                if byte >= 16 {
                    assert!(matches!(result, Ok(Message::Reserved(_, reserved)) if reserved == kind), "{kind:?}");
                }
                for class in (0..=255).filter(|class| *class != kind.class() as u8) {
                    if kind != Kind::Refusal || class > 2 {
                        assert_eq!(decode(&with(&changed, 5, &[class])), Err(Malformed::Class), "{kind:?} in {class}");
                    }
                }
            }
        }
    }
}

#[test]
fn magic_version_flags_and_reserved() {
    for (name, message) in every_kind(3) {
        for byte in 0..4 {
            assert_eq!(decode(&with(&message, byte, b"x")), Err(Malformed::Magic), "{name}");
        }
        for version in [0, 2, 255] {
            assert_eq!(decode(&with(&message, 4, &[version])), Err(Malformed::Version), "{name}");
        }
        for offset in [7, 10, 11] {
            assert_eq!(decode(&with(&message, offset, &[1])), Err(Malformed::Reserved), "{name}, byte {offset}");
        }
    }
}

#[test]
fn a_header_that_disagrees_with_its_body() {
    for name in ["transfer request", "confirmation request with 3 votes"] {
        let message = sample(name);
        for (offset, length) in [(12, 4), (24, 32), (56, 8)] {
            for byte in offset..offset + length {
                let changed = with(&message, byte, &[message[byte] ^ 1]);
                assert_eq!(decode(&changed), Err(Malformed::HeaderMismatch), "{name}, byte {byte}");
            }
        }
        // The tag needs a hash: it is read here and checked by whoever computes the digest.
        let changed = with(&message, 64, &[message[64] ^ 1]);
        let (header, digest) = (*decode(&message).expect("well formed").header(), {
            let mut digest = Digest::default();
            digest.0[..8].copy_from_slice(&message[64..72]);
            digest
        });
        assert!(header.tag_matches(&digest));
        assert!(!decode(&changed).expect("well formed").header().tag_matches(&digest));
    }
}

#[test]
fn lengths_that_do_not_fit_their_kind() {
    let cases: [(&str, &[usize]); 8] = [
        ("transfer request", &[112, 288, 311, 313, 400, 1400]),
        ("transfer response", &[112, 187, 189, 312]),
        ("confirmation response, Now", &[135, 137, 312]),
        ("account query", &[88, 96, 111]),
        ("certificate query for a debit", &[88, 104, 111]),
        ("account answer", &[367, 369]),
        ("certificate answer with 3 votes", &[519, 521, 584]),
        ("refusal bad_signature", &[111, 113, 312]),
    ];
    for (name, lengths) in cases {
        for length in lengths {
            let mut message = sample(name);
            message.resize(*length, 0);
            let message = with(&message, 8, &(*length as u16).to_le_bytes());
            let refused = decode(&message).expect_err(name);
            assert!(matches!(refused, Malformed::Length | Malformed::Value), "{name} of {length} bytes: {refused:?}");
        }
    }
    let conflict = sample("refusal conflict");
    assert_eq!(decode(&with(&conflict, 88, &15u16.to_le_bytes())), Err(Malformed::Length), "an order with no conflict");
    let other = sample("refusal bad_signature");
    assert_eq!(decode(&with(&other, 88, &14u16.to_le_bytes())), Err(Malformed::Length), "a conflict with no order");
}

/// Requests may be padded beyond what they need: the padding is zero.
#[test]
fn padding() {
    for name in ["account query", "certificate query for a debit", "certificate query for a credit"] {
        for length in [112, 200, 1400] {
            let mut message = sample(name);
            message.resize(length, 0);
            let message = with(&message, 8, &(length as u16).to_le_bytes());
            decode(&message).expect(name);
            for byte in HEADER_LENGTH + 16..length {
                assert_eq!(decode(&with(&message, byte, &[1])), Err(Malformed::Reserved), "{name}, byte {byte}");
            }
        }
    }
    let mut message = sample("confirmation request with 3 votes");
    message.resize(900, 0);
    let message = with(&message, 8, &900u16.to_le_bytes());
    decode(&message).expect("a padded certificate");
    assert_eq!(decode(&with(&message, 899, &[1])), Err(Malformed::Reserved));
    let message = sample("transfer request");
    for byte in 288..312 {
        assert_eq!(decode(&with(&message, byte, &[1])), Err(Malformed::Reserved), "byte {byte}");
    }
}

#[test]
fn reserved_bytes_of_bodies() {
    let cases: [(&str, &[usize]); 6] = [
        ("transfer request", &[145, 146, 147, 148, 149, 150, 151]),
        ("confirmation request with 3 votes", &[145, 151]),
        ("transfer response", &[89, 90, 91]),
        ("confirmation response, Before", &[129, 132, 135]),
        ("account query", &[56, 63, 64, 71, 92, 95]),
        ("certificate query for a credit", &[64, 71, 89, 95]),
    ];
    for (name, offsets) in cases {
        for offset in offsets {
            assert_eq!(decode(&with(&sample(name), *offset, &[1])), Err(Malformed::Reserved), "{name}, byte {offset}");
        }
    }
}

#[test]
fn values_that_cannot_be() {
    for status in [0, 3, 255] {
        assert_eq!(decode(&with(&sample("confirmation response, Now"), 128, &[status])), Err(Malformed::Value));
    }
    let debit = sample("certificate query for a debit");
    let credit = sample("certificate query for a credit");
    for direction in [0, 3, 255] {
        assert_eq!(decode(&with(&debit, 88, &[direction])), Err(Malformed::Value));
    }
    assert_eq!(decode(&with(&debit, 96, &[1])), Err(Malformed::Value), "a debit is found by sequence");
    assert_eq!(decode(&with(&credit, 56, &[1])), Err(Malformed::Value), "a credit is found by locator");
    for name in ["confirmation request with 3 votes", "certificate answer with 3 votes"] {
        let message = sample(name);
        let signers = if name.starts_with("confirmation") { 288 } else { 320 };
        assert_eq!(decode(&with(&message, signers, &[0; 4])), Err(Malformed::Value), "nobody signed");
        let seventeen = 0x1ffffu32.to_le_bytes();
        assert_eq!(decode(&with(&message, signers, &seventeen)), Err(Malformed::Value), "too many signed");
        assert_eq!(
            decode(&with(&message, signers, &0xfffu32.to_le_bytes())),
            Err(Malformed::Value),
            "bytes are missing"
        );
        assert_eq!(decode(&with(&message, signers + 4, &[1])), Err(Malformed::Value), "a reserved bit");
    }
}

#[test]
fn refusal_codes_have_one_number_and_one_name() {
    let mut names: Vec<_> = RefusalCode::ALL.iter().map(|code| code.name()).collect();
    for (at, code) in RefusalCode::ALL.iter().enumerate() {
        assert_eq!(*code as usize, at + 1);
        assert_eq!(RefusalCode::from_number(*code as u16), Some(*code));
    }
    assert_eq!((RefusalCode::from_number(0), RefusalCode::from_number(26)), (None, None));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), RefusalCode::ALL.len());
    // A later version may have more: what is unknown is still a refusal.
    let later = with(&sample("refusal bad_signature"), 88, &999u16.to_le_bytes());
    assert!(matches!(decode(&later), Ok(Message::Refusal(_, body, None)) if body.code.get() == 999));
}

#[test]
fn digests_differ_by_domain_network_epoch_and_body() {
    let mut random = Random::seeded(8);
    let (genesis, body) = (GenesisDigest(random.bytes()), random.order().body);
    let digest = order_digest(&genesis, &body);
    assert_eq!(digest.0, truncate_sha512(&order_preimage(&genesis, &body)));
    assert_ne!(digest, order_digest(&GenesisDigest(random.bytes()), &body));
    for byte in 0..size_of::<OrderBody>() {
        let mut bytes = body.as_bytes().to_vec();
        bytes[byte] ^= 1;
        let changed = OrderBody::read_from_bytes(&bytes).expect("same length");
        assert_ne!(digest, order_digest(&genesis, &changed), "byte {byte}");
    }
    let vote = vote_digest(&genesis, 5, &digest);
    assert_eq!(vote, truncate_sha512(&vote_preimage(&genesis, 5, &digest)));
    assert_ne!(vote, vote_digest(&genesis, 6, &digest));
    assert_ne!(vote, vote_digest(&GenesisDigest(random.bytes()), 5, &digest));
    assert_ne!(vote, vote_digest(&genesis, 5, &Digest(random.bytes())));
    assert_ne!(vote, digest.0);
    for domain in [ORDER_DOMAIN, VOTE_DOMAIN, GENESIS_DOMAIN] {
        assert!(domain.starts_with(b"meshpay/v1/") && domain.ends_with(&[0]));
    }
}
