//! Inputs from which the corpora begin, made of the golden vectors and of the formats' own writers, so that the fuzzer starts inside them.
//!
//! `cargo test -p meshpay-fuzz --test corpus -- --ignored` writes them into `corpus/`; whatever the fuzzer finds joins them there.

use meshpay_authority::Settings;
use meshpay_authority::dump::packet_of;
use meshpay_protocol::account::SLOT_LENGTH;
use meshpay_protocol::record::{
    self, CreditLinkRecord, EvidenceRecord, ExecutionHead, GenesisRecord, VotingStoppedRecord,
};
use meshpay_protocol::{Account, SlotName};
use std::net::{IpAddr, SocketAddr};
use zerocopy::{FromZeros, IntoBytes};

use crate::{
    checkpoint, filter, genesis as genesis_target, key_file as key_file_target, wallet_files as wallet_files_target,
};

const VECTORS: &str = include_str!("../../wire/tests/golden/vectors.txt");
const GENESIS: &str = include_str!("../../wire/tests/golden/genesis.toml");
const ALLOCATIONS: &str = include_str!("../../wire/tests/golden/allocations.csv");
/// Vectors whose names begin like this are messages.
const MESSAGES: [&str; 9] = [
    "transfer_request",
    "transfer_response",
    "confirmation_request",
    "confirmation_response",
    "account_query",
    "account_answer",
    "certificate_query",
    "certificate_answer",
    "refusal",
];

fn vectors() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let pairs = VECTORS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    pairs.map(|(name, value)| (name, hex::decode(value).expect("vectors are hex")))
}

fn vector(wanted: &str) -> Vec<u8> {
    vectors().find(|(name, _)| *name == wanted).unwrap_or_else(|| panic!("no vector {wanted}")).1
}

/// Every message, and a bundle.
pub fn datagrams() -> Vec<Vec<u8>> {
    let is_message = |name: &str| MESSAGES.iter().any(|message| name.starts_with(message));
    let mut all: Vec<_> = vectors().filter(|(name, _)| is_message(name)).map(|(_, bytes)| bytes).collect();
    all.push([vector("transfer_request"), vector("account_query"), vector("confirmation_request")].concat());
    all
}

/// Requests as frames: IPv4 and IPv6, with and without a VLAN tag.
pub fn frames() -> Vec<Vec<u8>> {
    let own = [IpAddr::V4(filter::OWN_V4), IpAddr::V6(filter::OWN_V6)];
    let others: [IpAddr; 2] = [[10, 0, 0, 7].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 7].into()];
    let mut all = Vec::new();
    for payload in [vector("transfer_request"), vector("confirmation_request"), vector("account_query")] {
        for (own, other) in own.into_iter().zip(others) {
            let packet = packet_of(SocketAddr::new(other, 4000), SocketAddr::new(own, 7450), &payload);
            let kind: u16 = if own.is_ipv4() { 0x0800 } else { 0x86dd };
            let macs = [&filter::MAC[..], &[2, 0, 0, 0, 0, 9]].concat();
            all.push([&macs[..], &kind.to_be_bytes(), &packet].concat());
            all.push([&macs[..], &[0x81, 0x00, 0, 7], &kind.to_be_bytes(), &packet].concat());
        }
    }
    all
}

/// For targets whose bytes are choices: bytes of a hash, which choose this and that.
pub fn operations() -> Vec<Vec<u8>> {
    let some = |(number, length): (u8, usize)| {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&[number]).finalize_xof().fill(&mut bytes);
        bytes
    };
    [16, 64, 256, 512, 1024].into_iter().enumerate().map(|(number, length)| some((number as u8, length))).collect()
}

/// Choices as in [`operations`], and every message as a datagram of its own.
pub fn life_of_a_worker() -> Vec<Vec<u8>> {
    const RAW_DATAGRAM: u8 = 4;
    let raw = datagrams().into_iter().map(|datagram| {
        let length = (datagram.len() as u16).to_le_bytes();
        [&[RAW_DATAGRAM][..], &length, &datagram, &[0, 0]].concat()
    });
    operations().into_iter().chain(raw).collect()
}

/// Key files, and what may stand in one.
pub fn key_files() -> Vec<Vec<u8>> {
    let text = |text: &str| [&[key_file_target::TEXT][..], text.as_bytes()].concat();
    let seed = format!("meshpay-seed-v1 {}\n", hex::encode([7; 32]));
    let file = [&[0][..], &key_file_target::encrypted(seed.as_bytes())].concat();
    vec![file, text(&seed), text(&seed[..40]), text("meshpay-seed-v2 00\n"), text("")]
}

