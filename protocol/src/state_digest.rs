//! A digest of balances and sequences by which authorities compare their states.
//!
//! It is a sum over accounts, so the order of arrival does not matter, and it covers neither locks nor journal positions, which
//! differ between honest authorities (DESIGN 9). It finds honest differences; it is no commitment against a forger.

use meshpay_wire::truncate_sha512;

use crate::account::{Account, slot_kind};

/// Sum, in four words of 64 bits, of a hash per slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateDigest([u64; 4]);

impl StateDigest {
    /// Adds one slot. A further token with balance 0 counts like none at all, so it depends on nothing but money and sequences.
    pub fn add(&mut self, slot: &Account) {
        if slot.kind == slot_kind::EMPTY {
            return;
        }
        if slot.kind == slot_kind::ACCOUNT {
            let mut bytes = [0; 72];
            bytes[..32].copy_from_slice(&slot.key);
            bytes[32..40].copy_from_slice(&slot.next_sequence.get().to_le_bytes());
            bytes[40..].copy_from_slice(&slot.last_executed.0);
            self.add_hash(&bytes);
        }
        if slot.balance.get() != 0 {
            let mut bytes = [0; 52];
            bytes[..32].copy_from_slice(&slot.key);
            bytes[32..36].copy_from_slice(&slot.token.get().to_le_bytes());
            bytes[36..].copy_from_slice(&slot.balance.get().to_le_bytes());
            self.add_hash(&bytes);
        }
    }

    fn add_hash(&mut self, bytes: &[u8]) {
        let hash = truncate_sha512(bytes);
        for (word, chunk) in self.0.iter_mut().zip(hash.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(chunk);
            *word = word.wrapping_add(u64::from_le_bytes(eight));
        }
    }

    /// Adds what another digest has summed, of other slots.
    pub fn merge(&mut self, other: &StateDigest) {
        for (word, add) in self.0.iter_mut().zip(other.0) {
            *word = word.wrapping_add(add);
        }
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> [u8; 32] {
        let mut out = [0; 32];
        for (chunk, word) in out.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        out
    }
}
