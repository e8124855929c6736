//! Who used a core: the kernel's accounts of a core, of threads, and pinning.
//!
//! What always holds: figures are differences of two samples, in microseconds of one core. A core's account covers
//! everything that ran on it, kworkers and kernel threads included.
//!
//! Caveats. Where the kernel is built without CONFIG_IRQ_TIME_ACCOUNTING, the time of hardware and software interrupts is
//! charged to whatever they interrupted, so [`CoreUse::irq_us`] and [`CoreUse::softirq_us`] hold only what the timer tick
//! happened to hit; and with CONFIG_TICK_CPU_ACCOUNTING each kind of time is sampled by that tick (every 4 ms at HZ=250).
//! Idle time is measured, not sampled, so [`CoreUse::not_idle_us`] is the figure to report, the kinds only tell its
//! parts. All of them come in units of 10 ms: measure for seconds. Sources: proc_stat(5), proc_pid_schedstat(5).

use anyhow::{Context as _, Result, anyhow};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::io::Read as _;
use std::time::{Duration, Instant};

/// A core's account at one moment.
#[derive(Clone, Copy, Debug)]
pub struct CoreSample {
    core: usize,
    taken: Instant,
    ticks: [u64; KINDS],
    us_per_tick: u64,
}

/// user, nice, system, idle, iowait, irq, softirq, steal: the columns of /proc/stat that are used. Guest time is part of user.
const KINDS: usize = 8;

/// What a core did between two samples, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreUse {
    /// Time between the samples.
    pub elapsed_us: u64,
    /// All time that was not idle: elapsed, less idle and waiting for disks. Includes [`steal_us`](Self::steal_us).
    pub not_idle_us: u64,
    /// User mode.
    pub user_us: u64,
    /// User mode at lowered priority.
    pub nice_us: u64,
    /// Kernel mode, kernel threads included.
    pub system_us: u64,
    /// Hardware interrupts; see the module's caveats.
    pub irq_us: u64,
    /// Software interrupts; see the module's caveats.
    pub softirq_us: u64,
    /// Time in which the hypervisor ran somebody else instead.
    pub steal_us: u64,
}

impl CoreSample {
    /// Reads the account of `core` from /proc/stat.
    ///
    /// # Errors
    /// If there is no such core.
    pub fn take(core: usize) -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let taken = Instant::now();
        let name = format!("cpu{core} ");
        let line = stat
            .lines()
            .find_map(|line| line.strip_prefix(&name))
            .with_context(|| format!("/proc/stat knows no core {core}; this machine has {}", core_count()))?;
        let mut ticks = [0; KINDS];
        let mut columns = line.split_ascii_whitespace();
        for tick in &mut ticks {
            *tick = columns.next().and_then(|column| column.parse().ok()).context("/proc/stat has too few columns")?;
        }
        // SAFETY: sysconf only looks up a number.
        let ticks_per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1);
        Ok(Self { core, taken, ticks, us_per_tick: 1_000_000 / ticks_per_second })
    }

    /// The core that this is the account of.
    pub fn core(&self) -> usize {
        self.core
    }

    /// What the core did since this sample.
    ///
    /// # Errors
    /// If the core went offline meanwhile.
    pub fn until_now(&self) -> Result<CoreUse> {
        Ok(self.until(&Self::take(self.core)?))
    }

    /// What the core did between this sample and a later one.
    pub fn until(&self, later: &Self) -> CoreUse {
        let us = |kind: usize| later.ticks[kind].saturating_sub(self.ticks[kind]) * self.us_per_tick;
        let elapsed_us = micros(later.taken.saturating_duration_since(self.taken));
        CoreUse {
            elapsed_us,
            not_idle_us: elapsed_us.saturating_sub(us(3) + us(4)),
            user_us: us(0),
            nice_us: us(1),
            system_us: us(2),
            irq_us: us(5),
            softirq_us: us(6),
            steal_us: us(7),
        }
    }
}

