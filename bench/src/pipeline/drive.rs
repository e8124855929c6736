//! The threads, each around its worker as the daemon's are, and where measuring begins and ends.
//!
//! Measuring begins when every worker has settled the first tenth of its round (one that is quicker waits at its first fifth), and ends when the first
//! one has no payment left to begin: so all work at full load all the time that counts. Then the rest is settled too, since what is left open would hide
//! an answer that never comes.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use meshpay_authority::journal::{Position, Waiter};
use meshpay_authority::pipeline::counters::WorkerCounters;
use meshpay_net::Waker;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::authority::{InProcess, InProcessWorker, JournalUse};
use super::clock::ThreadClock;
use super::options::PipelineOptions;
use super::port::MemoryPort;
use crate::generator::Interrupted;
use crate::slowdown::{Slowdown, thread_time};
use crate::{affinity, allocations, cpu};

/// Longest sleep; what a worker waits for wakes it sooner.
const SLEEP_MAX: Duration = Duration::from_millis(200);
/// A run in which nothing settles for so long has lost an answer.
const STANDSTILL: Duration = Duration::from_secs(20);
/// One payment of so many is warm-up.
const WARM_UP_SHARE: u32 = 10;

/// Parts of its payments after which a worker notes its time: see [`WorkerOutcome::slices_us`].
const SLICES: u64 = 32;

/// The stages of a worker's own account of its time, by the names of its histograms.
pub const STAGES: [&str; 6] = ["receive", "certificates", "orders", "queries", "sign", "reply"];

/// What a worker has done at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    at: Instant,
    cpu: Duration,
    process_cpu: Duration,
    displaced: Duration,
    settled: u64,
    retried: u64,
    turns: u64,
    datagrams: u64,
    allocations: u64,
    stages_ns: [u64; STAGES.len()],
    journal_cpu_ns: u64,
    journal_allocations: u64,
    commits: u64,
    sync_us: u64,
}

impl Sample {
    fn take(port: &MemoryPort, counters: &WorkerCounters, journal: &JournalUse) -> Self {
        let stages = counters.stages();
        let sum_of =
            |name| stages.iter().find(|(stage, _)| *stage == name).map_or(0, |(_, histogram)| histogram.sum_ns());
        Self {
            allocations: allocations::of_this_thread(),
            displaced: cpu::time_displaced(),
            process_cpu: cpu::process_time(),
            cpu: thread_time(),
            at: Instant::now(),
            settled: port.settled(),
            retried: port.retried(),
            turns: counters.totals.turns.get(),
            datagrams: counters.totals.datagrams.get(),
            stages_ns: STAGES.map(sum_of),
            journal_cpu_ns: journal.cpu_ns.load(Ordering::Relaxed),
            journal_allocations: journal.allocations.load(Ordering::Relaxed),
            commits: journal.commits.load(Ordering::Relaxed),
            sync_us: journal.sync_us.load(Ordering::Relaxed),
        }
    }
}

/// What a worker did while it was measured.
#[derive(Clone, Debug, Default)]
pub struct WorkerOutcome {
    /// By the clock on the wall.
    pub seconds: f64,
    /// Payments settled.
    pub settled: u64,
    /// Requests that were put off and offered again.
    pub retried: u64,
    /// Turns that did something.
    pub turns: u64,
    /// Datagrams received.
    pub datagrams: u64,
    /// Time on its core, in nanoseconds.
    pub cpu_ns: u64,
    /// Nanoseconds in which it could have run, but something else had its core.
    pub displaced_ns: u64,
    /// Time on cores of all threads of this process meanwhile, in nanoseconds.
    pub process_cpu_ns: u64,
    /// Microseconds on its core per payment, for each of about thirty parts of the measured time, one after the other.
    pub slices_us: Vec<f64>,
    /// Of that, in each stage: receive, certificates, orders, queries, sign, reply.
    pub stages_ns: [u64; STAGES.len()],
    /// Allocations of its thread.
    pub allocations: u64,
    /// The journal's thread in this worker's time; the same for all workers but for the moments at which they looked.
    pub journal_cpu_ns: u64,
    /// Allocations of the journal's thread.
    pub journal_allocations: u64,
    /// Commits.
    pub commits: u64,
    /// Microseconds in which the disk synced.
    pub sync_us: u64,
}

