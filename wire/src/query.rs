//! Queries and their answers. All answers here are unsigned hints (DESIGN 5.10); certificates in them prove themselves.

use zerocopy::little_endian::{I128, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Digest, SignedOrder};

/// Body of an account query; the header names the account. Padded to the length of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AccountQuery {
    /// Token whose balance is asked for.
    pub token: U32,
    /// Zero.
    pub reserved: U32,
}

/// Bits of [`AccountAnswer::flags`].
pub mod account_flags {
    /// This authority knows the account; without it all other fields are zero.
    pub const KNOWN: u32 = 1;
    /// An order is locked at `next_sequence`; `locked` holds it.
    pub const LOCKED: u32 = 2;
    /// The balance is below zero here: this authority has not seen all of the account's credits.
    pub const OWING: u32 = 4;
    /// This authority has stopped voting; it still executes certificates.
    pub const NOT_VOTING: u32 = 8;
}

/// Body of an account answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AccountAnswer {
    /// Balance of the token in minor units; may be below zero, see [`account_flags::OWING`].
    pub balance: I128,
    /// Token that was asked for.
    pub token: U32,
    /// Bits of [`account_flags`].
    pub flags: U32,
    /// Sequence of the account's next order.
    pub next_sequence: U64,
    /// Digest of the order executed at `next_sequence` - 1; zero where there is none.
    pub last_executed: Digest,
    /// Locator of the account's newest executed debit, 0 where there is none. Valid at this authority only.
    pub debit_locator: U64,
    /// Locator of the account's newest credit, 0 where there is none. Valid at this authority only.
    pub credit_locator: U64,
    /// The order locked at `next_sequence`, whole, so that a restored wallet can resume it; zero where none is.
    pub locked: SignedOrder,
}

const _: () = assert!(size_of::<AccountAnswer>() == 280);

/// Body of a certificate query; the header names account and sequence. Padded to at least the answer's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CertificateQuery {
    /// [`DIRECTION_DEBIT`]: the certificate the account paid with at the header's sequence.
    /// [`DIRECTION_CREDIT`]: a certificate that paid the account; the header's sequence is zero.
    pub direction: u8,
    /// Zero.
    pub reserved: [u8; 7],
    /// Credits: 0 for the newest, else `previous_credit` of an earlier answer of the same authority. Debits: 0.
    pub locator: U64,
}

const _: () = assert!(size_of::<CertificateQuery>() == 16);

/// Asks for a certificate with which the account paid.
pub const DIRECTION_DEBIT: u8 = 1;
/// Asks for a certificate by which the account was paid.
pub const DIRECTION_CREDIT: u8 = 2;

/// First part of a certificate answer; the certificate follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CertificateLinks {
    /// Where this answer was found; valid at this authority only.
    pub locator: U64,
    /// Locator of the sender's debit before this one, 0 where there is none.
    pub previous_debit: U64,
    /// Locator of the recipient's credit before this one, 0 where there is none.
    pub previous_credit: U64,
    /// Zero.
    pub reserved: U64,
}

const _: () = assert!(size_of::<CertificateLinks>() == 32);
