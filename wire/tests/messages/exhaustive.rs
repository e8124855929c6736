//! Every value of every field of the header that has few of them, against the rules as `docs/wire.md` says them, written here a second time.

use crate::samples::Random;
use meshpay_wire::*;

const VERSION_AT: usize = 4;
const CLASS_AT: usize = 5;
const KIND_AT: usize = 6;
const FLAGS_AT: usize = 7;
const LENGTH_AT: usize = 8;
const RESERVED_AT: usize = 10;

/// Numbers and classes of the kinds, from the table of the document.
const KINDS: [(u8, u8); 21] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (6, 1),
    (7, 1),
    (8, 1),
    (9, 0),
    (16, 0),
    (17, 0),
    (18, 0),
    (19, 0),
    (24, 1),
    (25, 1),
    (32, 2),
    (33, 2),
    (40, 1),
    (48, 0),
    (56, 0),
    (64, 1),
];
const REFUSAL: u8 = 9;

fn class_of(kind: u8) -> Option<u8> {
    KINDS.iter().find(|(number, _)| *number == kind).map(|(_, class)| *class)
}

/// A datagram that is as long as any may be, whose header is that of a reserved kind, which has no body to disagree with.
fn datagram() -> Vec<u8> {
    let mut bytes = vec![0; DATAGRAM_MAX];
    Random::seeded(1).fill(&mut bytes[12..HEADER_LENGTH]);
    bytes[..4].copy_from_slice(b"MPAY");
    (bytes[VERSION_AT], bytes[CLASS_AT], bytes[KIND_AT]) = (1, 2, 32);
    bytes[LENGTH_AT..LENGTH_AT + 2].copy_from_slice(&(DATAGRAM_MAX as u16).to_le_bytes());
    bytes
}

/// What is wrong with the fields that are asked before the body, in the order in which they are asked.
fn expected(bytes: &[u8]) -> Result<(), Malformed> {
    if bytes.len() < HEADER_LENGTH {
        return Err(Malformed::Truncated);
    }
    if bytes[..4] != *b"MPAY" {
        return Err(Malformed::Magic);
    }
    if bytes[VERSION_AT] != 1 {
        return Err(Malformed::Version);
    }
    let length = usize::from(bytes[LENGTH_AT]) + 256 * usize::from(bytes[LENGTH_AT + 1]);
    if !(112..=1400).contains(&length) {
        return Err(Malformed::Length);
    }
    if length > bytes.len() {
        return Err(Malformed::Truncated);
    }
    if bytes[FLAGS_AT] != 0 || bytes[RESERVED_AT] != 0 || bytes[RESERVED_AT + 1] != 0 {
        return Err(Malformed::Reserved);
    }
    let class = class_of(bytes[KIND_AT]).ok_or(Malformed::Kind)?;
    let may_be_any = bytes[KIND_AT] == REFUSAL && bytes[CLASS_AT] <= 2;
    if bytes[CLASS_AT] == class || may_be_any { Ok(()) } else { Err(Malformed::Class) }
}

fn check(bytes: &[u8]) {
    let decoded = Message::decode(bytes).map(|_| ());
    match expected(bytes) {
        Err(malformed) => assert_eq!(decoded, Err(malformed), "{:?}", &bytes[..12.min(bytes.len())]),
        // Behind the header a body may still be wrong; a kind without a body to read is not.
        Ok(()) if bytes[KIND_AT] >= 16 => assert_eq!(decoded, Ok(()), "{:?}", &bytes[..12]),
        Ok(()) => assert!(
            !matches!(decoded, Err(Malformed::Truncated | Malformed::Magic | Malformed::Version | Malformed::Class)),
            "{:?}: {decoded:?}",
            &bytes[..12]
        ),
    }
}

#[test]
fn every_kind_with_every_class() {
    let mut bytes = datagram();
    for kind in 0..=255 {
        for class in 0..=255 {
            (bytes[KIND_AT], bytes[CLASS_AT]) = (kind, class);
            check(&bytes);
        }
        assert_eq!(Kind::from_byte(kind).map(|known| known.class() as u8), class_of(kind));
    }
}

#[test]
fn every_value_of_every_byte_before_the_epoch() {
    for at in 0..12 {
        for kind in [1, 3, 5, 7, 9, 32] {
            let mut bytes = datagram();
            (bytes[KIND_AT], bytes[CLASS_AT]) = (kind, class_of(kind).expect("a kind"));
            for value in 0..=255 {
                bytes[at] = value;
                check(&bytes);
            }
        }
    }
}

#[test]
fn every_length_that_a_header_can_name() {
    let mut bytes = datagram();
    for (kind, class) in KINDS {
        (bytes[KIND_AT], bytes[CLASS_AT]) = (kind, class);
        for length in 0..=u16::MAX {
            bytes[LENGTH_AT..LENGTH_AT + 2].copy_from_slice(&length.to_le_bytes());
            check(&bytes);
        }
    }
}

#[test]
fn every_length_that_a_datagram_can_have() {
    let whole = datagram();
    for named in [111, 112, 113, 312, 1399, 1400, 1401] {
        let mut bytes = whole.clone();
        bytes[LENGTH_AT..LENGTH_AT + 2].copy_from_slice(&u16::to_le_bytes(named));
        for length in 0..=bytes.len() {
            check(&bytes[..length]);
        }
    }
    let oversized = vec![0; DATAGRAM_MAX + 1];
    assert_eq!(messages(&oversized).next(), Some(Err(Malformed::Oversized)));
}
