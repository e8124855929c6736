//! The field of 2^255 - 19 elements, eight at a time.
//!
//! An element is five limbs of 51 bits, least significant first, not necessarily reduced. How large the limbs may be is in the type:
//!
//! | type | limbs | made by |
//! |---|---|---|
//! | [`Element`] | below 2^52; below 2^51 + 2^16 if made by `carry` | `carry`, decoding, tables |
//! | [`Wide`] | below 2^62.5 | products, and sums and differences of products |
//! | [`Lifted`] | the same, and above any sum of two products | products that a multiple of p was added to, so that others can be taken from them |
//!
//! Products take elements and give wide values, so a sum of products is carried once instead of each product by itself. The
//! multiplication is schoolbook, by the 52-bit multiply-and-add instructions: the low 52 bits of a product of limbs weigh 2^(51(i+j)),
//! the rest weighs 2^(51(i+j)+52), which is twice the weight of the next column.
//!
//! Bounds, for factors with limbs below 2^52: a column of the upper half sums at most 4 low parts (below 2^52) and twice 5 high parts
//! (below 2^52 each), so it is below 14 * 2^52; folded by 19 on the lower half, where column 0 has one low part, a limb is below
//! (19 * 14 + 1) * 2^52 < 2^60.1. With factors made by `carry` the high parts are half of that, and a limb is below 2^59. The model of the
//! lanes asserts each of these, operation by operation.

use super::lanes::{Lanes, Mask, compiled_apart};

const LIMB_BITS: u32 = 51;
const LIMB: u64 = (1 << LIMB_BITS) - 1;

/// d = -121665/121666, the constant of the curve (RFC 8032, section 5.1).
pub(crate) const D: [u64; 5] = [929955233495203, 466365720129213, 1662059464998953, 2033849074728123, 1442794654840575];
/// 2d.
pub(crate) const D2: [u64; 5] =
    [1859910466990425, 932731440258426, 1072319116312658, 1815898335770999, 633789495995903];
/// A square root of -1: 2^((p-1)/4).
const SQRT_MINUS_ONE: [u64; 5] =
    [1718705420411056, 234908883556509, 2233514472574048, 2117202627021982, 765476049583133];

/// Eight field elements whose limbs are below 2^52: what may be multiplied.
#[derive(Clone, Copy)]
pub(crate) struct Element<L>(pub(crate) [L; 5]);

/// Eight field elements whose limbs are below 2^62.5: a sum of products.
#[derive(Clone, Copy)]
pub(crate) struct Wide<L>([L; 5]);

/// Eight field elements whose limbs are below 2^62 but above any sum of two products of carried elements.
#[derive(Clone, Copy)]
pub(crate) struct Lifted<L>([L; 5]);

/// 2^10 p. Its limbs are near 2^61.
const LIFT: [u64; 5] = [(LIMB - 18) << 10, LIMB << 10, LIMB << 10, LIMB << 10, LIMB << 10];

impl<L: Lanes> Element<L> {
    #[inline(always)]
    pub(crate) fn splat(limbs: [u64; 5]) -> Self {
        let mut element = [L::splat(limbs[0]); 5];
        for i in 1..5 {
            element[i] = L::splat(limbs[i]);
        }
        Self(element)
    }

    #[inline(always)]
    pub(crate) fn zero() -> Self {
        Self::splat([0; 5])
    }

    #[inline(always)]
    pub(crate) fn one() -> Self {
        Self::splat([1, 0, 0, 0, 0])
    }

    /// Decodes 255 bits from four little-endian words; the top bit is left to the caller. Values of p and more are accepted and
    /// mean what they are modulo p, as ZIP 215 asks.
    #[inline(always)]
    pub(crate) fn from_words(words: [L; 4]) -> Self {
        let limb = L::splat(LIMB);
        Self([
            words[0].and(limb),
            words[0].shift_right::<51>().or(words[1].shift_left::<13>()).and(limb),
            words[1].shift_right::<38>().or(words[2].shift_left::<26>()).and(limb),
            words[2].shift_right::<25>().or(words[3].shift_left::<39>()).and(limb),
            words[3].shift_right::<12>().and(limb),
        ])
    }

