//! The lanes as one 512-bit register (AVX-512 with IFMA), and whether this CPU has them.
//!
//! Invariant that makes the `unsafe` here sound: the kernels are called with [`Avx512`] only through a value of `EightLanes<Avx512>`, or while
//! one is made, and one is made only after [`available`] said yes.

use super::lanes::{Lanes, Mask};
use std::arch::x86_64::*;

/// Whether this CPU and its operating system offer what the kernels use. The answer is cached by the standard library.
pub(crate) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512ifma")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("bmi2")
}

/// Instructions of the features that [`available`] asks for, and loads and stores through references.
macro_rules! instructions {
    ($($body:tt)*) => {
        // SAFETY: the CPU has the instructions, by the invariant at the head of this file; memory is only reached through
        // references to arrays of the size that is read or written, with instructions that ask for no alignment.
        unsafe { $($body)* }
    };
}

#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512i);

impl Lanes for Avx512 {
    const VECTOR: bool = true;

    #[inline(always)]
    fn splat(word: u64) -> Self {
        Self(instructions!(_mm512_set1_epi64(word.cast_signed())))
    }

    #[inline(always)]
    fn from_array(words: [u64; 8]) -> Self {
        Self(instructions!(_mm512_loadu_si512(words.as_ptr().cast())))
    }

    #[inline(always)]
    fn to_array(self) -> [u64; 8] {
        let mut words = [0; 8];
        instructions!(_mm512_storeu_si512(words.as_mut_ptr().cast(), self.0));
        words
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(instructions!(_mm512_add_epi64(self.0, other.0)))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(instructions!(_mm512_sub_epi64(self.0, other.0)))
    }

    #[inline(always)]
    fn wrapping_add(self, other: Self) -> Self {
        self.add(other)
    }

    #[inline(always)]
    fn wrapping_sub(self, other: Self) -> Self {
        self.sub(other)
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        Self(instructions!(_mm512_mullo_epi64(self.0, other.0)))
    }

    #[inline(always)]
    fn add_product_low(self, a: Self, b: Self) -> Self {
        Self(instructions!(_mm512_madd52lo_epu64(self.0, a.0, b.0)))
    }

    #[inline(always)]
    fn add_product_high(self, a: Self, b: Self) -> Self {
        Self(instructions!(_mm512_madd52hi_epu64(self.0, a.0, b.0)))
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Self(instructions!(_mm512_and_si512(self.0, other.0)))
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Self(instructions!(_mm512_or_si512(self.0, other.0)))
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(instructions!(_mm512_xor_si512(self.0, other.0)))
    }

    #[inline(always)]
    fn xor3(self, b: Self, c: Self) -> Self {
        Self(instructions!(_mm512_ternarylogic_epi64::<0x96>(self.0, b.0, c.0)))
    }

    #[inline(always)]
    fn choose_bits(self, a: Self, b: Self) -> Self {
        Self(instructions!(_mm512_ternarylogic_epi64::<0xca>(self.0, a.0, b.0)))
    }

    #[inline(always)]
    fn majority(self, b: Self, c: Self) -> Self {
        Self(instructions!(_mm512_ternarylogic_epi64::<0xe8>(self.0, b.0, c.0)))
    }

