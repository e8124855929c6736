//! Figures of the journal on the disk under the temporary directory (or under `MESHPAY_SPEED_DIR`). Ignored in ordinary runs, since they
//! depend on the machine: `cargo test --release -p meshpay-authority --test journal_speed -- --ignored --nocapture --test-threads 1`.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use meshpay_authority::journal::*;
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

mod journal_common;
use journal_common::*;

/// What an order and a certificate record take, roughly, one after the other.
const RECORD_BYTES: [usize; 2] = [216, 440];

fn directory() -> tempfile::TempDir {
    match std::env::var_os("MESHPAY_SPEED_DIR") {
        Some(place) => tempfile::tempdir_in(place).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

fn full_size(directory: &std::path::Path) -> Place {
    let mut place = Place::real(directory);
    place.config = JournalConfig {
        commit_spacing_us: setting("MESHPAY_SPEED_SPACING_US", 0),
        segment_bytes: setting("MESHPAY_SPEED_SEGMENT_BYTES", 64 << 20),
        ..JournalConfig::new(KINDS)
    };
    place
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// CPU time of this process or thread, in microseconds.
fn cpu_us(of: ClockId) -> u64 {
    let time = clock_gettime(of);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000 + u64::try_from(time.tv_nsec).unwrap() / 1000
}

fn percentile(sorted: &[u64], part: f64) -> u64 {
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

#[test]
#[ignore = "a measurement"]
fn one_million_records_through_the_threads_and_back() {
    const RECORDS: u32 = 1_000_000;
    let directory = directory();
    let place = full_size(directory.path());
    place.create();
    let (journal, _) = place.recover().unwrap();
    let syncs = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&syncs);
    let on_commit: CommitHook = Box::new(move |report| seen.lock().unwrap().push(report.sync_us));
    let thread = JournalThread::start(journal, Hooks { on_failure: None, on_commit: Some(on_commit) }).unwrap();
    let handle = thread.handle();
    let waiter = handle.waiter().unwrap();
    let bytes = [0x5a; 512];
    let (begun, cpu) = (Instant::now(), cpu_us(ClockId::ProcessCPUTime));
    for i in 0..RECORDS {
        let size = RECORD_BYTES[i as usize % RECORD_BYTES.len()];
        while let Err(error) = handle.append(KIND, &[&bytes[..size]]) {
            assert_eq!(error, AppendError::Full);
            wait_until_durable(&handle, &waiter);
        }
        if i % 64 == 63 {
            handle.submit();
        }
    }
    wait_until_durable(&handle, &waiter);
    let (took, cpu) = (begun.elapsed(), cpu_us(ClockId::ProcessCPUTime) - cpu);
    let counters = handle.counters();
    let mut syncs = std::mem::take(&mut *syncs.lock().unwrap());
    syncs.sort_unstable();
    println!(
        "saturated: {:.0} records/s, {:.0} MB/s durable, {} commits of {} KiB, sync p50 {} p99 {} us, {:.2} us CPU per record (all threads), {} times full",
        f64::from(RECORDS) / took.as_secs_f64(),
        counters.bytes as f64 / 1e6 / took.as_secs_f64(),
        counters.commits,
        counters.bytes / counters.commits / 1024,
        percentile(&syncs, 0.5),
        percentile(&syncs, 0.99),
        cpu as f64 / f64::from(RECORDS),
        counters.refused_full,
    );
    // The directory stays locked while any handle lives.
    drop((handle, waiter));
    let stopped = thread.stop().unwrap();

    for _ in 0..3 {
        let begun = Instant::now();
        let mut records = 0u64;
        let seen = inspect(&RealDisk::open_read_only(directory.path()), None, None, KINDS, &mut |_, _, payload| {
            records += payload.len() as u64;
            Ok(())
        })
        .unwrap();
        println!(
            "read back: {} records, {} MB in {} ms",
            seen.records,
            seen.bytes / 1_000_000,
            begun.elapsed().as_millis()
        );
        assert_eq!(seen.head, stopped.head);
    }
    let begun = Instant::now();
    let (_, recovered) = place.recover().unwrap();
    println!("start, with the last segment made anew: {} ms", begun.elapsed().as_millis());
    assert_eq!(recovered.records, u64::from(RECORDS));
}

#[test]
#[ignore = "a measurement"]
fn latency_and_cost_of_paced_bursts() {
    for per_burst in [1u32, 16, 64] {
        let directory = directory();
        let place = full_size(directory.path());
        place.create();
        let (journal, _) = place.recover().unwrap();
        let journal_cpu = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&journal_cpu);
        let on_commit: CommitHook = Box::new(move |_| seen.store(cpu_us(ClockId::ThreadCPUTime), Ordering::Relaxed));
        let thread = JournalThread::start(journal, Hooks { on_failure: None, on_commit: Some(on_commit) }).unwrap();
        let handle = thread.handle();
        let waiter = handle.waiter().unwrap();
        let bytes = [0x5a; 512];
        let mut latencies = Vec::new();
        let (begun, cpu) = (Instant::now(), cpu_us(ClockId::ProcessCPUTime));
        let mut next = begun;
        while begun.elapsed() < Duration::from_secs(4) {
            let appended = Instant::now();
            for i in 0..per_burst {
                handle.append(KIND, &[&bytes[..RECORD_BYTES[i as usize % 2]]]).unwrap();
            }
            wait_until_durable(&handle, &waiter);
            latencies.push(u64::try_from(appended.elapsed().as_micros()).unwrap());
            next = (next + Duration::from_millis(1)).max(appended);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let cpu = cpu_us(ClockId::ProcessCPUTime) - cpu;
        latencies.sort_unstable();
        let commits = handle.counters().commits;
        println!(
            "a burst of {per_burst} each ms: durable after p50 {} p90 {} p99 {} max {} us; {:.0} us CPU per commit, {:.0} of them the journal thread's; {} commits, {} segments allocated",
            percentile(&latencies, 0.5),
            percentile(&latencies, 0.9),
            percentile(&latencies, 0.99),
            percentile(&latencies, 1.0),
            cpu as f64 / commits as f64,
            journal_cpu.load(Ordering::Relaxed) as f64 / commits as f64,
            commits,
            handle.counters().segments_allocated,
        );
        thread.stop().unwrap();
    }
}

#[test]
#[ignore = "a measurement"]
fn cost_of_an_append() {
    const RECORDS: u32 = 200_000;
    let place = Place::in_memory(FaultDisk::new());
    let mut place = place;
    place.config = JournalConfig { frame_bytes: 32 << 20, ..JournalConfig::new(KINDS) };
    place.config.segment_bytes = 256 << 20;
    place.create();
    let (mut journal, _) = place.recover().unwrap();
    let handle = journal.handle();
    let bytes = [0x5a; 512];
    for _ in 0..3 {
        let (mut took, mut records) = (Duration::ZERO, 0);
        while records < RECORDS {
            let begun = Instant::now();
            for i in 0..50_000 {
                handle.append(KIND, &[&bytes[..RECORD_BYTES[i % 2]]]).unwrap();
            }
            took += begun.elapsed();
            records += 50_000;
            journal.commit().unwrap();
            journal.maintain(0).unwrap();
        }
        println!("append: {} ns a record", took.as_nanos() / u128::from(records));
    }
}
