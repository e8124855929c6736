//! Halving scalars: for a scalar k, two integers of half its length with `a = t k` modulo l, eight at a time.
//!
//! With t prime to l, `[8]([s]B - [k]A - R) = 0` holds exactly if `[8]([ts]B - [a]A - [t]R) = 0` does, and that needs half the doublings (Antipa and
//! others, "Accelerated Verification of ECDSA Signatures", 2005). The factor 8 makes it exact for keys outside the prime-order group too: what is left
//! after it has order l or 1, and t is not a multiple of l.
//!
//! The pair is a remainder of Euclid's algorithm on (l, k), stopped half way. Remainders r0, r1 and cofactors t0, t1 keep |t0| r1 + |t1| r0 = l. A step
//! takes from the larger remainder the smaller one, doubled as often as fits; so it needs no division. Steps are worked out on the leading 63 bits
//! (Lehmer), about 30 bits of progress at a time, and then applied to the whole numbers.
//!
//! Within a round, leading parts x, y of the remainders come with a matrix of entries u0, v0, u1, v1 of which the true remainders are a combination. Because
//! the determinant is 1, u0 y + u1 x and v0 y + v1 x are the leading parts at the round's start, below 2^63. While y is above 2^32 every entry of the row of x
//! is below 2^31, which also bounds how far a true remainder can lie below its leading part. A step is taken only if it leaves 2^31 in x or more; so true
//! remainders are never negative, and signs alternate as in Euclid's algorithm.
//!
//! A lane in which no such step is left (the remainders agree in 31 leading bits) stalls: it happens once in 2^26 scalars or so, and the caller then decides that
//! signature in another way. k is public, and so is all of this.

use super::lanes::{ALL, Lanes, Mask, compiled_apart};
use super::scalar::{ORDER, Scalar, add_products, ripple};

const LIMB: u64 = (1 << 52) - 1;
/// A round makes about 30 bits of progress out of 127; large quotients cost at most a few more.
const MAX_ROUNDS: usize = 12;
/// Steps in a round: at least one bit of 2 * 31 each.
const MAX_STEPS: usize = 64;

/// `a = t k` modulo l, where t is negative in the lanes of `t_is_negative`.
pub(crate) struct HalfScalars<L> {
    /// Below 7 * 2^124.
    pub(crate) a: [L; 3],
    /// The magnitude of t, below 7 * 2^124 and not zero.
    pub(crate) t: [L; 3],
    pub(crate) t_is_negative: Mask,
    /// Where this holds. Elsewhere a and t mean nothing.
    pub(crate) found: Mask,
}

/// The two remainders with their cofactors. Remainders are kept shifted to the left, by the same number of bits, so that the larger has its leading bit at
/// 2^259.
struct Remainders<L> {
    r: [[L; 5]; 2],
    t: [[L; 3]; 2],
    shift: L,
    /// Where row 0 stems from k and row 1 from l, having changed places an odd number of times.
    swapped: Mask,
}

/// What a round of steps amounts to: row 0 becomes `u0 row0 - v0 row1`, row 1 `v1 row1 - u1 row0`, up to sign. Entries are magnitudes.
struct Matrix<L> {
    u0: L,
    v0: L,
    u1: L,
    v1: L,
    /// Where the rows changed places an odd number of times.
    swapped: Mask,
}

compiled_apart! {
    /// Half scalars for eight scalars.
    pub(crate) fn halve<L: Lanes>(k: &Scalar<L>) -> HalfScalars<L> {
        let zero = L::splat(0);
        let mut remainders = Remainders {
            r: [Scalar::splat(ORDER).0, k.0],
            t: [[zero; 3], [L::splat(1), zero, zero]],
            shift: zero,
            swapped: 0,
        };
        for _ in 0..MAX_ROUNDS {
            remainders.normalise();
            let Some(matrix) = remainders.steps() else { break };
            remainders.apply(&matrix);
        }
        remainders.finish()
    }
}

impl<L: Lanes> Remainders<L> {
    /// Shifts both remainders so that the larger fills 260 bits, by at most 51 bits.
    #[inline(always)]
    fn normalise(&mut self) {
        let limb = L::splat(LIMB);
        let room = self.r[0][4].or(self.r[1][4]).leading_zeros().sub(L::splat(12)).min(L::splat(51));
        let rest = L::splat(52).sub(room);
        for r in &mut self.r {
            for i in (1..5).rev() {
                r[i] = r[i].shift_left_by(room).or(r[i - 1].shift_right_by(rest)).and(limb);
            }
            r[0] = r[0].shift_left_by(room).and(limb);
        }
        self.shift = self.shift.add(room);
    }

