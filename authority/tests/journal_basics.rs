//! The journal in ordinary use, over the disk in memory and over a real one.

use meshpay_authority::journal::*;
use std::sync::Arc;

mod journal_common;
use journal_common::*;

#[test]
fn records_come_back_in_order_and_can_be_read_by_position() {
    let place = Place::in_memory(FaultDisk::new());
    place.create();
    let (mut journal, recovered) = place.recover().unwrap();
    assert_eq!(recovered.records, 0);
    let handle = journal.handle();
    let mut positions = Vec::new();
    for i in 0..100u32 {
        let payload = payload(i);
        let (head, body) = payload.split_at(payload.len() / 2);
        positions.push(handle.append(KIND, &[head, body]).unwrap());
        assert!(matches!(handle.read(positions[i as usize], &mut [0; 1024]), Err(ReadError::NotDurable(_))));
        if i % 7 == 6 {
            journal.commit().unwrap();
            assert_eq!(handle.durable(), handle.durable().max(handle.appended()));
        }
    }
    journal.commit().unwrap();
    for (i, &position) in positions.iter().enumerate() {
        let mut buffer = [0; 4096];
        let (kind, length) = handle.read(position, &mut buffer).unwrap();
        assert_eq!((kind, &buffer[..length]), (KIND, &payload(i as u32)[..]));
        assert!(matches!(handle.read(Position(position.0 + 8), &mut buffer), Err(ReadError::Damaged { .. })));
    }
    let stopped = journal.stop().unwrap();
    let mut seen = Vec::new();
    let (_, recovered) =
        place.recover_with(|position, kind, payload| seen.push((position, kind, payload.to_vec()))).unwrap();
    assert_eq!((recovered.head, recovered.chain, recovered.clean), (stopped.head, stopped.chain, true));
    let expected: Vec<_> =
        positions.iter().enumerate().map(|(i, &position)| (position, KIND, payload(i as u32))).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_checkpoint_shortens_the_replay() {
    let place = Place::in_memory(FaultDisk::new());
    place.create();
    let (mut journal, _) = place.recover().unwrap();
    let handle = journal.handle();
    let positions: Vec<_> = (0..10_000).map(|i| append_or_commit(&mut journal, &handle, i)).collect();
    let stopped = journal.stop().unwrap();
    assert!(stopped.head.0 > 3 * SEGMENT_BYTES, "the test is about several segments");
    let from = positions[8000];
    let mut first = None;
    let (_, recovered) = place
        .recover_from(from, &mut |position, _, _| {
            first.get_or_insert(position);
            Ok(())
        })
        .unwrap();
    assert_eq!((first, recovered.records, recovered.head), (Some(from), 2000, stopped.head));
    // The first segment is archived away: the checkpoint still works, a whole replay is refused, reading says where the record went.
    place.disk().remove(&segment_name(0)).unwrap();
    let (journal, recovered) = place.recover_from(from, &mut |_, _, _| Ok(())).unwrap();
    assert_eq!(recovered.first, Position(SEGMENT_BYTES));
    assert!(matches!(journal.handle().read(positions[0], &mut [0; 4096]), Err(ReadError::Archived { .. })));
    assert!(matches!(place.recover(), Err(JournalError::Archived { .. })));
    // A hole in the middle is not archiving.
    place.disk().remove(&segment_name(2)).unwrap();
    assert!(matches!(place.recover_from(from, &mut |_, _, _| Ok(())), Err(JournalError::SegmentMissing { .. })));
}

#[test]
fn a_real_directory_under_the_threads() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::real(directory.path());
    place.create();
    let (journal, _) = place.recover().unwrap();
    let thread = JournalThread::start(journal, Hooks::default()).unwrap();
    let workers: Vec<_> = (0..2u32)
        .map(|worker| {
            let handle = thread.handle();
            std::thread::spawn(move || {
                let waiter = handle.waiter().unwrap();
                for i in 0..2000u32 {
                    let position = loop {
                        match handle.append(KIND, &[&worker.to_le_bytes(), &i.to_le_bytes(), &[7; 300]]) {
                            Ok(position) => break position,
                            Err(AppendError::Full) => std::thread::yield_now(),
                            Err(error) => panic!("{error}"),
                        }
                    };
                    handle.submit();
                    if i % 50 == 0 {
                        wait_until_durable(&handle, &waiter);
                        let mut buffer = [0; 512];
                        assert_eq!(handle.read(position, &mut buffer).unwrap(), (KIND, 308));
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let counters = thread.handle().counters();
    assert!(counters.commits > 0 && counters.refused_no_room == 0, "{counters:?}");
    let stopped = thread.stop().unwrap();
    let mut next = [0u32; 2];
    let (_, recovered) = place
        .recover_with(|_, _, payload| {
            let worker = u32::from_le_bytes(payload[..4].try_into().unwrap()) as usize;
            assert_eq!(payload[4..8], next[worker].to_le_bytes());
            next[worker] += 1;
        })
        .unwrap();
    assert_eq!((next, recovered.head), ([2000; 2], stopped.head));
    let seen = inspect(&RealDisk::open_read_only(directory.path()), None, None, KINDS, &mut |_, _, _| Ok(())).unwrap();
    assert_eq!((seen.head, seen.chain, seen.records), (stopped.head, stopped.chain, 4000));
}

#[test]
fn a_running_journal_can_be_inspected() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::real(directory.path());
    place.create();
    let (journal, _) = place.recover().unwrap();
    let thread = JournalThread::start(journal, Hooks::default()).unwrap();
    let handle = thread.handle();
    let writer = std::thread::spawn(move || {
        let waiter = handle.waiter().unwrap();
        for i in 0..3000u32 {
            while let Err(error) = handle.append(KIND, &[&payload(i)]) {
                assert_eq!(error, AppendError::Full);
                std::thread::yield_now();
            }
            if i % 10 == 0 {
                wait_until_durable(&handle, &waiter);
            } else {
                handle.submit();
            }
        }
    });
    let mut looks = 0;
    while !writer.is_finished() || looks == 0 {
        let durable = thread.handle().durable();
        let mut next = 0;
        let seen =
            inspect(&RealDisk::open_read_only(directory.path()), Some(&IDENTITY), None, KINDS, &mut |_, _, bytes| {
                assert_eq!(bytes, payload(next));
                next += 1;
                Ok(())
            })
            .unwrap();
        assert!(seen.head >= durable, "what was durable before is seen");
        looks += 1;
    }
    writer.join().unwrap();
    thread.stop().unwrap();
    println!("looked {looks} times");
}

#[test]
fn two_processes_on_one_directory() {
    let directory = tempfile::tempdir().unwrap();
    let held = RealDisk::open(directory.path()).unwrap();
    // The lock belongs to the open file, so a second opening in this process meets it as another process would.
    let Err(refused) = RealDisk::open(directory.path()) else { panic!("the directory was opened twice") };
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    drop(held);
    RealDisk::open(directory.path()).unwrap();
}

#[test]
fn memory_is_no_disk_unless_asked_for() {
    let disk = FaultDisk::new();
    disk.become_volatile();
    let mut place = Place::in_memory(disk);
    let (disk, mark) = (place.disk(), place.mark());
    let refused = create(&disk, &mark, &IDENTITY, &place.config).unwrap_err();
    assert!(refused.to_string().contains("durability = \"process\""), "{refused}");
    place.config.durability = Durability::Process;
    place.create();
    assert!(place.recover().is_ok());
}

#[test]
fn tmpfs_is_recognised() {
    if !std::path::Path::new("/dev/shm").is_dir() {
        println!("skipped: needs a tmpfs at /dev/shm");
        return;
    }
    let medium = RealDisk::open_read_only("/dev/shm".as_ref()).medium().unwrap();
    assert_eq!(medium, Medium { filesystem: "tmpfs".into(), volatile: true });
}

#[test]
fn an_unknown_kind_refuses_the_start() {
    let place = Place::in_memory(FaultDisk::new());
    place.create();
    let (mut journal, _) = place.recover().unwrap();
    let position = journal.handle().append(200, &[b"from the future"]).unwrap();
    journal.commit().unwrap();
    journal.stop().unwrap();
    let Err(JournalError::UnknownKind { kind, offset, .. }) = place.recover() else { panic!("it started") };
    assert_eq!((kind, offset), (200, position.0));
}

#[test]
fn a_second_journal_is_not_made_over_the_first() {
    let place = Place::in_memory(FaultDisk::new());
    place.create();
    let (disk, mark) = (place.disk(), place.mark());
    assert!(matches!(create(&disk, &mark, &IDENTITY, &place.config), Err(JournalError::Exists { .. })));
}

#[test]
fn key_and_journal_start_only_together() {
    let place = Place::in_memory(FaultDisk::new());
    place.create();
    let (disk, mark): (Arc<dyn Disk>, _) = (place.disk(), place.mark());
    let start =
        |identity| recover(&disk, &mark, &identity, &place.config, Position::START, &mut |_, _, _| Ok(())).map(|_| ());
    let other_key = Identity { journal: [9; 32], ..IDENTITY };
    assert!(matches!(start(other_key), Err(JournalError::OtherJournal { .. })));
    let other_network = Identity { network: [9; 32], ..IDENTITY };
    assert!(matches!(start(other_network), Err(JournalError::OtherNetwork { .. })));
    assert!(start(IDENTITY).is_ok());
    disk.remove(&mark.name).unwrap();
    assert!(matches!(start(IDENTITY), Err(JournalError::MarkMissing { .. })));
    disk.remove(&segment_name(0)).unwrap();
    for name in disk.list().unwrap() {
        disk.remove(&name).unwrap();
    }
    assert!(matches!(start(IDENTITY), Err(JournalError::Missing { .. })));
}

#[test]
fn a_copied_directory_does_not_start_until_adopted() {
    let disk = FaultDisk::new();
    let place = Place::in_memory(disk.clone());
    place.create();
    place.recover().unwrap().0.stop().unwrap();
    disk.become_a_copy();
    assert!(matches!(place.recover(), Err(JournalError::Copied { .. })));
    adopt(&*place.disk(), &place.mark(), &IDENTITY).unwrap();
    assert!(place.recover().is_ok());
}
