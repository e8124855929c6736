//! Microseconds per signature, beside the libraries that a reader would otherwise reach for, in one run.
//!
//! Time is that of the thread on its core and not that of the clock on the wall, so that other work on the machine does not count. Throughput is counted in
//! signatures, so criterion's `elem/s` is signatures a second on one core. Messages are 32-byte digests.
//! Clients' checks have a key each; known keys are those of a committee, mixed as a burst of certificates mixes them.
//!
//! The libraries do not all answer the same question. ed25519-zebra decides by ZIP 215, as we do. ed25519-dalek's `verify` and aws-lc decide
//! without the cofactor and so refuse signatures that we accept; a batch of zebra's or dalek's says only whether *all* are valid, so that one forged
//! signature costs another pass over each. They stand here for their speed alone.
#![allow(missing_docs)] // criterion's macros make public items

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use meshpay_crypto::{Check, KnownCheck, KnownKey, Message, Signature, SigningKey, portable};
use rand_chacha::rand_core::SeedableRng;
use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Duration;

const SIZES: [usize; 4] = [1, 8, 64, 256];

/// The time that the thread has run on a core.
struct ThreadTime;

impl ThreadTime {
    fn now() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
    }
}

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        Self::now()
    }

    fn end(&self, start: Duration) -> Duration {
        let spent = Self::now() - start;
        let until = start + spent + spent * slowdown_percent() / 100;
        while slowdown_percent() > 0 && Self::now() < until {
            std::hint::spin_loop();
        }
        Self::now() - start
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// By how many percent everything is to be slower, for the test of what judges these figures (`cargo xtask regress --self-test`).
fn slowdown_percent() -> u32 {
    static PERCENT: OnceLock<u32> = OnceLock::new();
    *PERCENT.get_or_init(|| {
        let text = std::env::var("MESHPAY_BENCH_SLOWDOWN_PERCENT");
        text.map_or(0, |text| text.parse().expect("a whole number of percent"))
    })
}

/// A deterministic 32 bytes.
fn digest(tag: u8, index: usize) -> Message {
    let mut digest = [[0; 32]];
    portable::digest_many(&[&[tag, index as u8, (index >> 8) as u8]], &mut digest);
    digest[0]
}

struct Signed {
    key: [u8; 32],
    message: Message,
    signature: Signature,
}

/// Signatures by `signers` keys in turn.
fn signed(count: usize, signers: usize) -> Vec<Signed> {
    (0..count)
        .map(|i| {
            let key = SigningKey::from_seed(&digest(1, i % signers));
            let message = digest(2, i);
            Signed { key: key.public_key(), message, signature: key.sign(&message) }
        })
        .collect()
}

fn zebra_batch(signed: &[Signed]) -> ed25519_zebra::batch::Verifier {
    let mut batch = ed25519_zebra::batch::Verifier::new();
    for s in signed {
        let key = ed25519_zebra::VerificationKeyBytes::from(s.key);
        batch.queue((key, ed25519_zebra::Signature::from(s.signature), &s.message));
    }
    batch
}

fn verify_zebra_batch(batch: ed25519_zebra::batch::Verifier) {
    batch.verify(rand_chacha::ChaCha8Rng::seed_from_u64(1)).expect("valid");
}

fn verify_many(c: &mut Criterion<ThreadTime>) {
    let signed = signed(256, 256);
    let checks: Vec<Check<'_>> =
        signed.iter().map(|s| Check { key: &s.key, message: &s.message, signature: &s.signature }).collect();
    let mut group = c.benchmark_group("verify_many");
    for size in SIZES {
        group.throughput(Throughput::Elements(size as u64));
        let mut valid = [false; 256];
        group.bench_function(BenchmarkId::new(meshpay_crypto::implementation(), size), |b| {
            b.iter(|| meshpay_crypto::verify_many(black_box(&checks[..size]), &mut valid[..size]));
        });
        group.bench_function(BenchmarkId::new("portable path", size), |b| {
            b.iter(|| portable::verify_many(black_box(&checks[..size]), &mut valid[..size]));
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("ed25519-dalek verify/1", |b| {
        use ed25519_dalek::Verifier;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&signed[0].key).expect("a key");
        let signature = ed25519_dalek::Signature::from_bytes(&signed[0].signature);
        b.iter(|| black_box(&key).verify(&signed[0].message, &signature).expect("valid"));
    });
    group.bench_function("ed25519-zebra verify/1", |b| {
        let signature = ed25519_zebra::Signature::from(signed[0].signature);
        b.iter(|| {
            let key = ed25519_zebra::VerificationKey::try_from(black_box(signed[0].key)).expect("a key");
            key.verify(&signature, &signed[0].message).expect("valid");
        });
    });
    group.bench_function("aws-lc-rs verify/1", |b| {
        let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, &signed[0].key);
        b.iter(|| black_box(&key).verify(&signed[0].message, &signed[0].signature).expect("valid"));
    });
    group.throughput(Throughput::Elements(64));
    group.bench_function("ed25519-dalek batch (all or none)/64", |b| {
        let keys: Vec<ed25519_dalek::VerifyingKey> =
            signed[..64].iter().map(|s| ed25519_dalek::VerifyingKey::from_bytes(&s.key).expect("a key")).collect();
        let signatures: Vec<ed25519_dalek::Signature> =
            signed[..64].iter().map(|s| ed25519_dalek::Signature::from_bytes(&s.signature)).collect();
        let messages: Vec<&[u8]> = signed[..64].iter().map(|s| s.message.as_slice()).collect();
        b.iter(|| ed25519_dalek::verify_batch(black_box(&messages), &signatures, &keys).expect("valid"));
    });
    group.bench_function("ed25519-zebra batch (all or none)/64", |b| {
        b.iter_batched(|| zebra_batch(&signed[..64]), verify_zebra_batch, BatchSize::SmallInput);
    });
    group.finish();
}

fn verify_many_known_keys(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("verify_many_known_keys");
    for committee in [1, 3, 19] {
        let signed = signed(256, committee);
        let keys: Vec<KnownKey> =
            signed[..committee].iter().map(|s| KnownKey::new(&s.key).expect("an honest key")).collect();
        let checks: Vec<KnownCheck<'_>> = signed
            .iter()
            .enumerate()
            .map(|(i, s)| KnownCheck { key: &keys[i % committee], message: &s.message, signature: &s.signature })
            .collect();
        for size in SIZES {
            group.throughput(Throughput::Elements(size as u64));
            let mut valid = [false; 256];
            let id = |path: &str| BenchmarkId::new(format!("{path}, {committee} keys"), size);
            group.bench_function(id(meshpay_crypto::implementation()), |b| {
                b.iter(|| meshpay_crypto::verify_many_known_keys(black_box(&checks[..size]), &mut valid[..size]));
            });
            group.bench_function(id("portable path"), |b| {
                b.iter(|| portable::verify_many_known_keys(black_box(&checks[..size]), &mut valid[..size]));
            });
        }
        group.throughput(Throughput::Elements(64));
        group.bench_function(
            BenchmarkId::new(format!("ed25519-zebra batch (all or none), {committee} keys"), 64),
            |b| {
                b.iter_batched(|| zebra_batch(&signed[..64]), verify_zebra_batch, BatchSize::SmallInput);
            },
        );
    }
    group.finish();
}

fn sign_many(c: &mut Criterion<ThreadTime>) {
    let key = SigningKey::from_seed(&digest(1, 0));
    let messages: Vec<Message> = (0..256).map(|i| digest(2, i)).collect();
    let mut group = c.benchmark_group("sign_many");
    for size in SIZES {
        group.throughput(Throughput::Elements(size as u64));
        let mut signatures = [[0; 64]; 256];
        group.bench_function(BenchmarkId::new(meshpay_crypto::implementation(), size), |b| {
            b.iter(|| meshpay_crypto::sign_many(&key, black_box(&messages[..size]), &mut signatures[..size]));
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("ed25519-dalek sign/1", |b| {
        use ed25519_dalek::Signer;
        let key = ed25519_dalek::SigningKey::from_bytes(&digest(1, 0));
        b.iter(|| key.sign(black_box(&messages[0])));
    });
    group.bench_function("ed25519-zebra sign/1", |b| {
        let key = ed25519_zebra::SigningKey::from(digest(1, 0));
        b.iter(|| key.sign(black_box(&messages[0])));
    });
    group.bench_function("aws-lc-rs sign/1", |b| {
        let key = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&digest(1, 0)).expect("a seed");
        b.iter(|| key.sign(black_box(&messages[0])));
    });
    group.finish();
}

fn digest_many(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("digest_many");
    for length in [100, 220, 500] {
        let inputs = vec![vec![7; length]; 64];
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let mut digests = [[0; 32]; 64];
        group.throughput(Throughput::Elements(64));
        group.bench_function(BenchmarkId::new(meshpay_crypto::implementation(), length), |b| {
            b.iter(|| meshpay_crypto::digest_many(black_box(&inputs), &mut digests));
        });
        group.bench_function(BenchmarkId::new("portable path", length), |b| {
            b.iter(|| portable::digest_many(black_box(&inputs), &mut digests));
        });
    }
    group.finish();
}

fn known_key(c: &mut Criterion<ThreadTime>) {
    let key = SigningKey::from_seed(&digest(1, 0)).public_key();
    c.bench_function("KnownKey::new", |b| b.iter(|| KnownKey::new(black_box(&key)).expect("an honest key")));
}

criterion_group! {
    name = signatures;
    config = Criterion::default().with_measurement(ThreadTime).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    targets = verify_many, verify_many_known_keys, sign_many, digest_many, known_key
}
criterion_main!(signatures);
