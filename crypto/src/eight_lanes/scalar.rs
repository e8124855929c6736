//! Integers modulo the group order l = 2^252 + 27742317777372353535851937790883648493, eight at a time.
//!
//! A scalar is five limbs of 52 bits, least significant first, below l. The radix is that of the multiply-and-add instructions: the two halves of a
//! product of limbs fall exactly into two columns. Sums of columns are read in two's complement and made limbs again by `ripple`, which passes
//! signed carries upwards. Nothing here depends on the values: scalars are secret when signing.

use super::lanes::{Lanes, Mask, compiled_apart};

const LIMB: u64 = (1 << 52) - 1;

/// l.
pub(crate) const ORDER: [u64; 5] = [0x2631a5cf5d3ed, 0xdea2f79cd6581, 0x000000014def9, 0, 0x0100000000000];
/// l - 2^252, of 125 bits.
const ORDER_TAIL: [u64; 3] = [0x2631a5cf5d3ed, 0xdea2f79cd6581, 0x000000014def9];
/// 2^8 (l - 2^252), of 133 bits: modulo l, 2^260 is its negative.
const MINUS_2_260: [u64; 3] = [0x31a5cf5d3ed00, 0xa2f79cd658126, 0x0000014def9de];
/// 2^141 l, a multiple of l above 2^393.
const ORDER_2_141: [u64; 8] =
    [0, 0, 0xa7da000000000, 0xcb024c634b9eb, 0xbdf3bd45ef39a, 0x0000000000029, 0, 0x0000020000000];
/// 2^16 l, a multiple of l above 2^268.
const ORDER_2_16: [u64; 6] = [0xa5cf5d3ed0000, 0xf79cd65812631, 0x00014def9dea2, 0, 0, 0x0000000000100];
/// 128 (1 + 2^8 + ... + 2^248).
const HALVES_OF_BYTES: [u64; 5] = [0x0808080808080, 0x8080808080808, 0x0808080808080, 0x8080808080808, 0x0808080808080];
/// 2^255 - 1.
const ONES_255: [u64; 5] = [LIMB, LIMB, LIMB, LIMB, 0x07fffffffffff];

/// Eight integers below l.
#[derive(Clone, Copy)]
pub(crate) struct Scalar<L>(pub(crate) [L; 5]);

impl<L: Lanes> Scalar<L> {
    /// 512 bits, as eight little-endian words, modulo l.
    #[inline(always)]
    pub(crate) fn from_wide_words(words: [L; 8]) -> Self {
        let limb = L::splat(LIMB);
        let [a, b, c, d, e, f, g, h] = words;
        Self::from_wide_limbs([
            a.and(limb),
            a.shift_right::<52>().or(b.shift_left::<12>()).and(limb),
            b.shift_right::<40>().or(c.shift_left::<24>()).and(limb),
            c.shift_right::<28>().or(d.shift_left::<36>()).and(limb),
            d.shift_right::<16>().or(e.shift_left::<48>()).and(limb),
            e.shift_right::<4>().and(limb),
            e.shift_right::<56>().or(f.shift_left::<8>()).and(limb),
            f.shift_right::<44>().or(g.shift_left::<20>()).and(limb),
            g.shift_right::<32>().or(h.shift_left::<32>()).and(limb),
            h.shift_right::<20>(),
        ])
    }

    /// 256 bits, as four little-endian words, and where they are below l. Elsewhere the result is not a scalar; it is zero.
    #[inline(always)]
    pub(crate) fn from_canonical_words(words: [L; 4]) -> (Self, Mask) {
        let limbs = limbs_of_words(words);
        let mut difference = limbs;
        for i in 0..5 {
            difference[i] = limbs[i].wrapping_sub(L::splat(ORDER[i]));
        }
        let canonical = ripple(difference)[4].top_bit();
        let mut scalar = limbs;
        for limb in &mut scalar {
            *limb = limb.select(canonical, L::splat(0));
        }
        (Self(scalar), canonical)
    }

    /// The same scalar in each lane, from little-endian limbs.
    #[inline(always)]
    pub(crate) fn splat(limbs: [u64; 5]) -> Self {
        let mut scalar = [L::splat(limbs[0]); 5];
        for i in 1..5 {
            scalar[i] = L::splat(limbs[i]);
        }
        Self(scalar)
    }

