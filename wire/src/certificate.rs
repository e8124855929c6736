//! Votes, certificates, and what an authority says it has executed.

use core::mem::offset_of;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Digest, Signature, SignedOrder};

/// An authority's vote for one order: body of `TRANSFER_RESPONSE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Vote {
    /// Place of the authority in the genesis committee, from 0.
    pub authority: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Digest of the order that is voted for.
    pub order: Digest,
    /// The authority's signature over the vote digest.
    pub signature: Signature,
}

const _: () = assert!(size_of::<Vote>() == 100 && offset_of!(Vote, order) == 4 && offset_of!(Vote, signature) == 36);

/// The fixed part of a certificate; `signers.count_ones()` signatures of 64 bytes follow, by rising committee place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CertificateHead {
    /// The order, with its sender's signature.
    pub order: SignedOrder,
    /// Bit i is set where the authority at committee place i has signed.
    pub signers: U32,
    /// Zero.
    pub reserved: U32,
}

/// Length of [`CertificateHead`] in bytes.
pub const CERTIFICATE_FIXED_LENGTH: usize = 208;
const _: () = assert!(size_of::<CertificateHead>() == CERTIFICATE_FIXED_LENGTH);

/// A well-formed certificate in somebody's buffer: as many signatures as bits. Nothing in it is verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateView<'a> {
    /// Order and signers.
    pub head: &'a CertificateHead,
    /// Signatures over the vote digest, one per set bit, by rising committee place.
    pub signatures: &'a [Signature],
}

impl<'a> CertificateView<'a> {
    /// Reads a certificate from the beginning of `bytes` and returns it with its length.
    /// Returns nothing where bytes are missing, reserved bits are set, or the number of signers is 0 or above
    /// [`crate::SIGNERS_MAX`].
    pub fn parse(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let (head, rest) = CertificateHead::ref_from_prefix(bytes).ok()?;
        let count = head.signers.get().count_ones() as usize;
        if head.reserved.get() != 0 || count == 0 || count > crate::SIGNERS_MAX {
            return None;
        }
        let (signatures, _) = <[Signature]>::ref_from_prefix_with_elems(rest, count).ok()?;
        Some((Self { head, signatures }, Self::length_for(count)))
    }

    /// Length in bytes of a certificate with `signers` signatures.
    pub const fn length_for(signers: usize) -> usize {
        CERTIFICATE_FIXED_LENGTH + signers * size_of::<Signature>()
    }

    /// Length of this certificate in bytes.
    pub fn length(&self) -> usize {
        Self::length_for(self.signatures.len())
    }

    /// The parts whose concatenation is the certificate's bytes.
    pub fn parts(&self) -> [&'a [u8]; 2] {
        [self.head.as_bytes(), self.signatures.as_bytes()]
    }

    /// Committee places and signatures, by rising place.
    pub fn votes(&self) -> impl Iterator<Item = (usize, &'a Signature)> + use<'a> {
        let bits = self.head.signers.get();
        (0..32).filter(move |place| bits >> place & 1 == 1).zip(self.signatures)
    }
}

/// Body of `CONFIRMATION_RESPONSE`: what this authority has executed at the sequence in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Executed {
    /// Digest of the order that was executed at this sequence, never what the request claims.
    pub order: Digest,
    /// The account's next sequence at this authority.
    pub next_sequence: U64,
    /// An [`ExecutionStatus`].
    pub status: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

const _: () = assert!(size_of::<Executed>() == 48);

/// Whether a confirmation was executed now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExecutionStatus {
    /// This request's certificate was executed now.
    Now = 1,
    /// That sequence had been executed before; nothing changed.
    Before = 2,
}
