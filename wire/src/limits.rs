//! Sizes and times that both ends of the wire must agree on. `docs/wire.md` quotes each of them.

use crate::{CERTIFICATE_FIXED_LENGTH, CertificateLinks, HEADER_LENGTH, RefusalBody, SignedOrder};

/// Longest UDP payload that we send or accept, in bytes. It leaves room for IPv6, UDP and a mesh header within an MTU of
/// 1,500, so nothing ever needs IP fragments.
pub const DATAGRAM_MAX: usize = 1400;

/// The UDP port of an authority unless its operator chose another.
pub const DEFAULT_PORT: u16 = 7450;

/// Length of a refusal without a locked order; no request may be shorter, so that a refusal is never longer than it.
pub const REFUSAL_LENGTH: usize = HEADER_LENGTH + size_of::<RefusalBody>();

/// Length of a refusal that carries the locked order.
pub const REFUSAL_WITH_ORDER_LENGTH: usize = REFUSAL_LENGTH + size_of::<SignedOrder>();

/// Exact length of a transfer request: padded to its largest answer, the refusal that carries the locked order.
pub const TRANSFER_REQUEST_LENGTH: usize = REFUSAL_WITH_ORDER_LENGTH;

/// Shortest message of any kind.
pub const REQUEST_MIN: usize = REFUSAL_LENGTH;

/// Most messages that one datagram can hold.
pub const BUNDLE_MAX: usize = DATAGRAM_MAX / REQUEST_MIN;

/// Most authorities in a committee.
pub const COMMITTEE_MAX: usize = 20;

/// Most signatures in a certificate, so that the answer to a certificate query fits one datagram.
pub const SIGNERS_MAX: usize =
    (DATAGRAM_MAX - HEADER_LENGTH - size_of::<CertificateLinks>() - CERTIFICATE_FIXED_LENGTH) / 64;

/// How long an exact copy of a packet from the same source counts as an echo and gets no answer, in milliseconds.
pub const ECHO_WINDOW_MS: u64 = 20;

/// Soonest time after which a client repeats a request, in milliseconds, with a fresh request id.
pub const FIRST_RETRY_MS: u64 = 60;

/// Shards in which accounts are kept: the shard of an account is the first byte of its public key.
pub const SHARDS: usize = 256;

const _: () = assert!(SIGNERS_MAX == 16);
const _: () = assert!(BUNDLE_MAX == 12);
const _: () = assert!(REFUSAL_LENGTH == 112 && TRANSFER_REQUEST_LENGTH == 312);
