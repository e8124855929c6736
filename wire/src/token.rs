//! Return tokens: proof that a source address receives what is sent to it (DESIGN 6).
//!
//! A token is a keyed hash of source address, port and hour. Answers carry it, clients echo it, and a holder has a rate of its
//! own where all others share one. It is no secret of a client and protects nothing but fairness.

use core::hash::Hasher;
use core::net::{IpAddr, SocketAddr};
use siphasher::sip::SipHasher24;

/// Source address in the form that is hashed: IPv4 as an IPv4-mapped IPv6 address.
pub type SourceAddress = [u8; 16];

/// The authority's secret for return tokens, made afresh at every start.
#[derive(Clone)]
pub struct TokenKey([u8; 16]);

impl core::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TokenKey")
    }
}

const HOUR_MS: u64 = 3_600_000;

impl TokenKey {
    /// A key from 16 random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// The key's bytes, for the kernel's filter, which checks tokens too.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The token for a source at a time (milliseconds since 1970).
    pub fn token(&self, source: &SocketAddr, now_ms: u64) -> [u8; 8] {
        self.token_of_hour(source, now_ms / HOUR_MS)
    }

    /// Whether `token` was given to this source in this hour or the one before. Zero never is.
    pub fn accepts(&self, token: &[u8; 8], source: &SocketAddr, now_ms: u64) -> bool {
        let hour = now_ms / HOUR_MS;
        *token != [0; 8]
            && (*token == self.token_of_hour(source, hour)
                || *token == self.token_of_hour(source, hour.saturating_sub(1)))
    }

    fn token_of_hour(&self, source: &SocketAddr, hour: u64) -> [u8; 8] {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&source_address(source));
        hasher.write(&source.port().to_le_bytes());
        hasher.write(&hour.to_le_bytes());
        // Zero stands for 'no token' on the wire.
        hasher.finish().max(1).to_le_bytes()
    }
}

/// A source's address in the form that is hashed.
pub(crate) fn source_address(source: &SocketAddr) -> SourceAddress {
    match source.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
