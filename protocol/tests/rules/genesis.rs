//! What no genesis may be, and that its digest covers everything but addresses.

use meshpay_protocol::genesis::{
    AllocationsEntry, MemberEntry, TokenEntry, allocate, allocations_digest, allocations_text, parse_allocations,
};
use meshpay_protocol::{
    Accounts, Allocation, CommitteeError, Genesis, GenesisError, MemoryAccounts, account::shard_of,
};
use meshpay_wire::{Header, truncate_sha512};

use crate::network::*;

fn allocations() -> Vec<Allocation> {
    Network::four().allocations
}

fn genesis() -> Genesis {
    let tokens = vec![(EURO, "EUR".to_owned(), 2), (VOUCHER, "MEAL".to_owned(), 0)];
    let committee = (0..4).map(|place| member(place, 1)).collect();
    Genesis::new("test", 0, MINIMUM_FIRST_CREDIT, tokens, committee, &allocations()).expect("a genesis")
}

fn with(change: impl FnOnce(&mut Genesis)) -> Genesis {
    let mut changed = genesis();
    change(&mut changed);
    changed
}

fn refused(change: impl FnOnce(&mut Genesis)) -> GenesisError {
    let changed = with(change);
    let error = changed.rules().map(|_| "accepted").expect_err("this genesis must be refused");
    assert_eq!(Genesis::parse(&changed.text()).expect_err("also from its file").to_string(), error.to_string());
    error
}

#[test]
fn a_genesis_survives_its_file() {
    let mut genesis = genesis();
    genesis.committee[1].address = Some("[fd00::1]:7450".parse().expect("an address"));
    assert_eq!(Genesis::parse(&genesis.text()).expect("its own text"), genesis);
    let rules = genesis.rules().expect("rules");
    assert_eq!(rules.network, Header::network_of(&rules.genesis));
    assert_eq!(rules.token(EURO).expect("declared").supply, ALICE_EUROS + BOB_EUROS);
    assert_eq!(rules.token(2), None);
    genesis.check_allocations(&allocations()).expect("its own list");
}

/// TOML integers end at 2^63 - 1, supplies at 2^64 - 1.
#[test]
fn a_supply_above_63_bits_survives_its_file() {
    for supply in [i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let list = [Allocation { account: account(ALICE), token: 1, amount: supply }];
        let members = (0..4).map(|place| member(place, 1)).collect();
        let genesis = Genesis::new("large", 0, supply, vec![(1, "EUR".into(), 2)], members, &list).expect("a genesis");
        let read = Genesis::parse(&genesis.text()).expect("its own text");
        assert_eq!(read, genesis, "{supply}");
        assert_eq!(parse_allocations(&allocations_text(&list)), Ok(list.to_vec()));
    }
}

#[test]
fn every_field_changes_the_digest() {
    let changes: [fn(&mut Genesis); 16] = [
        |g| g.name = "tesu".into(),
        |g| g.name = "testing".into(),
        |g| g.epoch = 1,
        |g| g.minimum_first_credit += 1,
        |g| g.token[0].id = 2,
        |g| g.token[0].symbol = "EUS".into(),
        |g| g.token[0].decimals = 3,
        |g| g.token[0].supply += 1,
        |g| g.token.swap(0, 1),
        |g| drop(g.token.pop()),
        |g| g.committee[2].name = "authority-x".into(),
        |g| g.committee[2].key = hex::encode(account(CAROL)),
        |g| g.committee[2].weight = 2,
        |g| g.committee.swap(0, 3),
        |g| g.allocations.count += 1,
        |g| g.allocations.digest = hex::encode([7; 32]),
    ];
    let mut digests = vec![genesis().digest().expect("a digest").0];
    digests.extend(changes.map(|change| with(change).digest().expect("a digest").0));
    let distinct: std::collections::HashSet<_> = digests.iter().collect();
    assert_eq!(distinct.len(), digests.len());
}

#[test]
fn addresses_and_the_case_of_hex_do_not_change_the_digest() {
    let plain = genesis().digest();
    let moved = with(|g| g.committee[0].address = Some("192.0.2.1:7450".parse().expect("an address")));
    assert_eq!(moved.digest(), plain);
    let upper = with(|g| {
        g.committee[0].key.make_ascii_uppercase();
        g.allocations.digest.make_ascii_uppercase();
    });
    assert_eq!(upper.digest(), plain);
    upper.check_allocations(&allocations()).expect("the same list");
}

