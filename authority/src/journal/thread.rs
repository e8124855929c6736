//! The journal's threads in production: one commits, one keeps segments and mark.

use super::driver::{Journal, Stopped};
use super::error::{Failure, JournalError};
use super::handle::{Handle, Shared};
use super::keeper::Keeper;
use super::writer::Writer;
use meshpay_sync::thread::{Builder, JoinHandle, sleep};
use std::io;
use std::sync::{Arc, Once, PoisonError};
use std::time::{Duration, Instant};

/// What one commit cost, for histograms.
#[derive(Clone, Copy, Debug)]
pub struct CommitReport {
    /// Time of closing, hashing and writing, in microseconds.
    pub write_us: u64,
    /// Time of the sync, in microseconds.
    pub sync_us: u64,
}

/// Hears of the failure of a journal.
pub type FailureHook = Box<dyn Fn(&Failure) + Send + Sync>;
/// Hears of each commit.
pub type CommitHook = Box<dyn FnMut(CommitReport) + Send>;

/// What the daemon wants to hear from the journal's threads.
#[derive(Default)]
pub struct Hooks {
    /// Called once when the journal failed. The process must exit: what was not durable never will be.
    pub on_failure: Option<FailureHook>,
    /// Called after each commit, on the journal thread: keep it short.
    pub on_commit: Option<CommitHook>,
}

/// The running threads of a journal. Dropping it stops the journal cleanly as far as the disk lets it.
pub struct JournalThread {
    shared: Arc<Shared>,
    threads: Option<(JoinHandle<Writer>, JoinHandle<Keeper>)>,
}

impl JournalThread {
    /// Starts both threads, named "journal" and "journal-keeper".
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(journal: Journal, hooks: Hooks) -> io::Result<Self> {
        let Journal { shared, writer, keeper } = journal;
        let Hooks { on_failure, on_commit } = hooks;
        let watch = Arc::new(Watch { shared: Arc::clone(&shared), told: Once::new(), hook: on_failure });
        let commit = Builder::new().name("journal".into()).spawn({
            let guard = Guard(Arc::clone(&watch));
            move || commit_until_stopped(&guard.0.shared, writer, on_commit, &guard)
        })?;
        let keep = Builder::new().name("journal-keeper".into()).spawn({
            let guard = Guard(watch);
            move || keep_until_stopped(&guard.0.shared, keeper, &guard)
        });
        let keep = match keep {
            Ok(keep) => keep,
            Err(error) => {
                stop(&shared);
                let _ = commit.join();
                return Err(error);
            }
        };
        Ok(Self { shared, threads: Some((commit, keep)) })
    }

    /// Access for a worker.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Stops cleanly: takes no further record, makes durable what was appended, marks the end, ends the threads.
    ///
    /// # Errors
    /// If the journal failed, now or before.
    pub fn stop(mut self) -> Result<Stopped, JournalError> {
        self.stop_threads()
    }

    fn stop_threads(&mut self) -> Result<Stopped, JournalError> {
        let (commit, keep) = self.threads.take().expect("threads are taken once");
        stop(&self.shared);
        let gone = |_| JournalError::Io {
            what: "stopping the journal".into(),
            source: io::Error::other("a journal thread panicked"),
        };
        let writer = commit.join();
        let keeper = keep.join();
        let journal =
            Journal { shared: Arc::clone(&self.shared), writer: writer.map_err(gone)?, keeper: keeper.map_err(gone)? };
        journal.stop()
    }
}

impl Drop for JournalThread {
    fn drop(&mut self) {
        if self.threads.is_some() {
            // There is nobody left to tell; an unclean end is what the next start expects anyway.
            let _ = self.stop_threads();
        }
    }
}

fn stop(shared: &Shared) {
    shared.filling().stopped = true;
    shared.work.notify_all();
    shared.call_keeper();
}

/// Tells the daemon once, whichever thread fails first.
struct Watch {
    shared: Arc<Shared>,
    told: Once,
    hook: Option<FailureHook>,
}

impl Watch {
    fn tell(&self, failure: &Failure) {
        if let Some(hook) = &self.hook {
            self.told.call_once(|| hook(failure));
        }
    }
}

/// Lives in each thread: one that panics fails the journal, so that nobody waits for it forever.
struct Guard(Arc<Watch>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let failure = Failure {
                what: "a journal thread panicked".into(),
                source: Arc::new(io::Error::other("see its message")),
            };
            self.0.shared.fail(failure.clone());
            self.0.tell(&failure);
        }
    }
}

fn commit_until_stopped(
    shared: &Shared,
    mut writer: Writer,
    mut on_commit: Option<CommitHook>,
    guard: &Guard,
) -> Writer {
    let spacing = Duration::from_micros(shared.commit_spacing_us);
    loop {
        let mut filling = shared.filling();
        while !filling.submitted && !filling.stopped {
            filling = shared.work.wait(filling).unwrap_or_else(PoisonError::into_inner);
        }
        if filling.stopped {
            // What is left is committed by whoever stops the journal.
            return writer;
        }
        drop(filling);
        let begun = Instant::now();
        let report = writer.begin().and_then(|_| {
            let written = Instant::now();
            writer.finish()?;
            let synced = written.elapsed();
            Ok(CommitReport { write_us: micros(written - begun), sync_us: micros(synced) })
        });
        match report {
            Ok(report) => {
                shared.counters.write_us.add(report.write_us);
                shared.counters.sync_us.add(report.sync_us);
                if let Some(hook) = &mut on_commit {
                    hook(report);
                }
            }
            Err(failure) => {
                guard.0.tell(&failure);
                return writer;
            }
        }
        let rest = spacing.saturating_sub(begun.elapsed());
        if !rest.is_zero() {
            sleep(rest);
        }
    }
}

