//! Quorum arithmetic: what keeps two certificates for one sequence from existing.

use meshpay_crypto::SigningKey;
use meshpay_protocol::{Committee, CommitteeError, Member};
use meshpay_wire::{COMMITTEE_MAX, SIGNERS_MAX};
use proptest::prelude::*;
use std::sync::LazyLock;

static KEYS: LazyLock<Vec<[u8; 32]>> =
    LazyLock::new(|| (1..=21).map(|seed| SigningKey::from_seed(&[seed; 32]).public_key()).collect());

fn members(weights: &[u32]) -> Vec<Member> {
    let member =
        |(place, weight): (usize, &u32)| Member { name: format!("m{place}"), key: KEYS[place], weight: *weight };
    weights.iter().enumerate().map(member).collect()
}

fn committee(weights: &[u32]) -> Committee {
    Committee::new(members(weights)).expect("a committee")
}

#[test]
fn quorums_of_equal_weights() {
    // members, quorum, tolerated
    for (size, quorum, tolerated) in [
        (1, 1, 0),
        (2, 2, 0),
        (3, 3, 0),
        (4, 3, 1),
        (5, 4, 1),
        (6, 5, 1),
        (7, 5, 2),
        (10, 7, 3),
        (13, 9, 4),
        (20, 14, 6),
    ] {
        let committee = committee(&vec![1; size]);
        assert_eq!((committee.quorum(), committee.tolerated()), (quorum, tolerated), "{size} members");
        assert_eq!(committee.largest_minimal_quorum() as u64, quorum);
        let first = |count: u64| (1u32 << count) - 1;
        assert!(committee.is_quorum(first(quorum)) && committee.is_minimal_quorum(first(quorum)));
        assert!(!committee.is_quorum(first(quorum - 1)));
        assert!(quorum == size as u64 || !committee.is_minimal_quorum(first(quorum + 1)));
    }
}

#[test]
fn quorums_of_weights() {
    let weighted = committee(&[3, 1, 1, 1, 1]);
    assert_eq!((weighted.total_weight(), weighted.quorum(), weighted.tolerated()), (7, 5, 2));
    assert!(weighted.is_minimal_quorum(0b00111) && !weighted.is_minimal_quorum(0b01111));
    assert!(!weighted.is_quorum(0b11110), "all but the heavy one");
    assert_eq!(weighted.largest_minimal_quorum(), 3);
    let heavy = committee(&[u32::MAX; 20]);
    assert_eq!(heavy.total_weight(), 20 * u64::from(u32::MAX));
    assert_eq!(heavy.quorum(), 2 * 20 * u64::from(u32::MAX) / 3 + 1);
    assert_eq!(heavy.largest_minimal_quorum(), 14);
}

#[test]
fn bits_beyond_the_committee_weigh_nothing() {
    let committee = committee(&[1; 4]);
    for bits in [1 << 4, 1 << 31, u32::MAX << 4] {
        assert!(!committee.all_members(bits));
        assert_eq!(committee.weight_of(bits), 0);
        assert!(!committee.is_quorum(bits | 0b11));
    }
    assert!(committee.all_members(0b1111) && committee.all_members(0));
    assert_eq!(committee.minimal_quorum_of(u32::MAX).map(u32::count_ones), Some(3), "and are dropped");
}

#[test]
fn places_follow_the_list() {
    let committee = committee(&[1; 4]);
    for place in 0..4 {
        assert_eq!(committee.place_of(&KEYS[place]), Some(place));
    }
    assert_eq!(committee.place_of(&KEYS[4]), None);
}

#[test]
fn what_is_no_committee() {
    assert_eq!(Committee::new(vec![]).expect_err("refused"), CommitteeError::Size(0));
    assert_eq!(Committee::new(members(&[1; COMMITTEE_MAX + 1])).expect_err("refused"), CommitteeError::Size(21));
    let refused = Committee::new(members(&[1, 0, 1])).expect_err("refused");
    assert_eq!(refused, CommitteeError::ZeroWeight("m1".into()));
    let mut twice = members(&[1; 4]);
    twice[3].key = twice[1].key;
    let refused = Committee::new(twice).expect_err("refused");
    assert_eq!(refused, CommitteeError::RepeatedKey("m1".into(), "m3".into()));
}

