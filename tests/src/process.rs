//! Starts programs so that none outlives its test.
//!
//! A dropped [`Process`] is killed and reaped. Should the whole test process die, the kernel kills what it started: that is bound to
//! the *thread* which started a program, so one thread, which lives as long as the tests, starts them all.

use crate::DEADLINE;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// A running program.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Process {
    /// Starts a program; its standard error is appended to `log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let errors = OpenOptions::new().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut child = spawn(command)?;
        let output = child.stdout.take().context("a program's output is a pipe")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // Ends when the program closes its output; a receiver that is gone only means that nobody reads on.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Ok(Self { child, lines, log: log.to_path_buf() })
    }

    /// The next line that begins with `beginning`.
    ///
    /// # Errors
    /// If the program ends first, or says nothing of the kind in time; with the end of its log.
    pub fn line_beginning_with(&mut self, beginning: &str) -> Result<String> {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(beginning) => return Ok(line),
                Ok(_) => {}
                Err(why) => {
                    // Its output is closed: then its end is near.
                    let status = match why {
                        RecvTimeoutError::Disconnected => Some(self.wait()?),
                        RecvTimeoutError::Timeout => self.child.try_wait()?,
                    };
                    let state = status.map_or("still runs".to_owned(), |status| format!("ended with {status}"));
                    bail!("the program {state} and has not printed {beginning:?}; its log ends:\n{}", self.log_end());
                }
            }
        }
    }

    /// The next line that was printed and not read yet, without waiting.
    pub fn line_so_far(&mut self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// All lines up to and including the next one that begins with `beginning`.
    ///
    /// # Errors
    /// As [`Process::line_beginning_with`].
    pub fn lines_until(&mut self, beginning: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let line = self.line_beginning_with("")?;
            let found = line.starts_with(beginning);
            lines.push(line);
            if found {
                return Ok(lines);
            }
        }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the program has ended and was reaped.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).context("signalling a program")
    }

    /// Kills it at once and reaps it.
    ///
    /// # Errors
    /// If it cannot be reaped.
    pub fn kill(mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it does not come in time.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > end {
                bail!("the program has not ended; its log ends:\n{}", self.log_end());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// If the kernel cannot say.
    pub fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The last lines that it wrote to its standard error.
    pub fn log_end(&self) -> String {
        last_lines(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where the program has ended and was reaped before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a file, for messages.
pub fn last_lines(file: &Path) -> String {
    const LINES: usize = 30;
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// What a program that ran to its end has said.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

impl Finished {
    /// The output of a program that succeeded.
    ///
    /// # Errors
    /// If it failed, with what it said.
    pub fn success(self) -> Result<String> {
        if self.code != Some(0) {
            bail!("a program ended with {:?}, output {:?}, errors:\n{}", self.code, self.output, self.errors);
        }
        Ok(self.output)
    }

    /// Its message, where it failed as it should: exit code 1 and something said.
    ///
    /// # Errors
    /// If it did not fail so.
    pub fn failure(self) -> Result<String> {
        if self.code != Some(1) || self.errors.trim().is_empty() {
            bail!("expected a failure with a message, got {self:?}");
        }
        Ok(self.errors)
    }
}

/// Runs a program to its end.
///
/// # Errors
/// If it cannot be started, or does not end in time.
pub fn finish(mut command: Command) -> Result<Finished> {
    // Files, so that no pipe can fill up while we wait.
    let (output, errors) = (tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?);
    command.stdin(Stdio::null()).stdout(output.reopen()?).stderr(errors.reopen()?);
    let shown = format!("{command:?}");
    let child = spawn(command)?;
    let mut process = Process { child, lines: channel().1, log: errors.path().to_path_buf() };
    let status = process.wait().with_context(|| shown)?;
    let read = |file: &Path| -> Result<String> { Ok(String::from_utf8_lossy(&std::fs::read(file)?).into_owned()) };
    Ok(Finished { code: status.code(), output: read(output.path())?, errors: read(errors.path())? })
}

type Request = (Command, Sender<std::io::Result<Child>>);

/// Has the starting thread start a program.
fn spawn(mut command: Command) -> Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, requests) = channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in requests {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    // SAFETY: between fork and exec only one system call is made, prctl, which is async-signal-safe; nothing is allocated.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    let shown = format!("{:?}", command.get_program());
    let (answer, started) = channel();
    starter.lock().map_err(|_| anyhow::anyhow!("the starting thread is gone"))?.send((command, answer))?;
    started.recv()?.with_context(|| format!("starting {shown}"))
}
