//! A filter with known settings, and messages for it.

use meshpay_wire::filter::{Arrival, FilterTables, FilterWriter, Outcome, Settings, SlicePacket, Verdict};
use meshpay_wire::filter::{decide, judge_datagram, tables};
use meshpay_wire::{Header, Kind, MAGIC, TokenKey, VERSION};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;
use zerocopy::IntoBytes as _;

pub const PORT: u16 = 7450;
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const ALICE: [u8; 32] = [1; 32];
pub const BOB: [u8; 32] = [2; 32];
pub const NOW_NS: u64 = 7_200_000_000_000;
pub const WALL_MS: u64 = 1_800_000_000_000;

pub fn source() -> SocketAddr {
    "10.0.0.7:4000".parse().unwrap()
}

pub fn other_source() -> SocketAddr {
    "10.0.0.8:4000".parse().unwrap()
}

pub fn token_key() -> TokenKey {
    TokenKey::new([9; 16])
}

pub struct Scene {
    memory: [Vec<AtomicU64>; 7],
    pub now_ns: u64,
}

impl Scene {
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let words = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let memory = [
            words(tables::CONFIG_WORDS),
            words(tables::OWN_WORDS),
            words(tables::SHARED_WORDS),
            words(tables::ACCOUNT_WORDS * 1024),
            words(tables::SOURCE_WORDS * 256),
            words(tables::ALLOWANCE_WORDS * 1024),
            words(tables::ECHO_WORDS * 1024),
        ];
        let scene = Self { memory, now_ns: NOW_NS };
        let mut settings = Settings::new([7; 16], token_key(), PORT, MAC);
        settings.workers = 3;
        change(&mut settings);
        assert!(scene.writer().start(&settings));
        scene.writer().set_wall_clock(WALL_MS, NOW_NS);
        let own: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        scene.writer().set_own_addresses(&own).unwrap();
        scene
    }

    pub fn tables(&self) -> FilterTables<'_> {
        let [config, own_addresses, shared, accounts, sources, allowances, echoes] = &self.memory;
        FilterTables { config, own_addresses, shared, accounts, sources, allowances, echoes }
    }

    pub fn writer(&self) -> FilterWriter<'_> {
        FilterWriter::new(self.tables())
    }

    pub fn verdict(&self, datagram: &[u8], source: SocketAddr) -> Verdict {
        let arrival = Arrival { now_ns: self.now_ns, receive_queue: 2 };
        judge_datagram(datagram, &source, &self.tables(), arrival)
    }

    pub fn outcome(&self, datagram: &[u8], source: SocketAddr) -> Outcome {
        self.verdict(datagram, source).outcome
    }

    pub fn frame(&self, frame: &[u8]) -> Outcome {
        decide(&SlicePacket(frame), &self.tables(), Arrival { now_ns: self.now_ns, receive_queue: 2 }).outcome
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.now_ns += ms * 1_000_000;
    }
}

/// A well-formed head with an empty body.
#[derive(Clone, Copy)]
pub struct Draft {
    pub kind: Kind,
    pub account: [u8; 32],
    pub sequence: u64,
    pub order_tag: [u8; 8],
    pub request_id: u64,
    pub return_token: [u8; 8],
    pub length: u16,
}

pub fn order(account: [u8; 32], sequence: u64) -> Draft {
    Draft {
        kind: Kind::TransferRequest,
        account,
        sequence,
        order_tag: [1; 8],
        request_id: 1,
        return_token: [0; 8],
        length: 312,
    }
}

pub fn certificate(account: [u8; 32], sequence: u64) -> Draft {
    Draft { kind: Kind::ConfirmationRequest, length: 488, ..order(account, sequence) }
}

pub fn of_kind(kind: Kind) -> Draft {
    Draft { kind, length: 400, ..order(ALICE, 0) }
}

impl Draft {
    pub fn id(self, request_id: u64) -> Self {
        Self { request_id, ..self }
    }

    pub fn tag(self, tag: u8) -> Self {
        Self { order_tag: [tag; 8], ..self }
    }

    pub fn token(self, source: SocketAddr) -> Self {
        Self { return_token: token_key().token(&source, WALL_MS), ..self }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            class: self.kind.class() as u8,
            kind: self.kind as u8,
            flags: 0,
            length: self.length.into(),
            reserved: 0.into(),
            epoch: 1.into(),
            network: [3; 8],
            account: self.account,
            sequence: self.sequence.into(),
            order_tag: self.order_tag,
            request_id: self.request_id.to_le_bytes(),
            return_token: self.return_token,
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(usize::from(self.length), 0);
        bytes
    }
}