/// Two names of neighbouring fields cannot be shifted into each other: each is preceded by its length.
#[test]
fn no_two_genesis_have_the_same_canonical_bytes() {
    let first = with(|g| (g.committee[0].name, g.name) = ("ab".into(), "c".into()));
    let second = with(|g| (g.committee[0].name, g.name) = ("a".into(), "cb".into()));
    assert_ne!(first.digest(), second.digest());
}

#[test]
fn repeated_keys() {
    let twice = refused(|g| g.committee[3].key = g.committee[1].key.clone());
    let error = CommitteeError::RepeatedKey("authority-1".into(), "authority-3".into());
    assert_eq!(twice, GenesisError::Committee(error.clone()));
    let in_capitals = refused(|g| g.committee[3].key = g.committee[1].key.to_uppercase());
    assert_eq!(in_capitals, GenesisError::Committee(error));
}

#[test]
fn zero_weight() {
    let error = refused(|g| g.committee[2].weight = 0);
    assert_eq!(error, GenesisError::Committee(CommitteeError::ZeroWeight("authority-2".into())));
}

/// Small order, mixed order, not canonical, not on the curve: nobody can have made them as RFC 8032 says.
#[test]
fn keys_that_are_no_canonical_points_of_the_prime_order_group() {
    for key in [
        "0100000000000000000000000000000000000000000000000000000000000000", // the identity
        "0000000000000000000000000000000000000000000000000000000000000000", // order 4
        "0000000000000000000000000000000000000000000000000000000000000080", // order 4
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // order 2
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8
        "0100000000000000000000000000000000000000000000000000000000000080", // the identity with the sign of -0
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = p + 1: the identity, not reduced
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = p: order 4, not reduced
        "0200000000000000000000000000000000000000000000000000000000000000", // no point
    ] {
        let error = refused(|g| g.committee[2].key = key.into());
        assert_eq!(error, GenesisError::Committee(CommitteeError::BadKey("authority-2".into())), "{key}");
    }
    for key in ["", "00", "zz", &"0".repeat(63), &"0".repeat(66)] {
        assert!(matches!(refused(|g| g.committee[2].key = key.into()), GenesisError::Hex(_)), "{key}");
    }
    assert!(matches!(refused(|g| g.allocations.digest = "12".into()), GenesisError::Hex(_)));
}

#[test]
fn quorum_too_large() {
    let members = |light: usize| {
        (0..20).map(move |place| member(place, if place < light { 3 } else { 7 })).collect::<Vec<MemberEntry>>()
    };
    let error = refused(|g| g.committee = members(17));
    assert_eq!(error, GenesisError::Committee(CommitteeError::QuorumTooLarge(17)));
    let error = refused(|g| g.committee = (0..21).map(|place| member(place, 1)).collect());
    assert_eq!(error, GenesisError::Committee(CommitteeError::Size(21)));
    let error = refused(|g| g.committee.clear());
    assert!(matches!(error, GenesisError::Committee(CommitteeError::Size(0)) | GenesisError::Syntax(_)));
}

#[test]
fn tokens_that_are_none() {
    assert!(matches!(refused(|g| g.token[1].id = EURO), GenesisError::Token(EURO, _)));
    assert!(matches!(refused(|g| g.token[1].symbol.clear()), GenesisError::Token(VOUCHER, _)));
    assert!(matches!(refused(|g| g.token[1].symbol = "seventeen letters".into()), GenesisError::Token(VOUCHER, _)));
    assert!(matches!(refused(|g| g.token[1].supply = 0), GenesisError::Token(VOUCHER, _)));
    assert!(matches!(refused(|g| g.name = "n".repeat(65)), GenesisError::Name(_)));
    assert!(matches!(refused(|g| g.committee[0].name = "n".repeat(65)), GenesisError::Name(_)));
}