    /// Four little-endian words.
    #[inline(always)]
    pub(crate) fn to_words(self) -> [L; 4] {
        words_of_limbs(self.0)
    }

    /// `self * other + addend` modulo l.
    #[inline(always)]
    pub(crate) fn mul_add(&self, other: &Self, addend: &Self) -> Self {
        let mut columns = [L::splat(0); 10];
        columns[..5].copy_from_slice(&addend.0);
        add_products(&mut columns, &self.0, &other.0);
        Self::from_wide_limbs(ripple(columns))
    }

    /// `self` times an integer of three limbs, modulo l.
    #[inline(always)]
    pub(crate) fn mul_short(&self, short: &[L; 3]) -> Self {
        let mut columns = [L::splat(0); 10];
        add_products(&mut columns, &self.0, short);
        Self::from_wide_limbs(ripple(columns))
    }

    #[inline(always)]
    fn from_wide_limbs(wide: [L; 10]) -> Self {
        reduce(&wide)
    }

    /// Digits in base 256 from -128 to 127, least significant first: see [`SignedBytes`].
    #[inline(always)]
    pub(crate) fn to_signed_bytes(self) -> SignedBytes<L> {
        let mut sum = self.0;
        for i in 0..5 {
            sum[i] = sum[i].add(L::splat(HALVES_OF_BYTES[i]));
        }
        SignedBytes { words: words_of_limbs(ripple(sum)) }
    }

    /// 51 odd digits in base 32 from -31 to 31, least significant first: see [`OddDigits`].
    #[inline(always)]
    pub(crate) fn to_odd_digits(self) -> OddDigits<L> {
        // An odd t below 2^255 is the sum of digits 2v - 31 over the 5-bit digits v of (t + 2^255 - 1) / 2. Adding l, which is odd, to an even scalar
        // makes it odd and changes no multiple of a point whose order is l.
        let even = self.0[0].and(L::splat(1)).wrapping_sub(L::splat(1));
        let mut sum = self.0;
        for i in 0..5 {
            sum[i] = sum[i].add(L::splat(ORDER[i]).and(even)).add(L::splat(ONES_255[i]));
        }
        let [a, b, c, d, e] = ripple(sum);
        // Eleven digits of five bits to a word; the division by two is in the shifts.
        let word = L::splat((1 << 55) - 1);
        OddDigits {
            words: [
                a.shift_right::<1>().or(b.shift_left::<51>()).and(word),
                b.shift_right::<4>().or(c.shift_left::<48>()).and(word),
                c.shift_right::<7>().or(d.shift_left::<45>()).and(word),
                d.shift_right::<10>().or(e.shift_left::<42>()).and(word),
                e.shift_right::<13>(),
            ],
        }
    }
}

compiled_apart! {
    /// Ten limbs of 52 bits modulo l: what lies above 2^260, then above 2^260 again, then above 2^252 is replaced by its small negative, and
    /// a multiple of l keeps each result from being negative.
    fn reduce<L: Lanes>(wide: &[L; 10]) -> Scalar<L> {
        // Below 2^260 + 2^141 l, and not negative: the product is below 2^260 * 2^133.
        let mut columns = [L::splat(0); 8];
        add_products(&mut columns, &[wide[5], wide[6], wide[7], wide[8], wide[9]], &splat_all(MINUS_2_260));
        let multiple = splat_all(ORDER_2_141);
        for i in 0..8 {
            let low = if i < 5 { wide[i].wrapping_add(multiple[i]) } else { multiple[i] };
            columns[i] = low.wrapping_sub(columns[i]);
        }
        let middle = ripple(columns);

        // Below 2^260 + 2^16 l < 2^269: the product is below 2^135 * 2^133.
        let mut columns = [L::splat(0); 6];
        add_products(&mut columns, &[middle[5], middle[6], middle[7]], &splat_all(MINUS_2_260));
        let multiple = splat_all(ORDER_2_16);
        for i in 0..6 {
            let low = if i < 5 { middle[i].wrapping_add(multiple[i]) } else { multiple[i] };
            columns[i] = low.wrapping_sub(columns[i]);
        }
        let mut low = ripple(columns);

        // Positive and below 2l: the product is below 2^17 * 2^125 < l.
        let quotient = low[4].shift_right::<44>().or(low[5].shift_left::<8>());
        low[4] = low[4].and(L::splat((1 << 44) - 1));
        let mut columns = [L::splat(0); 5];
        add_products(&mut columns, &[quotient], &splat_all(ORDER_TAIL));
        let order = splat_all(ORDER);
        for i in 0..5 {
            columns[i] = low[i].wrapping_add(order[i]).wrapping_sub(columns[i]);
        }
        let small = ripple(columns);

        let mut difference = small;
        for i in 0..5 {
            difference[i] = small[i].wrapping_sub(order[i]);
        }
        let mut reduced = ripple(difference);
        let below_order = reduced[4].top_bit();
        for i in 0..5 {
            reduced[i] = small[i].select(below_order, reduced[i]);
        }
        Scalar(reduced)
    }
}

