//! Tables of multiples of a point, and how eight lanes pick from them.
//!
//! Three kinds, by who may watch:
//! - [`Comb`]: multiples of a point known beforehand, one row for each multiple. Each lane reads rows of its own, even from a table of its own. Where it
//!   reads depends on the digit, so digits must be public.
//! - [`SmallMultiples`]: the same for points that have just been decoded, eight different ones.
//! - [`SecretComb`]: multiples of the base point for signing. Every lane reads the whole window in registers; nothing depends on the digit.
//!
//! A row holds the coordinates of an addend in words of four limbs and, in the last word, the fifth limbs of them all, so that four vector words come out of a
//! transposition at a time.

use super::field::Element;
use super::lanes::{Lanes, Mask};
use super::point::{Addend, Affine, AffineAddend, Extended, HALF};
use super::scalar::OddDigits;

/// Digits of a scalar in base 256.
const DIGITS: usize = 32;
/// Magnitudes of a digit in base 256: 0 to 128.
const MAGNITUDES: usize = 129;

/// An affine addend: (y + x)/2, (y - x)/2, dxy, and their fifth limbs.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
struct Row([[u64; 4]; 4]);

/// The identity as an affine addend.
const IDENTITY_ROW: Row =
    Row([[HALF[0], HALF[1], HALF[2], HALF[3]], [HALF[0], HALF[1], HALF[2], HALF[3]], [0; 4], [HALF[4], HALF[4], 0, 0]]);

/// Multiples of one point for scalars of 32 digits in base 256, added up in `PASSES` passes with eight doublings between two passes: column c holds 0 to 128
/// times `2^(8 * PASSES * c)` times the point, and serves the digits from `PASSES * c` on, one in each pass.
///
/// More passes make a smaller table: `32 / PASSES` columns of 16.5 KiB.
pub(crate) struct Comb<const PASSES: usize> {
    rows: Box<[Row]>,
}

impl<const PASSES: usize> Comb<PASSES> {
    pub(crate) const COLUMNS: usize = DIGITS / PASSES;

    /// Makes the table of a point, given in every lane.
    #[inline(always)]
    pub(crate) fn new<L: Lanes>(point: &Affine<L>) -> Self {
        const { assert!(DIGITS.is_multiple_of(PASSES)) };
        let mut rows = vec![IDENTITY_ROW; Self::COLUMNS * MAGNITUDES].into_boxed_slice();
        let mut shifted = point.to_extended();
        for first_column in (0..Self::COLUMNS).step_by(8) {
            // One column in each lane.
            let columns = (Self::COLUMNS - first_column).min(8);
            let mut bases = shifted;
            for lane in 0..columns {
                bases = shifted.select(1 << lane, &bases);
                shifted.to_projective().double_times(8 * PASSES, &mut shifted);
            }
            let addend = bases.to_addend();
            let mut multiples = vec![bases; MAGNITUDES - 1];
            for i in 1..multiples.len() {
                multiples[i] = multiples[i - 1];
                multiples[i].add(&addend);
            }
            for (i, addend) in to_affine_addends(&multiples).iter().enumerate() {
                let lanes = rows_of(addend);
                for lane in 0..columns {
                    rows[(first_column + lane) * MAGNITUDES + 1 + i] = lanes[lane];
                }
            }
        }
        Self { rows }
    }

    /// In each lane the multiple that a digit of this column asks for.
    #[inline(always)]
    pub(crate) fn pick<L: Lanes>(&self, column: usize, digit: (L, Mask)) -> AffineAddend<L> {
        pick_from_each([self; 8], column, digit)
    }
}

/// As [`Comb::pick`], each lane from its own table.
#[inline(always)]
pub(crate) fn pick_from_each<L: Lanes, const PASSES: usize>(
    tables: [&Comb<PASSES>; 8],
    column: usize,
    digit: (L, Mask),
) -> AffineAddend<L> {
    let (magnitudes, negative) = (digit.0.to_array(), digit.1);
    let row = |lane: usize| &tables[lane].rows[column * MAGNITUDES + magnitudes[lane] as usize].0;
    let rows = [row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)];
    // A negative multiple has y + x and y - x exchanged, and dxy negated.
    let y_plus_x = |lane: usize| &rows[lane][usize::from(negative >> lane & 1)];
    let y_minus_x = |lane: usize| &rows[lane][usize::from(!negative >> lane & 1)];
    let a = L::from_rows([
        y_plus_x(0),
        y_plus_x(1),
        y_plus_x(2),
        y_plus_x(3),
        y_plus_x(4),
        y_plus_x(5),
        y_plus_x(6),
        y_plus_x(7),
    ]);
    let b = L::from_rows([
        y_minus_x(0),
        y_minus_x(1),
        y_minus_x(2),
        y_minus_x(3),
        y_minus_x(4),
        y_minus_x(5),
        y_minus_x(6),
        y_minus_x(7),
    ]);
    let c = L::from_rows(word(&rows, 2));
    let fifth = L::from_rows(word(&rows, 3));
    AffineAddend {
        half_y_plus_x: Element([a[0], a[1], a[2], a[3], fifth[1].select(negative, fifth[0])]),
        half_y_minus_x: Element([b[0], b[1], b[2], b[3], fifth[0].select(negative, fifth[1])]),
        xyd: Element([c[0], c[1], c[2], c[3], fifth[2]]).negate_where(negative),
    }
}

