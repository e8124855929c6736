//! One measured batch, and who used the authorities' cores meanwhile.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::Cores;
use super::session::Session;
use crate::cpu::{self, CoreSample, CoreUse, ThreadCpu};
use crate::generator::{Outcome, Pacing, WindowEdge};
use crate::workload::Batch;

/// All time of the authorities' cores that was not idle, in microseconds per settled payment, and its parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuAccount {
    /// All of it: the figure.
    pub us_per_settled: f64,
    /// In user mode, by the kernel's sampling.
    pub user_us_per_settled: f64,
    /// In the kernel, by its sampling.
    pub system_us_per_settled: f64,
    /// Taken away by the hypervisor while we wanted it; part of the figure.
    pub steal_us_per_settled: f64,
    /// Used by programs that have nothing to do with the run, warm-up and drain included; part of the figure, and a reason to
    /// distrust it.
    pub strangers_us_per_settled: f64,
    /// Share of the cores' time that was not idle, 0 to 1.
    pub busy: f64,
    /// Used by the generator's thread and the one that receives for it, in the measured part, per settled payment.
    pub generator_us_per_settled: f64,
    /// Share of the generator's core's time that was not idle, 0 to 1.
    pub generator_busy: f64,
    /// Threads of the daemons, of the kernel and of the bench that ran on the authorities' cores, by their share; those of one name
    /// are added up.
    pub threads: Vec<CpuShare>,
}

/// What the threads of one name used, over the whole batch with warm-up and drain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuShare {
    /// Their name.
    pub thread: String,
    /// How many there are.
    pub count: usize,
    /// Microseconds per settled payment.
    pub us_per_settled: f64,
}

/// Names of threads in the report.
const THREADS_MAX: usize = 12;

/// The accounts of both sides at one moment.
struct Sample {
    authorities: Vec<CoreSample>,
    generator: CoreSample,
    /// CPU time of the generator's own threads so far, in microseconds.
    generator_us: u64,
}

impl Sample {
    /// To be taken on the generator's thread.
    fn take(cores: &Cores, generator_napi: &[u32]) -> Result<Self> {
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        let threads_of = |pid: u32| cpu::threads_of(pid).unwrap_or_default();
        let thread =
            threads_of(std::process::id()).into_iter().filter(|thread| i64::from(thread.tid) == i64::from(own));
        let receiving = generator_napi.iter().flat_map(|pid| threads_of(*pid));
        Ok(Self {
            authorities: cores.of_authorities().iter().map(|core| CoreSample::take(*core)).collect::<Result<_>>()?,
            generator: CoreSample::take(cores.generator)?,
            generator_us: thread.chain(receiving).map(|thread| thread.cpu_us).sum(),
        })
    }

    /// What the authorities' cores did until a later sample, added up.
    fn authorities_until(&self, later: &Self) -> CoreUse {
        let mut sum = CoreUse::default();
        for (before, after) in self.authorities.iter().zip(&later.authorities) {
            let used = before.until(after);
            sum.elapsed_us += used.elapsed_us;
            sum.not_idle_us += used.not_idle_us;
            sum.user_us += used.user_us + used.nice_us;
            sum.system_us += used.system_us + used.irq_us + used.softirq_us;
            sum.steal_us += used.steal_us;
        }
        sum
    }
}

/// Runs a batch and takes the cores' accounts over its measured part, at whose edges `at_edge` is called on the generator's thread.
///
/// # Errors
/// If a daemon ends, a core's account cannot be read, or the user interrupts.
pub fn measure(
    session: &mut Session<'_>,
    what: &str,
    batch: &Batch,
    pacing: Pacing,
    mut at_edge: impl FnMut(WindowEdge) + Send,
) -> Result<(Outcome, CpuAccount)> {
    let cores = session.request().cores.clone();
    let napi = session.request().link.generator.napi_pids();
    // Of all cores, since a thread may move to ours meanwhile.
    let threads_before = threads_on(&(0..cpu::core_count()).collect::<Vec<_>>())?;
    let before = Sample::take(&cores, &napi)?;
    let mut edges: Vec<Result<Sample>> = Vec::new();
    let outcome = session.run(what, batch, pacing, |edge| {
        edges.push(Sample::take(&cores, &napi));
        at_edge(edge);
    })?;
    let whole = before.authorities_until(&Sample::take(&cores, &napi)?);
    let threads = cpu::used_between(&threads_before, &threads_on(&cores.of_authorities())?);
    let ours: Vec<u32> = session.daemons().iter().map(|daemon| daemon.id()).chain([std::process::id()]).collect();
    let threads: Vec<ThreadCpu> = threads.into_iter().filter(|thread| !is_stranger(thread, &ours)).collect();
    let accounted_us: u64 = threads.iter().map(|thread| thread.cpu_us).sum();
    let mut edges = edges.into_iter().collect::<Result<Vec<_>>>()?.into_iter();
    let (Some(begin), Some(end)) = (edges.next(), edges.next()) else { anyhow::bail!("the run had no measured part") };
    let used = Used {
        authorities: begin.authorities_until(&end),
        generator: begin.generator.until(&end.generator),
        generator_us: end.generator_us.saturating_sub(begin.generator_us),
        // What nobody else has used: strangers may come and go unseen.
        strangers_us: (whole.not_idle_us - whole.steal_us.min(whole.not_idle_us)).saturating_sub(accounted_us),
    };
    let account = account(&used, &threads, &outcome);
    Ok((outcome, account))
}

