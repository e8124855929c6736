//! SipHash (Aumasson and Bernstein, 2012) word by word, for a kernel program that may not take a slice of unknown length.
//!
//! With two rounds and four it is the hash of return tokens, with one and three that of tables, as in `siphasher`; a test
//! compares them.

/// A hash in the making: `C` rounds for each word, `D` at the end.
#[derive(Clone, Copy, Debug)]
pub struct Sip<const C: usize, const D: usize>(u64, u64, u64, u64);

/// For tables: their outputs are never seen.
pub type Sip13 = Sip<1, 3>;
/// For return tokens: their outputs are handed out.
pub type Sip24 = Sip<2, 4>;

impl<const C: usize, const D: usize> Sip<C, D> {
    /// Starts with a key of 16 bytes, as two little-endian words.
    #[inline(always)]
    pub fn new(key: [u64; 2]) -> Self {
        Self(
            key[0] ^ 0x736f_6d65_7073_6575,
            key[1] ^ 0x646f_7261_6e64_6f6d,
            key[0] ^ 0x6c79_6765_6e65_7261,
            key[1] ^ 0x7465_6462_7974_6573,
        )
    }

    #[inline(always)]
    fn round(&mut self) {
        self.0 = self.0.wrapping_add(self.1);
        self.1 = self.1.rotate_left(13) ^ self.0;
        self.0 = self.0.rotate_left(32);
        self.2 = self.2.wrapping_add(self.3);
        self.3 = self.3.rotate_left(16) ^ self.2;
        self.0 = self.0.wrapping_add(self.3);
        self.3 = self.3.rotate_left(21) ^ self.0;
        self.2 = self.2.wrapping_add(self.1);
        self.1 = self.1.rotate_left(17) ^ self.2;
        self.2 = self.2.rotate_left(32);
    }

    /// Takes eight bytes, little-endian.
    #[inline(always)]
    pub fn word(&mut self, word: u64) {
        self.3 ^= word;
        for _ in 0..C {
            self.round();
        }
        self.0 ^= word;
    }

    /// Ends with what is left of the message, fewer than eight bytes, and its whole length in bytes.
    #[inline(always)]
    pub fn finish(mut self, rest: u64, length: usize) -> u64 {
        self.word(rest | (length as u64) << 56);
        self.2 ^= 0xff;
        for _ in 0..D {
            self.round();
        }
        self.0 ^ self.1 ^ self.2 ^ self.3
    }
}

/// A table's hash of whole words. Never zero, which stands for an empty place.
#[inline(always)]
pub fn table_hash<const N: usize>(key: [u64; 2], words: [u64; N]) -> u64 {
    let mut sip = Sip13::new(key);
    for word in words {
        sip.word(word);
    }
    sip.finish(0, N * 8).max(1)
}