    /// The canonical encoding: four little-endian words, the top bit clear.
    #[inline(always)]
    pub(crate) fn to_words(self) -> [L; 4] {
        let [a, b, c, d, e] = self.reduce().0;
        [
            a.or(b.shift_left::<51>()),
            b.shift_right::<13>().or(c.shift_left::<38>()),
            c.shift_right::<26>().or(d.shift_left::<25>()),
            d.shift_right::<39>().or(e.shift_left::<12>()),
        ]
    }

    #[inline(always)]
    pub(crate) fn add(&self, other: &Self) -> Self {
        self.widen().add(&other.widen()).carry()
    }

    #[inline(always)]
    pub(crate) fn sub(&self, other: &Self) -> Self {
        // 4p: each limb exceeds any limb of an element.
        let four_p = Self::splat([4 * (LIMB - 18), 4 * LIMB, 4 * LIMB, 4 * LIMB, 4 * LIMB]);
        let mut limbs = self.0;
        for i in 0..5 {
            limbs[i] = limbs[i].add(four_p.0[i]).sub(other.0[i]);
        }
        Wide(limbs).carry()
    }

    /// The negative where the mask is set. The element must come from `carry` or a table; the result is one to multiply with.
    #[inline(always)]
    pub(crate) fn negate_where(&self, mask: Mask) -> Self {
        // 2p has limbs of 52 bits that are above any limb made by `carry`: 2^52 - 38 > 2^51 + 2^16.
        let two_p = Self::splat([2 * (LIMB - 18), 2 * LIMB, 2 * LIMB, 2 * LIMB, 2 * LIMB]);
        let mut limbs = self.0;
        for i in 0..5 {
            limbs[i] = limbs[i].subtract_from_where(mask, two_p.0[i]);
        }
        Self(limbs)
    }

    /// `self` where the mask is set, `other` where it is clear.
    #[inline(always)]
    pub(crate) fn select(&self, mask: Mask, other: &Self) -> Self {
        let mut limbs = self.0;
        for i in 0..5 {
            limbs[i] = limbs[i].select(mask, other.0[i]);
        }
        Self(limbs)
    }

    /// The same value as a sum of products.
    #[inline(always)]
    pub(crate) fn widen(&self) -> Wide<L> {
        Wide(self.0)
    }

    /// The same value, so that products can be taken from it.
    #[inline(always)]
    pub(crate) fn lift(&self) -> Lifted<L> {
        let mut limbs = self.0;
        for i in 0..5 {
            limbs[i] = limbs[i].add(L::splat(LIFT[i]));
        }
        Lifted(limbs)
    }

    #[inline(always)]
    pub(crate) fn mul(&self, other: &Self) -> Self {
        self.mul_wide(other).carry()
    }

    #[inline(always)]
    pub(crate) fn square(&self) -> Self {
        self.square_wide().carry()
    }

    #[inline(always)]
    pub(crate) fn mul_wide(&self, other: &Self) -> Wide<L> {
        Wide(self.mul_from(other, [0; 5]))
    }

    #[inline(always)]
    pub(crate) fn mul_lifted(&self, other: &Self) -> Lifted<L> {
        Lifted(self.mul_from(other, LIFT))
    }

    #[inline(always)]
    pub(crate) fn square_wide(&self) -> Wide<L> {
        Wide(self.square_from([0; 5]))
    }

    #[inline(always)]
    pub(crate) fn square_lifted(&self) -> Lifted<L> {
        Lifted(self.square_from(LIFT))
    }

