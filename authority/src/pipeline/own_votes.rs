//! The votes that this worker made lately, by order digest, so that one in a certificate is recognised by comparison.
//!
//! Direct-mapped and forgetful: what is no longer here is verified like any other vote.

use meshpay_wire::{Digest, Signature};

const ENTRIES: usize = 1 << 15;

/// Digest and signature per entry; zero where there is none.
pub struct OwnVotes {
    entries: Box<[(Digest, Signature)]>,
}

impl OwnVotes {
    pub fn new() -> Self {
        Self { entries: vec![(Digest::default(), [0; 64]); ENTRIES].into_boxed_slice() }
    }

    pub fn remember(&mut self, digest: Digest, signature: Signature) {
        self.entries[place(&digest)] = (digest, signature);
    }

    /// The signature that was made for this order, if it is still here.
    pub fn signature_for(&self, digest: &Digest) -> Option<Signature> {
        let entry = &self.entries[place(digest)];
        (entry.0 == *digest && *digest != Digest::default()).then_some(entry.1)
    }

    /// Whether `signature` is the one that was made for this order.
    pub fn recognises(&self, digest: &Digest, signature: &Signature) -> bool {
        self.signature_for(digest).is_some_and(|made| made == *signature)
    }
}

fn place(digest: &Digest) -> usize {
    usize::from(u16::from_le_bytes([digest.0[0], digest.0[1]])) % ENTRIES
}
