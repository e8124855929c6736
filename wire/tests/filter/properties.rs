//! Any bytes, and any message cut anywhere, get a verdict; hashes are those of `siphasher`.

use crate::scene::{ALICE, Scene, order, source};
use meshpay_wire::filter::sip::{Sip13, Sip24};
use meshpay_wire::filter::{Action, SlicePacket, message};
use meshpay_wire::messages;
use proptest::prelude::*;
use siphasher::sip::{SipHasher13, SipHasher24};
use std::hash::Hasher as _;

fn by_words<const C: usize, const D: usize>(mut sip: meshpay_wire::filter::sip::Sip<C, D>, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        sip.word(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    sip.finish(u64::from_le_bytes(last), bytes.len())
}

proptest! {
    #[test]
    fn any_bytes_get_a_verdict(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let scene = Scene::new();
        prop_assert_ne!(scene.frame(&bytes).action(), Action::Deliver);
        scene.verdict(&bytes, source());
    }

    #[test]
    fn hashes_are_those_of_siphasher(key in any::<[u8; 16]>(), bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let [low, high] = [0, 8].map(|at| u64::from_le_bytes(key[at..at + 8].try_into().unwrap()));
        let mut one_three = SipHasher13::new_with_key(&key);
        one_three.write(&bytes);
        prop_assert_eq!(by_words(Sip13::new([low, high]), &bytes), one_three.finish());
        let mut two_four = SipHasher24::new_with_key(&key);
        two_four.write(&bytes);
        prop_assert_eq!(by_words(Sip24::new([low, high]), &bytes), two_four.finish());
    }

    /// What a full decoder takes, the filter's look at its head takes too: it never ends a good message as malformed.
    #[test]
    fn no_message_that_decodes_is_malformed_here(at in 0_usize..312, bit in 0_u8..8) {
        let mut bytes = order(ALICE, 0).bytes();
        bytes[at] ^= 1 << bit;
        if matches!(messages(&bytes).next(), Some(Ok(_))) {
            prop_assert!(message::head(&SlicePacket(&bytes), 0, bytes.len()).is_some());
        }
    }
}

#[test]
fn a_message_cut_anywhere_is_malformed() {
    let scene = Scene::new();
    let whole = order(ALICE, 0).bytes();
    for length in 0..whole.len() {
        assert_eq!(scene.verdict(&whole[..length], source()).action(), Action::Drop, "cut to {length}");
    }
}