    /// The product plus `start`, whose limbs but the first are even: the sums begin there instead of at zero, which costs nothing.
    #[inline(always)]
    fn mul_from(&self, other: &Self, start: [u64; 5]) -> [L; 5] {
        let (a, b) = (&self.0, &other.0);
        let mut columns = [L::splat(0); 10];
        columns[0] = L::splat(start[0]);
        for i in 1..5 {
            columns[i] = L::splat(start[i] / 2);
        }
        for i in 0..5 {
            for j in 0..5 {
                columns[i + j + 1] = columns[i + j + 1].add_product_high(a[i], b[j]);
            }
        }
        for column in &mut columns[1..] {
            *column = column.add(*column);
        }
        for i in 0..5 {
            for j in 0..5 {
                columns[i + j] = columns[i + j].add_product_low(a[i], b[j]);
            }
        }
        fold(&columns)
    }

    /// The square plus `start`, whose limbs but the first are multiples of four.
    #[inline(always)]
    fn square_from(&self, start: [u64; 5]) -> [L; 5] {
        let a = &self.0;
        let mut columns = [L::splat(0); 10];
        columns[0] = L::splat(start[0]);
        columns[1] = L::splat(start[1] / 2);
        for i in 2..5 {
            columns[i] = L::splat(start[i] / 4);
        }
        // A product of different limbs counts twice, a high part twice: collect what counts twice last.
        for i in 0..5 {
            for j in i + 1..5 {
                columns[i + j + 1] = columns[i + j + 1].add_product_high(a[i], a[j]);
            }
        }
        for column in &mut columns[2..9] {
            *column = column.add(*column);
        }
        for i in 0..5 {
            columns[2 * i + 1] = columns[2 * i + 1].add_product_high(a[i], a[i]);
            for j in i + 1..5 {
                columns[i + j] = columns[i + j].add_product_low(a[i], a[j]);
            }
        }
        for column in &mut columns[1..] {
            *column = column.add(*column);
        }
        for i in 0..5 {
            columns[2 * i] = columns[2 * i].add_product_low(a[i], a[i]);
        }
        fold(&columns)
    }

    /// The one representation below p, its limbs below 2^51.
    #[inline(always)]
    pub(crate) fn reduce(&self) -> Self {
        let (limb, nineteen) = (L::splat(LIMB), L::splat(19));
        let mut limbs = self.widen().carry().widen().carry().0;
        // Now below 2^255 + 2^52, so the quotient by p is 0 or 1: what 19 more carries out of the top.
        let mut quotient = limbs[0].add(nineteen).shift_right::<LIMB_BITS>();
        for i in 1..5 {
            quotient = limbs[i].add(quotient).shift_right::<LIMB_BITS>();
        }
        limbs[0] = limbs[0].add_product_low(quotient, nineteen);
        for i in 0..4 {
            limbs[i + 1] = limbs[i + 1].add(limbs[i].shift_right::<LIMB_BITS>());
            limbs[i] = limbs[i].and(limb);
        }
        limbs[4] = limbs[4].and(limb);
        Self(limbs)
    }

    #[inline(always)]
    pub(crate) fn is_zero(&self) -> Mask {
        let [a, b, c, d, e] = self.reduce().0;
        a.or(b).or(c.or(d)).or(e).is_equal(L::splat(0))
    }

    /// The lowest bit of the canonical value: the sign of an x coordinate.
    #[inline(always)]
    pub(crate) fn is_odd(&self) -> Mask {
        self.reduce().0[0].shift_left::<63>().top_bit()
    }

    /// 1/self, or zero for zero.
    #[inline(always)]
    pub(crate) fn invert(&self) -> Self {
        invert(self)
    }
}

impl<L: Lanes> Wide<L> {
    #[inline(always)]
    pub(crate) fn add(&self, other: &Self) -> Self {
        let mut limbs = self.0;
        for i in 0..5 {
            limbs[i] = limbs[i].add(other.0[i]);
        }
        Self(limbs)
    }

