//! Points of edwards25519, eight at a time.
//!
//! Coordinates and formulas are those of Hisil, Wong, Carter and Dawson, "Twisted Edwards Curves Revisited" (2008), for a = -1: they are
//! complete, so no operand is special. Sums of products are carried once (see `field`).

use super::field::{D, D2, Element, Wide, root_of_ratio};
use super::lanes::{Lanes, Mask, compiled_apart};

/// x = X/Z, y = Y/Z, and T = XY/Z where whoever made the point was asked for it.
#[derive(Clone, Copy)]
pub(crate) struct Point<L> {
    pub(crate) x: Element<L>,
    pub(crate) y: Element<L>,
    pub(crate) z: Element<L>,
    pub(crate) t: Element<L>,
}

/// x and y, of points just decoded.
#[derive(Clone, Copy)]
pub(crate) struct AffinePoint<L> {
    pub(crate) x: Element<L>,
    pub(crate) y: Element<L>,
}

/// A point with Z = 1, prepared to be added: y + x, y - x, 2dxy.
#[derive(Clone, Copy)]
pub(crate) struct AffineAddend<L> {
    pub(crate) y_plus_x: Element<L>,
    pub(crate) y_minus_x: Element<L>,
    pub(crate) xy2d: Element<L>,
}

/// A point prepared to be added: Y + X, Y - X, 2Z, 2dT.
#[derive(Clone, Copy)]
pub(crate) struct Addend<L> {
    pub(crate) y_plus_x: Element<L>,
    pub(crate) y_minus_x: Element<L>,
    pub(crate) z2: Element<L>,
    pub(crate) t2d: Element<L>,
}

/// Whether T of a result is needed: the operand of a doubling does not use it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extended {
    WithT,
    WithoutT,
}

impl<L: Lanes> Point<L> {
    #[inline(always)]
    pub(crate) fn identity() -> Self {
        let (zero, one) = (Element::zero(), Element::one());
        Self { x: zero, y: one, z: one, t: zero }
    }

    #[inline(always)]
    pub(crate) fn double(&self, extended: Extended) -> Self {
        double(self, extended)
    }

    /// `2^count` times the point, `count` at least 1; the result has its T.
    #[inline(always)]
    pub(crate) fn double_times(&self, count: usize) -> Self {
        double_times(self, count)
    }

    /// The point must have its T.
    #[inline(always)]
    pub(crate) fn add_affine(&self, other: &AffineAddend<L>, extended: Extended) -> Self {
        add_affine(self, other, extended)
    }

    /// The point must have its T.
    #[inline(always)]
    pub(crate) fn add(&self, other: &Addend<L>, extended: Extended) -> Self {
        add(self, other, extended)
    }

    /// "dbl-2008-hwcd": four squarings and three or four multiplications.
    #[inline(always)]
    fn double_inlined(&self, extended: Extended) -> Self {
        let a = self.x.square_wide();
        let b = self.y.square_wide();
        let c = self.z.square_wide();
        let s = self.x.add(&self.y).square_wide();
        let a_plus_b = a.add(&b);
        let h = a_plus_b.carry();
        let e = a_plus_b.sub(&s).carry();
        let g_wide = a.sub(&b);
        let g = g_wide.carry();
        let f = g_wide.add(&c).add(&c).carry();
        Self::from_factors(&e, &f, &g, &h, extended)
    }

    /// "madd-2008-hwcd-3": seven multiplications, or six.
    #[inline(always)]
    fn add_affine_inlined(&self, other: &AffineAddend<L>, extended: Extended) -> Self {
        self.add_parts(&other.y_plus_x, &other.y_minus_x, &other.xy2d, &self.z.widen().add(&self.z.widen()), extended)
    }

    /// "add-2008-hwcd-3": eight multiplications, or seven.
    #[inline(always)]
    fn add_inlined(&self, other: &Addend<L>, extended: Extended) -> Self {
        self.add_parts(&other.y_plus_x, &other.y_minus_x, &other.t2d, &self.z.mul_wide(&other.z2), extended)
    }

    #[inline(always)]
    fn add_parts(
        &self,
        y_plus_x: &Element<L>,
        y_minus_x: &Element<L>,
        t2d: &Element<L>,
        d: &Wide<L>,
        extended: Extended,
    ) -> Self {
        let a = self.y.sub(&self.x).mul_wide(y_minus_x);
        let b = self.y.add(&self.x).mul_wide(y_plus_x);
        let c = self.t.mul_wide(t2d);
        let e = b.sub(&a).carry();
        let h = b.add(&a).carry();
        let f = d.sub(&c).carry();
        let g = d.add(&c).carry();
        Self::from_factors(&e, &f, &g, &h, extended)
    }

    #[inline(always)]
    fn from_factors(e: &Element<L>, f: &Element<L>, g: &Element<L>, h: &Element<L>, extended: Extended) -> Self {
        Self {
            x: e.mul(f),
            y: g.mul(h),
            z: f.mul(g),
            t: match extended {
                Extended::WithT => e.mul(h),
                Extended::WithoutT => Element::zero(),
            },
        }
    }

    #[inline(always)]
    pub(crate) fn to_addend(self) -> Addend<L> {
        Addend {
            y_plus_x: self.y.add(&self.x),
            y_minus_x: self.y.sub(&self.x),
            z2: self.z.add(&self.z),
            t2d: self.t.mul(&Element::splat(D2)),
        }
    }

