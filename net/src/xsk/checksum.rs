//! The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of all 16-bit words.
//!
//! What always holds: a sum is kept in memory order and folded at the end, so it does not depend on the machine's endianness
//! (RFC 1071, 2(B)); parts may be added in any sequence as long as each begins at an even offset.

/// A sum under way. Room for 2^32 additions of 32 bits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Adds bytes that begin at an even offset. An odd last byte is taken as if a zero followed.
    pub(super) fn add(mut self, bytes: &[u8]) -> Self {
        // Halves of 64-bit words into two sums each of two columns: the compiler turns this into vector instructions.
        let (rows, rest) = bytes.as_chunks::<16>();
        let (mut low, mut high) = ([0u64; 2], [0u64; 2]);
        for row in rows {
            let (words, _) = row.as_chunks::<8>();
            for column in 0..2 {
                let word = u64::from_ne_bytes(words[column]);
                low[column] += word & 0xffff_ffff;
                high[column] += word >> 32;
            }
        }
        self.0 += low[0] + low[1] + high[0] + high[1];
        let (words, rest) = rest.as_chunks::<4>();
        for word in words {
            self.0 += u64::from(u32::from_ne_bytes(*word));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        self.0 += u64::from(u32::from_ne_bytes(last));
        self
    }

    /// Adds four bytes, such as an IPv4 address.
    pub(super) fn add_word(self, bytes: [u8; 4]) -> Self {
        Self(self.0 + u64::from(u32::from_ne_bytes(bytes)))
    }

    /// Adds another sum.
    pub(super) fn add_sum(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Adds a 16-bit number, as if it stood there in network order.
    pub(super) fn add_number(self, number: u16) -> Self {
        Self(self.0 + u64::from(u16::from_ne_bytes(number.to_be_bytes())))
    }

    /// The checksum's two bytes as they stand in a packet.
    pub(super) fn finish(self) -> [u8; 2] {
        let folded = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let folded = (folded & 0xffff) + (folded >> 16 & 0xffff) + (folded >> 32);
        let folded = (folded & 0xffff) + (folded >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        (!(folded as u16)).to_ne_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word for word.
    fn by_definition(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!(sum as u16)).to_be_bytes()
    }

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(Sum::default().add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).finish(), [0x22, 0x0d]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 10 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn equals_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..2000), number: u16) {
            prop_assert_eq!(Sum::default().add(&bytes).finish(), by_definition(&bytes));
            let mut with_number = number.to_be_bytes().to_vec();
            with_number.extend(&bytes);
            prop_assert_eq!(Sum::default().add(&bytes).add_number(number).finish(), by_definition(&with_number));
            let [high, low] = number.to_be_bytes();
            with_number.splice(..0, [1, high, low, 2]);
            let with_word = Sum::default().add_word([1, high, low, 2]).add(&bytes).add_number(number);
            prop_assert_eq!(with_word.finish(), by_definition(&with_number));
        }
    }
}
