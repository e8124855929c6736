//! The golden vectors under `wire/tests/golden/`: a small network with fixed keys, and every kind of message in it, byte for byte.
//!
//! `docs/wire.md` quotes them, clients in other languages are checked against them, and this test fails when any byte of them
//! changes. Whoever changes the wire format on purpose raises its version and rewrites them:
//! `cargo test -p meshpay-protocol --test golden -- --ignored`.

use std::fmt::Write;
use std::path::PathBuf;

use meshpay_crypto::{SigningKey, verify};
use meshpay_protocol::genesis::{MemberEntry, allocations_digest, allocations_text, parse_allocations};
use meshpay_protocol::{Allocation, Equivocation, Genesis};
use meshpay_wire::*;
use zerocopy::{FromZeros, IntoBytes};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../wire/tests/golden")
}

/// Seeds are one byte, repeated 32 times.
fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

const ALICE: u8 = 0xa1;
const BOB: u8 = 0xb0;
const AUTHORITIES: [u8; 4] = [1, 2, 3, 4];
/// What a client might have chosen.
const REQUEST_ID: [u8; 8] = [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17];
/// What an authority might have given.
const RETURN_TOKEN: [u8; 8] = [0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7];

fn genesis() -> (Genesis, Vec<Allocation>) {
    let allocations = vec![
        Allocation { account: key(ALICE).public_key(), token: 1, amount: 100_000 },
        Allocation { account: key(BOB).public_key(), token: 1, amount: 50_000 },
        Allocation { account: key(ALICE).public_key(), token: 7, amount: 30 },
    ];
    let tokens = vec![(1, "EUR".to_owned(), 2), (7, "MEAL".to_owned(), 0)];
    let member = |(place, seed): (usize, &u8)| MemberEntry {
        name: format!("merchant-{place}"),
        key: hex::encode(key(*seed).public_key()),
        weight: 1,
        address: Some(format!("192.0.2.{}:{DEFAULT_PORT}", place + 1).parse().expect("an address")),
    };
    let committee = AUTHORITIES.iter().enumerate().map(member).collect();
    (Genesis::new("golden", 1, 10, tokens, committee, &allocations).expect("a genesis"), allocations)
}

/// The lines of the vectors' file.
struct Vectors(String);

impl Vectors {
    fn about(&mut self, text: &str) {
        writeln!(self.0, "\n# {text}").expect("a string");
    }
    fn hex(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        writeln!(self.0, "{name} = {}", hex::encode(bytes)).expect("a string");
    }
    fn message(&mut self, name: &str, write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
        let mut buffer = [0; DATAGRAM_MAX];
        let length = write(&mut buffer);
        self.hex(name, &buffer[..length]);
        buffer[..length].to_vec()
    }
}

fn header_of(message: &[u8]) -> &Header {
    Message::decode(message).expect("well formed").0.header()
}