/// One thread and the CPU time it has used since it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadCpu {
    /// Process that it belongs to.
    pub pid: u32,
    /// Its own id.
    pub tid: u32,
    /// Its name, such as `kworker/0:1` or `napi/eth0-8193`.
    pub name: String,
    /// The core on which it ran last.
    pub core: usize,
    /// CPU time so far; as a difference, that between the samples.
    pub cpu_us: u64,
}

/// Time that all threads of this process have run on cores.
pub fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// Seconds that all threads of a process have run on cores, those that have ended included, in steps of a hundredth (proc_pid_stat(5)).
///
/// # Errors
/// If there is no such process.
pub fn process_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name may hold anything, so columns are counted behind it: user and system are the twelfth and thirteenth.
    let columns = stat.rsplit_once(')').map_or("", |(_, columns)| columns);
    let ticks =
        columns.split_ascii_whitespace().skip(11).take(2).map(|column| column.parse::<u64>().unwrap_or(0)).sum::<u64>();
    // SAFETY: sysconf only looks up a number.
    let ticks_per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1);
    Ok(ticks as f64 / ticks_per_second as f64)
}

/// Time in which this thread could have run, but something else had its core (proc_pid_schedstat(5)); zero where the kernel keeps no such account.
/// Allocates nothing.
pub fn time_displaced() -> Duration {
    let mut text = [0; 96];
    let read = fs::File::open("/proc/thread-self/schedstat").and_then(|mut file| file.read(&mut text)).unwrap_or(0);
    let second = std::str::from_utf8(&text[..read]).ok().and_then(|text| text.split_ascii_whitespace().nth(1));
    Duration::from_nanos(second.and_then(|number| number.parse().ok()).unwrap_or(0))
}

/// The threads of process `pid`.
///
/// # Errors
/// If there is no such process (any more).
pub fn threads_of(pid: u32) -> Result<Vec<ThreadCpu>> {
    let folder = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {folder}; has process {pid} ended?"))?;
    // A thread may end between the listing and the reading; then it is left out.
    Ok(numbers(entries).filter_map(|tid| read_thread(pid, tid).ok()).collect())
}

/// All threads of all processes that ran on `core` last, kernel threads included.
///
/// # Errors
/// If /proc cannot be listed.
pub fn threads_on(core: usize) -> Result<Vec<ThreadCpu>> {
    let processes = fs::read_dir("/proc").context("cannot list /proc")?;
    let mut threads: Vec<ThreadCpu> = numbers(processes).filter_map(|pid| threads_of(pid).ok()).flatten().collect();
    threads.retain(|thread| thread.core == core);
    Ok(threads)
}

/// What each thread of `after` used since `before`, the heaviest first, those that used nothing left out. A thread that
/// `before` does not have counts from its beginning.
pub fn used_between(before: &[ThreadCpu], after: &[ThreadCpu]) -> Vec<ThreadCpu> {
    let earlier: std::collections::HashMap<u32, u64> =
        before.iter().map(|thread| (thread.tid, thread.cpu_us)).collect();
    let mut used: Vec<ThreadCpu> = after
        .iter()
        .map(|thread| {
            let cpu_us = thread.cpu_us.saturating_sub(earlier.get(&thread.tid).copied().unwrap_or(0));
            ThreadCpu { cpu_us, ..thread.clone() }
        })
        .filter(|thread| thread.cpu_us > 0)
        .collect();
    used.sort_by_key(|thread| std::cmp::Reverse(thread.cpu_us));
    used
}

