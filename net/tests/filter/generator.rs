//! Frames of every kind that the filter tells apart: valid, mutated, cut off; a small world, so that states meet often.

use meshpay_wire::{Header, Kind, MAGIC, TokenKey, VERSION};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use std::net::{IpAddr, SocketAddr};
use zerocopy::IntoBytes as _;

pub const PORT: u16 = 7450;
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const VLAN: u16 = 5;
pub const WALL_MS: u64 = 1_800_000_000_000;

pub fn own_addresses() -> Vec<IpAddr> {
    ["10.0.0.1", "10.0.1.1", "fd00::1", "fe80::1"].iter().map(|text| text.parse().unwrap()).collect()
}

pub fn token_key() -> TokenKey {
    TokenKey::new([9; 16])
}

pub fn account(number: u8) -> [u8; 32] {
    let mut account = [0x5a; 32];
    account[0] = number.wrapping_mul(37);
    account[31] = number;
    account
}

pub fn tag(number: u8) -> [u8; 8] {
    [number.wrapping_add(1); 8]
}

/// Choices from a seed.
pub struct Choices(pub ChaCha8Rng);

impl Choices {
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0.next_u32() % bound
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u32) as usize]
    }
}

pub fn source(choices: &mut Choices) -> SocketAddr {
    let address: IpAddr = choices
        .of(&["10.0.0.7", "10.0.0.8", "10.0.0.9", "192.168.1.4", "fd00::7", "fd00::8", "fe80::9", "2001:db8::1"])
        .parse()
        .unwrap();
    SocketAddr::new(address, choices.of(&[4000, 4001, 53]))
}

const KINDS: [u8; 24] = [1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 5, 7, 2, 4, 6, 8, 9, 16, 24, 32, 40, 64, 0, 200];

/// One message as the wire has it, or nearly.
pub fn message(choices: &mut Choices, source: &SocketAddr, now_ms: u64) -> Vec<u8> {
    let kind = choices.of(&KINDS);
    let class = Kind::from_byte(kind).map_or(0, |kind| kind.class() as u8);
    let length: usize = match kind {
        1 => 312,
        3 => choices.of(&[360, 488, 600]),
        5 => 368,
        _ => choices.of(&[112, 113, 119, 120, 200, 400]),
    };
    let key = token_key();
    let return_token = match choices.below(6) {
        0 => [0; 8],
        1 => [7; 8],
        2 => key.token(source, now_ms.saturating_sub(3_600_000)),
        3 => key.token(source, now_ms.saturating_sub(7_200_000)),
        _ => key.token(source, now_ms),
    };
    let header = Header {
        magic: MAGIC,
        version: VERSION,
        class: if choices.once_in(40) { choices.below(4) as u8 } else { class },
        kind,
        flags: u8::from(choices.once_in(60)),
        length: (if choices.once_in(40) { choices.below(1500) as u16 } else { length as u16 }).into(),
        reserved: u16::from(choices.once_in(60)).into(),
        epoch: 1.into(),
        network: [3; 8],
        account: account(choices.below(24) as u8),
        sequence: u64::from(choices.below(4)).into(),
        order_tag: tag(choices.below(2) as u8),
        request_id: if choices.once_in(3) { [0; 8] } else { choices.0.next_u64().to_le_bytes() },
        return_token,
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(length, choices.below(2) as u8);
    bytes
}

pub fn payload(choices: &mut Choices, source: &SocketAddr, now_ms: u64) -> Vec<u8> {
    let mut payload = message(choices, source, now_ms);
    if choices.once_in(4) {
        for _ in 0..choices.below(13) {
            payload.extend(message(choices, source, now_ms));
        }
        if !choices.once_in(6) {
            payload.truncate(1400);
        }
        payload.truncate(2000);
    }
    if choices.once_in(12) {
        let length = choices.below(payload.len() as u32 + 1) as usize;
        payload.truncate(length);
    }
    payload
}

/// Hardware address that most frames come from.
pub const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 0, 7];

