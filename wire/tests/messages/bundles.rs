//! Several messages in one datagram.

use meshpay_wire::*;

use crate::samples::*;

#[test]
fn all_messages_of_a_bundle_are_read_in_order() {
    let samples = every_kind(21);
    for first in 0..samples.len() {
        let mut datagram = Vec::new();
        let mut names = Vec::new();
        for (name, message) in samples.iter().cycle().skip(first).take(samples.len()) {
            if datagram.len() + message.len() <= DATAGRAM_MAX {
                datagram.extend(message);
                names.push((name, message));
            }
        }
        let read: Vec<_> = messages(&datagram).collect::<Result<_, _>>().expect("all are well formed");
        assert_eq!(read.len(), names.len());
        for (message, (name, bytes)) in read.iter().zip(names) {
            assert_eq!(Message::decode(bytes).expect("well formed").0, *message, "{name}");
        }
    }
}

#[test]
fn nothing_is_read_after_a_malformed_message() {
    let query = &every_kind(22).into_iter().find(|(name, _)| name == "account query").expect("a sample").1;
    let mut datagram = [query.clone(), query.clone(), query.clone()].concat();
    datagram[query.len() + 7] = 1;
    let read: Vec<_> = messages(&datagram).collect();
    assert!(matches!(read[..], [Ok(_), Err(Malformed::Reserved)]), "{read:?}");
}

/// Bytes behind the last message that are no message: the datagram is malformed there, also where they are zero.
#[test]
fn a_tail_is_malformed() {
    let query = &every_kind(23).into_iter().find(|(name, _)| name == "account query").expect("a sample").1;
    for tail in [1, 87, 88, 500] {
        let datagram = [&query[..], &vec![0; tail]].concat();
        let read: Vec<_> = messages(&datagram).collect();
        let expected = if tail < HEADER_LENGTH { Malformed::Truncated } else { Malformed::Magic };
        assert!(matches!(read[..], [Ok(_), Err(malformed)] if malformed == expected), "{read:?}");
    }
}

#[test]
fn an_oversized_datagram_is_not_read_at_all() {
    let mut datagram = Vec::new();
    for (_, message) in every_kind(24) {
        datagram.extend(message);
    }
    for length in [DATAGRAM_MAX + 1, datagram.len()] {
        let read: Vec<_> = messages(&datagram[..length]).collect();
        assert_eq!(read, [Err(Malformed::Oversized)]);
    }
    assert_eq!(messages(&[]).count(), 0);
}

/// Also of kinds that this version does not read, no more than [`BUNDLE_MAX`] fit: whoever has room for that many has enough.
#[test]
fn no_datagram_holds_more_messages_than_the_bound_says() {
    let most = |length: usize, kind: Kind| {
        let mut message = vec![0; length];
        message[..5].copy_from_slice(&[b'M', b'P', b'A', b'Y', VERSION]);
        (message[5], message[6]) = (kind.class() as u8, kind as u8);
        message[8..10].copy_from_slice(&(length as u16).to_le_bytes());
        messages(&message.repeat(DATAGRAM_MAX / length)).take_while(Result::is_ok).count()
    };
    for kind in (0..=255).filter_map(Kind::from_byte) {
        for length in HEADER_LENGTH..200 {
            let count = most(length, kind);
            assert!(count <= BUNDLE_MAX, "{count} messages of kind {kind:?} with {length} bytes");
        }
    }
    assert_eq!(most(REQUEST_MIN, Kind::AccountQuery), BUNDLE_MAX);
}
