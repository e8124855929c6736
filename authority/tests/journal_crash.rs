//! The power goes at every write, sync and change of a name, and what was unsynced is kept, lost, torn or reordered: nothing that was ever called
//! durable is lost, and what comes back is a prefix of what was appended. Then the power goes again at every step of the recovery.
//!
//! Every case is fixed, and a failure names it; the random ones print the seed that replays them.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use meshpay_authority::journal::*;

mod journal_common;
use journal_common::*;

/// What a run left: the disk as it was when the power went, and what everybody may rely on.
struct Run {
    disk: FaultDisk,
    appended: Vec<(Position, Vec<u8>)>,
    durable: Position,
}

/// A fixed workload over one rotation of segments, with small frames, large ones, frames filled while another is in flight, marks and a clean stop.
/// Ends early when the disk does.
fn run(disk: FaultDisk) -> Run {
    let place = place(&disk);
    let mut run = Run { disk, appended: Vec::new(), durable: Position::START };
    let Ok((mut journal, _)) = place.recover() else { return run };
    let handle = journal.handle();
    let mut number = 0u32;
    for frame in 0..14u32 {
        let large = (3..8).contains(&frame);
        for _ in 0..if large { 7 } else { 1 + frame % 3 } {
            let mut bytes = payload(number);
            if large {
                bytes.resize(32_000, number as u8);
            }
            match handle.append(KIND, &[&bytes]) {
                Ok(position) => run.appended.push((position, bytes)),
                // The frame at the end of a segment is a smaller one.
                Err(AppendError::Full) => break,
                Err(error) => panic!("{error}"),
            }
            number += 1;
        }
        let step = journal.begin().and_then(|_| {
            if frame % 4 == 1 {
                // A record that comes while the frame is in flight goes into the next one.
                let bytes = payload(number);
                run.appended.push((handle.append(KIND, &[&bytes]).expect("room"), bytes));
                number += 1;
            }
            journal.finish()?;
            journal.maintain(u64::from(frame) * 400)
        });
        run.durable = handle.durable();
        if step.is_err() {
            assert!(handle.failure().is_some());
            return run;
        }
    }
    let end = journal.stop();
    run.durable = handle.durable();
    drop(end);
    run
}

fn place(disk: &FaultDisk) -> Place {
    let mut place = Place::in_memory(disk.clone());
    place.config.frame_bytes = 256 * 1024;
    place
}

/// Starts from what a crash left and checks what comes back. Returns how many records that are.
fn check(run: &Run, disk: &FaultDisk, case: &str) -> usize {
    let mut seen = 0;
    let (journal, recovered) = place(disk)
        .recover_with(|position, kind, payload| {
            let (expected_position, expected) = &run.appended[seen];
            assert_eq!((position, kind), (*expected_position, KIND), "{case}: not a prefix");
            assert!(payload == expected, "{case}: another content at {position}");
            seen += 1;
        })
        .unwrap_or_else(|error| panic!("{case}: refused to start: {error}"));
    let acknowledged = run.appended.iter().filter(|(position, _)| *position < run.durable).count();
    assert!(seen >= acknowledged, "{case}: {acknowledged} records were durable, {seen} came back");
    assert!(recovered.head >= run.durable, "{case}");
    drop(journal);
    seen
}

/// After a recovery, what it showed is durable: the next crash takes none of it, and the journal goes on.
fn check_again(run: &Run, disk: &FaultDisk, case: &str) {
    let before = check(run, disk, case);
    disk.crash(CrashFault::Lost, 0);
    assert!(check(run, disk, case) >= before, "{case}: a recovery showed records that were not on the disk");
}

/// Every fault, those by chance with seeds of this operation's own.
fn faults(operation: u64) -> Vec<(CrashFault, u64)> {
    let mut faults = vec![(CrashFault::Kept, 0), (CrashFault::Lost, 0)];
    faults.extend((0..24).map(|sectors| (CrashFault::Torn(sectors), 0)));
    faults.extend([100, 255, 440].map(|sectors| (CrashFault::Torn(sectors), 0)));
    for seed in operation * 4..operation * 4 + 4 {
        faults
            .extend([CrashFault::Reordered, CrashFault::Garbled, CrashFault::GarbledBlocks].map(|fault| (fault, seed)));
    }
    faults
}

fn fresh() -> FaultDisk {
    let disk = FaultDisk::new();
    place(&disk).create();
    disk
}