    /// Makes the limbs small enough to multiply: each passes what is above 51 bits to the next, the last to the first times 19.
    ///
    /// Limbs are below 2^62.5, so carries are below 2^11.5 and 19 carries below 2^16: the result is below 2^51 + 2^16.
    #[inline(always)]
    pub(crate) fn carry(&self) -> Element<L> {
        let limb = L::splat(LIMB);
        let [a, b, c, d, e] = self.0;
        Element([
            a.and(limb).add_product_low(e.shift_right::<LIMB_BITS>(), L::splat(19)),
            b.and(limb).add(a.shift_right::<LIMB_BITS>()),
            c.and(limb).add(b.shift_right::<LIMB_BITS>()),
            d.and(limb).add(c.shift_right::<LIMB_BITS>()),
            e.and(limb).add(d.shift_right::<LIMB_BITS>()),
        ])
    }
}

impl<L: Lanes> Lifted<L> {
    #[inline(always)]
    pub(crate) fn add(&self, other: &Wide<L>) -> Self {
        Self(Wide(self.0).add(other).0)
    }

    #[inline(always)]
    pub(crate) fn sub(&self, other: &Wide<L>) -> Wide<L> {
        let mut limbs = self.0;
        for i in 0..5 {
            limbs[i] = limbs[i].sub(other.0[i]);
        }
        Wide(limbs)
    }

    #[inline(always)]
    pub(crate) fn carry(&self) -> Element<L> {
        Wide(self.0).carry()
    }
}

/// 2^255 = 19: the upper columns join the lower ones.
#[inline(always)]
fn fold<L: Lanes>(columns: &[L; 10]) -> [L; 5] {
    let nineteen = L::splat(19);
    let mut limbs = [nineteen; 5];
    for i in 0..5 {
        limbs[i] = columns[i].add(columns[i + 5].times(nineteen));
    }
    limbs
}

compiled_apart! {
    /// `N` independent elements squared `count` times; several at once keep the multipliers busy while each waits for itself.
    fn square_times<L: Lanes, const N: usize>(elements: &[Element<L>; N], count: usize) -> [Element<L>; N] {
        let mut elements = *elements;
        for _ in 0..count {
            for element in &mut elements {
                *element = element.square();
            }
        }
        elements
    }
}

compiled_apart! {
    fn mul_each<L: Lanes, const N: usize>(a: &[Element<L>; N], b: &[Element<L>; N]) -> [Element<L>; N] {
        let mut products = *a;
        for i in 0..N {
            products[i] = a[i].mul(&b[i]);
        }
        products
    }
}

compiled_apart! {
    fn invert<L: Lanes>(element: &Element<L>) -> Element<L> {
        let ([power], [eleventh]) = to_2_250_minus_1(&[*element]);
        // 2^255 - 21 = 32 (2^250 - 1) + 11
        square_times(&[power], 5)[0].mul(&eleventh)
    }
}

/// The powers 2^250 - 1 and 11, by the usual chain (Bernstein, "Curve25519: new Diffie-Hellman speed records", 2006).
#[inline(always)]
fn to_2_250_minus_1<L: Lanes, const N: usize>(x: &[Element<L>; N]) -> ([Element<L>; N], [Element<L>; N]) {
    let x2 = square_times(x, 1);
    let x9 = mul_each(&square_times(&x2, 2), x);
    let x11 = mul_each(&x9, &x2);
    let ones_5 = mul_each(&square_times(&x11, 1), &x9); // 2^5 - 1: five ones
    let ones_10 = mul_each(&square_times(&ones_5, 5), &ones_5);
    let ones_20 = mul_each(&square_times(&ones_10, 10), &ones_10);
    let ones_40 = mul_each(&square_times(&ones_20, 20), &ones_20);
    let ones_50 = mul_each(&square_times(&ones_40, 10), &ones_10);
    let ones_100 = mul_each(&square_times(&ones_50, 50), &ones_50);
    let ones_200 = mul_each(&square_times(&ones_100, 100), &ones_100);
    (mul_each(&square_times(&ones_200, 50), &ones_50), x11)
}

