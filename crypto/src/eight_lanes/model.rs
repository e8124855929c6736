//! The lanes as plain integers, one after another: the definition of what the vector instructions must do.
//!
//! Every operation is a call (inlined, the kernels would take minutes to compile), so this is slow, and never used to serve anybody. Every claim that a kernel makes
//! about its operands is asserted here, also in release. An assertion is a branch on what it asserts; so for the tests of secrets, which allow no such branch
//! (see `secrets`), there are the same lanes without.

use super::lanes::{Lanes, Mask};

const WORD_52: u64 = (1 << 52) - 1;

/// Eight words; `ASSERTS` says whether what the kernels claim is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Model<const ASSERTS: bool = true>([u64; 8]);

impl<const ASSERTS: bool> Model<ASSERTS> {
    #[inline(never)]
    fn map(self, f: impl Fn(u64) -> u64) -> Self {
        Self(self.0.map(f))
    }

    #[inline(never)]
    fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self(std::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }

    #[inline(never)]
    fn mask(self, other: Self, f: impl Fn(u64, u64) -> bool) -> Mask {
        (0..8).fold(0, |mask, lane| mask | (u8::from(f(self.0[lane], other.0[lane])) << lane))
    }

    #[inline(never)]
    fn product(a: u64, b: u64) -> u128 {
        assert!(!ASSERTS || (a <= WORD_52 && b <= WORD_52), "a factor of {a:#x} or {b:#x} has more than 52 bits");
        u128::from(a) * u128::from(b)
    }
}

impl<const ASSERTS: bool> Lanes for Model<ASSERTS> {
    const VECTOR: bool = false;

    #[inline(never)]
    fn splat(word: u64) -> Self {
        Self([word; 8])
    }

    #[inline(never)]
    fn from_array(words: [u64; 8]) -> Self {
        Self(words)
    }

    #[inline(never)]
    fn to_array(self) -> [u64; 8] {
        self.0
    }

    #[inline(never)]
    fn add(self, other: Self) -> Self {
        if !ASSERTS {
            return self.zip(other, u64::wrapping_add);
        }
        self.zip(other, |a, b| a.checked_add(b).expect("a sum fits in 64 bits"))
    }

    #[inline(never)]
    fn sub(self, other: Self) -> Self {
        if !ASSERTS {
            return self.zip(other, u64::wrapping_sub);
        }
        self.zip(other, |a, b| a.checked_sub(b).expect("a difference is not negative"))
    }

    #[inline(never)]
    fn wrapping_add(self, other: Self) -> Self {
        self.zip(other, u64::wrapping_add)
    }

    #[inline(never)]
    fn wrapping_sub(self, other: Self) -> Self {
        self.zip(other, u64::wrapping_sub)
    }

    #[inline(never)]
    fn times(self, other: Self) -> Self {
        if !ASSERTS {
            return self.zip(other, u64::wrapping_mul);
        }
        self.zip(other, |a, b| a.checked_mul(b).expect("a product fits in 64 bits"))
    }

    #[inline(never)]
    fn add_product_low(self, a: Self, b: Self) -> Self {
        self.add(a.zip(b, |a, b| Self::product(a, b) as u64 & WORD_52))
    }

    #[inline(never)]
    fn add_product_high(self, a: Self, b: Self) -> Self {
        self.add(a.zip(b, |a, b| (Self::product(a, b) >> 52) as u64))
    }