impl WorkerOutcome {
    fn between(start: &Sample, end: &Sample) -> Self {
        Self {
            seconds: (end.at - start.at).as_secs_f64(),
            settled: end.settled - start.settled,
            retried: end.retried - start.retried,
            turns: end.turns - start.turns,
            datagrams: end.datagrams - start.datagrams,
            cpu_ns: (end.cpu - start.cpu).as_nanos() as u64,
            displaced_ns: (end.displaced - start.displaced).as_nanos() as u64,
            process_cpu_ns: (end.process_cpu - start.process_cpu).as_nanos() as u64,
            slices_us: Vec::new(),
            stages_ns: std::array::from_fn(|at| end.stages_ns[at] - start.stages_ns[at]),
            allocations: end.allocations - start.allocations,
            journal_cpu_ns: end.journal_cpu_ns - start.journal_cpu_ns,
            journal_allocations: end.journal_allocations - start.journal_allocations,
            commits: end.commits - start.commits,
            sync_us: end.sync_us - start.sync_us,
        }
    }
}

/// A worker's time in slices, noted without allocating.
struct Slices {
    length: u64,
    begun: (u64, Duration),
    ends_at: u64,
    done: Vec<f64>,
}

impl Slices {
    fn new(payments: u64) -> Self {
        let length = (payments / SLICES).max(1);
        Self { length, begun: (0, Duration::ZERO), ends_at: u64::MAX, done: Vec::with_capacity(SLICES as usize + 2) }
    }

    /// Ends a slice, if one has begun, and begins the next.
    fn next(&mut self, settled: u64) {
        let (now, (before, then)) = (thread_time(), self.begun);
        if self.ends_at != u64::MAX && self.done.len() < self.done.capacity() {
            self.done.push((now - then).as_secs_f64() * 1e6 / (settled - before) as f64);
        }
        self.begun = (settled, now);
        self.ends_at = settled + self.length;
    }
}

/// What the threads tell each other.
#[derive(Default)]
struct Shared {
    /// Workers that have settled their warm-up.
    warm: AtomicUsize,
    /// A worker has nothing left to begin.
    is_over: AtomicBool,
    /// Workers that have settled all of the round.
    done: AtomicUsize,
    /// One failed; the others end too.
    failed: AtomicBool,
}

/// Drives all workers until every payment of the round is settled, that is of the next `payments` of each port.
///
/// # Errors
/// If an answer is wrong or does not come.
pub fn round(
    options: &PipelineOptions,
    authority: &mut InProcess,
    ports: &mut [MemoryPort],
    payments: &[u32],
    stop: &AtomicBool,
) -> Result<Vec<WorkerOutcome>> {
    let shared = Shared::default();
    let InProcess { workers, counters, wakers, waiters, journal_use, .. } = authority;
    let count = workers.len();
    let (wakers, journal) = (&**wakers, &**journal_use);
    let results: Vec<Result<WorkerOutcome>> = std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter_mut()
            .zip(ports)
            .enumerate()
            .map(|(number, (worker, port))| {
                let warm_up = payments[number] / WARM_UP_SHARE;
                port.begin_round(payments[number], 2 * warm_up);
                let thread = Thread {
                    count,
                    core: options.cores()[number],
                    slowdown: options.slowdown,
                    payments: payments[number],
                    warm_from: port.settled() + u64::from(warm_up),
                    counters: &counters[number],
                    waker: &wakers[number],
                    wakers,
                    waiter: &waiters[number],
                    journal,
                    shared: &shared,
                    stop,
                };
                std::thread::Builder::new()
                    .name(format!("worker-{number}"))
                    .spawn_scoped(scope, move || thread.run(worker, port).with_context(|| format!("worker {number}")))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|_| bail!("a worker panicked")),
                Err(error) => {
                    shared.failed.store(true, Ordering::Relaxed);
                    Err(error).context("cannot start a worker's thread")
                }
            })
            .collect()
    });
    results.into_iter().collect()
}

/// A worker's thread and what it is handed.
struct Thread<'a> {
    count: usize,
    core: usize,
    slowdown: Slowdown,
    /// Payments of the round.
    payments: u32,
    /// Payments settled, in all rounds, when its warm-up is over.
    warm_from: u64,
    counters: &'a WorkerCounters,
    waker: &'a Waker,
    wakers: &'a [Arc<Waker>],
    waiter: &'a Waiter,
    journal: &'a JournalUse,
    shared: &'a Shared,
    stop: &'a AtomicBool,
}

