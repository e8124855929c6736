//! A public key that is known beforehand, with tables of its multiples: what a committee's key becomes at start.
//!
//! A `KnownKey` is always the canonical encoding of a point of the prime-order group other than the identity.

use crate::PublicKey;
use crate::eight_lanes::{EightLanes, KeyTable};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsBasepointTable, EdwardsPoint};
use curve25519_dalek::traits::{BasepointTable, IsIdentity};
use std::fmt;
use std::sync::OnceLock;

/// Why a key was refused as a [`KnownKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes do not encode a point of the curve.
    #[error("the public key is not a point of the curve; check that it was copied whole")]
    NotAPoint,
    /// The bytes encode a point, but not in its one canonical form.
    #[error("the public key is not canonically encoded; ask its owner for the key that his software prints")]
    NotCanonical,
    /// The point lies outside the prime-order group, or is its identity; no honest key does.
    #[error("the public key is not in the prime-order group; it was crafted, do not use it")]
    NotInPrimeOrderGroup,
}

/// A public key prepared once, so that checking its signatures is cheap.
///
/// Preparing takes about a millisecond, and the tables some 300 KiB on the heap; moving the value is cheap.
pub struct KnownKey {
    bytes: PublicKey,
    /// Multiples of -A, for the portable path.
    pub(crate) negated_table: Box<EdwardsBasepointTable>,
    /// The same for the eight-lane path, where the CPU has it or a test asks for it.
    eight_lanes_table: OnceLock<KeyTable>,
}

impl KnownKey {
    /// Checks a key and prepares its tables.
    ///
    /// # Errors
    /// Whatever is not the canonical encoding of a point of the prime-order group other than the identity.
    pub fn new(key: &PublicKey) -> Result<Self, KeyError> {
        let point = decode_strictly(key)?;
        let known = Self {
            bytes: *key,
            negated_table: Box::new(EdwardsBasepointTable::create(&-point)),
            eight_lanes_table: OnceLock::new(),
        };
        if EightLanes::of_this_cpu().is_some() {
            known.table();
        }
        Ok(known)
    }

    /// The table for the eight-lane path.
    pub(crate) fn table(&self) -> &KeyTable {
        self.eight_lanes_table.get_or_init(|| match EightLanes::of_this_cpu() {
            Some(lanes) => lanes.key_table(&self.bytes),
            None => EightLanes::model().key_table(&self.bytes),
        })
    }

    /// The encoded key.
    pub fn key(&self) -> &PublicKey {
        &self.bytes
    }
}

/// The point that a key encodes, if the encoding is canonical and the point is one that an honest key can be.
fn decode_strictly(key: &PublicKey) -> Result<EdwardsPoint, KeyError> {
    let encoded = CompressedEdwardsY(*key);
    let point = encoded.decompress().ok_or(KeyError::NotAPoint)?;
    if point.compress() != encoded {
        return Err(KeyError::NotCanonical);
    }
    if point.is_identity() || !point.is_torsion_free() {
        return Err(KeyError::NotInPrimeOrderGroup);
    }
    Ok(point)
}

impl fmt::Debug for KnownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownKey").field("key", &self.bytes).finish_non_exhaustive()
    }
}
