//! What the journal holds: payloads of records, and their replay.
//!
//! Promised: no payload panics; what is parsed has the bytes that it was parsed from; a replay of whatever parses conserves money, token by
//! token.

use meshpay_protocol::record::Record;
use meshpay_protocol::{MemoryAccounts, apply};
use std::collections::BTreeMap;
use zerocopy::IntoBytes;

use crate::chance::Chance;

pub fn replay(bytes: &[u8]) {
    let mut chance = Chance::new(bytes);
    let mut accounts = MemoryAccounts::default();
    let mut position = 4096;
    while !chance.is_over() {
        let kind = chance.take::<u8>();
        let length = usize::from(chance.take::<u16>());
        let payload = chance.bytes(length);
        let Some(record) = Record::parse(kind, payload) else { continue };
        assert_eq!(bytes_of(&record), payload, "{record:?}");
        apply::replay(&mut accounts, &record, position).expect("memory has room");
        position += payload.len() as u64;
    }
    let mut sums = BTreeMap::<u32, i128>::new();
    for slot in accounts.slots() {
        *sums.entry(slot.token.get()).or_default() += slot.balance.get();
    }
    assert!(sums.values().all(|sum| *sum == 0), "a debit and its credit come from one record: {sums:?}");
}

fn bytes_of(record: &Record<'_>) -> Vec<u8> {
    match record {
        Record::Genesis(record) => record.as_bytes().to_vec(),
        Record::Lock(record) => record.as_bytes().to_vec(),
        Record::Execution(head, certificate) => [&[head.as_bytes()], &certificate.parts()[..]].concat().concat(),
        Record::CreditLink(record) => record.as_bytes().to_vec(),
        Record::Evidence(record) => record.as_bytes().to_vec(),
        Record::VotingStopped(record) => record.as_bytes().to_vec(),
    }
}