    /// Where eight times the point is the identity: where it is of small order.
    #[inline(always)]
    pub(crate) fn is_of_small_order(&self) -> Mask {
        let mut point = *self;
        for _ in 0..3 {
            point = point.double(Extended::WithoutT);
        }
        point.x.is_zero() & point.y.sub(&point.z).is_zero()
    }

    /// `self` where the mask is set, `other` where it is clear.
    #[inline(always)]
    pub(crate) fn select(&self, mask: Mask, other: &Self) -> Self {
        Self {
            x: self.x.select(mask, &other.x),
            y: self.y.select(mask, &other.y),
            z: self.z.select(mask, &other.z),
            t: self.t.select(mask, &other.t),
        }
    }
}

impl<L: Lanes> AffinePoint<L> {
    #[inline(always)]
    pub(crate) fn to_point(self) -> Point<L> {
        Point { x: self.x, y: self.y, z: Element::one(), t: self.x.mul(&self.y) }
    }

    #[inline(always)]
    pub(crate) fn negate_where(&self, mask: Mask) -> Self {
        // Carried, because coordinates are added to each other before they are multiplied.
        Self { x: self.x.negate_where(mask).widen().carry(), y: self.y }
    }

    #[inline(always)]
    pub(crate) fn to_addend(self) -> AffineAddend<L> {
        AffineAddend {
            y_plus_x: self.y.add(&self.x).reduce(),
            y_minus_x: self.y.sub(&self.x).reduce(),
            xy2d: self.x.mul(&self.y).mul(&Element::splat(D2)).reduce(),
        }
    }
}

impl<L: Lanes> AffineAddend<L> {
    #[inline(always)]
    pub(crate) fn negate_where(&self, mask: Mask) -> Self {
        Self {
            y_plus_x: self.y_minus_x.select(mask, &self.y_plus_x),
            y_minus_x: self.y_plus_x.select(mask, &self.y_minus_x),
            xy2d: self.xy2d.negate_where(mask),
        }
    }
}

compiled_apart! {
    fn double<L: Lanes>(point: &Point<L>, extended: Extended) -> Point<L> {
        point.double_inlined(extended)
    }

    fn double_times<L: Lanes>(point: &Point<L>, count: usize) -> Point<L> {
        let mut point = *point;
        for _ in 1..count {
            point = point.double_inlined(Extended::WithoutT);
        }
        point.double_inlined(Extended::WithT)
    }

    fn add_affine<L: Lanes>(point: &Point<L>, other: &AffineAddend<L>, extended: Extended) -> Point<L> {
        point.add_affine_inlined(other, extended)
    }

    fn add<L: Lanes>(point: &Point<L>, other: &Addend<L>, extended: Extended) -> Point<L> {
        point.add_inlined(other, extended)
    }
}

compiled_apart! {
    /// Decodes `N` groups of eight points, and says which encode one. Every encoding of a point is accepted (ZIP 215): y need not be below p,
    /// and x = 0 may come with either sign.
    pub(crate) fn decode<L: Lanes, const N: usize>(encodings: &[[L; 4]; N]) -> ([AffinePoint<L>; N], [Mask; N]) {
        let one = Element::one();
        let mut y = [one; N];
        let mut numerator = [one; N];
        let mut denominator = [one; N];
        for i in 0..N {
            // x^2 = (y^2 - 1) / (d y^2 + 1)
            y[i] = Element::from_words(encodings[i]);
            let y2 = y[i].square();
            numerator[i] = y2.sub(&one);
            denominator[i] = y2.mul(&Element::splat(D)).add(&one);
        }
        let (x, exists) = root_of_ratio(&numerator, &denominator);
        let mut points = [AffinePoint { x: one, y: one }; N];
        for i in 0..N {
            let other_sign = x[i].is_odd() ^ encodings[i][3].top_bit();
            points[i] = AffinePoint { x: x[i], y: y[i] }.negate_where(other_sign);
        }
        (points, exists)
    }
}

compiled_apart! {
    /// Encodes `G` groups of eight points, `G` at least 1, with one inversion for all of them (Montgomery's trick, lane by lane).
    pub(crate) fn encode<L: Lanes>(points: &[Point<L>], encodings: &mut [[L; 4]]) {
        debug_assert!(!points.is_empty() && points.len() <= MAX_GROUPS && points.len() == encodings.len());
        let mut products = [points[0].z; MAX_GROUPS];
        for i in 1..points.len() {
            products[i] = products[i - 1].mul(&points[i].z);
        }
        let mut inverse = products[points.len() - 1].invert();
        for i in (0..points.len()).rev() {
            let z_inverse = if i > 0 {
                let z_inverse = inverse.mul(&products[i - 1]);
                inverse = inverse.mul(&points[i].z);
                z_inverse
            } else {
                inverse
            };
            let x = points[i].x.mul(&z_inverse);
            let y = points[i].y.mul(&z_inverse);
            let mut words = y.to_words();
            words[3] = words[3].or(sign_bit(&x));
            encodings[i] = words;
        }
    }
}

/// How many groups of eight share an inversion at most.
pub(crate) const MAX_GROUPS: usize = 8;

/// The lowest bit of x, as the top bit of a word.
#[inline(always)]
fn sign_bit<L: Lanes>(x: &Element<L>) -> L {
    x.reduce().0[0].shift_left::<63>()
}
