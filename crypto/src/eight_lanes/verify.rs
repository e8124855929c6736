//! Deciding eight signatures at once, by keys that come with them or by known keys.
//!
//! Each lane is decided by itself under ZIP 215: nothing that stands in one lane can change the answer of another.

use super::halve::halve;
use super::lanes::{ALL, Lanes, Mask, compiled_apart};
use super::point::{Extended, MAX_GROUPS, decode, encode};
use super::scalar::{Scalar, SignedBytes, SignedNibbles};
use super::sha512;
use super::table::{Comb, SmallMultiples, expect_from_each, pick_from_each};
use super::{KNOWN_KEY_PASSES, VERIFY_PASSES};

/// How many columns ahead the tables of known keys are fetched: the additions in between take longer than the third-level cache.
const EXPECTED_COLUMNS: usize = 2;

/// Eight signatures with their messages.
pub(crate) struct Group<'a> {
    pub(crate) keys: [&'a [u8; 32]; 8],
    pub(crate) messages: [&'a [u8]; 8],
    pub(crate) signatures: [&'a [u8; 64]; 8],
}

/// The answers for eight signatures.
pub(crate) struct Verdicts {
    pub(crate) valid: Mask,
    /// Where another path must decide. Hardly ever any lane.
    pub(crate) undecided: Mask,
}

/// What both verifiers read from a group first: R, whether s is canonical, and k.
struct Opened<L> {
    encoded_r: [L; 4],
    encoded_key: [L; 4],
    s: Scalar<L>,
    s_is_canonical: Mask,
    k: Scalar<L>,
}

#[inline(always)]
fn open<L: Lanes>(group: &Group<'_>) -> Opened<L> {
    let mut first_half = [group.keys[0]; 8];
    let mut second_half = [group.keys[0]; 8];
    for lane in 0..8 {
        let (halves, _) = group.signatures[lane].as_chunks::<32>();
        first_half[lane] = &halves[0];
        second_half[lane] = &halves[1];
    }
    let encoded_r = L::from_byte_rows(first_half);
    let encoded_key = L::from_byte_rows(group.keys);
    let (s, s_is_canonical) = Scalar::from_canonical_words(L::from_byte_rows(second_half));
    let hash = match digests(&group.messages) {
        Some(messages) => sha512::digest_words([encoded_r, encoded_key, L::from_byte_rows(messages)]),
        None => {
            let mut inputs: [sha512::Parts<'_>; 8] = [[&[]; 3]; 8];
            for lane in 0..8 {
                inputs[lane] = [first_half[lane], group.keys[lane], group.messages[lane]];
            }
            sha512::digest(&inputs)
        }
    };
    Opened { encoded_r, encoded_key, s, s_is_canonical, k: Scalar::from_wide_words(hash) }
}

/// The messages as digests of 32 bytes, if they all are.
#[inline(always)]
pub(crate) fn digests<'a>(messages: &[&'a [u8]; 8]) -> Option<[&'a [u8; 32]; 8]> {
    let mut digests = [&[0; 32]; 8];
    for lane in 0..8 {
        digests[lane] = messages[lane].try_into().ok()?;
    }
    Some(digests)
}

compiled_apart! {
    /// Decides eight signatures by any keys.
    ///
    /// With `a = t k` (see `halve`) and e = |t| s, the question is whether e B - (+-a) A - |t| R is of small order. a and |t| have half the length of a scalar;
    /// e is cut in two halves, for which the table of B has two columns. So 128 doublings serve all.
    pub(crate) fn decide<L: Lanes>(base: &Comb<VERIFY_PASSES>, group: &Group<'_>) -> Verdicts {
        let opened = open::<L>(group);
        let half = halve(&opened.k);
        let e = opened.s.mul_short(&half.t).to_signed_bytes();
        let ([key, r], [key_exists, r_exists]) = decode(&[opened.encoded_key, opened.encoded_r]);
        // Times the sign of t, t s B - a A - t R has |t| in place of t, and the sign goes to A.
        let keys = SmallMultiples::new(&key.negate_where(!half.t_is_negative).to_extended());
        let rs = SmallMultiples::new(&r.negate_where(ALL).to_extended());
        let (a, t) = (SignedNibbles::new(half.a), SignedNibbles::new(half.t));

        let mut sum = Extended::identity();
        let mut to_double = sum.to_projective();
        for index in (0..SignedNibbles::<L>::COUNT).rev() {
            // Picked before they are needed, so that reading the tables overlaps with the doublings.
            let key_addend = keys.pick(a.digit(index));
            let r_addend = rs.pick(t.digit(index));
            if index % 2 == 0 {
                let low = base.pick(0, e.digit(index / 2));
                let high = base.pick(1, e.digit(VERIFY_PASSES + index / 2));
                to_double.double_times(4, &mut sum);
                sum.add_affine(&low);
                sum.add_affine(&high);
            } else if index + 1 < SignedNibbles::<L>::COUNT {
                to_double.double_times(4, &mut sum);
            }
            sum.add(&key_addend);
            sum.add_to_double(&r_addend, &mut to_double);
        }
        let could_be_valid = opened.s_is_canonical & key_exists & r_exists;
        Verdicts { valid: to_double.is_of_small_order() & could_be_valid & half.found, undecided: could_be_valid & !half.found }
    }
}

compiled_apart! {
    /// Decides up to [`MAX_GROUPS`] groups of eight signatures by known keys, whose tables are of the negative of the key.
    ///
    /// As in the portable path, [s]B - [k]A is encoded and compared with R; R is decoded only where they differ.
    pub(crate) fn decide_known<L: Lanes>(
        base: &Comb<KNOWN_KEY_PASSES>,
        groups: &[Group<'_>],
        tables: &[[&Comb<KNOWN_KEY_PASSES>; 8]],
        valid: &mut [Mask],
    ) {
        let mut expected = [Extended::<L>::identity(); MAX_GROUPS];
        let mut claimed = [[L::splat(0); 4]; MAX_GROUPS];
        let mut canonical = [0; MAX_GROUPS];
        for (i, group) in groups.iter().enumerate() {
            let opened = open::<L>(group);
            claimed[i] = opened.encoded_r;
            canonical[i] = opened.s_is_canonical;
            expected[i] = multiply_known(base, &opened.s.to_signed_bytes(), tables[i], &opened.k.to_signed_bytes());
        }
        let mut encodings = [[L::splat(0); 4]; MAX_GROUPS];
        encode(&expected[..groups.len()], &mut encodings[..groups.len()]);
        for i in 0..groups.len() {
            let mut equal = canonical[i];
            for word in 0..4 {
                equal &= encodings[i][word].is_equal(claimed[i][word]);
            }
            valid[i] = if equal == canonical[i] { equal } else { canonical[i] & differ_by_small_order(&expected[i], claimed[i]) };
        }
    }
}

/// The sum of a multiple of the base point and, in each lane, a multiple of another point.
#[inline(always)]
fn multiply_known<L: Lanes>(
    base: &Comb<KNOWN_KEY_PASSES>,
    s: &SignedBytes<L>,
    tables: [&Comb<KNOWN_KEY_PASSES>; 8],
    k: &SignedBytes<L>,
) -> Extended<L> {
    let columns = Comb::<KNOWN_KEY_PASSES>::COLUMNS;
    let mut sum = Extended::identity();
    for pass in (0..KNOWN_KEY_PASSES).rev() {
        if pass + 1 < KNOWN_KEY_PASSES {
            sum.to_projective().double_times(8, &mut sum);
        }
        // The next addends are picked before they are needed, so that reading the tables overlaps with the additions; and those after them
        // are fetched.
        let digit = |column: usize| column * KNOWN_KEY_PASSES + pass;
        let mut next_of_base = base.pick(0, s.digit(pass));
        for column in 0..columns {
            let of_base = next_of_base;
            if column + EXPECTED_COLUMNS < columns {
                expect_from_each(tables, column + EXPECTED_COLUMNS, k.digit(digit(column + EXPECTED_COLUMNS)));
                expect_from_each([base; 8], column + EXPECTED_COLUMNS, s.digit(digit(column + EXPECTED_COLUMNS)));
            }
            let of_key = pick_from_each(tables, column, k.digit(digit(column)));
            sum.add_affine(&of_base);
            if column + 1 < columns {
                next_of_base = base.pick(column + 1, s.digit(digit(column + 1)));
            }
            sum.add_affine(&of_key);
        }
    }
    sum
}

compiled_apart! {
    /// The cofactored equation itself: whether the difference between a point and an encoded one is of small order.
    fn differ_by_small_order<L: Lanes>(point: &Extended<L>, encoded: [L; 4]) -> Mask {
        let ([decoded], [exists]) = decode(&[encoded]);
        let mut difference = decoded.negate_where(ALL).to_extended();
        difference.add(&point.to_addend());
        difference.to_projective().is_of_small_order() & exists
    }
}
