//! Truncated, flipped and random bytes: nothing panics, and nothing that was changed is taken for what it was.

use meshpay_wire::*;

use crate::samples::*;

#[test]
fn truncated_at_every_length() {
    for (name, message) in every_kind(11) {
        for length in 0..message.len() {
            let cut = &message[..length];
            assert_eq!(Message::decode(cut), Err(Malformed::Truncated), "{name}, {length} bytes");
            let mut all = messages(cut);
            if length > 0 {
                assert_eq!(all.next(), Some(Err(Malformed::Truncated)));
            }
            assert_eq!(all.next(), None, "nothing is read after what is malformed");
        }
    }
}

#[test]
fn every_claimed_length() {
    for (name, message) in every_kind(12) {
        let mut datagram = message.clone();
        datagram.resize(DATAGRAM_MAX, 0);
        for length in 0..=u16::MAX {
            datagram[8..10].copy_from_slice(&length.to_le_bytes());
            match Message::decode(&datagram) {
                Ok((decoded, rest)) => {
                    let length = usize::from(length);
                    assert!((REQUEST_MIN..=DATAGRAM_MAX).contains(&length), "{name} of {length} bytes");
                    assert_eq!(rest.len(), DATAGRAM_MAX - length);
                    assert_eq!(usize::from(decoded.header().length.get()), length);
                }
                Err(malformed) => assert_ne!(malformed, Malformed::Truncated, "{name}: all bytes are there"),
            }
        }
    }
}

/// Not only header, reserved and padding bytes: every bit of every message.
#[test]
fn every_bit_flipped_is_refused_or_changes_the_value() {
    for (name, message) in every_kind(13) {
        let (original, _) = Message::decode(&message).expect("well formed");
        for bit in 0..message.len() * 8 {
            let mut flipped = message.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok((decoded, _)) = Message::decode(&flipped) {
                assert_ne!(decoded, original, "{name}, bit {bit}");
            }
        }
    }
}

/// What is wrong with some bytes, or how many messages they hold. Panics where an invariant of the decoder is broken.
fn read(datagram: &[u8]) -> Result<usize, Malformed> {
    let (mut count, mut length) = (0, 0);
    for message in messages(datagram) {
        let message = message?;
        let header = message.header();
        assert_eq!((header.magic, header.version), (MAGIC, VERSION));
        length += usize::from(header.length.get());
        count += 1;
        if let Message::ConfirmationRequest(_, certificate) | Message::CertificateAnswer(_, _, certificate) = message {
            assert!((1..=SIGNERS_MAX).contains(&certificate.signatures.len()));
            assert_eq!(certificate.votes().count(), certificate.signatures.len());
        }
    }
    assert_eq!(length, datagram.len());
    assert!(count <= BUNDLE_MAX);
    Ok(count)
}

#[test]
fn a_million_random_datagrams() {
    let seed = 0x6d65_7368_7061_7921;
    println!("seed {seed:#x}");
    let mut random = Random::seeded(seed);
    let samples: Vec<Vec<u8>> = every_kind(14).into_iter().map(|(_, message)| message).collect();
    let mut buffer = [0; DATAGRAM_MAX + 100];
    let (mut well_formed, mut refused) = (0u32, [0u32; 10]);
    for round in 0..1_000_000u32 {
        let length = match round % 5 {
            // Noise, bare and behind a good beginning.
            0 => {
                let length = random.below(buffer.len() + 1);
                random.fill(&mut buffer[..length]);
                length
            }
            1 => {
                let length = 6 + random.below(buffer.len() - 5);
                random.fill(&mut buffer[..length]);
                buffer[..5].copy_from_slice(&[b'M', b'P', b'A', b'Y', VERSION]);
                length
            }
            // Good messages, bundled, with some bytes changed and the end moved.
            _ => {
                let mut length = 0;
                while length < buffer.len() {
                    let sample = &samples[random.below(samples.len())];
                    if length + sample.len() > buffer.len() || random.below(3) == 0 && length > 0 {
                        break;
                    }
                    buffer[length..length + sample.len()].copy_from_slice(sample);
                    length += sample.len();
                }
                for _ in 0..random.below(4) {
                    // Mostly the header, where decisions are made.
                    let at = if random.below(2) == 0 { random.below(HEADER_LENGTH) } else { random.below(length) };
                    buffer[at] = random.bytes::<1>()[0];
                }
                if random.below(4) == 0 { random.below(length) } else { length }
            }
        };
        match read(&buffer[..length]) {
            Ok(count) => well_formed += u32::from(count > 0),
            Err(malformed) => refused[malformed as usize] += 1,
        }
        if let Some((certificate, used)) = CertificateView::parse(&buffer[..length]) {
            assert_eq!(certificate.length(), used);
            assert!(used <= length);
        }
    }
    let reasons: Vec<_> = Malformed::ALL.iter().map(|malformed| malformed.name()).zip(refused).collect();
    println!("{well_formed} well formed, refused: {reasons:?}");
    assert!(well_formed > 100_000, "the generator must reach what is behind the first checks");
    assert!(refused.iter().all(|count| *count > 100), "every reason to refuse is reached: {refused:?}");
}
