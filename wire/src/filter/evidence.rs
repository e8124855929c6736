//! What userspace gets to see of a conflicting order that was dropped: the order itself, for evidence (DESIGN 5.14).

use crate::TRANSFER_REQUEST_LENGTH;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A record of the ring buffer. Nothing in it is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Record {
    /// The source's address, IPv4 as IPv4-mapped.
    pub source: [u8; 16],
    /// The source's port.
    pub port: U16,
    /// Zero.
    pub reserved: [u8; 6],
    /// The whole transfer request.
    pub message: [u8; TRANSFER_REQUEST_LENGTH],
}

const _: () = assert!(size_of::<Record>() == 336);