/// Signed digits in base 256, each stored with 128 added.
#[derive(Clone, Copy)]
pub(crate) struct SignedBytes<L> {
    words: [L; 4],
}

impl<L: Lanes> SignedBytes<L> {
    /// The magnitude of a digit (0 to 128), and where it is negative.
    #[inline(always)]
    pub(crate) fn digit(&self, index: usize) -> (L, Mask) {
        let shifted = self.words[index / 8].shift_right_by(L::splat(8 * (index as u64 % 8)));
        magnitude(shifted.and(L::splat(0xff)), 128)
    }
}

/// Signed digits in base 16 from -8 to 7 of an integer below 7 * 2^124, each stored with 8 added.
#[derive(Clone, Copy)]
pub(crate) struct SignedNibbles<L> {
    words: [L; 2],
}

impl<L: Lanes> SignedNibbles<L> {
    pub(crate) const COUNT: usize = 32;

    /// From three limbs, together below 7 * 2^124.
    #[inline(always)]
    pub(crate) fn new(limbs: [L; 3]) -> Self {
        // The sum stays below 2^128: 8 (1 + 16 + ... + 16^31) < 0.54 * 2^128, and 7 * 2^124 < 0.44 * 2^128.
        let halves = [0x8888888888888, 0x8888888888888, 0x0000000888888];
        let mut sum = limbs;
        for i in 0..3 {
            sum[i] = sum[i].add(L::splat(halves[i]));
        }
        let [a, b, c] = ripple(sum);
        Self { words: [a.or(b.shift_left::<52>()), b.shift_right::<12>().or(c.shift_left::<40>())] }
    }

    /// The magnitude of a digit (0 to 8), and where it is negative.
    #[inline(always)]
    pub(crate) fn digit(&self, index: usize) -> (L, Mask) {
        let shifted = self.words[index / 16].shift_right_by(L::splat(4 * (index as u64 % 16)));
        magnitude(shifted.and(L::splat(0xf)), 8)
    }
}

/// Odd digits in base 32, each stored as v where the digit is 2v - 31.
#[derive(Clone, Copy)]
pub(crate) struct OddDigits<L> {
    words: [L; 5],
}

impl<L: Lanes> OddDigits<L> {
    pub(crate) const COUNT: usize = 51;

    /// `m` where the digit is 2m + 1 or -(2m + 1), from 0 to 15, and where it is negative.
    #[inline(always)]
    pub(crate) fn digit(&self, index: usize) -> (L, Mask) {
        let v = self.words[index / 11].shift_right_by(L::splat(5 * (index as u64 % 11))).and(L::splat(31));
        let negative = v.is_below(L::splat(16));
        // 15 - v below 16, v - 16 otherwise; both are the low four bits, complemented where negative.
        let complement = L::splat(15).select(negative, L::splat(0));
        (v.and(L::splat(15)).xor(complement), negative)
    }
}

/// The distance of a stored digit from its zero, and where it lies below.
#[inline(always)]
fn magnitude<L: Lanes>(stored: L, zero: u64) -> (L, Mask) {
    let zero = L::splat(zero);
    (stored.max(zero).sub(stored.min(zero)), stored.is_below(zero))
}