/// Some minimal quorum of it would not fit a datagram.
#[test]
fn a_committee_whose_worst_certificate_does_not_fit_is_refused() {
    // (light members, their weight, weight of the heavy ones that make up 20): all light ones together are a quorum by a hair.
    for (light, weight, heavy) in [(17, 3, 7), (18, 3, 13), (19, 1, 9)] {
        let weights: Vec<u32> = (0..20).map(|place| if place < light { weight } else { heavy }).collect();
        let refused = Committee::new(members(&weights)).expect_err("refused");
        assert_eq!(refused, CommitteeError::QuorumTooLarge(light));
    }
    // 16 light ones: just fits.
    let weights: Vec<u32> = (0..20).map(|place| if place < 17 { 1 } else { 2 }).collect();
    assert_eq!(committee(&weights).largest_minimal_quorum(), SIGNERS_MAX);
}

/// The definition, written apart: a quorum of which nobody can be left out.
fn is_minimal(weights: &[u32], set: u32) -> bool {
    let places = || (0..weights.len()).filter(move |place| set >> place & 1 == 1);
    let sum: u64 = places().map(|place| u64::from(weights[place])).sum();
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    3 * sum > 2 * total && places().all(|place| 3 * (sum - u64::from(weights[place])) <= 2 * total)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// More than f in common, hence an honest one, who votes once for a sequence: no two certificates for it.
    #[test]
    fn two_quorums_share_more_than_f(
        weights in prop::collection::vec(1u32..1_000, 1..=12),
        first: u32,
        second: u32,
    ) {
        let Ok(committee) = Committee::new(members(&weights)) else { return Ok(()) };
        let everybody = (1u32 << weights.len()) - 1;
        // Where the generated sets are no quorums, their lightest quorum-making completion is taken.
        let quorum = |set: u32| {
            let set = set & everybody;
            if committee.is_quorum(set) { set } else { committee.minimal_quorum_of(everybody).unwrap_or(everybody) | set }
        };
        let (first, second) = (quorum(first), quorum(second));
        prop_assert!(committee.is_quorum(first) && committee.is_quorum(second));
        let minimal = |set| committee.minimal_quorum_of(set).expect("a quorum");
        for (first, second) in [(first, second), (minimal(first), minimal(second))] {
            prop_assert!(committee.weight_of(first & second) > committee.tolerated());
        }
    }

    /// All pairs of minimal quorums, exhaustively, in small committees.
    #[test]
    fn every_two_minimal_quorums_share_more_than_f(weights in prop::collection::vec(1u32..20, 1..=8)) {
        let committee = committee(&weights);
        let minimal: Vec<u32> = (1..1u32 << weights.len()).filter(|set| committee.is_minimal_quorum(*set)).collect();
        for first in &minimal {
            for second in &minimal {
                prop_assert!(committee.weight_of(first & second) > committee.tolerated());
            }
        }
        let largest = minimal.iter().map(|set| set.count_ones() as usize).max();
        prop_assert_eq!(largest, Some(committee.largest_minimal_quorum()));
    }

    /// All honest members together are a quorum whatever f is silent, so payments go on.
    #[test]
    fn the_others_are_a_quorum_without_f(weights in prop::collection::vec(1u32..1_000, 1..=12), silent: u32) {
        let Ok(committee) = Committee::new(members(&weights)) else { return Ok(()) };
        let everybody = (1u32 << weights.len()) - 1;
        if committee.weight_of(silent & everybody) <= committee.tolerated() {
            prop_assert!(committee.is_quorum(everybody & !silent));
        }
    }

    #[test]
    fn minimal_quorum_of_is_minimal(weights in prop::collection::vec(1u32..50, 1..=10), set: u32) {
        let Ok(committee) = Committee::new(members(&weights)) else { return Ok(()) };
        prop_assert_eq!(committee.is_minimal_quorum(set), is_minimal(&weights, set));
        match committee.minimal_quorum_of(set) {
            None => prop_assert!(!committee.is_quorum(set)),
            Some(minimal) => {
                prop_assert_eq!(minimal & !set, 0, "nobody is added");
                prop_assert!(is_minimal(&weights, minimal));
                prop_assert!(minimal.count_ones() as usize <= committee.largest_minimal_quorum());
            }
        }
    }
}