/// The canonical form counts tokens in one byte; more of them must not be taken for fewer.
#[test]
fn more_tokens_than_the_canonical_form_can_count() {
    let token = |id| TokenEntry { id, symbol: "T".into(), decimals: 0, supply: 1 };
    with(|g| g.token = (0..255).map(token).collect()).rules().expect("255 can be counted");
    let error = refused(|g| g.token = (0..256).map(token).collect());
    assert!(matches!(error, GenesisError::Token(255, _)), "{error}");
}

#[test]
fn supply_mismatch() {
    let error = with(|g| g.token[0].supply += 1).check_allocations(&allocations()).expect_err("refused");
    assert!(matches!(error, GenesisError::Token(EURO, _)));
    let undeclared = with(|g| drop(g.token.pop())).check_allocations(&allocations()).expect_err("refused");
    assert!(matches!(undeclared, GenesisError::Token(VOUCHER, _)));
    let mut too_much = allocations();
    too_much[0].amount = u64::MAX;
    let error = relisted(&too_much).check_allocations(&too_much).expect_err("refused");
    assert!(matches!(error, GenesisError::Token(EURO, _)), "the sum does not fit 64 bits");
}

/// The genesis of another list, so that nothing but the list can be wrong with it.
fn relisted(list: &[Allocation]) -> Genesis {
    let digest = hex::encode(allocations_digest(list));
    with(|g| g.allocations = AllocationsEntry { count: list.len() as u64, digest })
}

#[test]
fn duplicate_allocation() {
    let mut list = allocations();
    list.push(Allocation { amount: 1, ..list[0] });
    assert_eq!(relisted(&list).check_allocations(&list), Err(GenesisError::AllocationTwice(4)));
}

#[test]
fn zero_allocation() {
    let mut list = allocations();
    list[1].amount = 0;
    assert_eq!(relisted(&list).check_allocations(&list), Err(GenesisError::AllocationLine(2)));
    let line = format!("{},1,0\n", hex::encode(account(ALICE)));
    assert_eq!(parse_allocations(&line), Err(GenesisError::AllocationLine(1)));
}

#[test]
fn allocations_of_another_list() {
    let genesis = genesis();
    let mut list = allocations();
    list.swap(0, 1);
    assert!(matches!(genesis.check_allocations(&list), Err(GenesisError::Allocations(_))), "their order counts");
    list.swap(0, 1);
    list.pop();
    assert!(matches!(genesis.check_allocations(&list), Err(GenesisError::Allocations(_))));
}

#[test]
fn allocations_survive_their_file() {
    let list = allocations();
    let text = format!("# first balances\n\n{}\n  # the end\n", allocations_text(&list));
    assert_eq!(parse_allocations(&text), Ok(list.clone()));
    let key = hex::encode(account(ALICE));
    for bad in
        ["x", &key, &format!("{key},1"), &format!("{key},1,1,1"), &format!("{key},-1,1"), &format!("{key},1,1.5")]
    {
        assert_eq!(parse_allocations(&format!("# one\n{bad}\n")), Err(GenesisError::AllocationLine(2)), "{bad}");
    }
    let bytes: Vec<u8> = list
        .iter()
        .flat_map(|entry| [&entry.account[..], &entry.token.to_le_bytes(), &entry.amount.to_le_bytes()].concat())
        .collect();
    assert_eq!(allocations_digest(&list), truncate_sha512(&bytes));
}

#[test]
fn allocations_become_balances() {
    let mut accounts = MemoryAccounts::default();
    allocate(&mut accounts, &allocations()).expect("memory has room");
    assert_eq!(accounts.slots().len(), 3, "Alice's second token has a slot of its own");
    assert_eq!(accounts.balance(&account(ALICE), EURO), i128::from(ALICE_EUROS));
    assert_eq!(accounts.balance(&account(ALICE), VOUCHER), i128::from(ALICE_VOUCHERS));
    assert_eq!(accounts.balance(&account(BOB), VOUCHER), 0);
    assert!(!accounts.exists(&account(CAROL)));
    assert!(shard_of(&account(ALICE)) == account(ALICE)[0] as usize);
}

#[test]
fn what_is_no_genesis_file() {
    for text in ["", "name = 1", "[[committee]]", &format!("surprise = 1\n{}", genesis().text())] {
        assert!(matches!(Genesis::parse(text), Err(GenesisError::Syntax(_))), "{text}");
    }
}
