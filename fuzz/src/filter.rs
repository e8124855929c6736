//! The filter's decision: arbitrary frames, and traffic with everything that userspace tells it.
//!
//! Promised: no frame panics; a filter that keeps no state says the same of the same frame twice; what is delivered is a UDP datagram that the
//! dump finds too; certificates and bundles never die for a lock or a penalty (DESIGN 5.7); orders, votes and certificates are never shed; of an
//! account that the table does not know nothing is stale, in conflict or penalised; watermarks never go back.

use meshpay_authority::dump::Datagram;
use meshpay_wire::filter::{
    Action, Arrival, FilterTables, FilterWriter, Outcome, Settings, SlicePacket, decide, judge_datagram, message,
    tables,
};
use meshpay_wire::{Class, Header, Kind, MAGIC, TokenKey, VERSION};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use zerocopy::IntoBytes;

use crate::chance::Chance;

const PORT: u16 = 7450;
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const OWN_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const START_NS: u64 = 7_200_000_000_000;
const WALL_MS: u64 = 1_800_000_000_000;
/// Few, so that accounts, sources and echoes displace each other.
const ENTRIES: usize = 16;

struct Scene {
    memory: [Vec<AtomicU64>; 7],
}

impl Scene {
    fn new(workers: u32) -> Self {
        let words = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let scene = Self {
            memory: [
                words(tables::CONFIG_WORDS),
                words(tables::OWN_WORDS),
                words(tables::SHARED_WORDS),
                words(tables::ACCOUNT_WORDS * ENTRIES),
                words(tables::SOURCE_WORDS * ENTRIES),
                words(tables::ALLOWANCE_WORDS * ENTRIES),
                words(tables::ECHO_WORDS * ENTRIES),
            ],
        };
        let mut settings = Settings::new([7; 16], token_key(), PORT, MAC);
        settings.workers = workers;
        assert!(scene.writer().start(&settings));
        scene.writer().set_wall_clock(WALL_MS, START_NS);
        scene.writer().set_vlan(7, true);
        scene.writer().set_own_addresses(&[OWN_V4.into(), OWN_V6.into()]).expect("two addresses fit");
        scene
    }

    fn tables(&self) -> FilterTables<'_> {
        let [config, own_addresses, shared, accounts, sources, allowances, echoes] = &self.memory;
        FilterTables { config, own_addresses, shared, accounts, sources, allowances, echoes }
    }

    fn writer(&self) -> FilterWriter<'_> {
        FilterWriter::new(self.tables())
    }
}

fn token_key() -> TokenKey {
    TokenKey::new([9; 16])
}

/// A frame as it comes from the wire.
pub fn frames(bytes: &[u8]) {
    let scene = Scene::new(3);
    let tables = scene.tables();
    let arrival = Arrival { now_ns: START_NS, receive_queue: 1 };
    scene.writer().set_frozen(true);
    let frozen = decide(&SlicePacket(bytes), &tables, arrival);
    assert_eq!(decide(&SlicePacket(bytes), &tables, arrival), frozen, "the same frame, and nothing changed");
    scene.writer().set_frozen(false);
    let verdict = decide(&SlicePacket(bytes), &tables, arrival);
    assert_eq!(verdict.outcome, frozen.outcome, "a first frame meets empty tables");
    assert!(verdict.socket().is_none_or(|socket| (3..6).contains(&socket)), "queue 1 has sockets 3 to 5");
    assert!(verdict.evidence().is_none());
    let datagram = Datagram::of_frame(bytes);
    if verdict.action() == Action::Deliver {
        let datagram = datagram.expect("what is delivered is a datagram to the dump too");
        assert_eq!(datagram.destination.port(), PORT);
        assert!([IpAddr::V4(OWN_V4), IpAddr::V6(OWN_V6)].contains(&datagram.destination.ip()));
        let head = message::head(&SlicePacket(datagram.payload), 0, datagram.payload.len());
        assert!(head.is_some(), "a delivered datagram begins with a message");
    }
    if let Some(datagram) = datagram {
        meshpay_authority::dump::lines(WALL_MS, false, &datagram);
    }
    scene.writer().set_on(false);
    assert_eq!(decide(&SlicePacket(bytes), &tables, arrival).outcome, Outcome::Off);
}

const ACCOUNTS: usize = 5;
const SOURCES: usize = 4;

fn account(number: usize) -> [u8; 32] {
    [number as u8 + 1; 32]
}

fn source(number: usize) -> SocketAddr {
    let address = match number {
        0 => IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)),
        1 => IpAddr::V4(Ipv4Addr::new(10, 0, 0, 8)),
        2 => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7)),
        _ => IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number as u16)),
    };
    SocketAddr::new(address, 4000)
}

const KINDS: [Kind; 6] = [
    Kind::TransferRequest,
    Kind::ConfirmationRequest,
    Kind::AccountQuery,
    Kind::CertificateQuery,
    Kind::TransferResponse,
    Kind::PeerDiscovery,
];

