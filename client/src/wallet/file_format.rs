//! The files that wallets keep and hand to each other, version 1:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic: `MPAYCERT` certificate, `MPAYEVID` evidence of equivocation, `MPAYORDR` order |
//! | 8..10 | version, u16 little-endian: 1 |
//! | 10..12 | zero |
//! | 12..16 | length n of the body, u32 little-endian |
//! | 16..48 | digest of the genesis of the network |
//! | 48..48+n | body, as on the wire: a certificate (208 bytes and 64 for each signature), two signed orders (400 bytes), or one signed order (200 bytes) |
//! | 48+n..80+n | check: the first 32 bytes of SHA-512 of everything before |
//!
//! The check finds damage; it proves nothing. What proves something are the signatures inside, and nobody needs to trust whoever
//! handed the file over.

use std::path::{Path, PathBuf};

use meshpay_protocol::Equivocation;
use meshpay_wire::{CertificateView, GenesisDigest, SignedOrder, truncate_sha512};
use zerocopy::{FromBytes, IntoBytes};

use crate::{Certificate, CertificateError, Verifier};

/// Version that is written.
const VERSION: u16 = 1;
const HEAD_LENGTH: usize = 48;
const CHECK_LENGTH: usize = 32;
/// Longest file that is read: no body is longer than a datagram.
const FILE_MAX: u64 = 2_048;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A certificate.
    Certificate,
    /// Two orders that prove equivocation.
    Evidence,
    /// An order that was signed.
    Order,
}

impl FileKind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            FileKind::Certificate => b"MPAYCERT",
            FileKind::Evidence => b"MPAYEVID",
            FileKind::Order => b"MPAYORDR",
        }
    }

    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            FileKind::Certificate => "certificate",
            FileKind::Evidence => "evidence",
            FileKind::Order => "order",
        }
    }
}

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Reading failed.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another kind of file.
    #[error("{path} is not a MeshPay {expected} file", path = path.display())]
    Kind {
        /// Which file.
        path: PathBuf,
        /// What was expected.
        expected: &'static str,
    },
    /// A version that is not known.
    #[error("{path} has format version {version}, this program knows version 1; install a newer one", path = path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// What it says.
        version: u16,
    },
    /// Cut off or changed.
    #[error("{path} is damaged: {what}; get it again from where it came from", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// Another network.
    #[error(
        "{path} belongs to the network with genesis {found}, the genesis here is {expected}; pass the right one with --genesis",
        path = path.display()
    )]
    Network {
        /// Which file.
        path: PathBuf,
        /// Digest in the file, in hex.
        found: String,
        /// Digest here, in hex.
        expected: String,
    },
    /// The certificate in it proves nothing.
    #[error("{path} proves no payment: {source}", path = path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: CertificateError,
    },
}

impl FileError {
    /// Whether the file was read well and what it says was found wrong, rather than that it could not be read.
    pub fn is_disproof(&self) -> bool {
        matches!(self, FileError::Network { .. } | FileError::Certificate { .. } | FileError::Damaged { .. })
    }
}

fn encode(kind: FileKind, genesis: &GenesisDigest, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_LENGTH + body.len() + CHECK_LENGTH);
    out.extend(kind.magic());
    out.extend(VERSION.to_le_bytes());
    out.extend([0, 0]);
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(genesis.0);
    out.extend(body);
    out.extend(truncate_sha512(&out));
    out
}