/// A square root of `numerator/denominator`, and whether there is one (RFC 8032, section 5.1.3). Where there is none the root is
/// meaningless.
#[inline(always)]
pub(crate) fn root_of_ratio<L: Lanes, const N: usize>(
    numerator: &[Element<L>; N],
    denominator: &[Element<L>; N],
) -> ([Element<L>; N], [Mask; N]) {
    let (u, v) = (numerator, denominator);
    let v3 = mul_each(&square_times(v, 1), v);
    let v7 = mul_each(&square_times(&v3, 1), v);
    let uv7 = mul_each(u, &v7);
    // (uv^7)^((p-5)/8), and (p-5)/8 = 2^252 - 3 = 4 (2^250 - 1) + 1
    let power = mul_each(&square_times(&to_2_250_minus_1(&uv7).0, 2), &uv7);
    let mut root = mul_each(&mul_each(u, &v3), &power);
    let mut exists = [0; N];
    for i in 0..N {
        let check = v[i].mul(&root[i].square());
        let is_root = check.sub(&u[i]).is_zero();
        let is_root_of_minus = check.add(&u[i]).is_zero();
        exists[i] = is_root | is_root_of_minus;
        root[i] = root[i].select(is_root, &root[i].mul(&Element::splat(SQRT_MINUS_ONE)));
    }
    (root, exists)
}

#[cfg(test)]
mod checks {
    use super::*;
    use crate::eight_lanes::lanes::ALL;
    use crate::eight_lanes::tests::{seeded, words};

    fn random<L: Lanes>(rng: &mut impl rand_chacha::rand_core::Rng) -> Element<L> {
        Element::from_words(std::array::from_fn(|_| L::from_array(words(rng))))
    }

    fn is_equal<L: Lanes>(a: &Element<L>, b: &Element<L>) -> bool {
        a.sub(b).is_zero() == ALL
    }

