//! Points of edwards25519, eight at a time.
//!
//! Formulas are those of Hisil, Wong, Carter and Dawson, "Twisted Edwards Curves Revisited" (2008), for a = -1: they are complete, so no operand is
//! special. A sum is first a [`Completed`] point, four factors of which each coordinate is a product; then it becomes what the next operation reads:
//! [`Projective`] to be doubled, [`Extended`] to be added to. Sums of products are carried once (see `field`), which is why these hold sums of
//! coordinates.

use super::field::{D, D2, Element, Lifted, root_of_ratio};
use super::lanes::{Lanes, Mask, compiled_apart};

/// x = X/Z, y = Y/Z: the operand of a doubling.
#[derive(Clone, Copy)]
pub(crate) struct Projective<L> {
    pub(crate) x: Element<L>,
    pub(crate) y: Element<L>,
    pub(crate) x_plus_y: Element<L>,
    pub(crate) z: Element<L>,
}

/// x = X/Z, y = Y/Z, T = XY/Z: the operand of an addition, which reads Y + X and Y - X.
#[derive(Clone, Copy)]
pub(crate) struct Extended<L> {
    pub(crate) y_plus_x: Element<L>,
    pub(crate) y_minus_x: Element<L>,
    pub(crate) z: Element<L>,
    pub(crate) t: Element<L>,
}

/// X = EF, Y = GH, Z = FG, T = EH.
struct Completed<L> {
    e: Element<L>,
    f: Element<L>,
    g: Element<L>,
    h: Element<L>,
}

/// x and y, of points just decoded.
#[derive(Clone, Copy)]
pub(crate) struct Affine<L> {
    pub(crate) x: Element<L>,
    pub(crate) y: Element<L>,
}

/// A point prepared to be added: Y + X, Y - X, 2Z, 2dT.
#[derive(Clone, Copy)]
pub(crate) struct Addend<L> {
    pub(crate) y_plus_x: Element<L>,
    pub(crate) y_minus_x: Element<L>,
    pub(crate) z2: Element<L>,
    pub(crate) t2d: Element<L>,
}

/// A point with Z = 1, prepared to be added: (y + x)/2, (y - x)/2, dxy. The halves make the formula read Z in place of 2Z.
#[derive(Clone, Copy)]
pub(crate) struct AffineAddend<L> {
    pub(crate) half_y_plus_x: Element<L>,
    pub(crate) half_y_minus_x: Element<L>,
    pub(crate) xyd: Element<L>,
}

/// 1/2.
pub(crate) const HALF: [u64; 5] = [(1 << 51) - 9, (1 << 51) - 1, (1 << 51) - 1, (1 << 51) - 1, (1 << 50) - 1];

impl<L: Lanes> Projective<L> {
    /// "dbl-2008-hwcd".
    #[inline(always)]
    fn double(&self) -> Completed<L> {
        let c = self.z.square_wide();
        let b = self.y.square_wide();
        let a = self.x.square_lifted();
        let h_wide = a.add(&b);
        let g_wide = a.sub(&b);
        let g = g_wide.carry();
        let h = h_wide.carry();
        let f = g_wide.add(&c).add(&c).carry();
        let s = self.x_plus_y.square_wide();
        let e = h_wide.sub(&s).carry();
        Completed { e, f, g, h }
    }

    /// `2^count` times the point, `count` at least 1, into its place: a copy of a point costs as much as half an addition.
    #[inline(always)]
    pub(crate) fn double_times(&self, count: usize, result: &mut Extended<L>) {
        double_times(self, count, result);
    }

    /// Where eight times the point is the identity: where it is of small order.
    #[inline(always)]
    pub(crate) fn is_of_small_order(&self) -> Mask {
        let mut eightfold = Extended::identity();
        self.double_times(3, &mut eightfold);
        // X = 0 and Y = Z
        let (u, v) = (&eightfold.y_plus_x, &eightfold.y_minus_x);
        u.sub(v).is_zero() & u.sub(&eightfold.z).is_zero()
    }
}