/// What was used between the edges, in microseconds; by strangers: over the whole batch.
struct Used {
    authorities: CoreUse,
    generator: CoreUse,
    generator_us: u64,
    strangers_us: u64,
}

fn threads_on(cores: &[usize]) -> Result<Vec<ThreadCpu>> {
    Ok(cores.iter().map(|core| cpu::threads_on(*core)).collect::<Result<Vec<_>>>()?.concat())
}

/// Whether a thread is of a program that is neither ours nor the kernel's. A kernel thread has no command line.
fn is_stranger(thread: &ThreadCpu, ours: &[u32]) -> bool {
    let is_kernel = || std::fs::read(format!("/proc/{}/cmdline", thread.pid)).is_ok_and(|line| line.is_empty());
    !ours.contains(&thread.pid) && !is_kernel()
}

fn account(used: &Used, threads: &[ThreadCpu], outcome: &Outcome) -> CpuAccount {
    let per_settled = |us: u64, settled: u64| us as f64 / settled.max(1) as f64;
    let busy = |used: &CoreUse| used.not_idle_us as f64 / used.elapsed_us.max(1) as f64;
    let settled = outcome.settled_in_window;
    let authorities = &used.authorities;
    CpuAccount {
        us_per_settled: per_settled(authorities.not_idle_us, settled),
        user_us_per_settled: per_settled(authorities.user_us, settled),
        system_us_per_settled: per_settled(authorities.system_us, settled),
        steal_us_per_settled: per_settled(authorities.steal_us, settled),
        strangers_us_per_settled: per_settled(used.strangers_us, outcome.settled),
        busy: busy(authorities),
        generator_us_per_settled: per_settled(used.generator_us, settled),
        generator_busy: busy(&used.generator),
        threads: shares(threads, outcome.settled),
    }
}

/// Adds up threads of one name; the heaviest first.
fn shares(threads: &[ThreadCpu], settled: u64) -> Vec<CpuShare> {
    let mut by_name: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for thread in threads {
        let sum = by_name.entry(&thread.name).or_default();
        *sum = (sum.0 + 1, sum.1 + thread.cpu_us);
    }
    let mut sums: Vec<(&str, (usize, u64))> = by_name.into_iter().collect();
    sums.sort_by_key(|(_, (_, us))| std::cmp::Reverse(*us));
    sums.truncate(THREADS_MAX);
    let share = |(name, (count, us)): (&str, (usize, u64))| CpuShare {
        thread: name.to_owned(),
        count,
        us_per_settled: us as f64 / settled.max(1) as f64,
    };
    sums.into_iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_threads_and_ours_are_no_strangers() {
        let thread = |pid| ThreadCpu { pid, tid: pid, name: String::new(), core: 0, cpu_us: 1 };
        let us = std::process::id();
        assert!(!is_stranger(&thread(us), &[us]));
        assert!(is_stranger(&thread(us), &[]));
        // The kernel's thread of threads.
        assert!(!is_stranger(&thread(2), &[]));
    }

    #[test]
    fn the_figure_is_all_time_that_was_not_idle() {
        let used = CoreUse { elapsed_us: 1_000_000, not_idle_us: 900_000, user_us: 600_000, ..CoreUse::default() };
        let generator = CoreUse { elapsed_us: 1_000_000, not_idle_us: 250_000, ..CoreUse::default() };
        let thread = ThreadCpu { pid: 1, tid: 1, name: "worker".to_owned(), core: 1, cpu_us: 80_000 };
        let mut outcome = Outcome::new(0);
        (outcome.settled_in_window, outcome.settled) = (30_000, 40_000);
        let used = Used { authorities: used, generator, generator_us: 150_000, strangers_us: 20_000 };
        let account = account(&used, &[thread.clone(), thread], &outcome);
        assert_eq!((account.us_per_settled, account.user_us_per_settled), (30.0, 20.0));
        assert_eq!((account.strangers_us_per_settled, account.generator_us_per_settled), (0.5, 5.0));
        assert_eq!((account.busy, account.generator_busy), (0.9, 0.25));
        assert_eq!(account.threads, [CpuShare { thread: "worker".to_owned(), count: 2, us_per_settled: 4.0 }]);
    }
}