#[inline(always)]
fn splat_all<L: Lanes, const N: usize>(words: [u64; N]) -> [L; N] {
    let mut lanes = [L::splat(words[0]); N];
    for i in 1..N {
        lanes[i] = L::splat(words[i]);
    }
    lanes
}

/// Adds the product of two numbers to columns of weight 2^52. Columns beyond the last would be zero and are not computed.
#[inline(always)]
pub(crate) fn add_products<L: Lanes>(columns: &mut [L], a: &[L], b: &[L]) {
    for i in 0..a.len() {
        for j in 0..b.len() {
            columns[i + j] = columns[i + j].add_product_low(a[i], b[j]);
            if i + j + 1 < columns.len() {
                columns[i + j + 1] = columns[i + j + 1].add_product_high(a[i], b[j]);
            }
        }
    }
}

/// Passes signed carries upwards: all columns but the last become limbs of 52 bits; the last keeps the sign of the whole.
#[inline(always)]
pub(crate) fn ripple<L: Lanes, const N: usize>(columns: [L; N]) -> [L; N] {
    let limb = L::splat(LIMB);
    let mut limbs = columns;
    for i in 0..N - 1 {
        limbs[i + 1] = limbs[i + 1].wrapping_add(limbs[i].shift_right_signed::<52>());
        limbs[i] = limbs[i].and(limb);
    }
    limbs
}

#[inline(always)]
fn limbs_of_words<L: Lanes>(words: [L; 4]) -> [L; 5] {
    let limb = L::splat(LIMB);
    let [a, b, c, d] = words;
    [
        a.and(limb),
        a.shift_right::<52>().or(b.shift_left::<12>()).and(limb),
        b.shift_right::<40>().or(c.shift_left::<24>()).and(limb),
        c.shift_right::<28>().or(d.shift_left::<36>()).and(limb),
        d.shift_right::<16>(),
    ]
}

#[inline(always)]
fn words_of_limbs<L: Lanes>(limbs: [L; 5]) -> [L; 4] {
    let [a, b, c, d, e] = limbs;
    [
        a.or(b.shift_left::<52>()),
        b.shift_right::<12>().or(c.shift_left::<40>()),
        c.shift_right::<24>().or(d.shift_left::<28>()),
        d.shift_right::<36>().or(e.shift_left::<16>()),
    ]
}

/// Little-endian limbs of a little-endian number of 32 bytes.
pub(crate) fn limbs_of_bytes(bytes: &[u8; 32]) -> [u64; 5] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let [a, b, c, d] = words;
    [a & LIMB, (a >> 52 | b << 12) & LIMB, (b >> 40 | c << 24) & LIMB, (c >> 28 | d << 36) & LIMB, d >> 16]
}

#[cfg(test)]
pub(super) mod checks {
    use super::*;
    use crate::eight_lanes::lanes::ALL;
    use crate::eight_lanes::tests::{seeded, words};
    use curve25519_dalek::scalar::Scalar as Reference;

    /// The bytes of the numbers in eight lanes, from their words.
    pub(in super::super) fn bytes<const WORDS: usize, L: Lanes>(words: [L; WORDS]) -> [Vec<u8>; 8] {
        let words = words.map(L::to_array);
        std::array::from_fn(|lane| words.iter().flat_map(|word| word[lane].to_le_bytes()).collect())
    }

    fn reference<L: Lanes>(scalar: Scalar<L>) -> [Reference; 8] {
        bytes(scalar.to_words()).map(|bytes| Reference::from_canonical_bytes(bytes.try_into().unwrap()).unwrap())
    }

    fn wide_reference(bytes: &[u8]) -> Reference {
        Reference::from_bytes_mod_order_wide(bytes.try_into().unwrap())
    }