    #[inline(always)]
    fn shift_left<const BITS: u32>(self) -> Self {
        Self(instructions!(_mm512_slli_epi64::<BITS>(self.0)))
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(self) -> Self {
        Self(instructions!(_mm512_srli_epi64::<BITS>(self.0)))
    }

    #[inline(always)]
    fn shift_right_signed<const BITS: u32>(self) -> Self {
        Self(instructions!(_mm512_srai_epi64::<BITS>(self.0)))
    }

    #[inline(always)]
    fn rotate_right<const BITS: i32>(self) -> Self {
        Self(instructions!(_mm512_ror_epi64::<BITS>(self.0)))
    }

    #[inline(always)]
    fn shift_left_by(self, counts: Self) -> Self {
        Self(instructions!(_mm512_sllv_epi64(self.0, counts.0)))
    }

    #[inline(always)]
    fn shift_right_by(self, counts: Self) -> Self {
        Self(instructions!(_mm512_srlv_epi64(self.0, counts.0)))
    }

    #[inline(always)]
    fn swap_bytes(self) -> Self {
        Self(instructions! {
            let reversed = _mm512_set_epi64(
                0x08090a0b0c0d0e0f, 0x0001020304050607, 0x08090a0b0c0d0e0f, 0x0001020304050607,
                0x08090a0b0c0d0e0f, 0x0001020304050607, 0x08090a0b0c0d0e0f, 0x0001020304050607,
            );
            _mm512_shuffle_epi8(self.0, reversed)
        })
    }

    #[inline(always)]
    fn leading_zeros(self) -> Self {
        Self(instructions!(_mm512_lzcnt_epi64(self.0)))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(instructions!(_mm512_min_epu64(self.0, other.0)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(instructions!(_mm512_max_epu64(self.0, other.0)))
    }

    #[inline(always)]
    fn is_equal(self, other: Self) -> Mask {
        instructions!(_mm512_cmpeq_epu64_mask(self.0, other.0))
    }

    #[inline(always)]
    fn is_below(self, other: Self) -> Mask {
        instructions!(_mm512_cmplt_epu64_mask(self.0, other.0))
    }

    #[inline(always)]
    fn top_bit(self) -> Mask {
        instructions!(_mm512_movepi64_mask(self.0))
    }

    #[inline(always)]
    fn select(self, mask: Mask, other: Self) -> Self {
        Self(instructions!(_mm512_mask_mov_epi64(other.0, mask, self.0)))
    }

    #[inline(always)]
    fn subtract_from_where(self, mask: Mask, from: Self) -> Self {
        Self(instructions!(_mm512_mask_sub_epi64(self.0, mask, from.0, self.0)))
    }

    #[inline(always)]
    fn wrapping_sub_where(self, mask: Mask, other: Self) -> Self {
        Self(instructions!(_mm512_mask_sub_epi64(self.0, mask, self.0, other.0)))
    }

    #[inline(always)]
    fn pick_from_16(self, table: &[u64; 16]) -> Self {
        Self(instructions! {
            let low = _mm512_loadu_si512(table.as_ptr().cast());
            let high = _mm512_loadu_si512(table.as_ptr().add(8).cast());
            _mm512_permutex2var_epi64(low, self.0, high)
        })
    }

    #[inline(always)]
    fn prefetch<T>(value: &T) {
        const LINE_BYTES: usize = 64;
        for at in (0..size_of::<T>()).step_by(LINE_BYTES) {
            let line = std::ptr::from_ref(value).cast::<i8>().wrapping_add(at);
            instructions!(_mm_prefetch::<_MM_HINT_T0>(line));
        }
    }

    #[inline(always)]
    fn from_rows(rows: [&[u64; 4]; 8]) -> [Self; 4] {
        transpose([
            instructions!(_mm256_loadu_si256(rows[0].as_ptr().cast())),
            instructions!(_mm256_loadu_si256(rows[1].as_ptr().cast())),
            instructions!(_mm256_loadu_si256(rows[2].as_ptr().cast())),
            instructions!(_mm256_loadu_si256(rows[3].as_ptr().cast())),
            instructions!(_mm256_loadu_si256(rows[4].as_ptr().cast())),
            instructions!(_mm256_loadu_si256(rows[5].as_ptr().cast())),
            instructions!(_mm256_loadu_si256(rows[6].as_ptr().cast())),
            instructions!(_mm256_loadu_si256(rows[7].as_ptr().cast())),
        ])
    }

    #[inline(always)]
    fn from_byte_rows(rows: [&[u8; 32]; 8]) -> [Self; 4] {
        transpose([
            instructions!(_mm256_loadu_si256(rows[0].as_ptr().cast())),
            instructions!(_mm256_loadu_si256(rows[1].as_ptr().cast())),
            instructions!(_mm256_loadu_si256(rows[2].as_ptr().cast())),
            instructions!(_mm256_loadu_si256(rows[3].as_ptr().cast())),
            instructions!(_mm256_loadu_si256(rows[4].as_ptr().cast())),
            instructions!(_mm256_loadu_si256(rows[5].as_ptr().cast())),
            instructions!(_mm256_loadu_si256(rows[6].as_ptr().cast())),
            instructions!(_mm256_loadu_si256(rows[7].as_ptr().cast())),
        ])
    }

    #[inline(always)]
    fn to_rows(words: [Self; 4]) -> [[u64; 4]; 8] {
        let mut rows = [[0; 4]; 8];
        instructions! {
            // Words 0 and 1 of a lane side by side, then all four.
            let even_01 = _mm512_unpacklo_epi64(words[0].0, words[1].0);
            let odd_01 = _mm512_unpackhi_epi64(words[0].0, words[1].0);
            let even_23 = _mm512_unpacklo_epi64(words[2].0, words[3].0);
            let odd_23 = _mm512_unpackhi_epi64(words[2].0, words[3].0);
            let first = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
            let second = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
            let rows_02 = _mm512_permutex2var_epi64(even_01, first, even_23);
            let rows_46 = _mm512_permutex2var_epi64(even_01, second, even_23);
            let rows_13 = _mm512_permutex2var_epi64(odd_01, first, odd_23);
            let rows_57 = _mm512_permutex2var_epi64(odd_01, second, odd_23);
            _mm256_storeu_si256(rows[0].as_mut_ptr().cast(), _mm512_castsi512_si256(rows_02));
            _mm256_storeu_si256(rows[2].as_mut_ptr().cast(), _mm512_extracti64x4_epi64::<1>(rows_02));
            _mm256_storeu_si256(rows[4].as_mut_ptr().cast(), _mm512_castsi512_si256(rows_46));
            _mm256_storeu_si256(rows[6].as_mut_ptr().cast(), _mm512_extracti64x4_epi64::<1>(rows_46));
            _mm256_storeu_si256(rows[1].as_mut_ptr().cast(), _mm512_castsi512_si256(rows_13));
            _mm256_storeu_si256(rows[3].as_mut_ptr().cast(), _mm512_extracti64x4_epi64::<1>(rows_13));
            _mm256_storeu_si256(rows[5].as_mut_ptr().cast(), _mm512_castsi512_si256(rows_57));
            _mm256_storeu_si256(rows[7].as_mut_ptr().cast(), _mm512_extracti64x4_epi64::<1>(rows_57));
        }
        rows
    }
}

/// Four words of eight lanes out of eight rows of four words.
#[inline(always)]
fn transpose(rows: [__m256i; 8]) -> [Avx512; 4] {
    instructions! {
        let rows_04 = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(rows[0]), rows[4]);
        let rows_15 = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(rows[1]), rows[5]);
        let rows_26 = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(rows[2]), rows[6]);
        let rows_37 = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(rows[3]), rows[7]);
        let words_02_of_0145 = _mm512_unpacklo_epi64(rows_04, rows_15);
        let words_13_of_0145 = _mm512_unpackhi_epi64(rows_04, rows_15);
        let words_02_of_2367 = _mm512_unpacklo_epi64(rows_26, rows_37);
        let words_13_of_2367 = _mm512_unpackhi_epi64(rows_26, rows_37);
        let first = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0);
        let second = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
        [
            Avx512(_mm512_permutex2var_epi64(words_02_of_0145, first, words_02_of_2367)),
            Avx512(_mm512_permutex2var_epi64(words_13_of_0145, first, words_13_of_2367)),
            Avx512(_mm512_permutex2var_epi64(words_02_of_0145, second, words_02_of_2367)),
            Avx512(_mm512_permutex2var_epi64(words_13_of_0145, second, words_13_of_2367)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::{Lanes, compiled_apart};
    use super::super::model::Model;
    use super::super::tests::{seeded, words};
    use super::Avx512;
    use rand_chacha::rand_core::Rng;

    compiled_apart! {
        /// The results of every method on some words, in a fixed order. Operands are cut to what the method accepts.
        fn every_method<L: Lanes>(words: &[[u64; 8]; 3], mask: u8) -> Vec<[u64; 8]> {
            let [a, b, c] = [L::from_array(words[0]), L::from_array(words[1]), L::from_array(words[2])];
            let half = |word: L| word.shift_right::<1>();
            let limb = |word: L| word.and(L::splat((1 << 52) - 1));
            let table: [u64; 16] = std::array::from_fn(|i| words[i / 8][i % 8]);
            let rows: [[u64; 4]; 8] = std::array::from_fn(|i| words[i / 4].as_chunks::<4>().0[i % 2]);
            let byte_rows: [[u8; 32]; 8] = std::array::from_fn(|i| {
                let bytes: Vec<u8> = rows[7 - i].iter().flat_map(|word| word.to_be_bytes()).collect();
                bytes.try_into().unwrap()
            });
            let from_rows = L::from_rows(std::array::from_fn(|i| &rows[i]));
            let from_byte_rows = L::from_byte_rows(std::array::from_fn(|i| &byte_rows[i]));
            let masks = [a.is_equal(b), a.is_below(b), a.top_bit(), a.is_equal(a.min(b))];
            let mut results: Vec<L> = vec![
                L::splat(words[0][0]), half(a).add(half(b)), a.max(b).sub(a.min(b)), a.wrapping_add(b), a.wrapping_sub(b),
                limb(a).times(L::splat(4095)), half(half(c)).add_product_low(limb(a), limb(b)),
                half(half(c)).add_product_high(limb(a), limb(b)), a.and(b), a.or(b), a.xor(b), a.xor3(b, c), a.choose_bits(b, c),
                a.majority(b, c), a.shift_left::<13>(), a.shift_right::<51>(), a.shift_right_signed::<52>(), a.rotate_right::<41>(),
                a.shift_left_by(b.and(L::splat(127))), a.shift_right_by(b.and(L::splat(127))), a.shift_left_by(b), a.shift_right_by(b),
                a.swap_bytes(), a.leading_zeros(), a.min(b), a.max(b), a.select(mask, b), half(a).subtract_from_where(mask, L::splat(1 << 63)),
                a.wrapping_sub_where(mask, b), a.and(L::splat(15)).pick_from_16(&table),
            ];
            results.extend(from_rows);
            results.extend(from_byte_rows);
            let mut results: Vec<[u64; 8]> = results.into_iter().map(L::to_array).collect();
            results.extend(L::to_rows([a, b, c, a.xor(b)]).as_flattened().as_chunks::<8>().0);
            results.push(std::array::from_fn(|i| u64::from(masks[i % 4])));
            results
        }
    }

    #[test]
    fn every_method_does_what_the_model_does() {
        if !super::available() {
            println!("skipped: this CPU has no AVX-512 IFMA");
            return;
        }
        let mut rng = seeded(10);
        for _ in 0..2_000 {
            let operands = [words(&mut rng), words(&mut rng), words(&mut rng)];
            let mask = rng.next_u32() as u8;
            let expected = every_method::<Model>(&operands, mask);
            let actual = every_method::<Avx512>(&operands, mask);
            for (i, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
                assert_eq!(actual, expected, "result {i} of {operands:x?}, mask {mask:08b}");
            }
        }
    }
}