impl<L: Lanes> Extended<L> {
    #[inline(always)]
    pub(crate) fn identity() -> Self {
        let (zero, one) = (Element::zero(), Element::one());
        Self { y_plus_x: one, y_minus_x: one, z: one, t: zero }
    }

    /// "add-2008-hwcd-3".
    #[inline(always)]
    fn plus(&self, other: &Addend<L>) -> Completed<L> {
        self.plus_parts(&other.y_plus_x, &other.y_minus_x, &other.t2d, &self.z.mul_lifted(&other.z2))
    }

    /// "madd-2008-hwcd-3", all factors halved.
    #[inline(always)]
    fn plus_affine(&self, other: &AffineAddend<L>) -> Completed<L> {
        self.plus_parts(&other.half_y_plus_x, &other.half_y_minus_x, &other.xyd, &self.z.lift())
    }

    #[inline(always)]
    fn plus_parts(
        &self,
        y_plus_x: &Element<L>,
        y_minus_x: &Element<L>,
        td: &Element<L>,
        d: &Lifted<L>,
    ) -> Completed<L> {
        let a = self.y_minus_x.mul_wide(y_minus_x);
        let b = self.y_plus_x.mul_lifted(y_plus_x);
        let c = self.t.mul_wide(td);
        Completed { e: b.sub(&a).carry(), f: d.sub(&c).carry(), g: d.add(&c).carry(), h: b.add(&a).carry() }
    }

    /// Adds a point.
    #[inline(always)]
    pub(crate) fn add(&mut self, other: &Addend<L>) {
        add(self, other);
    }

    /// Adds a point with Z = 1.
    #[inline(always)]
    pub(crate) fn add_affine(&mut self, other: &AffineAddend<L>) {
        add_affine(self, other);
    }

    /// Adds a point, for a sum that will be doubled next.
    #[inline(always)]
    pub(crate) fn add_to_double(&self, other: &Addend<L>, sum: &mut Projective<L>) {
        add_to_double(self, other, sum);
    }

    /// The same point, to be doubled; all coordinates come out twice as large.
    #[inline(always)]
    pub(crate) fn to_projective(self) -> Projective<L> {
        let (u, v) = (&self.y_plus_x, &self.y_minus_x);
        Projective { x: u.sub(v), y: u.add(v), x_plus_y: u.add(u), z: self.z.add(&self.z) }
    }

    #[inline(always)]
    pub(crate) fn to_addend(self) -> Addend<L> {
        Addend {
            y_plus_x: self.y_plus_x,
            y_minus_x: self.y_minus_x,
            z2: self.z.add(&self.z),
            t2d: self.t.mul(&Element::splat(D2)),
        }
    }

    /// x and y, given 1/Z.
    #[inline(always)]
    pub(crate) fn to_affine(self, z_inverse: &Element<L>) -> Affine<L> {
        // 2X/2Z and 2Y/2Z
        let z_inverse = z_inverse.mul(&Element::splat(HALF));
        let (u, v) = (&self.y_plus_x, &self.y_minus_x);
        Affine { x: u.sub(v).mul(&z_inverse), y: u.add(v).mul(&z_inverse) }
    }

    /// Doubles a point.
    #[inline(always)]
    pub(crate) fn double(&mut self) {
        self.to_projective().double_times(1, self);
    }

    /// `self` where the mask is set, `other` where it is clear.
    #[inline(always)]
    pub(crate) fn select(&self, mask: Mask, other: &Self) -> Self {
        Self {
            y_plus_x: self.y_plus_x.select(mask, &other.y_plus_x),
            y_minus_x: self.y_minus_x.select(mask, &other.y_minus_x),
            z: self.z.select(mask, &other.z),
            t: self.t.select(mask, &other.t),
        }
    }
}

impl<L: Lanes> Completed<L> {
    #[inline(always)]
    fn to_projective(&self) -> Projective<L> {
        let z = self.f.mul(&self.g);
        let y = self.g.mul_wide(&self.h);
        let x = self.e.mul_wide(&self.f);
        Projective { y: y.carry(), x: x.carry(), x_plus_y: x.add(&y).carry(), z }
    }