fn message_of(chance: &mut Chance<'_>, account: [u8; 32], source: &SocketAddr) -> Vec<u8> {
    let kind = KINDS[chance.below(KINDS.len())];
    let length = if kind == Kind::TransferRequest { 312 } else { 400 };
    let sequence = u64::from(chance.take::<u8>() % 8);
    let tag = chance.take::<u8>() % 4;
    let holds_token = chance.one_in(2);
    let header = Header {
        magic: MAGIC,
        version: VERSION,
        class: kind.class() as u8,
        kind: kind as u8,
        flags: 0,
        length: length.into(),
        reserved: 0.into(),
        epoch: 1.into(),
        network: [3; 8],
        account,
        sequence: sequence.into(),
        order_tag: [tag; 8],
        request_id: [chance.take::<u8>() % 8; 8],
        return_token: if holds_token { token_key().token(source, WALL_MS) } else { [0; 8] },
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(usize::from(length), 0);
    bytes
}

/// Packets and what userspace learns, in any order.
pub fn traffic(bytes: &[u8]) {
    let mut chance = Chance::new(bytes);
    let workers = chance.take::<u8>() % 4;
    let scene = Scene::new(workers.into());
    let (tables, writer) = (scene.tables(), scene.writer());
    let mut now_ns = START_NS;
    let mut shed_level = 0;
    while !chance.is_over() {
        let operation = chance.below(14);
        let account = account(chance.below(ACCOUNTS));
        let source = source(chance.below(SOURCES));
        let before = writer.facts(&account);
        match operation {
            0..=4 => {
                let mut datagram = message_of(&mut chance, account, &source);
                if operation == 4 {
                    datagram.extend(message_of(&mut chance, account, &source));
                }
                let arrival = Arrival { now_ns, receive_queue: 2 };
                let verdict = judge_datagram(&datagram, &source, &tables, arrival);
                judge(&datagram, operation == 4, verdict.outcome, before.as_ref(), now_ns, shed_level);
                let sockets = 2 * u32::from(workers)..3 * u32::from(workers);
                assert!(verdict.socket().is_none_or(|socket| sockets.contains(&socket)));
                assert!(verdict.evidence().is_none() || verdict.outcome == Outcome::Conflict);
                if chance.one_in(8) {
                    writer.answered(&source, [0; 6], &datagram);
                }
            }
            5 => {
                let next = u64::from(chance.take::<u8>() % 8);
                writer.executed(&account, next);
                assert!(writer.facts(&account).is_some_and(|facts| facts.next_sequence >= next));
            }
            6 => writer.locked(&account, u64::from(chance.take::<u8>() % 8), [chance.take::<u8>() % 4; 8]),
            7 => writer.unlocked(&account),
            8 => writer.penalised(&account, now_ns + 1_000_000 * u64::from(chance.take::<u8>())),
            9 => writer.verified(&source.ip(), chance.take::<u8>().into()),
            10 => writer.bad(&source.ip()),
            11 => {
                shed_level = u64::from(chance.take::<u8>() % 3);
                writer.set_shed_level(shed_level);
            }
            12 => now_ns += 1_000_000 * u64::from(chance.take::<u8>()),
            _ => now_ns += 1_000_000_000 * u64::from(chance.take::<u8>()),
        }
        if let (Some(before), Some(after)) = (before, writer.facts(&account)) {
            assert!(after.next_sequence >= before.next_sequence, "a watermark went back");
        }
    }
    assert!(writer.accounts_known() <= ENTRIES && writer.sources().count() <= ENTRIES);
}

fn judge(
    datagram: &[u8],
    is_bundle: bool,
    outcome: Outcome,
    facts: Option<&meshpay_wire::filter::accounts::Facts>,
    now_ns: u64,
    shed_level: u64,
) {
    let head = message::head(&SlicePacket(datagram), 0, datagram.len()).expect("it was well made");
    let (kind, sequence) = (head.kind, datagram[56]);
    match outcome {
        Outcome::Penalised | Outcome::Conflict | Outcome::DeliveredConflict => {
            assert_eq!(kind, Kind::TransferRequest, "{outcome:?}");
            assert!(!is_bundle, "{outcome:?} of a bundle");
            let facts = facts.expect("of an unknown account everything passes");
            assert!(facts.locked || facts.penalised_until_ns > now_ns);
        }
        Outcome::Stale | Outcome::StaleOverBudget | Outcome::DeliveredStale => {
            assert!(!is_bundle, "{outcome:?} of a bundle");
            assert!(facts.is_some_and(|facts| u64::from(sequence) < facts.next_sequence));
        }
        Outcome::Shed => assert!(shed_level > 0 && kind.class() != Class::Bcb || kind == Kind::TransferResponse),
        Outcome::Delivered if kind == Kind::TransferRequest && !is_bundle => {
            let facts = facts.filter(|facts| u64::from(sequence) >= facts.next_sequence);
            let may_pass = facts.is_none_or(|facts| {
                let is_the_locked_one = facts.locked
                    && u64::from(sequence) == facts.next_sequence
                    && datagram[64..72] == facts.lock_tag.to_le_bytes();
                facts.penalised_until_ns <= now_ns || is_the_locked_one
            });
            assert!(may_pass, "a new order of a penalised sender passed");
        }
        _ => {}
    }
    if matches!(kind, Kind::TransferRequest | Kind::ConfirmationRequest) {
        assert_ne!(outcome, Outcome::Shed, "class 0 is never shed");
    }
}