/// Begins to fetch what [`pick_from_each`] will read. The tables of a committee are larger than a core's second-level cache, and its digits
/// are known long before its additions are done.
#[inline(always)]
pub(crate) fn expect_from_each<L: Lanes, const PASSES: usize>(
    tables: [&Comb<PASSES>; 8],
    column: usize,
    digit: (L, Mask),
) {
    let magnitudes = digit.0.to_array();
    for lane in 0..8 {
        L::prefetch(&tables[lane].rows[column * MAGNITUDES + magnitudes[lane] as usize]);
    }
}

/// 0 to 8 times a point, for digits in base 16: a table for each lane, since each has a point of its own.
pub(crate) struct SmallMultiples {
    rows: [[[[u64; 4]; 5]; 9]; 8],
}

impl SmallMultiples {
    #[inline(always)]
    pub(crate) fn new<L: Lanes>(point: &Extended<L>) -> Self {
        // The identity: 1, 1, 2, 0.
        let mut table = Self { rows: [[[[1, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0], [0; 4], [0; 4]]; 9]; 8] };
        let one = point.to_addend();
        table.fill(1, &one);
        // By doubling and adding one: 2, 3, 6, 7; 4, 5; 8.
        let mut double = *point;
        double.double();
        table.fill(2, &double.to_addend());
        let mut multiple = double;
        for (odd, even) in [(3, 6), (7, 0)] {
            multiple.add(&one);
            table.fill(odd, &multiple.to_addend());
            if even != 0 {
                multiple.double();
                table.fill(even, &multiple.to_addend());
            }
        }
        multiple = double;
        multiple.double();
        table.fill(4, &multiple.to_addend());
        double = multiple;
        multiple.add(&one);
        table.fill(5, &multiple.to_addend());
        double.double();
        table.fill(8, &double.to_addend());
        table
    }

    #[inline(always)]
    fn fill<L: Lanes>(&mut self, multiple: usize, addend: &Addend<L>) {
        let parts = [addend.y_plus_x.0, addend.y_minus_x.0, addend.z2.0, addend.t2d.0];
        for part in 0..4 {
            let [a, b, c, d, _] = parts[part];
            let rows = L::to_rows([a, b, c, d]);
            for lane in 0..8 {
                self.rows[lane][multiple][part] = rows[lane];
            }
        }
        let rows = L::to_rows([parts[0][4], parts[1][4], parts[2][4], parts[3][4]]);
        for lane in 0..8 {
            self.rows[lane][multiple][4] = rows[lane];
        }
    }

    /// In each lane the multiple that a digit asks for.
    #[inline(always)]
    pub(crate) fn pick<L: Lanes>(&self, digit: (L, Mask)) -> Addend<L> {
        let (magnitudes, negative) = (digit.0.to_array(), digit.1);
        let row = |lane: usize| &self.rows[lane][magnitudes[lane] as usize];
        let rows = [row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)];
        let y_plus_x = |lane: usize| &rows[lane][usize::from(negative >> lane & 1)];
        let y_minus_x = |lane: usize| &rows[lane][usize::from(!negative >> lane & 1)];
        let a = L::from_rows([
            y_plus_x(0),
            y_plus_x(1),
            y_plus_x(2),
            y_plus_x(3),
            y_plus_x(4),
            y_plus_x(5),
            y_plus_x(6),
            y_plus_x(7),
        ]);
        let b = L::from_rows([
            y_minus_x(0),
            y_minus_x(1),
            y_minus_x(2),
            y_minus_x(3),
            y_minus_x(4),
            y_minus_x(5),
            y_minus_x(6),
            y_minus_x(7),
        ]);
        let c = L::from_rows(word(&rows, 2));
        let d = L::from_rows(word(&rows, 3));
        let fifth = L::from_rows(word(&rows, 4));
        Addend {
            y_plus_x: Element([a[0], a[1], a[2], a[3], fifth[1].select(negative, fifth[0])]),
            y_minus_x: Element([b[0], b[1], b[2], b[3], fifth[0].select(negative, fifth[1])]),
            z2: Element([c[0], c[1], c[2], c[3], fifth[2]]),
            t2d: Element([d[0], d[1], d[2], d[3], fifth[3]]).negate_where(negative),
        }
    }
}