impl Thread<'_> {
    fn run(self, worker: &mut InProcessWorker, port: &mut MemoryPort) -> Result<WorkerOutcome> {
        let core = self.core;
        let outcome = affinity::tied_to(&[core], || self.turns(worker, port)).and_then(|outcome| outcome);
        if outcome.is_err() {
            self.shared.failed.store(true, Ordering::Relaxed);
            self.wake_all();
        }
        outcome
    }

    /// As the daemon's loop around a worker, with samples taken where measuring begins and ends.
    fn turns(&self, worker: &mut InProcessWorker, port: &mut MemoryPort) -> Result<WorkerOutcome> {
        let (mut is_warm, mut is_done) = (false, false);
        let (mut start, mut end) = (None, None);
        let mut progress = (0, Instant::now());
        let mut slices = Slices::new(self.payments.into());
        loop {
            let begun = thread_time();
            // Seen before the turn: what others have sent until then is taken in it.
            let all_done = self.shared.done.load(Ordering::SeqCst) == self.count;
            let turn = worker.turn(port, &ThreadClock)?;
            self.slowdown.burn(begun);
            if let Some(fault) = port.take_fault() {
                bail!(fault);
            }
            if !is_warm && port.settled() >= self.warm_from {
                is_warm = true;
                self.shared.warm.fetch_add(1, Ordering::Relaxed);
                self.wake_all();
            }
            if start.is_none() {
                if self.shared.warm.load(Ordering::Relaxed) == self.count {
                    port.release();
                    slices.next(port.settled());
                    start = Some(Sample::take(port, self.counters, self.journal));
                }
            } else if end.is_none() && (port.is_fed_out() || self.shared.is_over.load(Ordering::Relaxed)) {
                self.shared.is_over.store(true, Ordering::Relaxed);
                end = Some(Sample::take(port, self.counters, self.journal));
            } else if end.is_none() && port.settled() >= slices.ends_at {
                slices.next(port.settled());
            }
            if !is_done && port.is_done() {
                is_done = true;
                self.shared.done.fetch_add(1, Ordering::SeqCst);
                self.wake_all();
            }
            if turn.drained && end.is_some() && all_done {
                break;
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(Interrupted.into());
            }
            if self.shared.failed.load(Ordering::Relaxed) {
                bail!("another worker failed");
            }
            if turn.busy || port.has_arrivals() {
                continue;
            }
            if port.settled() != progress.0 || is_done {
                progress = (port.settled(), Instant::now());
            } else if progress.1.elapsed() > STANDSTILL {
                bail!(self.standstill(port));
            }
            self.sleep(port, turn.waits_for)?;
        }
        let (Some(start), Some(end)) = (start, end) else { bail!("the run was over before it was measured") };
        let outcome = WorkerOutcome { slices_us: slices.done, ..WorkerOutcome::between(&start, &end) };
        if outcome.settled == 0 {
            bail!("nothing was settled while it was measured; take more --payments");
        }
        Ok(outcome)
    }

    fn sleep(&self, port: &MemoryPort, waits_for: Option<u64>) -> Result<()> {
        let waiter = self.waiter;
        let longest = port.next_retry().map_or(SLEEP_MAX, |wait| wait.min(SLEEP_MAX));
        let longest = Timespec { tv_sec: 0, tv_nsec: longest.subsec_nanos().into() };
        if let Some(ticket) = waits_for
            && waiter.announce(Position(ticket))
        {
            return Ok(());
        }
        let (journal, other) = (waiter.as_fd(), self.waker.as_fd());
        let mut fds = [PollFd::new(&journal, PollFlags::IN), PollFd::new(&other, PollFlags::IN)];
        match poll(&mut fds, Some(&longest)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the journal"),
        }
        let readable = |fd: &PollFd<'_>| fd.revents().contains(PollFlags::IN);
        if readable(&fds[0]) {
            waiter.clear();
        }
        if readable(&fds[1]) {
            self.waker.clear();
        }
        waiter.withdraw();
        Ok(())
    }

    fn wake_all(&self) {
        self.wakers.iter().for_each(|waker| waker.wake());
    }

    fn standstill(&self, port: &MemoryPort) -> String {
        let dropped: Vec<String> = self
            .counters
            .totals
            .entries()
            .into_iter()
            .filter(|(name, count)| name.starts_with("dropped") && *count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let seconds = STANDSTILL.as_secs();
        format!("nothing settled for {seconds} s; payments wait: {}; counters: {dropped:?}", port.waiting_for())
    }
}