    /// The leading 63 of 260 bits of both remainders.
    #[inline(always)]
    fn leading(&self) -> [L; 2] {
        let lead = |r: &[L; 5]| r[4].shift_left::<11>().or(r[3].shift_right::<41>());
        [lead(&self.r[0]), lead(&self.r[1])]
    }

    /// The steps that the leading parts allow, or nothing if no lane has any left.
    #[inline(always)]
    fn steps(&self) -> Option<Matrix<L>> {
        let (zero, one) = (L::splat(0), L::splat(1));
        let [mut x, mut y] = self.leading();
        let mut m = Matrix { u0: one, v0: zero, u1: zero, v1: one, swapped: 0 };
        // A lane is done when its smaller remainder is below 2^126. In the leading parts that is 2^(shift - 71); a negative exponent wraps to a count
        // that shifts everything out.
        let done = one.shift_left_by(self.shift.wrapping_sub(L::splat(71)));
        let enough = done.max(L::splat(1 << 32));
        let mut stepped = false;
        for _ in 0..MAX_STEPS {
            // The larger remainder to row 0.
            let swap = x.is_below(y);
            (x, y) = (x.max(y), x.min(y));
            (m.u0, m.u1) = (m.u1.select(swap, m.u0), m.u0.select(swap, m.u1));
            (m.v0, m.v1) = (m.v1.select(swap, m.v0), m.v0.select(swap, m.v1));
            m.swapped ^= swap;

            // As many doublings of y as leave 2^31 of x: what makes y as long as the rest, or one less. A negative number of doublings, where not even y
            // itself leaves enough, shifts everything out and so is no step.
            let available = x.wrapping_sub(L::splat(1 << 31));
            let doublings = y.leading_zeros().wrapping_sub(available.leading_zeros());
            let too_many = available.is_below(y.shift_left_by(doublings));
            let doublings = doublings.wrapping_sub_where(too_many, one);
            let unfinished = enough.is_below(y);
            let doublings = doublings.select(unfinished, L::splat(64));
            if doublings.is_below(L::splat(64)) == 0 {
                break;
            }
            stepped = true;
            x = x.sub(y.shift_left_by(doublings));
            m.u0 = m.u0.add(m.u1.shift_left_by(doublings));
            m.v0 = m.v0.add(m.v1.shift_left_by(doublings));
        }
        stepped.then_some(m)
    }

    /// Applies a round's steps to the whole numbers.
    #[inline(always)]
    fn apply(&mut self, m: &Matrix<L>) {
        let [r0, r1] = self.r;
        let [t0, t1] = self.t;
        self.r = [difference(&m.u0, &r0, &m.v0, &r1, m.swapped), difference(&m.v1, &r1, &m.u1, &r0, m.swapped)];
        self.t = [sum(&m.u0, &t0, &m.v0, &t1), sum(&m.v1, &t1, &m.u1, &t0)];
        self.swapped ^= m.swapped;
    }

    /// The smaller remainder, shifted back, and its cofactor.
    #[inline(always)]
    fn finish(&self) -> HalfScalars<L> {
        let limb = L::splat(LIMB);
        let [x, y] = self.leading();
        let first = x.is_below(y);
        let mut r = self.r[1];
        for i in 0..5 {
            r[i] = self.r[0][i].select(first, r[i]);
        }
        let mut t = self.t[1];
        for i in 0..3 {
            t[i] = self.t[0][i].select(first, t[i]);
        }
        // Shifts are below 260: up to four whole limbs, then bits.
        let mut shift = self.shift;
        for _ in 0..4 {
            let whole = L::splat(51).is_below(shift);
            for i in 0..4 {
                r[i] = r[i + 1].select(whole, r[i]);
            }
            r[4] = L::splat(0).select(whole, r[4]);
            shift = shift.wrapping_sub_where(whole, L::splat(52));
        }
        let rest = L::splat(52).sub(shift);
        for i in 0..4 {
            r[i] = r[i].shift_right_by(shift).or(r[i + 1].shift_left_by(rest)).and(limb);
        }
        r[4] = r[4].shift_right_by(shift);

        let top = L::splat(7 << 20); // 7 * 2^124 = (7 * 2^20) * 2^104
        let a_is_short = r[2].is_below(top) & r[3].or(r[4]).is_equal(L::splat(0));
        let t_is_short = t[2].is_below(top);
        // The row that stems from k has t > 0: row 1, unless they changed places. The other has t < 0.
        HalfScalars {
            a: [r[0], r[1], r[2]],
            t,
            t_is_negative: first ^ self.swapped,
            found: a_is_short & t_is_short & ALL,
        }
    }
}