fn vectors() -> String {
    let mut out = Vectors(
        "# MeshPay golden vectors, wire version 1. Written by protocol/tests/golden.rs; explained in docs/wire.md.\n\
         # `name = value`, bytes in hex. The genesis is genesis.toml and allocations.csv beside this file.\n"
            .to_owned(),
    );
    let (genesis, allocations) = genesis();
    let rules = genesis.rules().expect("rules");

    out.about("Keys: seed, and the Ed25519 public key that RFC 8032 derives from it.");
    for (place, seed) in AUTHORITIES.iter().enumerate() {
        out.hex(&format!("authority.{place}.seed"), [*seed; 32]);
        out.hex(&format!("authority.{place}.key"), key(*seed).public_key());
    }
    for (name, seed) in [("alice", ALICE), ("bob", BOB)] {
        out.hex(&format!("{name}.seed"), [seed; 32]);
        out.hex(&format!("{name}.key"), key(seed).public_key());
    }

    out.about("Genesis.");
    let canonical = genesis.canonical_bytes().expect("canonical bytes");
    assert_eq!(genesis_digest(&canonical), rules.genesis);
    out.hex("allocations.digest", allocations_digest(&allocations));
    out.hex("genesis.canonical", canonical);
    out.hex("genesis.digest", rules.genesis.0);
    out.hex("network", rules.network);

    out.about("Domain tags.");
    for (name, tag) in [("order", ORDER_DOMAIN), ("vote", VOTE_DOMAIN), ("genesis", GENESIS_DOMAIN)] {
        out.hex(&format!("domain.{name}"), tag);
    }

    out.about("Alice pays Bob 12.34 EUR at her sequence 0.");
    let body = OrderBody {
        sender: key(ALICE).public_key(),
        sequence: 0.into(),
        expiry_ms: 0.into(),
        token: 1.into(),
        epoch: 1.into(),
        operation: OPERATION_TRANSFER,
        reserved: [0; 7],
        recipient: key(BOB).public_key(),
        amount: 1_234.into(),
        memo: *b"invoice 2026-0042               ",
    };
    let signed = |body: OrderBody| {
        let digest = order_digest(&rules.genesis, &body);
        (SignedOrder { body, signature: key(ALICE).sign(&digest.0) }, digest)
    };
    let (order, digest) = signed(body);
    out.hex("order.body", body.as_bytes());
    out.hex("order.preimage", order_preimage(&rules.genesis, &body));
    out.hex("order.digest", digest.0);
    out.hex("order.signature", order.signature);

    out.about("All four vote for it; three votes are a certificate.");
    let message = vote_digest(&rules.genesis, rules.epoch, &digest);
    out.hex("vote.preimage", vote_preimage(&rules.genesis, rules.epoch, &digest));
    out.hex("vote.digest", message);
    let votes = AUTHORITIES.map(|seed| key(seed).sign(&message));
    for (place, vote) in votes.iter().enumerate() {
        out.hex(&format!("vote.{place}.signature"), vote);
    }
    let head = CertificateHead { order, signers: 0b1011.into(), reserved: 0.into() };
    let signatures = [votes[0], votes[1], votes[3]];
    let certificate = CertificateView { head: &head, signatures: &signatures };
    out.hex("certificate", certificate.parts().concat());

    out.about("Alice signs a second order for the same sequence: with the first one, a proof of equivocation.");
    let (conflicting, conflicting_digest) = signed(OrderBody { amount: 4_321.into(), ..body });
    out.hex("conflicting.body", conflicting.body.as_bytes());
    out.hex("conflicting.digest", conflicting_digest.0);
    out.hex("conflicting.signature", conflicting.signature);
    let proof = Equivocation { first: order, second: conflicting };
    proof.verify(&rules.genesis).expect("it proves");

    out.about("Files, as wallets hand them to each other.");
    let file = |magic: &[u8; 8], body: &[u8]| {
        let head = [&magic[..], &[1, 0, 0, 0], &(body.len() as u32).to_le_bytes(), &rules.genesis.0].concat();
        let checked = [head, body.to_vec()].concat();
        [checked.clone(), truncate_sha512(&checked).to_vec()].concat()
    };
    out.hex("certificate.file", file(b"MPAYCERT", &certificate.parts().concat()));
    out.hex("evidence.file", file(b"MPAYEVID", &[order.as_bytes(), conflicting.as_bytes()].concat()));
    out.hex("order.file", file(b"MPAYORDR", order.as_bytes()));

    out.about("Requests. The first has no return token yet.");
    let envelope =
        |return_token| Envelope { network: rules.network, epoch: rules.epoch, request_id: REQUEST_ID, return_token };
    let (first, later) = (envelope([0; 8]), envelope(RETURN_TOKEN));
    let signers = rules.committee.largest_minimal_quorum();
    let debit_query = CertificateQuery { direction: DIRECTION_DEBIT, ..CertificateQuery::new_zeroed() };
    let credit_query = CertificateQuery { direction: DIRECTION_CREDIT, ..CertificateQuery::new_zeroed() };
    let transfer = out.message("transfer_request", |to| transfer_request(to, &first, &order, &digest));
    let conflict = out
        .message("transfer_request.conflicting", |to| transfer_request(to, &later, &conflicting, &conflicting_digest));
    let confirmation =
        out.message("confirmation_request", |to| confirmation_request(to, &later, &certificate, &digest));
    let account = out.message("account_query", |to| account_query(to, &later, &body.sender, 1));
    let debit = out
        .message("certificate_query.debit", |to| certificate_query(to, &later, &body.sender, 0, &debit_query, signers));
    let credit = out.message("certificate_query.credit", |to| {
        certificate_query(to, &later, &body.recipient, 0, &credit_query, signers)
    });

    // Padded for certificates of one vote, which this committee does not make.
    let too_short = out
        .message("certificate_query.too_short", |to| certificate_query(to, &later, &body.sender, 0, &debit_query, 1));

    out.about("Answers. The account is shown before the certificate was executed, with the order locked.");
    let vote = Vote { authority: 1, reserved: [0; 3], order: digest, signature: votes[1] };
    out.message("transfer_response", |to| transfer_response(to, header_of(&transfer), RETURN_TOKEN, &vote));
    let executed =
        Executed { order: digest, next_sequence: 1.into(), status: ExecutionStatus::Now as u8, reserved: [0; 7] };
    out.message("confirmation_response", |to| {
        confirmation_response(to, header_of(&confirmation), RETURN_TOKEN, &executed)
    });
    let answer = AccountAnswer {
        balance: 100_000.into(),
        token: 1.into(),
        flags: (account_flags::KNOWN | account_flags::LOCKED).into(),
        locked: order,
        ..AccountAnswer::new_zeroed()
    };
    out.message("account_answer", |to| account_answer(to, header_of(&account), RETURN_TOKEN, &answer));
    let links = CertificateLinks { locator: 4_096.into(), ..CertificateLinks::new_zeroed() };
    out.message("certificate_answer.debit", |to| {
        certificate_answer(to, header_of(&debit), RETURN_TOKEN, &links, &certificate)
    });
    out.message("certificate_answer.credit", |to| {
        certificate_answer(to, header_of(&credit), RETURN_TOKEN, &links, &certificate)
    });
    let refused = |code: RefusalCode| RefusalBody { code: (code as u16).into(), ..RefusalBody::new_zeroed() };
    let poor = RefusalBody { amount: 1_000.into(), ..refused(RefusalCode::InsufficientBalance) };
    out.message("refusal.insufficient_balance", |to| refusal(to, header_of(&transfer), RETURN_TOKEN, &poor, None));
    let locked = refused(RefusalCode::Conflict);
    out.message("refusal.conflict", |to| refusal(to, header_of(&conflict), RETURN_TOKEN, &locked, Some(&order)));
    let short = RefusalBody { value: 520.into(), ..refused(RefusalCode::RequestTooShort) };
    out.message("refusal.request_too_short", |to| refusal(to, header_of(&too_short), RETURN_TOKEN, &short, None));

    out.about("ZIP 215: these must be accepted, for the message below; many libraries refuse them.");
    let accepted = *b"ZIP 215 accepts these signatures";
    out.hex("zip215.message", accepted);
    let mut identity = [0; 32];
    identity[0] = 1;
    // y = p + 1, that is 1, not reduced; and the point of order 4 with y = 0.
    let mut unreduced = [0xff; 32];
    (unreduced[0], unreduced[31]) = (0xee, 0x7f);
    let order_4 = [0; 32];
    for (at, (public, r)) in [(identity, identity), (unreduced, identity), (order_4, unreduced)].iter().enumerate() {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(r);
        assert!(verify(public, &accepted, &signature));
        out.hex(&format!("zip215.{at}.key"), public);
        out.hex(&format!("zip215.{at}.signature"), signature);
    }
    out.0
}