fn decode<'a>(kind: FileKind, genesis: &GenesisDigest, path: &Path, bytes: &'a [u8]) -> Result<&'a [u8], FileError> {
    let path = || path.to_owned();
    let damaged = |what| FileError::Damaged { path: path(), what };
    if !bytes.starts_with(kind.magic()) {
        return Err(FileError::Kind { path: path(), expected: kind.name() });
    }
    if bytes.len() < HEAD_LENGTH + CHECK_LENGTH {
        return Err(damaged("it is cut off"));
    }
    let (covered, check) = bytes.split_at(bytes.len() - CHECK_LENGTH);
    let version = u16::from_le_bytes([bytes[8], bytes[9]]);
    if version != VERSION {
        return Err(FileError::Version { path: path(), version });
    }
    let length = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) as usize;
    let body = &covered[HEAD_LENGTH..];
    if bytes[10..12] != [0, 0] || body.len() != length {
        return Err(damaged("its length is not what it says"));
    }
    if truncate_sha512(covered) != check {
        return Err(damaged("its check does not match"));
    }
    if bytes[16..48] != genesis.0 {
        let (found, expected) = (hex::encode(&bytes[16..48]), hex::encode(genesis.0));
        return Err(FileError::Network { path: path(), found, expected });
    }
    Ok(body)
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    use std::io::Read;
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The bytes of a certificate's file.
pub fn certificate_file(genesis: &GenesisDigest, certificate: &Certificate) -> Vec<u8> {
    encode(FileKind::Certificate, genesis, &certificate.bytes())
}

/// The bytes of an evidence file.
pub fn evidence_file(genesis: &GenesisDigest, proof: &Equivocation) -> Vec<u8> {
    encode(FileKind::Evidence, genesis, &[proof.first.as_bytes(), proof.second.as_bytes()].concat())
}

/// The bytes of an order's file.
pub fn order_file(genesis: &GenesisDigest, order: &SignedOrder) -> Vec<u8> {
    encode(FileKind::Order, genesis, order.as_bytes())
}

/// Reads a certificate's file and checks every signature in it.
///
/// # Errors
/// Where it cannot be read or proves no payment.
pub fn read_certificate(path: &Path, verifier: &Verifier) -> Result<Certificate, FileError> {
    let bytes = read(path)?;
    let body = decode(FileKind::Certificate, &verifier.rules().genesis, path, &bytes)?;
    let failed = |source| FileError::Certificate { path: path.to_owned(), source };
    let (view, length) = CertificateView::parse(body).ok_or(failed(CertificateError::Malformed))?;
    if length != body.len() || view.head.order.body.reserved != [0; 7] {
        return Err(failed(CertificateError::Malformed));
    }
    verifier.check_certificate(&view).map_err(failed)
}

/// Reads an evidence file. It is not checked yet: see [`Equivocation::verify`].
///
/// # Errors
/// Where it cannot be read.
pub fn read_evidence(path: &Path, genesis: &GenesisDigest) -> Result<Equivocation, FileError> {
    let bytes = read(path)?;
    let body = decode(FileKind::Evidence, genesis, path, &bytes)?;
    let orders = <[SignedOrder; 2]>::read_from_bytes(body);
    let [first, second] =
        orders.map_err(|_| FileError::Damaged { path: path.to_owned(), what: "it does not hold two orders" })?;
    Ok(Equivocation { first, second })
}

/// Reads an order's file. Its signature is not checked.
///
/// # Errors
/// Where it cannot be read.
pub fn read_order(path: &Path, genesis: &GenesisDigest) -> Result<SignedOrder, FileError> {
    let bytes = read(path)?;
    let body = decode(FileKind::Order, genesis, path, &bytes)?;
    SignedOrder::read_from_bytes(body)
        .map_err(|_| FileError::Damaged { path: path.to_owned(), what: "it does not hold an order" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let genesis = GenesisDigest([7; 32]);
        let mut order = SignedOrder::new_zeroed();
        order.body.amount = 5.into();
        let bytes = order_file(&genesis, &order);
        let path = Path::new("order");
        assert!(decode(FileKind::Order, &genesis, path, &bytes).is_ok());
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(FileKind::Order, &genesis, path, &changed).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode(FileKind::Order, &genesis, path, &bytes[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn kinds_and_networks_are_told_apart() {
        let genesis = GenesisDigest([7; 32]);
        let bytes = order_file(&genesis, &SignedOrder::new_zeroed());
        let path = Path::new("order");
        let other = GenesisDigest([8; 32]);
        assert!(matches!(decode(FileKind::Order, &other, path, &bytes), Err(FileError::Network { .. })));
        assert!(matches!(decode(FileKind::Evidence, &genesis, path, &bytes), Err(FileError::Kind { .. })));
    }
}