/// Odd multiples of a point for secret scalars: window w holds 1, 3, ..., 31 times `32^w` times the point.
pub(crate) struct SecretComb {
    windows: Box<[Window]>,
}

/// For each limb of (y + x)/2, (y - x)/2 and dxy its value in the sixteen multiples.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Window([[u64; 16]; 15]);

impl SecretComb {
    pub(crate) const WINDOWS: usize = OddDigits::<super::model::Model>::COUNT;

    /// Makes the table of a point, given in every lane.
    #[inline(always)]
    pub(crate) fn new<L: Lanes>(point: &Affine<L>) -> Self {
        let mut windows = vec![Window([[0; 16]; 15]); Self::WINDOWS].into_boxed_slice();
        let mut shifted = point.to_extended();
        for first_window in (0..Self::WINDOWS).step_by(8) {
            // One window in each lane.
            let lanes = (Self::WINDOWS - first_window).min(8);
            let mut bases = shifted;
            for lane in 0..lanes {
                bases = shifted.select(1 << lane, &bases);
                shifted.to_projective().double_times(5, &mut shifted);
            }
            let mut twice = bases;
            twice.double();
            let twice = twice.to_addend();
            let mut multiples = vec![bases; 16];
            for i in 1..16 {
                multiples[i] = multiples[i - 1];
                multiples[i].add(&twice);
            }
            for (i, addend) in to_affine_addends(&multiples).iter().enumerate() {
                let elements = [addend.half_y_plus_x.0, addend.half_y_minus_x.0, addend.xyd.0];
                for (limb, lanes_of_limb) in elements.as_flattened().iter().enumerate() {
                    let values = lanes_of_limb.to_array();
                    for lane in 0..lanes {
                        windows[first_window + lane].0[limb][i] = values[lane];
                    }
                }
            }
        }
        Self { windows }
    }

    /// In each lane the multiple that a digit asks for; see [`OddDigits::digit`].
    #[inline(always)]
    pub(crate) fn pick<L: Lanes>(&self, window: usize, digit: (L, Mask)) -> AffineAddend<L> {
        let (index, negative) = digit;
        let table = &self.windows[window].0;
        let mut limbs = [index; 15];
        for i in 0..15 {
            limbs[i] = index.pick_from_16(&table[i]);
        }
        let y_plus_x = Element([limbs[0], limbs[1], limbs[2], limbs[3], limbs[4]]);
        let y_minus_x = Element([limbs[5], limbs[6], limbs[7], limbs[8], limbs[9]]);
        let xyd = Element([limbs[10], limbs[11], limbs[12], limbs[13], limbs[14]]);
        AffineAddend {
            half_y_plus_x: y_minus_x.select(negative, &y_plus_x),
            half_y_minus_x: y_plus_x.select(negative, &y_minus_x),
            xyd: xyd.negate_where(negative),
        }
    }
}

/// Makes points affine with one inversion for them all, lane by lane.
#[inline(always)]
fn to_affine_addends<L: Lanes>(points: &[Extended<L>]) -> Vec<AffineAddend<L>> {
    let mut products = vec![points[0].z];
    for point in &points[1..] {
        products.push(products[products.len() - 1].mul(&point.z));
    }
    let mut inverse = products[points.len() - 1].invert();
    let mut addends = Vec::with_capacity(points.len());
    for i in (0..points.len()).rev() {
        let mut z_inverse = inverse;
        if i > 0 {
            z_inverse = inverse.mul(&products[i - 1]);
            inverse = inverse.mul(&points[i].z);
        }
        addends.push(points[i].to_affine(&z_inverse).to_addend());
    }
    addends.reverse();
    addends
}

/// The rows of an addend, one for each lane.
#[inline(always)]
fn rows_of<L: Lanes>(addend: &AffineAddend<L>) -> [Row; 8] {
    let parts = [addend.half_y_plus_x.0, addend.half_y_minus_x.0, addend.xyd.0];
    let mut rows = [IDENTITY_ROW; 8];
    for part in 0..3 {
        let [a, b, c, d, _] = parts[part];
        let words = L::to_rows([a, b, c, d]);
        for lane in 0..8 {
            rows[lane].0[part] = words[lane];
        }
    }
    let words = L::to_rows([parts[0][4], parts[1][4], parts[2][4], L::splat(0)]);
    for lane in 0..8 {
        rows[lane].0[3] = words[lane];
    }
    rows
}

/// Word `index` of each of eight rows.
#[inline(always)]
fn word<'a, const N: usize>(rows: &[&'a [[u64; 4]; N]; 8], index: usize) -> [&'a [u64; 4]; 8] {
    let word = |lane: usize| &rows[lane][index];
    [word(0), word(1), word(2), word(3), word(4), word(5), word(6), word(7)]
}
