//! A slowdown on command, by which `cargo xtask regress` proves that it would find one. It exists in this program only, never in the daemon.

use anyhow::{Context as _, Result, ensure};
use std::time::Duration;

/// How much slower everything that is timed shall be, in percent of its own time; unset for not at all.
pub const VARIABLE: &str = "MESHPAY_BENCH_SLOWDOWN_PERCENT";

const PERCENT_MAX: u32 = 1_000;

/// Time that this thread has run on a core.
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// A slowdown; the default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slowdown {
    /// In percent of the time that the work itself took.
    pub percent: u32,
}

impl Slowdown {
    /// What the environment asks for.
    ///
    /// # Errors
    /// If it asks for what is no percentage up to 1,000.
    pub fn from_environment() -> Result<Self> {
        let Some(text) = std::env::var_os(VARIABLE) else { return Ok(Self::default()) };
        let percent = text.to_str().and_then(|text| text.parse().ok());
        let percent = percent.with_context(|| format!("{VARIABLE} is {text:?}, must be a whole number of percent"))?;
        ensure!(percent <= PERCENT_MAX, "{VARIABLE} is {percent}, must be at most {PERCENT_MAX}");
        Ok(Self { percent })
    }

    /// Burns the share of what this thread has run since `begun`, a [`thread_time`].
    pub fn burn(self, begun: Duration) {
        if self.percent == 0 {
            return;
        }
        let now = thread_time();
        let until = now + (now - begun) * self.percent / 100;
        while thread_time() < until {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burns_the_share_that_it_was_told_and_nothing_by_itself() {
        let begun = thread_time();
        while thread_time() - begun < Duration::from_millis(5) {}
        let spent = thread_time() - begun;
        Slowdown { percent: 50 }.burn(begun);
        assert!(thread_time() - begun >= spent + spent / 2);
        let before = thread_time();
        Slowdown::default().burn(Duration::ZERO);
        assert!(thread_time() - before < begun + Duration::from_secs(1));
    }
}
