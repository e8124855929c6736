//! No request, of any kind, draws an answer larger than itself, and no bundle more than itself. So nobody can aim an authority at
//! a third party.

use meshpay_wire::*;
use zerocopy::FromZeros;

use crate::samples::*;

/// A request kind with its shortest legal form, and every answer that it can get.
struct Row {
    name: String,
    request: Vec<u8>,
    answers: Vec<(String, Vec<u8>)>,
}

fn header(request: &[u8]) -> &Header {
    Message::decode(request).expect("well formed").0.header()
}

/// Any request may be refused with any code but a conflict.
fn refusals(request: &[u8]) -> Vec<(String, Vec<u8>)> {
    let codes = RefusalCode::ALL.iter().filter(|code| **code != RefusalCode::Conflict);
    codes.map(|code| (format!("refusal {}", code.name()), refused(request, *code, None))).collect()
}

fn refused(request: &[u8], code: RefusalCode, locked: Option<&SignedOrder>) -> Vec<u8> {
    let body = RefusalBody { code: (code as u16).into(), ..RefusalBody::new_zeroed() };
    written(|to| refusal(to, header(request), [1; 8], &body, locked))
}

fn executed(request: &[u8]) -> (String, Vec<u8>) {
    let body = Executed { status: 2, ..Executed::new_zeroed() };
    ("what was executed".into(), written(|to| confirmation_response(to, header(request), [1; 8], &body)))
}

fn table() -> Vec<Row> {
    let mut random = Random::seeded(31);
    let order = random.order();
    let envelope = random.envelope(order.body.epoch.get());
    let digest = Digest(random.bytes());
    let account: PublicKey = random.bytes();
    let mut rows = Vec::new();

    let request = written(|to| transfer_request(to, &envelope, &order, &digest));
    let vote = Vote::new_zeroed();
    let mut answers = refusals(&request);
    answers.push(("a vote".into(), written(|to| transfer_response(to, header(&request), [1; 8], &vote))));
    answers.push(executed(&request));
    answers.push(("the locked order".into(), refused(&request, RefusalCode::Conflict, Some(&order))));
    rows.push(Row { name: "transfer request".into(), request, answers });

    for signers in 1..=SIGNERS_MAX {
        let certificate = random.certificate(signers);
        let certificate = view(&certificate);
        let envelope = random.envelope(certificate.head.order.body.epoch.get());
        let request = written(|to| confirmation_request(to, &envelope, &certificate, &digest));
        let mut answers = refusals(&request);
        answers.push(executed(&request));
        rows.push(Row { name: format!("confirmation request with {signers} votes"), request, answers });

        // In a network whose certificates have this many votes at most.
        for (direction, sequence) in [(DIRECTION_DEBIT, 9), (DIRECTION_CREDIT, 0)] {
            let query = CertificateQuery { direction, ..CertificateQuery::new_zeroed() };
            let request = written(|to| certificate_query(to, &envelope, &account, sequence, &query, signers));
            let links = CertificateLinks::new_zeroed();
            let answer = written(|to| certificate_answer(to, header(&request), [1; 8], &links, &certificate));
            let mut answers = refusals(&request);
            answers.push((format!("a certificate with {signers} votes"), answer));
            rows.push(Row { name: format!("certificate query for {signers} votes"), request, answers });
        }
    }

    let request = written(|to| account_query(to, &envelope, &account, 1));
    let body = AccountAnswer::new_zeroed();
    let mut answers = refusals(&request);
    answers.push(("the account".into(), written(|to| account_answer(to, header(&request), [1; 8], &body))));
    rows.push(Row { name: "account query".into(), request, answers });
    rows
}

#[test]
fn no_answer_is_larger_than_its_request() {
    for row in table() {
        assert!((REQUEST_MIN..=DATAGRAM_MAX).contains(&row.request.len()), "{}", row.name);
        for (name, answer) in &row.answers {
            assert!(answer.len() <= row.request.len(), "{}: {name} has {} bytes", row.name, answer.len());
            assert!(Message::decode(answer).is_ok(), "{}: {name}", row.name);
        }
    }
}

/// Whatever requests share a datagram, their largest answers together fit into one of the same length.
#[test]
fn the_answers_to_a_bundle_are_no_larger_than_it() {
    let rows = table();
    let mut random = Random::seeded(32);
    for _ in 0..10_000 {
        let (mut datagram, mut answers) = (Vec::new(), 0);
        while let row = &rows[random.below(rows.len())]
            && datagram.len() + row.request.len() <= DATAGRAM_MAX
        {
            datagram.extend(&row.request);
            answers += row.answers.iter().map(|(_, answer)| answer.len()).max().expect("some");
        }
        assert!(messages(&datagram).all(|message| message.is_ok()));
        assert!(answers <= datagram.len(), "{answers} bytes for {}", datagram.len());
    }
}

/// A request without enough padding is well formed, so that it can be told so: that refusal, like every other, fits into the
/// shortest message that is read at all.
#[test]
fn the_shortest_request_is_as_long_as_a_refusal() {
    assert_eq!(REQUEST_MIN, REFUSAL_LENGTH);
    for row in table() {
        let mut shortest = None;
        for length in HEADER_LENGTH..=row.request.len() {
            let mut message = row.request[..length].to_vec();
            message[8..10].copy_from_slice(&(length as u16).to_le_bytes());
            if Message::decode(&message).is_ok() {
                shortest = shortest.or(Some(message));
            }
        }
        let shortest = shortest.expect("itself at least");
        for (name, refusal) in refusals(&shortest) {
            assert!(refusal.len() <= shortest.len(), "{} of {} bytes: {name}", row.name, shortest.len());
        }
    }
}

#[test]
fn the_largest_certificate_fits_one_datagram_with_its_links() {
    assert!(certificate_answer_length(SIGNERS_MAX) <= DATAGRAM_MAX);
    assert!(certificate_answer_length(SIGNERS_MAX + 1) > DATAGRAM_MAX);
    assert!(confirmation_request_length(SIGNERS_MAX) <= DATAGRAM_MAX);
}
