//! A return token shows that its holder receives at an address. It holds for that address and port, this hour and the next.

use meshpay_wire::TokenKey;
use std::net::SocketAddr;

const HOUR_MS: u64 = 3_600_000;
const NOW_MS: u64 = 500_000 * HOUR_MS + 1_234_567;

fn key() -> TokenKey {
    TokenKey::new(*b"sixteen bytes ok")
}

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

#[test]
fn it_holds_for_its_source_alone() {
    let sources = [
        "192.0.2.1:7450",
        "192.0.2.1:7451",
        "192.0.2.2:7450",
        "[2001:db8::1]:7450",
        "[2001:db8::1]:7451",
        "[2001:db8::2]:7450",
        "0.0.0.0:0",
    ]
    .map(at);
    for holder in sources {
        let token = key().token(&holder, NOW_MS);
        for source in sources {
            assert_eq!(key().accepts(&token, &source, NOW_MS), source == holder, "{holder}'s token from {source}");
        }
    }
}

#[test]
fn ipv4_is_the_same_source_through_an_ipv6_socket() {
    let token = key().token(&at("192.0.2.1:7450"), NOW_MS);
    assert!(key().accepts(&token, &at("[::ffff:192.0.2.1]:7450"), NOW_MS));
}

#[test]
fn it_holds_this_hour_and_the_next() {
    let source = at("192.0.2.1:7450");
    let start = NOW_MS / HOUR_MS * HOUR_MS;
    for given in [start, start + 1, start + HOUR_MS - 1] {
        let token = key().token(&source, given);
        for (now, holds) in [
            (given, true),
            (start + HOUR_MS - 1, true),
            (start + HOUR_MS, true),
            (start + 2 * HOUR_MS - 1, true),
            (start + 2 * HOUR_MS, false),
            (start + 100 * HOUR_MS, false),
            (start - 1, false),
        ] {
            assert_eq!(key().accepts(&token, &source, now), holds, "given at {given}, used at {now}");
        }
    }
    let first_hour = key().token(&source, 0);
    assert!(key().accepts(&first_hour, &source, 0));
}

#[test]
fn zero_is_no_token() {
    let source = at("192.0.2.1:7450");
    assert!(!key().accepts(&[0; 8], &source, NOW_MS));
    for hour in 0..10_000 {
        assert_ne!(key().token(&source, hour * HOUR_MS), [0; 8]);
    }
}

#[test]
fn another_key_makes_other_tokens() {
    let source = at("192.0.2.1:7450");
    let token = TokenKey::new([1; 16]).token(&source, NOW_MS);
    assert!(!TokenKey::new([2; 16]).accepts(&token, &source, NOW_MS), "after a restart tokens are given afresh");
    for bit in 0..64 {
        let mut forged = token;
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(!TokenKey::new([1; 16]).accepts(&forged, &source, NOW_MS));
    }
}