fn numbers(entries: fs::ReadDir) -> impl Iterator<Item = u32> {
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn read_thread(pid: u32, tid: u32) -> Result<ThreadCpu> {
    let folder = format!("/proc/{pid}/task/{tid}");
    let stat = fs::read_to_string(format!("{folder}/stat"))?;
    // The name stands in parentheses and may itself hold some, and spaces: so from the last one on.
    let end = stat.rfind(')').context("no name")?;
    let name = stat[..end].split_once('(').context("no name")?.1.to_owned();
    let fields: Vec<&str> = stat[end + 1..].split_ascii_whitespace().collect();
    // Field 3 (state) is the first here; 39 is the processor it ran on last.
    let core = fields.get(39 - 3).context("too few fields")?.parse()?;
    // Nanoseconds on the CPU, where /stat has only hundredths of a second.
    let schedstat = fs::read_to_string(format!("{folder}/schedstat"))?;
    let ran_ns: u64 = schedstat.split_ascii_whitespace().next().context("empty schedstat")?.parse()?;
    Ok(ThreadCpu { pid, tid, name, core, cpu_us: ran_ns / 1_000 })
}

/// Nanoseconds that the calling thread has run.
pub fn current_thread_ns() -> u64 {
    let ran = clock_gettime(ClockId::ThreadCPUTime);
    ran.tv_sec.unsigned_abs() * 1_000_000_000 + ran.tv_nsec.unsigned_abs()
}

/// Ties the calling thread to `core`.
///
/// # Errors
/// If there is no such core, or a container or cpuset keeps it from us.
pub fn pin_current_thread(core: usize) -> Result<()> {
    pin(None, core)
}

/// Ties the thread `tid` (a NAPI thread, say) to `core`; of another user's thread only with CAP_SYS_NICE.
///
/// # Errors
/// As [`pin_current_thread`].
pub fn pin_thread(tid: u32, core: usize) -> Result<()> {
    let thread = i32::try_from(tid).ok().and_then(rustix::thread::Pid::from_raw);
    pin(Some(thread.ok_or_else(|| anyhow!("{tid} is not a thread's id"))?), core)
}

fn pin(thread: Option<rustix::thread::Pid>, core: usize) -> Result<()> {
    let mut cores = rustix::thread::CpuSet::new();
    anyhow::ensure!(core < rustix::thread::CpuSet::MAX_CPU, "there is no core {core}");
    cores.set(core);
    rustix::thread::sched_setaffinity(thread, &cores)
        .with_context(|| format!("cannot pin a thread to core {core}; this machine has {} cores", core_count()))
}

/// Cores that this process may use.
pub fn core_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burn(duration: Duration) {
        let start = Instant::now();
        while start.elapsed() < duration {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn the_time_of_a_pinned_thread_shows_on_its_core_and_in_its_own_account() {
        let tid = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        let pid = std::process::id();
        pin_current_thread(0).expect("core 0 exists");
        let core = CoreSample::take(0).expect("core 0 exists");
        let before = threads_of(pid).expect("our own threads");
        // As long as it takes for the thread to have run 200 ms, whoever else wants the core.
        let ran_us = loop {
            burn(Duration::from_millis(20));
            let used = used_between(&before, &threads_of(pid).expect("our own threads"));
            let mine = used.iter().find(|thread| thread.tid == tid).expect("this thread ran");
            assert_eq!(mine.core, 0);
            if mine.cpu_us >= 200_000 {
                break mine.cpu_us;
            }
        };
        let used = core.until_now().expect("core 0 exists");
        // The core's account comes in ticks of 10 ms, and idle time likewise.
        assert!(used.not_idle_us + 40_000 >= ran_us, "{used:?} against {ran_us} of the thread");
        assert!(used.not_idle_us <= used.elapsed_us);
        assert!(threads_on(0).expect("a list").iter().any(|thread| thread.tid == tid));
    }

    #[test]
    fn a_core_that_does_not_exist_is_named() {
        let message = format!("{:#}", pin_current_thread(900).expect_err("no such core"));
        assert!(message.contains("core 900"), "{message}");
        assert!(CoreSample::take(9999).expect_err("no such core").to_string().contains("9999"));
    }

    #[test]
    fn differences_are_sorted_and_leave_out_the_idle() {
        let thread = |tid, cpu_us| ThreadCpu { pid: 1, tid, name: "t".into(), core: 0, cpu_us };
        let used = used_between(&[thread(1, 10), thread(2, 5)], &[thread(1, 10), thread(2, 9), thread(3, 7)]);
        assert_eq!(used, [thread(3, 7), thread(2, 4)]);
    }
}
