//! Choices out of a fuzzer's bytes, from the first byte to the last: so a mutation of a byte changes one choice and what hangs on it.
//!
//! Whoever asks beyond the end gets zeros, and loops ask [`Chance::is_over`].

use arbitrary::{Arbitrary, Unstructured};

/// The bytes that are left to choose by.
pub struct Chance<'a>(Unstructured<'a>);

impl<'a> Chance<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// A number, little-endian, or an array of them.
    pub fn take<T: Arbitrary<'a> + Default>(&mut self) -> T {
        T::arbitrary(&mut self.0).unwrap_or_default()
    }

    /// A number below `limit`, by one byte.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.take::<u8>()) % limit
    }

    /// True for one byte value in `of`.
    pub fn one_in(&mut self, of: u8) -> bool {
        self.take::<u8>() % of == of - 1
    }

    /// As many bytes as asked for, or as are left.
    pub fn bytes(&mut self, length: usize) -> &'a [u8] {
        self.0.bytes(length.min(self.0.len())).unwrap_or_default()
    }

    /// All bytes that are left.
    pub fn rest(self) -> &'a [u8] {
        self.0.take_rest()
    }
}
