//! A datagram in words: one line for each message in it. Numbers as they are on the wire; accounts and digests by their first bytes. Memos
//! and signatures are left out: a memo is the payer's and payee's own.

use std::fmt::Write;

use meshpay_wire::{
    CertificateView, DIRECTION_CREDIT, ExecutionStatus, Header, Malformed, Message, OPERATION_TRANSFER, RefusalCode,
    SignedOrder, account_flags, messages,
};

use super::Datagram;

const NANOSECONDS: u64 = 1_000_000_000;

/// A line for each message of a datagram that passed at `time_ns` (since 1970 UTC), each without its line end.
pub fn lines(time_ns: u64, outgoing: bool, datagram: &Datagram<'_>) -> Vec<String> {
    let second = time_ns / NANOSECONDS % 86_400;
    let vlan = datagram.vlan.map_or(String::new(), |vlan| format!(" vlan {vlan}"));
    let head = format!(
        "{:02}:{:02}:{:02}.{:06} {}{vlan} {} > {}",
        second / 3600,
        second / 60 % 60,
        second % 60,
        time_ns % NANOSECONDS / 1000,
        if outgoing { "out" } else { "in" },
        datagram.source,
        datagram.destination,
    );
    let all = describe(datagram.payload);
    let count = all.len();
    all.into_iter()
        .enumerate()
        .map(
            |(at, words)| {
                if count > 1 { format!("{head} {}/{count} {words}", at + 1) } else { format!("{head} {words}") }
            },
        )
        .collect()
}

/// Words for each message of a payload; never empty.
pub fn describe(payload: &[u8]) -> Vec<String> {
    if payload.is_empty() {
        return vec!["empty".to_owned()];
    }
    messages(payload)
        .map(|message| match message {
            Ok(message) => words(&message),
            Err(reason) => malformed(reason, payload.len()),
        })
        .collect()
}

fn malformed(reason: Malformed, bytes: usize) -> String {
    format!("malformed ({}), datagram of {bytes} bytes", reason.name())
}

fn words(message: &Message<'_>) -> String {
    let mut out = String::with_capacity(160);
    match *message {
        Message::TransferRequest(header, order) => {
            start(&mut out, "TRANSFER_REQUEST", header);
            write_order(&mut out, order);
        }
        Message::TransferResponse(header, vote) => {
            start(&mut out, "TRANSFER_RESPONSE", header);
            let _ = write!(out, " signer={} order={}", vote.authority, short(&vote.order.0));
        }
        Message::ConfirmationRequest(header, certificate) => {
            start(&mut out, "CONFIRMATION_REQUEST", header);
            write_certificate(&mut out, &certificate);
        }
        Message::ConfirmationResponse(header, executed) => {
            start(&mut out, "CONFIRMATION_RESPONSE", header);
            let when = if executed.status == ExecutionStatus::Now as u8 { "now" } else { "before" };
            let _ = write!(
                out,
                " executed={when} next={} order={}",
                executed.next_sequence.get(),
                short(&executed.order.0)
            );
        }
        Message::AccountQuery(header, query) => {
            start(&mut out, "ACCOUNT_QUERY", header);
            let _ = write!(out, " token={}", query.token.get());
        }
        Message::AccountAnswer(header, answer) => {
            start(&mut out, "ACCOUNT_ANSWER", header);
            let flags = answer.flags.get();
            let _ = write!(
                out,
                " balance={} token={} next={}",
                answer.balance.get(),
                answer.token.get(),
                answer.next_sequence.get()
            );
            for (bit, word) in [
                (account_flags::LOCKED, " locked"),
                (account_flags::OWING, " owing"),
                (account_flags::NOT_VOTING, " not-voting"),
            ] {
                if flags & bit != 0 {
                    out.push_str(word);
                }
            }
            if flags & account_flags::KNOWN == 0 {
                out.push_str(" unknown");
            }
        }
        Message::CertificateQuery(header, query) => {
            start(&mut out, "CERTIFICATE_QUERY", header);
            let direction = if query.direction == DIRECTION_CREDIT { "credit" } else { "debit" };
            let _ = write!(out, " {direction} locator={}", query.locator.get());
        }
        Message::CertificateAnswer(header, links, certificate) => {
            start(&mut out, "CERTIFICATE_ANSWER", header);
            write_certificate(&mut out, &certificate);
            let _ = write!(out, " locator={}", links.locator.get());
        }
        Message::Refusal(header, refusal, locked) => {
            start(&mut out, "REFUSAL", header);
            let code = refusal.code.get();
            match RefusalCode::from_number(code) {
                Some(code) => out.push_str(&format!(" {}", code.name())),
                None => {
                    let _ = write!(out, " code={code}");
                }
            }
            for (name, value) in [
                ("value", u64::from(refusal.value.get())),
                ("next", refusal.sequence.get()),
                ("amount", refusal.amount.get()),
            ] {
                if value != 0 {
                    let _ = write!(out, " {name}={value}");
                }
            }
            if let Some(order) = locked {
                out.push_str(" locked:");
                write_order(&mut out, order);
            }
        }
        Message::Reserved(header, kind) => start(&mut out, &format!("reserved kind {}", kind as u8), header),
    }
    let header = header_of(message);
    let token = if header.return_token == [0; 8] { "no" } else { "yes" };
    let _ =
        write!(out, " request={} return-token={token} {} bytes", hex::encode(header.request_id), header.length.get());
    out
}