#[test]
fn the_power_goes_at_every_step() {
    let disk = fresh();
    let first = disk.operations();
    let whole = run(disk.fork());
    let last = whole.disk.operations();
    assert!(whole.durable.0 > SEGMENT_BYTES, "the workload is about a rotation");
    let mut cases = 0;
    for operation in first..last {
        let disk = disk.fork();
        disk.crash_at(operation);
        let run = run(disk);
        for (fault, seed) in faults(operation) {
            let disk = run.disk.fork();
            disk.crash(fault, seed);
            check_again(&run, &disk, &format!("operation {operation}, {fault:?}, seed {seed}"));
            cases += 1;
        }
    }
    println!("{cases} crashes at {} operations", last - first);
}

#[test]
fn the_power_goes_again_during_recovery() {
    let disk = fresh();
    let first = disk.operations();
    let last = run(disk.fork()).disk.operations();
    let mut cases = 0;
    for operation in first..last {
        let disk = disk.fork();
        disk.crash_at(operation);
        let run = run(disk);
        for (fault, seed) in [(CrashFault::Kept, 0), (CrashFault::Torn(3), 0), (CrashFault::Reordered, operation)] {
            let crashed = run.disk.fork();
            crashed.crash(fault, seed);
            let recovery_begins = crashed.operations();
            for step in 0.. {
                let disk = crashed.fork();
                disk.crash_at(recovery_begins + step);
                let finished = place(&disk).recover().is_ok();
                for (second, seed) in [(CrashFault::Lost, 0), (CrashFault::GarbledBlocks, operation * 100 + step)] {
                    let disk = disk.fork();
                    disk.crash(second, seed);
                    check_again(
                        &run,
                        &disk,
                        &format!("operation {operation}, {fault:?}, step {step} of recovery, {second:?}, seed {seed}"),
                    );
                    cases += 1;
                }
                if finished {
                    break;
                }
            }
        }
    }
    println!("{cases} double crashes");
}

#[test]
fn a_crash_while_the_journal_is_made_leaves_a_journal_or_none() {
    let disk = FaultDisk::new();
    place(&disk).create();
    for operation in 0..disk.operations() {
        for (fault, seed) in faults(operation) {
            let disk = FaultDisk::new();
            disk.crash_at(operation);
            let place = place(&disk);
            assert!(create(&place.disk(), &place.mark(), &IDENTITY, &place.config).is_err());
            disk.crash(fault, seed);
            match place.recover() {
                Ok((_, recovered)) => assert_eq!(recovered.records, 0),
                Err(JournalError::Missing { .. } | JournalError::MarkMissing { .. }) => {}
                Err(error) => panic!("operation {operation}, {fault:?}, seed {seed}: {error}"),
            }
        }
    }
}

#[test]
fn a_failed_sync_stops_the_journal_and_loses_nothing_that_was_durable() {
    let disk = fresh();
    let whole = run(disk.fork());
    // Syncs of recovery, frames, segments and marks alike: the number is found by trying until none fails.
    for sync in 0.. {
        let disk = disk.fork();
        disk.fail_sync(sync);
        let run = run(disk);
        if run.durable == whole.durable {
            assert!(sync > 20, "syncs failed too seldom for the test to mean anything");
            break;
        }
        // The process starts again on the same machine, whose page cache still shows what the disk does not hold: whatever it shows must be
        // on the disk before anything is answered.
        run.disk.restart_process();
        let case = format!("sync {sync} failed");
        check_again(&run, &run.disk.fork(), &case);
        // Or the power goes as well.
        run.disk.crash(CrashFault::Lost, 0);
        check_again(&run, &run.disk, &case);
    }
}

#[test]
fn a_write_that_lands_elsewhere_is_refused_or_leaves_a_prefix() {
    let disk = fresh();
    let (mut refused, mut prefixes) = (0, 0);
    for writes_before in 0..60 {
        for distance_bytes in [512, 4096, 65_536, SEGMENT_BYTES] {
            let disk = disk.fork();
            disk.misdirect_write(writes_before, distance_bytes);
            let run = run(disk);
            run.disk.crash(CrashFault::Kept, 0);
            let mut seen = 0;
            // No promise holds for such a disk but this one: nothing is made up.
            let recovered = place(&run.disk).recover_with(|position, kind, payload| {
                let (expected_position, expected) = &run.appended[seen];
                assert_eq!((position, kind), (*expected_position, KIND), "after {writes_before}: not a prefix");
                assert!(payload == expected, "after {writes_before}: another content at {position}");
                seen += 1;
            });
            match recovered {
                Ok(_) => prefixes += 1,
                Err(_) => refused += 1,
            }
        }
    }
    println!("{refused} refused, {prefixes} recovered as a prefix");
    assert!(refused > 0);
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    let disk = fresh();
    let (mut journal, _) = place(&disk).recover().unwrap();
    let handle = journal.handle();
    handle.append(KIND, &[b"lost"]).unwrap();
    let durable = handle.durable();
    disk.fail_sync(0);
    let failure = journal.commit().unwrap_err();
    assert!(failure.to_string().contains("segment-0000000000000000.log"), "{failure}");
    let operations = disk.operations();
    assert_eq!(handle.append(KIND, &[b"later"]), Err(AppendError::Stopped));
    assert!(journal.begin().is_err() && journal.finish().is_err() && journal.maintain(5000).is_err());
    assert!(journal.stop().is_err());
    assert_eq!((disk.operations(), handle.durable()), (operations, durable), "nothing was written after the failure");
}

