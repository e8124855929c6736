//! An order: a common head and one typed operation, signed by the sender.

use core::mem::offset_of;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An Ed25519 public key, which is also the name of an account.
pub type PublicKey = [u8; 32];

/// An Ed25519 signature (RFC 8032), over the 32-byte digest of what is signed.
pub type Signature = [u8; 64];

/// Operation number of a transfer, the one operation of this version.
pub const OPERATION_TRANSFER: u8 = 1;

/// What the sender signs (through [`crate::order_digest`]): 64 bytes of common head, 72 bytes of operation.
///
/// Lock, sequence, vote, certificate and journal look at the head only; the operation's fields matter to balances alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OrderBody {
    /// Who pays, and signs.
    pub sender: PublicKey,
    /// The sender's sequence: the first order of an account has 0, each following one more.
    pub sequence: U64,
    /// Milliseconds since 1970 UTC after which no authority gives a *first* vote; 0 means never. Bounds nothing else.
    pub expiry_ms: U64,
    /// Token number, from the genesis.
    pub token: U32,
    /// Epoch of the committee that shall vote.
    pub epoch: U32,
    /// [`OPERATION_TRANSFER`].
    pub operation: u8,
    /// Zero.
    pub reserved: [u8; 7],
    /// Transfer: who receives. May be the sender itself.
    pub recipient: PublicKey,
    /// Transfer: amount in minor units of the token, at least 1.
    pub amount: U64,
    /// Transfer: 32 bytes that mean something to payer and payee only.
    pub memo: [u8; 32],
}

const _: () = assert!(size_of::<OrderBody>() == 136 && align_of::<OrderBody>() == 1);
const _: () = assert!(offset_of!(OrderBody, sequence) == 32 && offset_of!(OrderBody, expiry_ms) == 40);
const _: () = assert!(offset_of!(OrderBody, token) == 48 && offset_of!(OrderBody, epoch) == 52);
const _: () = assert!(offset_of!(OrderBody, operation) == 56 && offset_of!(OrderBody, recipient) == 64);
const _: () = assert!(offset_of!(OrderBody, amount) == 96 && offset_of!(OrderBody, memo) == 104);

/// An order with its sender's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SignedOrder {
    /// What is signed.
    pub body: OrderBody,
    /// The sender's signature over the order digest.
    pub signature: Signature,
}

const _: () = assert!(size_of::<SignedOrder>() == 200 && offset_of!(SignedOrder, signature) == 136);