fn keep_until_stopped(shared: &Shared, mut keeper: Keeper, guard: &Guard) -> Keeper {
    let start = Instant::now();
    loop {
        if shared.filling().stopped {
            return keeper;
        }
        let now = millis(start.elapsed());
        let next = match keeper.step(now) {
            Ok(next) => next,
            Err(failure) => {
                guard.0.tell(&failure);
                return keeper;
            }
        };
        let mut called = shared.keeper_called.lock().unwrap_or_else(PoisonError::into_inner);
        while !*called {
            let rest = next.saturating_sub(millis(start.elapsed()));
            if rest == 0 {
                break;
            }
            called =
                shared.keep.wait_timeout(called, Duration::from_millis(rest)).unwrap_or_else(PoisonError::into_inner).0;
        }
        *called = false;
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(all(test, feature = "loom"))]
mod under_loom {
    use super::*;
    use crate::journal::{
        CrashFault, Disk, Durability, FaultDisk, Identity, JournalConfig, Kinds, MarkPlace, Position, create, inspect,
        recover,
    };
    use meshpay_sync::{explore, thread};
    use std::sync::LazyLock;

    const IDENTITY: Identity = Identity { journal: [0x11; 32], network: [0x22; 32] };
    const KIND: u8 = 3;

    fn config(durability: Durability) -> JournalConfig {
        JournalConfig {
            segment_bytes: JournalConfig::SEGMENT_BYTES_MIN,
            frame_bytes: JournalConfig::FRAME_BYTES_MIN,
            segments_ahead: JournalConfig::SEGMENTS_AHEAD_MIN,
            durability,
            ..JournalConfig::new(Kinds::of(&[KIND]))
        }
    }

    fn places(disk: &FaultDisk) -> (Arc<dyn Disk>, MarkPlace) {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        (Arc::clone(&disk), MarkPlace { disk, name: "journal.mark".into() })
    }

    static NEW: LazyLock<FaultDisk> = LazyLock::new(|| {
        let disk = FaultDisk::new();
        let (shared, mark) = places(&disk);
        create(&shared, &mark, &IDENTITY, &config(Durability::PowerLoss)).expect("a new journal in memory");
        disk
    });

    /// Two workers append, wait until their record is durable, and then the power goes: the record must be there. In the end the journal stops.
    fn commits(durability: Durability) {
        let disk = NEW.fork();
        let (shared_disk, mark) = places(&disk);
        let opened =
            recover(&shared_disk, &mark, &IDENTITY, &config(durability), Position::START, &mut |_, _, _| Ok(()));
        let Journal { shared, writer, .. } = opened.expect("it was just made").0;
        let watch = Arc::new(Watch { shared: Arc::clone(&shared), told: Once::new(), hook: None });
        let committing = thread::spawn({
            let guard = Guard(watch);
            move || commit_until_stopped(&guard.0.shared, writer, None, &guard)
        });
        let worker = |number: u8| {
            let (handle, disk) = (Handle { shared: Arc::clone(&shared) }, disk.clone());
            let waiter = handle.waiter().expect("a descriptor");
            move || {
                handle.append(KIND, &[&[number]]).expect("there is room");
                let until = handle.appended();
                handle.submit();
                while !waiter.announce(until) {
                    waiter.sleep();
                    waiter.clear();
                }
                assert!(handle.durable() >= until);
                is_on_the_medium(&disk, number);
            }
        };
        let first = thread::spawn(worker(1));
        worker(2)();
        first.join().expect("no panic");
        stop(&shared);
        committing.join().expect("no panic");
        assert!(shared.progress.failure().is_none());
    }

    fn is_on_the_medium(disk: &FaultDisk, number: u8) {
        let after = disk.fork();
        after.crash(CrashFault::Lost, 0);
        let mut found = false;
        let mut see = |_, _, payload: &[u8]| {
            found |= payload == [number];
            Ok(())
        };
        inspect(&after, Some(&IDENTITY), None, Kinds::of(&[KIND]), &mut see).expect("a whole journal");
        assert!(found, "record {number} was called durable and is lost");
    }

    #[test]
    fn what_is_called_durable_is_on_the_medium_and_nobody_waits_for_ever() {
        // A lost wake-up is looked for in `progress.rs`: here a deadlock would unwind through the guard of a thread that is no more.
        println!("{} schedules, with up to 2 preemptions", explore(Some(2), || commits(Durability::PowerLoss)));
    }

    #[test]
    #[should_panic(expected = "was called durable and is lost")]
    fn a_build_that_does_not_sync_is_found() {
        explore(Some(1), || commits(Durability::Process));
    }
}