#[test]
fn a_failed_sync_wakes_those_who_wait_and_tells_the_daemon() {
    let disk = fresh();
    let (journal, _) = place(&disk).recover().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let on_failure: FailureHook = Box::new(move |failure| tell.send(failure.to_string()).unwrap());
    let thread = JournalThread::start(journal, Hooks { on_failure: Some(on_failure), on_commit: None }).unwrap();
    let handle = thread.handle();
    // Enough segments are there once the first commit is through, so the next sync is that of the second frame.
    let waiter = handle.waiter().unwrap();
    handle.append(KIND, &[b"kept"]).unwrap();
    wait_until_durable(&handle, &waiter);
    handle.append(KIND, &[b"lost"]).unwrap();
    let durable = handle.durable();
    disk.crash_at(disk.operations());
    wait_until_durable(&handle, &waiter);
    assert_eq!(handle.durable(), durable);
    assert!(handle.failure().is_some());
    assert!(told.recv().unwrap().contains("journal stopped"));
    assert!(thread.stop().is_err());
    assert!(told.recv().is_err(), "the daemon is told once");
}

#[test]
fn a_start_on_a_full_disk_survives_a_power_cut_at_each_of_its_steps() {
    const FAULTS: [CrashFault; 4] =
        [CrashFault::Kept, CrashFault::Lost, CrashFault::Reordered, CrashFault::GarbledBlocks];
    let disk = fresh();
    let (mut journal, _) = place(&disk).recover().unwrap();
    journal.handle().append(KIND, &[b"kept"]).unwrap();
    journal.commit().unwrap();
    drop(journal);
    // Not a byte more than what is there: the copy of the last segment finds room in the one that is kept for it.
    disk.set_capacity(Some(disk.used_bytes()));
    let mut cuts = 0;
    for fault in FAULTS {
        for step in 0.. {
            let disk = disk.fork();
            let mut ended = false;
            // Again and again, so that no start may live on what an earlier one has used up.
            for again in 0..5 {
                disk.crash_at(disk.operations() + step);
                ended = place(&disk).recover().is_ok();
                disk.crash(fault, step + again);
            }
            let (_, recovered) =
                place(&disk).recover().unwrap_or_else(|error| panic!("{fault:?} at step {step}: {error}"));
            assert_eq!(recovered.records, 1);
            if ended {
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 20, "{cuts} power cuts");
}

#[test]
fn a_full_disk_lowers_the_room_and_recovers() {
    let disk = fresh();
    // Room for the first segment and three ahead.
    disk.set_capacity(Some(disk.used_bytes() + 3 * SEGMENT_BYTES + SEGMENT_BYTES / 2));
    let (mut journal, _) = place(&disk).recover().unwrap();
    let handle = journal.handle();
    assert_eq!(handle.room(), Room::Votes);
    let mut seen = vec![Room::Votes];
    let mut appended = 0u64;
    let refused = loop {
        match handle.append(KIND, &[&[7; 20_000]]) {
            Ok(_) => appended += 1,
            Err(AppendError::Full) => {
                journal.commit().unwrap();
                journal.maintain(appended).unwrap();
            }
            Err(error) => break error,
        }
        if seen.last() != Some(&handle.room()) {
            seen.push(handle.room());
        }
    };
    assert_eq!(refused, AppendError::NoRoom);
    assert_eq!(seen, [Room::Votes, Room::CertificatesOnly, Room::None]);
    assert!(handle.failure().is_none() && handle.counters().allocations_failed > 0);
    // What was taken becomes durable without more room.
    journal.commit().unwrap();
    assert!(handle.durable() >= handle.appended());
    // A start on the full disk works, and with room everything goes on by itself.
    drop(journal);
    let (mut journal, recovered) = place(&disk).recover().unwrap();
    assert_eq!(recovered.records, appended);
    let handle = journal.handle();
    assert_eq!(handle.room(), Room::None);
    assert_eq!(handle.append(KIND, &[b"no"]), Err(AppendError::NoRoom));
    disk.set_capacity(None);
    journal.maintain(0).unwrap();
    let due = journal.maintain(999).unwrap();
    assert!(due <= 2000);
    journal.maintain(1000).unwrap();
    assert_eq!(handle.room(), Room::Votes);
    handle.append(KIND, &[b"yes"]).unwrap();
    journal.commit().unwrap();
    journal.stop().unwrap();
    assert_eq!(place(&disk).recover().unwrap().1.records, appended + 1);
}

#[test]
fn a_journal_older_than_its_mark_does_not_start() {
    let disk = fresh();
    let run = run(disk);
    assert!(place(&run.disk).recover().is_ok());
    // An older copy of the journal's files comes back, the mark stays: first with the segments it had then, then as empty segments.
    let old = fresh();
    let replaced = run.disk.fork();
    copy_segments(&old, &replaced);
    assert!(matches!(place(&replaced).recover(), Err(JournalError::OlderThanMark { .. })));
    // Another history of the same length: same key, other records.
    let other = fresh();
    let (mut journal, _) = place(&other).recover().unwrap();
    let handle = journal.handle();
    for i in 0..4000 {
        append_or_commit(&mut journal, &handle, i);
    }
    journal.stop().unwrap();
    let replaced = run.disk.fork();
    copy_segments(&other, &replaced);
    assert!(matches!(place(&replaced).recover(), Err(JournalError::OtherHistory { .. })));
}

/// Puts the segments of one disk in place of those of another.
fn copy_segments(from: &FaultDisk, to: &FaultDisk) {
    for name in to.list().unwrap().into_iter().filter(|name| name.starts_with("segment-")) {
        to.remove(&name).unwrap();
    }
    for name in from.list().unwrap().into_iter().filter(|name| name.starts_with("segment-")) {
        let source = from.open(&name).unwrap();
        let mut bytes = vec![0; source.len().unwrap() as usize];
        source.read_at(&mut bytes, 0).unwrap();
        let target = to.create(&name).unwrap();
        target.write_at(&bytes, 0).unwrap();
        target.sync_data().unwrap();
    }
    to.sync_directory().unwrap();
}

#[test]
fn without_syncs_a_power_cut_refuses_the_start_and_a_kill_does_not() {
    let disk = FaultDisk::new();
    let mut place = place(&disk);
    place.config.durability = Durability::Process;
    place.create();
    let (mut journal, _) = place.recover().unwrap();
    journal.handle().append(KIND, &[b"one"]).unwrap();
    journal.commit().unwrap();
    drop(journal);
    let killed = disk.fork();
    killed.restart_process();
    let mut again = Place::in_memory(killed);
    again.config = place.config.clone();
    assert_eq!(again.recover().unwrap().1.records, 1);
    disk.crash(CrashFault::Kept, 0);
    assert!(matches!(place.recover(), Err(JournalError::ProcessOnly)));
}

#[test]
fn what_was_written_without_syncs_is_synced_when_syncs_are_asked_for() {
    let disk = FaultDisk::new();
    let mut place = place(&disk);
    place.config.durability = Durability::Process;
    place.create();
    let (mut journal, _) = place.recover().unwrap();
    let handle = journal.handle();
    for i in 0..8000 {
        append_or_commit(&mut journal, &handle, i);
    }
    let stopped = journal.stop().unwrap();
    assert!(stopped.head.0 > 2 * SEGMENT_BYTES);
    drop(handle);
    place.config.durability = Durability::PowerLoss;
    assert_eq!(place.recover().unwrap().1.records, 8000);
    disk.crash(CrashFault::Lost, 0);
    assert_eq!(place.recover().unwrap().1.records, 8000);
}

#[test]
fn every_flipped_byte_is_detected_or_cut() {
    let disk = fresh();
    let (mut journal, _) = place(&disk).recover().unwrap();
    let handle = journal.handle();
    let mut frames = vec![handle.durable()];
    let mut written = Vec::new();
    for i in 0..5 {
        for j in 0..3 {
            let bytes = payload(i * 3 + j + 9);
            written.push((handle.append(KIND, &[&bytes]).unwrap(), bytes));
        }
        frames.push(journal.commit().unwrap());
        if i == 2 {
            // The mark is made here, so two frames lie above it.
            journal.maintain(0).unwrap();
            journal.maintain(1000).unwrap();
        }
    }
    drop(journal);
    let (mark, last, end) = (frames[3], frames[4], frames[5]);
    let name = segment_name(0);
    let mut cut = 0;
    for offset in (0..end.0).chain((end.0..SEGMENT_BYTES).step_by(1009)) {
        let mask = 1 << (offset % 8);
        let flipped = disk.fork();
        flipped.flip(&name, offset, mask);
        let mut seen = 0;
        let case = format!("byte {offset}, mask {mask:#x}");
        let found = place(&flipped).recover_with(|position, kind, payload| {
            assert_eq!((position, kind, payload), (written[seen].0, KIND, &written[seen].1[..]), "{case}: misread");
            seen += 1;
        });
        match found {
            Err(JournalError::Damaged { file, offset: at, .. }) => {
                assert!(offset < last.0 || offset >= SEGMENT_BYTES - 64 * 1024, "{case}: the tail is cut, not refused");
                assert!(file.ends_with(&name) && at <= offset, "{case}: names {file} at {at}");
            }
            // The last frame: nothing behind it, and no mark, tells that it was ever durable. What lies behind the end is nobody's.
            Ok((_, recovered)) => {
                assert!(offset >= last.0 && recovered.head >= mark, "{case}: started");
                assert_eq!(seen, if offset < end.0 { 12 } else { 15 }, "{case}");
                assert!(recovered.cut.is_some(), "{case}: the cut is told");
                cut += 1;
            }
            Err(error) => panic!("{case}: {error}"),
        }
    }
    assert!(cut > 4096);
    // The mark: one sector may be damaged, the other holds; the journal itself is whole.
    for offset in 0..8192 {
        let flipped = disk.fork();
        flipped.flip("journal.mark", offset, 1 << (offset % 8));
        assert_eq!(place(&flipped).recover().unwrap().1.records, 15);
    }
    disk.flip("journal.mark", 100, 1);
    disk.flip("journal.mark", 4096 + 100, 1);
    assert!(matches!(place(&disk).recover(), Err(JournalError::MarkDamaged { .. })));
}

#[test]
fn after_a_clean_stop_no_flipped_byte_is_cut() {
    let disk = fresh();
    let (mut journal, _) = place(&disk).recover().unwrap();
    for i in 0..6 {
        journal.handle().append(KIND, &[&payload(i)]).unwrap();
        journal.commit().unwrap();
    }
    let end = journal.stop().unwrap().head;
    for offset in (0..end.0).step_by(7) {
        let flipped = disk.fork();
        flipped.flip(&segment_name(0), offset, 1 << (offset % 8));
        let refused = place(&flipped).recover().map(|_| ()).unwrap_err();
        assert!(
            matches!(refused, JournalError::Damaged { offset: at, .. } if at <= offset),
            "byte {offset}: {refused}"
        );
    }
}

#[test]
fn random_workloads_and_crashes() {
    let seed = std::env::var("MESHPAY_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
    });
    println!("replay with MESHPAY_TEST_SEED={seed}");
    let mut state = seed;
    let mut chance = move |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    for round in 0..60 {
        let disk = fresh();
        let mut run = Run { disk: disk.clone(), appended: Vec::new(), durable: Position::START };
        // Several lives of one journal, each ended by a crash at a random place.
        for life in 0..4 {
            let case = format!("seed {seed}, round {round}, life {life}");
            let kept = check(&run, &disk, &case);
            run.appended.truncate(kept);
            disk.crash(CrashFault::Lost, 0);
            disk.crash_at(disk.operations() + chance(120));
            let Ok((mut journal, _)) = place(&disk).recover() else {
                disk.crash(CrashFault::Reordered, chance(u64::MAX));
                continue;
            };
            let handle = journal.handle();
            let mut now = 0;
            loop {
                let step = match chance(10) {
                    0 => journal.maintain(now).map(|_| ()),
                    1 => journal.commit().map(|_| ()),
                    _ => {
                        let bytes = vec![chance(256) as u8; chance(24_000) as usize];
                        match handle.append(KIND, &[&bytes]) {
                            Ok(position) => run.appended.push((position, bytes)),
                            Err(AppendError::Full) if journal.commit().is_ok() => {}
                            Err(_) => break,
                        }
                        Ok(())
                    }
                };
                now += chance(300);
                if step.is_err() {
                    break;
                }
            }
            run.durable = handle.durable();
            let fault = [CrashFault::Kept, CrashFault::Torn(chance(40)), CrashFault::Reordered, CrashFault::Garbled]
                [chance(4) as usize];
            disk.crash(fault, chance(u64::MAX));
        }
        check_again(&run, &disk, &format!("seed {seed}, round {round}, at the end"));
    }
}