/// A few frames, good ones and others, in one segment and in two.
pub fn journal_files() -> Vec<Vec<u8>> {
    let good = |records: u8| [&[0, records - 1][..], &[0, 40, 1, 200, 0, 3, 1, 0][..2 * usize::from(records)]].concat();
    let segment = |content: &[u8]| [&[0][..], content, &[5]].concat();
    let one = [&[2, 0, 0][..], &segment(&[good(1), good(3)].concat()), &[0]].concat();
    let two = [&[1, 0, 1][..], &segment(&good(2)), &segment(&good(1)), &[1]].concat();
    let crafted = [&[2, 0, 0][..], &segment(&[&good(1)[..], &[3], &[7; 200], &[1, 4]].concat()), &[0]].concat();
    let mut all = operations();
    all.extend([one, two, crafted]);
    all
}

/// A payload of every kind of record.
pub fn records() -> Vec<Vec<u8>> {
    let order = [vector("order.body"), vector("order.signature")].concat();
    let lock = [vector("order.digest"), order.clone()].concat();
    let execution = [ExecutionHead::new_zeroed().as_bytes(), &vector("certificate")].concat();
    let evidence = EvidenceRecord::new_zeroed();
    let one = |kind: u8, payload: &[u8]| [&[kind][..], &(payload.len() as u16).to_le_bytes(), payload].concat();
    let all = [
        one(record::kind::GENESIS, GenesisRecord::new_zeroed().as_bytes()),
        one(record::kind::LOCK, &lock),
        one(record::kind::EXECUTION, &execution),
        one(record::kind::CREDIT_LINK, CreditLinkRecord::new_zeroed().as_bytes()),
        one(record::kind::EVIDENCE, evidence.as_bytes()),
        one(record::kind::VOTING_STOPPED, VotingStoppedRecord::new_zeroed().as_bytes()),
    ];
    let together = all.concat();
    all.into_iter().chain([together]).collect()
}

/// A whole checkpoint with two slots and an open credit, and one whose hashes are wrong.
pub fn checkpoints() -> Vec<Vec<u8>> {
    use checkpoint::repair;
    let mut header = vec![0; checkpoint::USED_BYTES];
    header[..8].copy_from_slice(b"MPAYCKP\0");
    header[8] = 1;
    let keys = [[1; 32], [2; 32]];
    let slots: Vec<u8> = [
        Account::empty(SlotName::account(&keys[0]), 1).as_bytes(),
        Account::empty(SlotName::further(&keys[1], 7), 7).as_bytes(),
    ]
    .concat();
    assert_eq!(slots.len(), 2 * SLOT_LENGTH);
    let all = repair::OWNER | repair::COUNTS | repair::CONTENT | repair::CHECK;
    let with = |repairs: u8, content: &[u8]| [&[repairs][..], &header, content].concat();
    let credit = [&4096u64.to_le_bytes()[..], &keys[0]].concat();
    vec![
        with(all, &[]),
        with(all, &slots),
        with(all, &[slots.clone(), credit].concat()),
        with(repair::OWNER | repair::COUNTS, &slots),
    ]
}

/// The default settings, a few others, and keys.
pub fn settings() -> Vec<Vec<u8>> {
    let key = "meshpay-authority-key 1\nseed = 0101010101010101010101010101010101010101010101010101010101010101\n";
    let tied = format!("{key}journal = {}\n", "02".repeat(32));
    let few = "workers = 2\ncores = [0, 1]\n[filter]\ninterface = \"mesh0\"\nvlans = [7]\nrequire = \"generic\"\n";
    [Settings::default().text(), key.to_owned(), tied, few.to_owned()].map(String::into_bytes).to_vec()
}

/// The golden genesis with and without its allocations.
pub fn genesis() -> Vec<Vec<u8>> {
    let both = format!("{GENESIS}{}{ALLOCATIONS}", genesis_target::BETWEEN);
    vec![GENESIS.as_bytes().to_vec(), both.into_bytes()]
}

/// The golden files, with the check as it is and to be put right.
pub fn wallet_files() -> Vec<Vec<u8>> {
    use wallet_files_target::repair;
    let all = repair::LENGTH | repair::NETWORK | repair::CHECK;
    let files = ["certificate.file", "evidence.file", "order.file"].map(vector);
    let with = |repairs: u8| files.iter().map(move |file| [&[repairs][..], file].concat());
    with(0).chain(with(all)).collect()
}
