//! SHA-512 (FIPS 180-4) of eight inputs at once.
//!
//! An input is the concatenation of up to three parts, because that is what a signature hashes. Inputs of one call may differ in length: a lane whose
//! blocks are used up keeps its state. Lengths are public; contents may be secret.

use super::lanes::{ALL, Lanes, compiled_apart};

const BLOCK_BYTES: usize = 128;

const INITIAL: [u64; 8] = [
    0x6a09e667f3bcc908,
    0xbb67ae8584caa73b,
    0x3c6ef372fe94f82b,
    0xa54ff53a5f1d36f1,
    0x510e527fade682d1,
    0x9b05688c2b3e6c1f,
    0x1f83d9abfb41bd6b,
    0x5be0cd19137e2179,
];

#[rustfmt::skip]
const ROUND: [u64; 80] = [
    0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc,
    0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118,
    0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
    0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694,
    0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
    0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
    0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4,
    0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70,
    0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
    0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
    0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30,
    0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
    0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8,
    0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3,
    0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
    0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b,
    0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178,
    0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
    0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c,
    0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
];

/// Up to three parts of an input, in order.
pub(crate) type Parts<'a> = [&'a [u8]; 3];

compiled_apart! {
    /// The digests, each as eight words that are little-endian when written out as bytes.
    pub(crate) fn digest<L: Lanes>(inputs: &[Parts<'_>; 8]) -> [L; 8] {
        let mut blocks = [0; 8];
        let mut most_blocks = 0;
        for lane in 0..8 {
            let length: usize = inputs[lane].iter().map(|part| part.len()).sum();
            blocks[lane] = (length + 17).div_ceil(BLOCK_BYTES) as u64;
            most_blocks = blocks[lane].max(most_blocks);
        }
        let blocks = L::from_array(blocks);
        let mut state: [L; 8] = initial();
        let mut buffers = [[0; BLOCK_BYTES]; 8];
        for block in 0..most_blocks {
            for lane in 0..8 {
                fill_block(&inputs[lane], block as usize, &mut buffers[lane]);
            }
            let next = compress(&state, &block_words(&buffers));
            let running = L::splat(block).is_below(blocks);
            if running == ALL {
                state = next;
            } else {
                for i in 0..8 {
                    state[i] = next[i].select(running, state[i]);
                }
            }
        }
        finish(state)
    }
}

/// The digest of inputs of `4 * N` words, `N` at most 3: one block, put together without a detour through memory. The words are little-endian.
#[inline(always)]
pub(crate) fn digest_words<L: Lanes, const N: usize>(input: [[L; 4]; N]) -> [L; 8] {
    const { assert!(N <= 3, "a block has room for 111 bytes") };
    let mut block = [L::splat(0); 16];
    for i in 0..N {
        for j in 0..4 {
            block[4 * i + j] = input[i][j].swap_bytes();
        }
    }
    block[4 * N] = L::splat(1 << 63);
    block[15] = L::splat(256 * N as u64);
    finish(compress(&initial(), &block))
}

#[inline(always)]
fn initial<L: Lanes>() -> [L; 8] {
    let mut state = [L::splat(INITIAL[0]); 8];
    for i in 1..8 {
        state[i] = L::splat(INITIAL[i]);
    }
    state
}

#[inline(always)]
fn finish<L: Lanes>(mut state: [L; 8]) -> [L; 8] {
    for word in &mut state {
        *word = word.swap_bytes();
    }
    state
}

/// Block `index` of the padded input.
fn fill_block(parts: &Parts<'_>, index: usize, block: &mut [u8; BLOCK_BYTES]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let begin = index * BLOCK_BYTES;
    block.fill(0);
    let mut part_begin = 0;
    for part in parts {
        // Copy what of this part lies in [begin, begin + 128).
        let from = begin.max(part_begin);
        let to = (begin + BLOCK_BYTES).min(part_begin + part.len());
        if from < to {
            block[from - begin..to - begin].copy_from_slice(&part[from - part_begin..to - part_begin]);
        }
        part_begin += part.len();
    }
    if (begin..begin + BLOCK_BYTES).contains(&length) {
        block[length - begin] = 0x80;
    }
    if length + 17 <= begin + BLOCK_BYTES {
        block[112..].copy_from_slice(&(8 * length as u128).to_be_bytes());
    }
}

#[inline(always)]
fn block_words<L: Lanes>(buffers: &[[u8; BLOCK_BYTES]; 8]) -> [L; 16] {
    let mut words = [L::splat(0); 16];
    for quarter in 0..4 {
        let row = |lane: usize| &buffers[lane].as_chunks::<32>().0[quarter];
        let four = L::from_byte_rows([row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)]);
        for i in 0..4 {
            words[4 * quarter + i] = four[i].swap_bytes();
        }
    }
    words
}

compiled_apart! {
    /// FIPS 180-4, section 6.4.2.
    fn compress<L: Lanes>(state: &[L; 8], block: &[L; 16]) -> [L; 8] {
        let mut schedule = *block;
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
        for sixteen in 0..5 {
            for i in 0..16 {
                let sum_1 = e.rotate_right::<14>().xor3(e.rotate_right::<18>(), e.rotate_right::<41>());
                let t1 = h
                    .wrapping_add(sum_1)
                    .wrapping_add(e.choose_bits(f, g))
                    .wrapping_add(L::splat(ROUND[16 * sixteen + i]).wrapping_add(schedule[i]));
                let sum_0 = a.rotate_right::<28>().xor3(a.rotate_right::<34>(), a.rotate_right::<39>());
                let t2 = sum_0.wrapping_add(a.majority(b, c));
                (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
                if sixteen < 4 {
                    let w15 = schedule[(i + 1) % 16];
                    let w2 = schedule[(i + 14) % 16];
                    let s0 = w15.rotate_right::<1>().xor3(w15.rotate_right::<8>(), w15.shift_right::<7>());
                    let s1 = w2.rotate_right::<19>().xor3(w2.rotate_right::<61>(), w2.shift_right::<6>());
                    schedule[i] = schedule[i].wrapping_add(s0).wrapping_add(schedule[(i + 9) % 16].wrapping_add(s1));
                }
            }
        }
        let last = [a, b, c, d, e, f, g, h];
        let mut next = *state;
        for i in 0..8 {
            next[i] = next[i].wrapping_add(last[i]);
        }
        next
    }
}