fn header_of<'a>(message: &Message<'a>) -> &'a Header {
    match *message {
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

fn start(out: &mut String, name: &str, header: &Header) {
    let _ = write!(
        out,
        "{name} account={} seq={} epoch={}",
        short(&header.account),
        header.sequence.get(),
        header.epoch.get()
    );
}

fn write_order(out: &mut String, order: &SignedOrder) {
    let body = &order.body;
    if body.operation == OPERATION_TRANSFER {
        let _ = write!(out, " amount={} token={} to={}", body.amount.get(), body.token.get(), short(&body.recipient));
    } else {
        let _ = write!(out, " operation={} token={}", body.operation, body.token.get());
    }
    if body.expiry_ms.get() != 0 {
        let _ = write!(out, " expiry={}ms", body.expiry_ms.get());
    }
}

fn write_certificate(out: &mut String, certificate: &CertificateView<'_>) {
    write_order(out, &certificate.head.order);
    let signers: Vec<String> = certificate.votes().map(|(place, _)| place.to_string()).collect();
    let _ = write!(out, " signers={}", signers.join(","));
}

fn short(bytes: &[u8; 32]) -> String {
    hex::encode(&bytes[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of the golden vectors by name.
    fn golden(name: &str) -> Vec<u8> {
        let vectors = include_str!("../../../wire/tests/golden/vectors.txt");
        let line = vectors.lines().find_map(|line| line.strip_prefix(&format!("{name} = "))).expect(name);
        hex::decode(line).unwrap()
    }

    #[test]
    fn golden_messages_are_told_in_full() {
        for (name, expected) in [
            ("transfer_request", "TRANSFER_REQUEST account=bc7cbcb5 seq=0 epoch=1 amount=1234 token=1 to=705fbac0"),
            ("transfer_response", "TRANSFER_RESPONSE account=bc7cbcb5 seq=0 epoch=1 signer=1 order=c40bf3dc"),
            (
                "confirmation_request",
                "CONFIRMATION_REQUEST account=bc7cbcb5 seq=0 epoch=1 amount=1234 token=1 to=705fbac0 signers=0,1,3",
            ),
            (
                "confirmation_response",
                "CONFIRMATION_RESPONSE account=bc7cbcb5 seq=0 epoch=1 executed=now next=1 order=c40bf3dc",
            ),
            ("account_query", "ACCOUNT_QUERY account=bc7cbcb5 seq=0 epoch=1 token=1"),
            ("refusal.insufficient_balance", "REFUSAL account=bc7cbcb5 seq=0 epoch=1 insufficient_balance amount=1000"),
            (
                "refusal.conflict",
                "REFUSAL account=bc7cbcb5 seq=0 epoch=1 conflict locked: amount=1234 token=1 to=705fbac0",
            ),
        ] {
            let bytes = golden(name);
            let token = if bytes[80..88] == [0; 8] { "no" } else { "yes" };
            let tail = format!("request=1011121314151617 return-token={token} {} bytes", bytes.len());
            assert_eq!(describe(&bytes), [format!("{expected} {tail}")], "{name}");
        }
        for name in ["account_answer", "certificate_query.debit", "certificate_answer.credit"] {
            let told = describe(&golden(name));
            assert!(told.len() == 1 && !told[0].contains("malformed"), "{name}: {told:?}");
        }
    }

    #[test]
    fn a_bundle_has_a_line_for_each_message_and_for_what_is_broken() {
        let mut bytes = [golden("account_query"), golden("transfer_response")].concat();
        bytes.extend([7; 30]);
        let datagram = Datagram {
            source: "192.0.2.7:4321".parse().unwrap(),
            destination: "[2001:db8::1]:7450".parse().unwrap(),
            vlan: Some(7),
            payload: &bytes,
        };
        let told = lines(3_723_000_001_999, false, &datagram);
        assert_eq!(told.len(), 3, "{told:#?}");
        assert!(
            told[0].starts_with("01:02:03.000001 in vlan 7 192.0.2.7:4321 > [2001:db8::1]:7450 1/3 ACCOUNT_QUERY"),
            "{}",
            told[0]
        );
        assert!(told[2].contains("3/3 malformed"), "{}", told[2]);
        assert_eq!(describe(&[]), ["empty"]);
    }

    #[test]
    fn no_bytes_break_the_telling() {
        for name in [
            "transfer_request",
            "confirmation_request",
            "certificate_answer.debit",
            "refusal.conflict",
            "account_answer",
        ] {
            let whole = golden(name);
            for length in 0..whole.len() {
                assert!(!describe(&whole[..length]).is_empty());
            }
            for at in 0..whole.len() {
                let mut changed = whole.clone();
                changed[at] ^= 0xff;
                assert!(describe(&changed).iter().all(|line| !line.contains('\n')));
            }
        }
    }
}
