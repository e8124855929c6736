//! Memory in whole blocks of the disk, which a disk can write without a copy (O_DIRECT wants such addresses, open(2)).

use super::format::BLOCK_BYTES;
use std::ops::{Deref, DerefMut};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One block, at an address that is a multiple of its size.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub(super) struct Block([u8; BLOCK_BYTES]);

const _: () = assert!(size_of::<Block>() == BLOCK_BYTES && align_of::<Block>() == BLOCK_BYTES);

impl Block {
    /// Zeros.
    pub const ZERO: Self = Self([0; BLOCK_BYTES]);
}

/// A buffer of bytes that begins at such an address. Its length never changes.
pub(crate) struct BlockBuffer(Vec<Block>);

impl BlockBuffer {
    /// Zeros, at least `bytes` of them, in whole blocks.
    pub fn zeroed(bytes: usize) -> Self {
        Self(vec![Block::ZERO; bytes.div_ceil(BLOCK_BYTES)])
    }
}

impl Deref for BlockBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_slice().as_bytes()
    }
}

impl DerefMut for BlockBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_slice().as_mut_bytes()
    }
}