    compiled_apart! {
        pub(super) fn reduction<L: Lanes>() {
            let mut rng = seeded(20);
            for _ in 0..400 {
                let wide: [L; 8] = std::array::from_fn(|_| L::from_array(words(&mut rng)));
                assert_eq!(reference(Scalar::from_wide_words(wide)), bytes(wide).map(|bytes| wide_reference(&bytes)));
            }
            let ones = [L::splat(u64::MAX); 8];
            assert_eq!(reference(Scalar::from_wide_words(ones)), bytes(ones).map(|bytes| wide_reference(&bytes)));
        }

        pub(super) fn products<L: Lanes>() {
            let mut rng = seeded(21);
            for _ in 0..200 {
                let mut scalar = || Scalar::<L>::from_wide_words(std::array::from_fn(|_| L::from_array(words(&mut rng))));
                let (a, b, c) = (scalar(), scalar(), scalar());
                let (ra, rb, rc) = (reference(a), reference(b), reference(c));
                assert_eq!(reference(a.mul_add(&b, &c)), std::array::from_fn(|lane| ra[lane] * rb[lane] + rc[lane]));
                let short = [b.0[0], b.0[1], b.0[2]];
                let b = Scalar([short[0], short[1], short[2], L::splat(0), L::splat(0)]);
                let rb = reference(b);
                assert_eq!(reference(a.mul_short(&short)), std::array::from_fn(|lane| ra[lane] * rb[lane]));
            }
            // The largest scalars, where every column is largest.
            let largest = Scalar::<L>::splat([ORDER[0] - 1, ORDER[1], ORDER[2], ORDER[3], ORDER[4]]);
            assert_eq!(reference(largest.mul_add(&largest, &largest)), [Reference::ZERO; 8]);
        }

        pub(super) fn canonical_scalars<L: Lanes>() {
            let order_words: [u64; 4] = words_of_limbs::<L>(splat_all(ORDER)).map(|word| word.to_array()[0]);
            let mut below = order_words;
            below[0] -= 1;
            let mut above = order_words;
            above[0] += 1;
            let mut top = order_words;
            top[3] |= 1 << 63;
            let rows = [[0; 4], [1, 0, 0, 0], below, order_words, above, top, [u64::MAX; 4], [u64::MAX, u64::MAX, u64::MAX, order_words[3] - 1]];
            let (scalar, canonical) = Scalar::<L>::from_canonical_words(L::from_rows(std::array::from_fn(|lane| &rows[lane])));
            assert_eq!(canonical, 0b1000_0111);
            let words = scalar.to_words().map(L::to_array);
            for lane in 0..8 {
                let expected = if canonical >> lane & 1 == 1 { rows[lane] } else { [0; 4] };
                assert_eq!(std::array::from_fn(|word| words[word][lane]), expected, "lane {lane}");
            }
        }

        /// The digits of every kind add up to the scalar they came from.
        pub(super) fn digits<L: Lanes>() {
            let mut rng = seeded(22);
            for _ in 0..50 {
                let scalar = Scalar::<L>::from_wide_words(std::array::from_fn(|_| L::from_array(words(&mut rng))));
                let expected = reference(scalar);
                let sum = |count: usize, base: u64, digit: &dyn Fn(usize) -> (L, Mask), value: &dyn Fn(u64) -> u64| {
                    let mut sums = [Reference::ZERO; 8];
                    for index in (0..count).rev() {
                        let (magnitudes, negative) = digit(index);
                        let magnitudes = magnitudes.to_array();
                        for lane in 0..8 {
                            let digit = Reference::from(value(magnitudes[lane]));
                            let digit = if negative >> lane & 1 == 1 { -digit } else { digit };
                            sums[lane] = sums[lane] * Reference::from(base) + digit;
                        }
                    }
                    sums
                };
                let signed = scalar.to_signed_bytes();
                assert_eq!(sum(32, 256, &|i| signed.digit(i), &|m| m), expected);
                let odd = scalar.to_odd_digits();
                assert_eq!(sum(51, 32, &|i| odd.digit(i), &|m| 2 * m + 1), expected);

                let limbs = [scalar.0[0], scalar.0[1], scalar.0[2].min(L::splat((7 << 20) - 1))];
                let short = Scalar([limbs[0], limbs[1], limbs[2], L::splat(0), L::splat(0)]);
                let nibbles = SignedNibbles::new(limbs);
                assert_eq!(sum(32, 16, &|i| nibbles.digit(i), &|m| m), reference(short));
            }
            let largest = [L::splat(LIMB), L::splat(LIMB), L::splat((7 << 20) - 1)];
            for index in 0..32 {
                assert_eq!(SignedNibbles::new(largest).digit(index).0.is_below(L::splat(9)), ALL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    crate::eight_lanes::tests::check_all_lanes!(reduction, products, canonical_scalars, digits);
}