/// `a x - b y`, or its negative where the mask is set; whichever it is, it is not negative.
#[inline(always)]
fn difference<L: Lanes>(a: &L, x: &[L; 5], b: &L, y: &[L; 5], negated: Mask) -> [L; 5] {
    let zero = L::splat(0);
    let mut positive = [zero; 5];
    let mut negative = [zero; 5];
    add_products(&mut positive, x, &[*a]);
    add_products(&mut negative, y, &[*b]);
    let mut columns = positive;
    for i in 0..5 {
        let column = positive[i].wrapping_sub(negative[i]);
        columns[i] = negative[i].wrapping_sub(positive[i]).select(negated, column);
    }
    let mut limbs = ripple(columns);
    limbs[4] = limbs[4].and(L::splat(LIMB)); // the parts above 260 bits cancel and were not computed
    limbs
}

/// `a x + b y`.
#[inline(always)]
fn sum<L: Lanes>(a: &L, x: &[L; 3], b: &L, y: &[L; 3]) -> [L; 3] {
    let mut columns = [L::splat(0); 3];
    add_products(&mut columns, x, &[*a]);
    add_products(&mut columns, y, &[*b]);
    ripple(columns)
}

#[cfg(test)]
mod checks {
    use super::*;
    use crate::eight_lanes::scalar::checks::bytes;
    use crate::eight_lanes::tests::seeded;
    use curve25519_dalek::scalar::Scalar as Reference;
    use rand_chacha::rand_core::Rng;

    /// Asserts what `halve` promises for eight scalars, and gives the lanes that it found.
    fn check<L: Lanes>(scalars: &[Reference; 8]) -> Mask {
        let rows: [[u8; 32]; 8] = scalars.map(|scalar| scalar.to_bytes());
        let (k, _) = Scalar::<L>::from_canonical_words(L::from_byte_rows(std::array::from_fn(|lane| &rows[lane])));
        let half = halve(&k);
        let zero = L::splat(0);
        let reference = |limbs: [L; 3]| {
            let words = Scalar([limbs[0], limbs[1], limbs[2], zero, zero]).to_words();
            bytes(words).map(|bytes| Reference::from_canonical_bytes(bytes.try_into().unwrap()).unwrap())
        };
        let (a, t) = (reference(half.a), reference(half.t));
        for lane in (0..8).filter(|lane| half.found >> lane & 1 == 1) {
            let t_signed = if half.t_is_negative >> lane & 1 == 1 { -t[lane] } else { t[lane] };
            assert_eq!(a[lane], t_signed * scalars[lane], "{:?}", scalars[lane]);
            assert_ne!(t[lane], Reference::ZERO);
            assert!(a[lane].as_bytes()[16..].iter().all(|byte| *byte == 0) && a[lane].as_bytes()[15] < 0x70);
            assert!(t[lane].as_bytes()[16..].iter().all(|byte| *byte == 0) && t[lane].as_bytes()[15] < 0x70);
        }
        half.found
    }

    compiled_apart! {
        pub(super) fn random_scalars<L: Lanes>() {
            let mut rng = seeded(30);
            let rounds = if L::VECTOR { 20_000 } else { 300 };
            for _ in 0..rounds {
                let scalars = std::array::from_fn(|_| {
                    let mut wide = [0; 64];
                    rng.fill_bytes(&mut wide);
                    Reference::from_bytes_mod_order_wide(&wide)
                });
                assert_eq!(check::<L>(&scalars), ALL, "one in 2^26 would be bad luck");
            }
        }

        /// Scalars near 0, l, fractions of l and powers of two, whose quotients are huge and whose remainders agree in many bits. Most are not found; none is
        /// wrong.
        pub(super) fn special_scalars<L: Lanes>() {
            let mut missed = 0;
            let mut checked = 0;
            for divisor in 1..40u64 {
                let fraction = Reference::from(divisor).invert();
                for power in 0..253 {
                    let mut bytes = [0; 32];
                    bytes[power / 8] = 1 << (power % 8);
                    let power = Reference::from_bytes_mod_order(bytes);
                    let scalars = [
                        fraction, -fraction, power, -power, fraction + power, fraction - power, fraction * power, Reference::from(divisor) * power,
                    ];
                    missed += check::<L>(&scalars).count_zeros();
                    checked += 8;
                }
                if !L::VECTOR && divisor == 3 {
                    break; // the model is slow
                }
            }
            println!("{missed} of {checked} special scalars are left to the other path");
            assert!(missed > 0, "the other path is never taken, so nothing tests that it may be");
            assert_eq!(check::<L>(&[Reference::ZERO; 8]), ALL);
            assert_eq!(check::<L>(&[Reference::ONE; 8]), ALL);
        }
    }
}

#[cfg(test)]
mod tests {
    crate::eight_lanes::tests::check_all_lanes!(random_scalars, special_scalars);
}
