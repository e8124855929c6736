//! One server process: started on its cores and its side of the link, waited for, stopped.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

use super::ReadyLine;
use crate::affinity;
use crate::generator::Interrupted;
use crate::link::Side;

/// Longest time that a server may take until it is ready: recovery of a large journal included.
pub const START_MAX: Duration = Duration::from_secs(300);

/// Longest time that a server may take to stop cleanly: it may write a checkpoint of all accounts.
const STOP_MAX: Duration = Duration::from_secs(120);

/// Between two looks at what we wait for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running server. Dropping it stops it.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ready: ReadyLine,
}

impl Process {
    /// Starts `command` on `cores` in the namespace of `side`, its standard error in the file `log`, and waits for its ready line.
    ///
    /// All threads of the process inherit the cores, also those it makes later.
    ///
    /// # Errors
    /// If it cannot be started, ends, or is not ready within [`START_MAX`]; the message quotes the end of its log.
    pub fn start(
        name: &str,
        mut command: Command,
        side: &Side,
        cores: &[usize],
        log: &Path,
        stop: &AtomicBool,
    ) -> Result<Self> {
        let log_file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file);
        end_with_us(&mut command);
        side.start_here(&mut command)?;
        let mut child = affinity::tied_to(cores, || command.spawn())?
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        let (sender, receiver) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            // Reads to the end, so that the server never blocks on a full pipe.
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Some(ready) = ReadyLine::parse(&line) {
                        let _ = sender.send(ready);
                    }
                }
            });
        }
        let placeholder = ReadyLine { listen: ([0, 0, 0, 0], 0).into(), facts: Default::default() };
        let mut process = Self { name: name.to_owned(), child, log: log.to_owned(), ready: placeholder };
        process.ready = process.await_ready(&receiver, stop)?;
        Ok(process)
    }

    fn await_ready(&mut self, receiver: &mpsc::Receiver<ReadyLine>, stop: &AtomicBool) -> Result<ReadyLine> {
        let until = Instant::now() + START_MAX;
        loop {
            match receiver.recv_timeout(LOOK_EVERY) {
                Ok(ready) => return Ok(ready),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK_EVERY),
            }
            if stop.load(Ordering::Relaxed) {
                bail!(Interrupted);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) instead of becoming ready:\n{}", self.name, self.end_of_log());
            }
            if Instant::now() > until {
                bail!("{} is not ready after {} s:\n{}", self.name, START_MAX.as_secs(), self.end_of_log());
            }
        }
    }

    /// What it said when it was ready.
    pub fn ready(&self) -> &ReadyLine {
        &self.ready
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Says what became of it, if it ended by itself.
    ///
    /// # Errors
    /// If it did.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended during the run ({status}):\n{}", self.name, self.end_of_log()),
        }
    }

    /// Asks it to stop by SIGTERM and waits until it has.
    ///
    /// # Errors
    /// If it does not stop within two minutes, or says by its status that something was wrong.
    pub fn stop(mut self) -> Result<()> {
        let status = self.terminate()?;
        if !status.success() {
            bail!("{} stopped with {status}:\n{}", self.name, self.end_of_log());
        }
        Ok(())
    }

    /// Ends it by SIGKILL, as the kernel does where memory runs out, and waits until it is gone.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(())
    }

    fn terminate(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        // Not reaped yet, so the id is still this child's.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            rustix::process::kill_process(pid, Signal::TERM)
                .with_context(|| format!("cannot send SIGTERM to {}", self.name))?;
        }
        let until = Instant::now() + STOP_MAX;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        bail!("{} did not stop within {} s of SIGTERM", self.name, STOP_MAX.as_secs());
    }

    fn end_of_log(&self) -> String {
        const LINES: usize = 12;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LINES)..];
        if tail.is_empty() { format!("({} is empty)", self.log.display()) } else { tail.join("\n") }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.terminate().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Lets the kernel send SIGTERM to the child when the thread that started it ends, however that comes about; and gives the child a session
/// of its own. Where the scheduler groups by session (sched_autogroup_enabled), a group's share goes to the cores where its weight is; that
/// of the generator, which is never idle, would leave an authority in the same session next to nothing of a core that others use too.
fn end_with_us(command: &mut Command) {
    let ask = || {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        rustix::process::setsid()?;
        Ok(())
    };
    // SAFETY: between fork and exec `ask` makes two system calls and allocates nothing.
    unsafe { command.pre_exec(ask) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Link, LinkRequest};

    fn start(script: &str, folder: &Path) -> Result<Process> {
        let link = Link::open_loopback(LinkRequest::new(0, 0), "a test").expect("loopback");
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("the server", command, &link.authority, &[0], &folder.join("log"), &AtomicBool::new(false))
    }

    #[test]
    fn waits_for_ready_and_stops_politely() {
        let folder = tempfile::tempdir().expect("a folder");
        let process = start(
            "trap 'exit 0' TERM; echo ready listen=127.0.0.1:9 rung=udp; while :; do sleep 0.01; done",
            folder.path(),
        );
        let process = process.expect("ready");
        assert_eq!(process.ready().fact("rung", "?"), "udp");
        process.stop().expect("a clean stop");
    }

    #[test]
    fn quotes_the_log_of_one_that_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let Err(error) = start("echo the disk is gone >&2; exit 3", folder.path()) else {
            panic!("it ended");
        };
        let text = format!("{error:#}");
        assert!(text.contains("the server ended") && text.contains("the disk is gone"), "{text}");
    }

    #[test]
    fn a_failing_stop_is_an_error_and_dropping_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let script =
            "trap 'echo unsynced >&2; exit 1' TERM; echo ready listen=127.0.0.1:9; while :; do sleep 0.01; done";
        let error = start(script, folder.path()).expect("ready").stop().expect_err("it said so");
        assert!(format!("{error:#}").contains("unsynced"), "{error:#}");
        let process = start(script, folder.path()).expect("ready");
        let id = process.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }
}