    #[inline(never)]
    fn and(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    #[inline(never)]
    fn or(self, other: Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    #[inline(never)]
    fn xor(self, other: Self) -> Self {
        self.zip(other, |a, b| a ^ b)
    }

    #[inline(never)]
    fn xor3(self, b: Self, c: Self) -> Self {
        self.xor(b).xor(c)
    }

    #[inline(never)]
    fn choose_bits(self, a: Self, b: Self) -> Self {
        self.and(a).or(self.map(|word| !word).and(b))
    }

    #[inline(never)]
    fn majority(self, b: Self, c: Self) -> Self {
        self.and(b).or(self.and(c)).or(b.and(c))
    }

    #[inline(never)]
    fn shift_left<const BITS: u32>(self) -> Self {
        self.map(|word| word << BITS)
    }

    #[inline(never)]
    fn shift_right<const BITS: u32>(self) -> Self {
        self.map(|word| word >> BITS)
    }

    #[inline(never)]
    fn shift_right_signed<const BITS: u32>(self) -> Self {
        self.map(|word| (word.cast_signed() >> BITS).cast_unsigned())
    }

    #[inline(never)]
    fn rotate_right<const BITS: i32>(self) -> Self {
        self.map(|word| word.rotate_right(BITS as u32))
    }

    #[inline(never)]
    fn shift_left_by(self, counts: Self) -> Self {
        self.zip(counts, |word, count| if count < 64 { word << count } else { 0 })
    }

    #[inline(never)]
    fn shift_right_by(self, counts: Self) -> Self {
        self.zip(counts, |word, count| if count < 64 { word >> count } else { 0 })
    }

    #[inline(never)]
    fn swap_bytes(self) -> Self {
        self.map(u64::swap_bytes)
    }

    #[inline(never)]
    fn leading_zeros(self) -> Self {
        self.map(|word| u64::from(word.leading_zeros()))
    }

    #[inline(never)]
    fn min(self, other: Self) -> Self {
        self.zip(other, u64::min)
    }

    #[inline(never)]
    fn max(self, other: Self) -> Self {
        self.zip(other, u64::max)
    }

    #[inline(never)]
    fn is_equal(self, other: Self) -> Mask {
        self.mask(other, |a, b| a == b)
    }

    #[inline(never)]
    fn is_below(self, other: Self) -> Mask {
        self.mask(other, |a, b| a < b)
    }

    #[inline(never)]
    fn top_bit(self) -> Mask {
        self.mask(self, |word, _| word >> 63 == 1)
    }

    #[inline(never)]
    fn select(self, mask: Mask, other: Self) -> Self {
        // By arithmetic and not by a branch, so that a checker of secrets can follow. The compiler would make a branch of it again, so for the checker it must not know what
        // `ones` can be.
        Self(std::array::from_fn(|lane| {
            let ones = u64::from(mask >> lane & 1).wrapping_neg();
            let ones = if ASSERTS { ones } else { std::hint::black_box(ones) };
            (self.0[lane] & ones) | (other.0[lane] & !ones)
        }))
    }

    #[inline(never)]
    fn subtract_from_where(self, mask: Mask, from: Self) -> Self {
        // Where the mask is clear nothing is claimed, so nothing is checked.
        let from = from.select(mask, self.add(self));
        from.sub(self)
    }

    #[inline(never)]
    fn wrapping_sub_where(self, mask: Mask, other: Self) -> Self {
        self.wrapping_sub(other).select(mask, self)
    }

    #[inline(never)]
    fn pick_from_16(self, table: &[u64; 16]) -> Self {
        let mut picked = Self::splat(0);
        for (index, word) in table.iter().enumerate() {
            picked = Self::splat(*word).select(self.is_equal(Self::splat(index as u64)), picked);
        }
        picked
    }

    fn prefetch<T>(_value: &T) {}

    #[inline(never)]
    fn from_rows(rows: [&[u64; 4]; 8]) -> [Self; 4] {
        std::array::from_fn(|word| Self(std::array::from_fn(|lane| rows[lane][word])))
    }

    #[inline(never)]
    fn from_byte_rows(rows: [&[u8; 32]; 8]) -> [Self; 4] {
        let rows = rows.map(|row| {
            std::array::from_fn::<u64, 4, _>(|word| {
                let bytes = row[8 * word..8 * word + 8].try_into().expect("eight bytes");
                u64::from_le_bytes(bytes)
            })
        });
        Self::from_rows(std::array::from_fn(|lane| &rows[lane]))
    }

    #[inline(never)]
    fn to_rows(words: [Self; 4]) -> [[u64; 4]; 8] {
        std::array::from_fn(|lane| std::array::from_fn(|word| words[word].0[lane]))
    }
}