/// An Ethernet frame around a payload. `plain` leaves out everything unusual.
pub fn frame(choices: &mut Choices, source: &SocketAddr, payload: &[u8], plain: bool) -> Vec<u8> {
    let odd = |choices: &mut Choices, n: u32| !plain && choices.once_in(n);
    let mac =
        if odd(choices, 30) { choices.of(&[[0xff; 6], [2, 0, 0, 0, 0, 2], [0; 6], [2, 0, 0, 0, 0, 9]]) } else { MAC };
    let mut frame = mac.to_vec();
    frame.extend(if odd(choices, 30) { [2, 0, 0, 0, 0, 8] } else { NEIGHBOUR });
    if odd(choices, 5) {
        for _ in 0..=choices.below(3) {
            frame.extend(choices.of(&[0x8100_u16, 0x88a8]).to_be_bytes());
            frame.extend((choices.of(&[VLAN, VLAN, VLAN, 0, 6, 4095]) | 0x6000).to_be_bytes());
        }
    }
    let kind: u16 = match source {
        _ if odd(choices, 40) => choices.of(&[0x0806, 0x88cc, 0x0800, 0x86dd]),
        SocketAddr::V4(_) => 0x0800,
        SocketAddr::V6(_) => 0x86dd,
    };
    frame.extend(kind.to_be_bytes());
    let mut udp = source.port().to_be_bytes().to_vec();
    udp.extend((if odd(choices, 20) { choices.of(&[22_u16, 7451, 0]) } else { PORT }).to_be_bytes());
    let length = payload.len() + 8;
    udp.extend((if odd(choices, 20) { choices.below(length as u32 + 20) as u16 } else { length as u16 }).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let protocol = if odd(choices, 30) { choices.of(&[6, 1, 58, 50]) } else { 17 };
    match source.ip() {
        IpAddr::V4(address) => ipv4(choices, &mut frame, address.octets(), protocol, &udp, plain),
        IpAddr::V6(address) => ipv6(choices, &mut frame, address.octets(), protocol, &udp, plain),
    }
    if odd(choices, 8) {
        let at = choices.below(frame.len() as u32) as usize;
        frame[at] ^= 1 << choices.below(8);
    }
    if odd(choices, 12) {
        let length = choices.below(frame.len() as u32 + 1) as usize;
        frame.truncate(length.max(14));
    }
    if odd(choices, 20) {
        frame.resize(frame.len() + choices.below(9) as usize, 0);
    }
    frame
}

fn ipv4(choices: &mut Choices, frame: &mut Vec<u8>, source: [u8; 4], protocol: u8, udp: &[u8], plain: bool) {
    let odd = |choices: &mut Choices, n: u32| !plain && choices.once_in(n);
    let words = if odd(choices, 6) { choices.below(16) as u8 } else { 5 };
    let header = usize::from(words.max(5)) * 4;
    let start = frame.len();
    frame.push(if odd(choices, 60) { 0x60 } else { 0x40 } | words);
    frame.push(choices.of(&[0, 0, 0xc0, 0xb8]));
    frame.extend(((header + udp.len()) as u16).to_be_bytes());
    frame.extend([0, 1]);
    let fragment: u16 = if odd(choices, 20) { choices.of(&[0x2000, 0x0001, 0x2010, 0x4000, 0x1fff]) } else { 0 };
    frame.extend(fragment.to_be_bytes());
    frame.extend([64, protocol, 0, 0]);
    frame.extend(source);
    frame.extend(if odd(choices, 15) { choices.of(&[[10, 0, 0, 2], [224, 0, 0, 1]]) } else { [10, 0, 0, 1] });
    frame.resize(start + header, 1);
    frame.extend(udp);
}

fn ipv6(choices: &mut Choices, frame: &mut Vec<u8>, source: [u8; 16], protocol: u8, udp: &[u8], plain: bool) {
    let odd = |choices: &mut Choices, n: u32| !plain && choices.once_in(n);
    let kinds: Vec<u8> = if odd(choices, 3) {
        (0..choices.below(9)).map(|_| choices.of(&[0, 60, 60, 60, 43, 44, 51, 135, 139, 140])).collect()
    } else {
        Vec::new()
    };
    let mut chain = Vec::new();
    for (at, kind) in kinds.iter().enumerate() {
        let next = kinds.get(at + 1).copied().unwrap_or(protocol);
        let units = if *kind == 44 { 0 } else { choices.below(3) as u8 };
        let size = if *kind == 51 { (usize::from(units) + 2) * 4 } else { (usize::from(units) + 1) * 8 };
        let mut header = vec![0; size];
        header[0] = next;
        header[1] = units;
        match kind {
            43 => header[3] = u8::from(choices.once_in(3)),
            44 => header[2..4].copy_from_slice(&choices.of(&[0_u16, 0, 1, 8, 0x10]).to_be_bytes()),
            _ => {}
        }
        chain.extend(header);
    }
    frame.extend([if odd(choices, 60) { 0x40 } else { 0x60 }, 0, 0, 0]);
    frame.extend(((chain.len() + udp.len()) as u16).to_be_bytes());
    frame.extend([kinds.first().copied().unwrap_or(protocol), 64]);
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 7];
    frame.extend(if odd(choices, 40) { mapped } else { source });
    let destination: std::net::Ipv6Addr = if odd(choices, 15) { "fd00::2" } else { "fd00::1" }.parse().unwrap();
    frame.extend(destination.octets());
    frame.extend(chain);
    frame.extend(udp);
}
