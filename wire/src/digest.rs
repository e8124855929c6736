//! What signatures are made over: the first 32 bytes of SHA-512 of a domain tag, the genesis digest, the epoch and a body.
//!
//! The tag keeps one kind of statement from being taken for another, the genesis digest one network for another, the epoch
//! one committee for another (DESIGN 4). SHA-512 because Ed25519 needs it anyway, and eight lanes of it are cheap.

use sha2::{Digest as _, Sha512};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::OrderBody;

/// Length of a domain tag: ASCII, filled up with zero bytes.
pub const DOMAIN_TAG_LENGTH: usize = 24;

/// Domain tag of orders.
pub const ORDER_DOMAIN: [u8; DOMAIN_TAG_LENGTH] = *b"meshpay/v1/order\0\0\0\0\0\0\0\0";
/// Domain tag of votes.
pub const VOTE_DOMAIN: [u8; DOMAIN_TAG_LENGTH] = *b"meshpay/v1/vote\0\0\0\0\0\0\0\0\0";
/// Domain tag of the genesis.
pub const GENESIS_DOMAIN: [u8; DOMAIN_TAG_LENGTH] = *b"meshpay/v1/genesis\0\0\0\0\0\0";

/// A 32-byte digest of an order.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct Digest(pub [u8; 32]);

/// The 32-byte digest of a network's genesis.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct GenesisDigest(pub [u8; 32]);

/// Length of what is hashed for an order: tag, genesis, epoch, body.
pub const ORDER_PREIMAGE_LENGTH: usize = DOMAIN_TAG_LENGTH + 32 + 4 + size_of::<OrderBody>();
/// Length of what is hashed for a vote: tag, genesis, epoch, order digest.
pub const VOTE_PREIMAGE_LENGTH: usize = DOMAIN_TAG_LENGTH + 32 + 4 + 32;

fn preimage<const N: usize>(domain: &[u8; 24], genesis: &GenesisDigest, epoch: u32, body: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out[..24].copy_from_slice(domain);
    out[24..56].copy_from_slice(&genesis.0);
    out[56..60].copy_from_slice(&epoch.to_le_bytes());
    out[60..].copy_from_slice(body);
    out
}

/// What is hashed for an order, for hashing many at once.
pub fn order_preimage(genesis: &GenesisDigest, body: &OrderBody) -> [u8; ORDER_PREIMAGE_LENGTH] {
    preimage(&ORDER_DOMAIN, genesis, body.epoch.get(), body.as_bytes())
}

/// What is hashed for a vote, for hashing many at once.
pub fn vote_preimage(genesis: &GenesisDigest, epoch: u32, order: &Digest) -> [u8; VOTE_PREIMAGE_LENGTH] {
    preimage(&VOTE_DOMAIN, genesis, epoch, &order.0)
}

/// The first 32 bytes of a SHA-512 hash.
pub fn truncate_sha512(bytes: &[u8]) -> [u8; 32] {
    let hash = Sha512::digest(bytes);
    let mut out = [0; 32];
    out.copy_from_slice(&hash[..32]);
    out
}

/// Digest of an order: what its sender signs. It covers the body, not the signature, so a second signature makes no second order.
pub fn order_digest(genesis: &GenesisDigest, body: &OrderBody) -> Digest {
    Digest(truncate_sha512(&order_preimage(genesis, body)))
}

/// Digest of a vote: what every authority signs for one order.
pub fn vote_digest(genesis: &GenesisDigest, epoch: u32, order: &Digest) -> [u8; 32] {
    truncate_sha512(&vote_preimage(genesis, epoch, order))
}

/// Digest of a genesis from its canonical bytes, see `docs/wire.md`.
pub fn genesis_digest(canonical: &[u8]) -> GenesisDigest {
    let mut hasher = Sha512::new();
    hasher.update(GENESIS_DOMAIN);
    hasher.update(canonical);
    let hash = hasher.finalize();
    let mut out = [0; 32];
    out.copy_from_slice(&hash[..32]);
    GenesisDigest(out)
}
