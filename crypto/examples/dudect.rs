//! Does the time of signing depend on the secret? Statistics on the CPU's own lanes, which no valgrind can execute.
//!
//! ```text
//! cargo run --release --package meshpay-crypto --example dudect -- [MEASUREMENTS]
//! ```
//!
//! The method is that of dudect (Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?", 2017): times of two classes, one fixed input and random ones, in an order
//! that is drawn, compared by Welch's t-test, as they are and cropped at many percentiles, since what leaks may show in the fast runs only. The class of each measurement is prepared
//! by the same work in the same memory, so that caches know nothing of it.
//!
//! What is printed is the largest |t| over all crops. Where nothing leaks it stays below about 4.5 however many measurements are taken; a leak grows with their root. Above 10 is a
//! leak. This is evidence for a person and never a test: a neighbour on the machine may disturb it. The two canaries leak on purpose and must be found; if they are not,
//! the figures above them show nothing.
//!
//! `cargo xtask secrets` reads the machine code of this very program.

use meshpay_crypto::{Message, Signature, SigningKey, portable};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::hint::black_box;

/// Measurements of an ordinary run: about half a minute.
const MEASUREMENTS: usize = 200_000;
/// Crops, as in dudect: crop i keeps what is below the quantile `1 - 0.5^(10 (i + 1) / CROPS)`.
const CROPS: usize = 100;
/// Above it something leaks.
const LEAKS: f64 = 10.0;
/// Above it, once: look again with more measurements.
const SUSPICIOUS: f64 = 4.5;
const LANES: usize = 8;

fn main() {
    let measurements = std::env::args().nth(1).map_or(MEASUREMENTS, |text| {
        text.parse().unwrap_or_else(|_| panic!("{text} is no number of measurements; such as {MEASUREMENTS}"))
    });
    println!(
        "implementation {}, {measurements} measurements each, groups of {LANES}\n",
        meshpay_crypto::implementation()
    );
    println!("{:<44}  {:>8}  {:>8}  {:>10}", "classes", "max |t|", "|t| all", "ticks");

    let sign = |input: &Input, signatures: &mut [Signature; LANES]| {
        meshpay_crypto::sign_many(&input.key, &input.messages, signatures);
    };
    report("sign_many: a fixed key or random keys", measurements, &keys(), &sign);
    report("sign_many: fixed nonces or random nonces", measurements, &nonces(), &sign);
    let portable = |input: &Input, signatures: &mut [Signature; LANES]| {
        portable::sign_many(&input.key, &input.messages, signatures);
    };
    report("portable: a fixed key or random keys", measurements / 4, &keys(), &portable);
    let branches = |input: &Input, signatures: &mut [Signature; LANES]| {
        sign(input, signatures);
        if black_box(input.secret[0]) & 1 == 0 {
            black_box((0..100).fold(1_u64, |product, factor| black_box(product).wrapping_mul(factor)));
        }
    };
    report("canary: a branch on a bit of the key", measurements, &keys(), &branches);
    let skips = |input: &Input, signatures: &mut [Signature; LANES]| {
        sign(input, signatures);
        let ones: u32 = input.secret.iter().map(|byte| byte.count_ones()).sum();
        black_box((0..u64::from(ones)).fold(1_u64, |product, factor| black_box(product).wrapping_mul(factor)));
    };
    report("canary: a step for each bit of the key", measurements, &keys(), &skips);
}

/// What is signed with what.
struct Input {
    key: SigningKey,
    /// The seed of the key, for the canaries.
    secret: [u8; 32],
    messages: [Message; LANES],
}

const FIXED: [u8; 32] = [0; 32];

type Prepare = dyn Fn(bool, &mut ChaCha8Rng) -> Input;

/// Keys of two classes, and messages of one.
fn keys() -> Box<Prepare> {
    Box::new(|is_fixed, rng| {
        let mut secret = random(rng);
        if is_fixed {
            secret = FIXED;
        }
        Input { key: SigningKey::from_seed(&secret), secret, messages: std::array::from_fn(|_| random(rng)) }
    })
}

/// One key, and messages of two classes, from which the nonces are hashed.
fn nonces() -> Box<Prepare> {
    Box::new(|is_fixed, rng| {
        let mut messages = std::array::from_fn(|_| random(rng));
        if is_fixed {
            messages = [FIXED; LANES];
        }
        Input { key: SigningKey::from_seed(&FIXED), secret: FIXED, messages }
    })
}

fn random(rng: &mut ChaCha8Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Measures and prints a line.
fn report(name: &str, measurements: usize, prepare: &Prepare, work: &dyn Fn(&Input, &mut [Signature; LANES])) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut signatures = [[0; 64]; LANES];
    let mut times = Vec::with_capacity(measurements);
    for _ in 0..measurements {
        let is_fixed = rng.next_u32() & 1 == 0;
        let input = prepare(is_fixed, &mut rng);
        let begun = ticks();
        work(black_box(&input), black_box(&mut signatures));
        times.push((is_fixed, ticks() - begun));
    }
    let mut sorted: Vec<u64> = times.iter().map(|(_, time)| *time).collect();
    sorted.sort_unstable();
    let whole = welch(&times, u64::MAX);
    let crop = |at: usize| {
        let quantile = 1.0 - 0.5_f64.powf(10.0 * (at + 1) as f64 / CROPS as f64);
        welch(&times, sorted[(quantile * (sorted.len() - 1) as f64) as usize])
    };
    let largest = (0..CROPS).map(crop).fold(whole, f64::max);
    let verdict = match largest {
        t if t > LEAKS => "LEAKS",
        t if t > SUSPICIOUS => "look again with more measurements",
        _ => "nothing found",
    };
    println!("{name:<44}  {largest:>8.2}  {whole:>8.2}  {:>10}  {verdict}", sorted[sorted.len() / 2]);
}

/// Ticks of the time-stamp counter, with everything before it done.
#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: every x86-64 CPU has these instructions; they touch no memory.
    unsafe {
        std::arch::x86_64::_mm_lfence();
        let ticks = std::arch::x86_64::_rdtsc();
        std::arch::x86_64::_mm_lfence();
        ticks
    }
}

/// Nanoseconds, where there is no such counter.
#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// |t| of Welch's test between the classes, of times up to a limit; 0 where a class has too few.
fn welch(times: &[(bool, u64)], limit: u64) -> f64 {
    // Count, mean and sum of squared distances, by Welford's recurrence.
    let mut classes = [(0.0_f64, 0.0_f64, 0.0_f64); 2];
    for (is_fixed, time) in times.iter().filter(|(_, time)| *time <= limit) {
        let (count, mean, squares) = &mut classes[usize::from(*is_fixed)];
        let distance = *time as f64 - *mean;
        *count += 1.0;
        *mean += distance / *count;
        *squares += distance * (*time as f64 - *mean);
    }
    let [(m, a, p), (n, b, q)] = classes;
    let variance = p / (m - 1.0) / m + q / (n - 1.0) / n;
    if m < 100.0 || n < 100.0 || variance <= 0.0 { 0.0 } else { (a - b).abs() / variance.sqrt() }
}