fn files() -> [(&'static str, String); 3] {
    let (genesis, allocations) = genesis();
    let allocations = format!("# account, token, amount in minor units\n{}", allocations_text(&allocations));
    [("genesis.toml", genesis.text()), ("allocations.csv", allocations), ("vectors.txt", vectors())]
}

#[test]
fn golden_vectors() {
    for (name, expected) in files() {
        let path = folder().join(name);
        let found = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for (line, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
            assert_eq!(
                found,
                expected,
                "{name}, line {}: bytes that cross the air have changed; if that is meant, see the head of this file",
                line + 1
            );
        }
        assert_eq!(found, expected, "{name}: lines are missing or surplus");
    }
}

#[test]
fn the_golden_genesis_is_read_from_its_files() {
    let read = |name| std::fs::read_to_string(folder().join(name)).expect(name);
    let parsed = Genesis::parse(&read("genesis.toml")).expect("a genesis");
    let allocations = parse_allocations(&read("allocations.csv")).expect("allocations");
    assert_eq!((&parsed, &allocations), (&genesis().0, &genesis().1));
    parsed.check_allocations(&allocations).expect("they belong together");
}

#[test]
#[ignore = "rewrites the golden files"]
fn rewrite_the_golden_vectors() {
    std::fs::create_dir_all(folder()).expect("the folder");
    for (name, text) in files() {
        std::fs::write(folder().join(name), text).expect(name);
    }
}