    compiled_apart! {
        /// Every term of every sum is a product, and so largest when the factors are: the model asserts here that nothing overflows for any
        /// factors with limbs below 2^52, and that differences of products made from carried elements stay positive.
        pub(super) fn largest_limbs<L: Lanes>() {
            let largest = Element([L::splat((1 << 52) - 1); 5]);
            let carried = Element([L::splat((1 << 51) + (1 << 16)); 5]);
            let zero = Element::<L>::zero();
            let product = largest.mul_wide(&largest);
            assert_eq!(product.0[0].max(product.0[4]).is_below(L::splat(1 << 61)), ALL);
            assert!(is_equal(&product.carry(), &largest.square()));
            assert_eq!(largest.square_wide().0[0].to_array(), product.0[0].to_array());

            let product = carried.mul_wide(&carried);
            let square = carried.square_wide();
            for i in 0..5 {
                assert_eq!(product.0[i].is_below(L::splat(1 << 59)), ALL);
            }
            // The largest sum, A + (A - 0) + 2C of a doubling, and the smallest, 0 - (A + B).
            let lifted = carried.square_lifted();
            assert_eq!(lifted.sub(&square).carry().is_zero(), ALL);
            assert_eq!(carried.mul_lifted(&carried).sub(&square).carry().is_zero(), ALL);
            let largest_sum = lifted.add(&product).sub(&zero.widen()).add(&square).add(&square);
            for limb in largest_sum.carry().0 {
                assert_eq!(limb.is_below(L::splat((1 << 51) + (1 << 16))), ALL);
            }
            let two = product.add(&square);
            assert_eq!(zero.lift().sub(&two).carry().add(&two.carry()).is_zero(), ALL);
            for limb in carried.negate_where(ALL).0 {
                assert_eq!(limb.is_below(L::splat(1 << 52)), ALL);
            }
            assert_eq!(carried.negate_where(ALL).widen().add(&carried.widen()).carry().is_zero(), ALL);
            assert_eq!(zero.sub(&largest).add(&largest).is_zero(), ALL);
        }

        pub(super) fn laws<L: Lanes>() {
            let mut rng = seeded(11);
            for _ in 0..50 {
                let (a, b): (Element<L>, Element<L>) = (random(&mut rng), random(&mut rng));
                assert!(is_equal(&a.mul(&b), &b.mul(&a)));
                assert!(is_equal(&a.add(&b).square(), &a.square().add(&b.square()).add(&a.mul(&b)).add(&a.mul(&b))));
                assert!(is_equal(&a.add(&b).mul(&a.sub(&b)), &a.square().sub(&b.square())));
                assert!(is_equal(&a.negate_where(0x5a).negate_where(0xa5).widen().carry(), &Element::zero().sub(&a)));
                let inverse = a.invert();
                assert!(is_equal(&a.mul(&inverse).mul(&a), &a), "also for zero");
                assert_eq!(inverse.is_zero(), a.is_zero());
                let again = Element::from_words(a.to_words());
                assert!(is_equal(&a, &again));
                assert_eq!(a.is_odd(), a.to_words()[0].shift_left::<63>().top_bit());
            }
        }

        pub(super) fn constants<L: Lanes>() {
            let d = Element::<L>::splat(D);
            assert_eq!(d.mul(&Element::splat([121666, 0, 0, 0, 0])).add(&Element::splat([121665, 0, 0, 0, 0])).is_zero(), ALL);
            assert!(is_equal(&d.add(&d), &Element::splat(D2)));
            let i = Element::<L>::splat(SQRT_MINUS_ONE);
            assert_eq!(i.square().add(&Element::one()).is_zero(), ALL);
        }

        /// The canonical form around p and 2p: p - 1, p, p + 1, ..., 2^255 - 1, and unreduced limbs.
        pub(super) fn canonical_form<L: Lanes>() {
            for above in 0..39 {
                // p - 20 + above, or without the p where that is not negative
                let words = [L::splat(u64::MAX - 38 + above), L::splat(u64::MAX), L::splat(u64::MAX), L::splat(u64::MAX >> 1)];
                let reduced = Element::from_words(words).to_words();
                if above < 20 {
                    assert_eq!(reduced[0].to_array(), words[0].to_array());
                } else {
                    assert_eq!(reduced[0].to_array(), [above - 20; 8]);
                    assert_eq!(reduced[1].or(reduced[2]).or(reduced[3]).to_array(), [0; 8]);
                }
            }
            let twice_p = Element([L::splat(2 * (LIMB - 18)), L::splat(2 * LIMB), L::splat(2 * LIMB), L::splat(2 * LIMB), L::splat(2 * LIMB)]);
            assert_eq!(twice_p.is_zero(), ALL);
        }

        pub(super) fn roots<L: Lanes>() {
            let mut rng = seeded(12);
            for _ in 0..10 {
                let (a, b): (Element<L>, Element<L>) = (random(&mut rng), random(&mut rng));
                let nonzero = !b.is_zero();
                // a^2 / b^2 has a root, and 2 a^2 / b^2 has none unless a is zero: 2 is no square modulo p.
                let (b2, a2) = (b.square(), a.square());
                let ([root, _], [exists, doubled_exists]) = root_of_ratio(&[a2, a2.add(&a2)], &[b2, b2]);
                assert_eq!(exists & nonzero, nonzero);
                assert_eq!(root.square().mul(&b2).sub(&a2).is_zero() & nonzero, nonzero);
                assert_eq!(doubled_exists & nonzero, a.is_zero() & nonzero);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    crate::eight_lanes::tests::check_all_lanes!(largest_limbs, laws, constants, canonical_form, roots);
}
