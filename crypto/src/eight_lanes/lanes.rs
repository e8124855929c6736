//! Eight 64-bit words that are computed with as one: what the kernels know of the CPU.
//!
//! Every kernel is written once, over this trait. `Avx512` carries it out with one instruction per method; `Model` carries it out
//! one lane after another and checks what the kernels claim: that no sum overflows, no difference is negative, and no factor has
//! more than 52 bits. A test of the model is therefore a check of the bounds that the kernels state.

/// One bit for each lane, lane 0 lowest.
pub(crate) type Mask = u8;

/// All eight lanes.
pub(crate) const ALL: Mask = 0xff;

/// Makes functions that are compiled apart, once for each kind of lanes, and for the vector lanes with the CPU's instructions.
///
/// Everything else that is generic over the lanes is inlined into such functions: a trait's methods cannot carry a target feature, but what they are
/// inlined into can. Which functions these are is a matter of speed and of the time to compile, not of meaning.
macro_rules! compiled_apart {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<$L:ident: Lanes $(, const $N:ident: usize)?>(
            $($argument:ident: $type:ty),* $(,)?
        ) $(-> $result:ty)? $body:block
    )*) => {$(
        $(#[$attribute])*
        #[inline(always)]
        $visibility fn $name<$L: Lanes $(, const $N: usize)?>($($argument: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512ifma,avx512vl,avx512dq,avx512bw,avx512cd,bmi2")]
            #[inline(never)]
            fn with_vectors<$L: Lanes $(, const $N: usize)?>($($argument: $type),*) $(-> $result)? $body

            #[inline(never)]
            fn with_integers<$L: Lanes $(, const $N: usize)?>($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            if $L::VECTOR {
                // SAFETY: lanes that are vectors are used only on CPUs that have these features; see `avx512`.
                return unsafe { with_vectors::<$L $(, $N)?>($($argument),*) };
            }
            with_integers::<$L $(, $N)?>($($argument),*)
        }
    )*};
}
pub(crate) use compiled_apart;

/// Eight words of 64 bits. Methods act on each lane by itself.
///
/// No method branches or addresses memory by the value of a lane, except those that say so.
pub(crate) trait Lanes: Copy {
    /// Whether the lanes are one register of the CPU, and need its instructions.
    const VECTOR: bool;

    /// The same word in each lane.
    fn splat(word: u64) -> Self;
    fn from_array(words: [u64; 8]) -> Self;
    fn to_array(self) -> [u64; 8];

    /// The sum, which fits in 64 bits.
    fn add(self, other: Self) -> Self;
    /// The difference, which is not negative.
    fn sub(self, other: Self) -> Self;
    fn wrapping_add(self, other: Self) -> Self;
    fn wrapping_sub(self, other: Self) -> Self;
    /// The product, which fits in 64 bits.
    fn times(self, other: Self) -> Self;
    /// `self` plus the low 52 bits of the product of two words of at most 52 bits.
    fn add_product_low(self, a: Self, b: Self) -> Self;
    /// `self` plus the high 52 bits of the 104-bit product of two words of at most 52 bits.
    fn add_product_high(self, a: Self, b: Self) -> Self;

    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    /// Exclusive or of three words.
    fn xor3(self, b: Self, c: Self) -> Self;
    /// Bit by bit, `a` where `self` is set and `b` where it is clear.
    fn choose_bits(self, a: Self, b: Self) -> Self;
    /// Bit by bit, what at least two of three say.
    fn majority(self, b: Self, c: Self) -> Self;
    fn shift_left<const BITS: u32>(self) -> Self;
    fn shift_right<const BITS: u32>(self) -> Self;
    /// Shift to the right of a word in two's complement.
    fn shift_right_signed<const BITS: u32>(self) -> Self;
    fn rotate_right<const BITS: i32>(self) -> Self;
    /// Each lane by a count of its own; a count of 64 or more gives zero.
    fn shift_left_by(self, counts: Self) -> Self;
    /// Each lane by a count of its own; a count of 64 or more gives zero.
    fn shift_right_by(self, counts: Self) -> Self;
    /// The eight bytes of each word in reverse order.
    fn swap_bytes(self) -> Self;
    fn leading_zeros(self) -> Self;

    fn min(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    fn is_equal(self, other: Self) -> Mask;
    fn is_below(self, other: Self) -> Mask;
    /// The top bit of each lane.
    fn top_bit(self) -> Mask;
    /// `self` where the mask is set, `other` where it is clear.
    fn select(self, mask: Mask, other: Self) -> Self;
    /// `from - self` where the mask is set (not negative there), `self` where it is clear.
    fn subtract_from_where(self, mask: Mask, from: Self) -> Self;
    /// Wraps: `self - other` where the mask is set, `self` where it is clear.
    fn wrapping_sub_where(self, mask: Mask, other: Self) -> Self;

    /// Each lane of `self` (0 to 15) picks from a table of sixteen words, in a time that does not depend on what it picks.
    fn pick_from_16(self, table: &[u64; 16]) -> Self;

    /// Begins to fetch a value into the cache, which will be read soon: a hint that changes nothing. Where it stands must be public.
    fn prefetch<T>(value: &T);

    /// Turns eight rows of four words into four words of eight lanes: `result[word]` holds in lane `i` the word of row `i`.
    fn from_rows(rows: [&[u64; 4]; 8]) -> [Self; 4];
    /// As [`Lanes::from_rows`], the words being little-endian bytes.
    fn from_byte_rows(rows: [&[u8; 32]; 8]) -> [Self; 4];
    /// The inverse of [`Lanes::from_rows`].
    fn to_rows(words: [Self; 4]) -> [[u64; 4]; 8];
}
