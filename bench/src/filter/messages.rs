//! Messages and plain frames around them, for the filter to judge.

use std::net::{IpAddr, SocketAddr};

use meshpay_wire::{Header, Kind, MAGIC, VERSION};
use zerocopy::IntoBytes as _;

/// Length of an order in a message, bytes.
pub(super) const ORDER_BYTES: usize = 312;

/// An account, by number.
pub(super) fn account(number: u8) -> [u8; 32] {
    let mut account = [0x5a; 32];
    (account[0], account[31]) = (number.wrapping_mul(37), number);
    account
}

/// A message of `length` bytes: a header that the filter takes, and zeros.
pub(super) fn message(kind: Kind, length: usize, number: u8, sequence: u64, return_token: [u8; 8]) -> Vec<u8> {
    let header = Header {
        magic: MAGIC,
        version: VERSION,
        class: kind.class() as u8,
        kind: kind as u8,
        flags: 0,
        length: (length as u16).into(),
        reserved: 0.into(),
        epoch: 1.into(),
        network: [3; 8],
        account: account(number),
        sequence: sequence.into(),
        order_tag: [1; 8],
        request_id: [1; 8],
        return_token,
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(length, 0);
    bytes
}

/// An Ethernet frame with a datagram. Checksums are left out: the filter looks at none.
pub(super) fn frame(macs: [[u8; 6]; 2], from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let [source, destination] = macs;
    let mut frame = [destination, source].concat();
    let length = payload.len() + 8;
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend(((20 + length) as u16).to_be_bytes());
            frame.extend([0, 1, 0, 0, 64, 17, 0, 0]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        (from, to) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((length as u16).to_be_bytes());
            frame.extend([17, 64]);
            frame.extend(octets(from));
            frame.extend(octets(to));
        }
    }
    frame.extend(from.port().to_be_bytes());
    frame.extend(to.port().to_be_bytes());
    frame.extend((length as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}
