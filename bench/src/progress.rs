//! Says on standard error what is being done: bars on a terminal, a line for each step elsewhere.
//!
//! Nothing draws while figures are taken but the thread that asks for it, at most five times a second.

use std::borrow::Cow;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where progress is shown.
#[derive(Clone, Debug)]
pub struct Console {
    bars: MultiProgress,
    is_terminal: bool,
    prefix: String,
}

/// One step that takes a while. Dropping it ends it.
#[derive(Debug)]
pub struct Step {
    bar: ProgressBar,
    name: String,
    begun: Instant,
    console: Console,
    finished: bool,
}

impl Console {
    /// The console of this process.
    pub fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), is_terminal, prefix: String::new() }
    }

    /// A console that shows nothing, for tests.
    pub fn silent() -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        Self { bars, is_terminal: true, prefix: String::new() }
    }

    /// The same console for a part of the work, whose name stands before each step, behind that of what it is a part of.
    pub fn part(&self, name: &str) -> Self {
        Self { prefix: format!("{}{name}: ", self.prefix), ..self.clone() }
    }

    /// Begins a step of `length` units.
    pub fn step(&self, name: impl Into<Cow<'static, str>>, length: u64) -> Step {
        let name = format!("{}{}", self.prefix, name.into());
        let style = ProgressStyle::with_template("{elapsed:>4} {msg:60} {bar:30} {human_pos}/{human_len}");
        let bar = self.bars.add(ProgressBar::new(length).with_message(name.clone()));
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.tick();
        if !self.is_terminal {
            eprintln!("{name} ...");
        }
        Step { bar, name, begun: Instant::now(), console: self.clone(), finished: false }
    }

    /// Says something once, above the bars.
    pub fn say(&self, text: &str) {
        let line = format!("{}{text}", self.prefix);
        if self.is_terminal {
            let _ = self.bars.println(line);
        } else {
            eprintln!("{line}");
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Step {
    /// So many units more are done.
    pub fn advance(&self, units: u64) {
        self.bar.inc(units);
    }

    /// So many units are done in all.
    pub fn set(&self, units: u64) {
        self.bar.set_position(units);
    }

    /// How long this has taken.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Ends the step with a result that stays visible.
    pub fn finish(mut self, result: &str) {
        self.finished = true;
        self.bar.finish_and_clear();
        let seconds = self.begun.elapsed().as_secs_f64();
        let line = format!("{}: {result} ({seconds:.1} s)", self.name);
        if self.console.is_terminal {
            let _ = self.console.bars.println(line);
        } else {
            eprintln!("{line}");
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            self.bar.finish_and_clear();
        }
    }
}