    #[inline(always)]
    fn to_extended(&self) -> Extended<L> {
        let x = self.e.mul_wide(&self.f);
        let y = self.g.mul_lifted(&self.h);
        Extended {
            y_plus_x: y.add(&x).carry(),
            y_minus_x: y.sub(&x).carry(),
            z: self.f.mul(&self.g),
            t: self.e.mul(&self.h),
        }
    }
}

impl<L: Lanes> Affine<L> {
    #[inline(always)]
    pub(crate) fn to_extended(self) -> Extended<L> {
        Extended {
            y_plus_x: self.y.add(&self.x),
            y_minus_x: self.y.sub(&self.x),
            z: Element::one(),
            t: self.x.mul(&self.y),
        }
    }

    #[inline(always)]
    pub(crate) fn negate_where(&self, mask: Mask) -> Self {
        Self { x: self.x.negate_where(mask), y: self.y }
    }

    #[inline(always)]
    pub(crate) fn to_addend(self) -> AffineAddend<L> {
        let half = Element::splat(HALF);
        AffineAddend {
            half_y_plus_x: self.y.add(&self.x).mul(&half).reduce(),
            half_y_minus_x: self.y.sub(&self.x).mul(&half).reduce(),
            xyd: self.x.mul(&self.y).mul(&Element::splat(D)).reduce(),
        }
    }
}

compiled_apart! {
    fn double_times<L: Lanes>(point: &Projective<L>, count: usize, result: &mut Extended<L>) {
        let mut point = *point;
        for _ in 1..count {
            point = point.double().to_projective();
        }
        *result = point.double().to_extended();
    }

    fn add_affine<L: Lanes>(point: &mut Extended<L>, other: &AffineAddend<L>) {
        *point = point.plus_affine(other).to_extended();
    }

    fn add<L: Lanes>(point: &mut Extended<L>, other: &Addend<L>) {
        *point = point.plus(other).to_extended();
    }

    fn add_to_double<L: Lanes>(point: &Extended<L>, other: &Addend<L>, sum: &mut Projective<L>) {
        *sum = point.plus(other).to_projective();
    }

    /// Decodes `N` groups of eight points, and says which encode one. Every encoding of a point is accepted (ZIP 215): y need not be below p,
    /// and x = 0 may come with either sign.
    pub(crate) fn decode<L: Lanes, const N: usize>(encodings: &[[L; 4]; N]) -> ([Affine<L>; N], [Mask; N]) {
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
        let mut points = [Affine { x: one, y: one }; N];
        for i in 0..N {
            let other_sign = x[i].is_odd() ^ encodings[i][3].top_bit();
            points[i] = Affine { x: x[i], y: y[i] }.negate_where(other_sign);
            points[i].x = points[i].x.widen().carry();
        }
        (points, exists)
    }

    /// Encodes at most [`MAX_GROUPS`] groups of eight points, at least one, with one inversion for all of them (Montgomery's trick, lane by lane).
    pub(crate) fn encode<L: Lanes>(points: &[Extended<L>], encodings: &mut [[L; 4]]) {
        let mut products = [points[0].z; MAX_GROUPS];
        for i in 1..points.len() {
            products[i] = products[i - 1].mul(&points[i].z);
        }
        let mut inverse = products[points.len() - 1].invert();
        for i in (0..points.len()).rev() {
            let mut z_inverse = inverse;
            if i > 0 {
                z_inverse = inverse.mul(&products[i - 1]);
                inverse = inverse.mul(&points[i].z);
            }
            let Affine { x, y } = points[i].to_affine(&z_inverse);
            encodings[i] = y.to_words();
            // The lowest bit of x, as the top bit of the encoding.
            encodings[i][3] = encodings[i][3].or(x.reduce().0[0].shift_left::<63>());
        }
    }
}

/// How many groups of eight share an inversion at most.
pub(crate) const MAX_GROUPS: usize = 8;
