//! The running authorities: started by us, stopped by us, and by nobody's name but their process ids.

use super::network::{AUTHORITIES, Network};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How long a start or a clean stop may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// All four, each running or not.
pub struct Authorities<'a> {
    network: &'a Network,
    running: [Option<Child>; AUTHORITIES.len()],
}

impl<'a> Authorities<'a> {
    /// Starts all and waits until they answer.
    ///
    /// # Errors
    /// If one does not start, with the end of its log; those that did are stopped again.
    pub fn start(network: &'a Network) -> Result<Self> {
        let mut all = Self { network, running: [const { None }; AUTHORITIES.len()] };
        for place in 0..AUTHORITIES.len() {
            if let Err(error) = all.start_one(place) {
                all.stop()?;
                return Err(error);
            }
        }
        Ok(all)
    }

    /// Process id of an authority, while it runs.
    pub fn id(&self, place: usize) -> Option<u32> {
        self.running[place].as_ref().map(Child::id)
    }

    fn log(&self, place: usize) -> PathBuf {
        self.network.path(&format!("{}.log", AUTHORITIES[place]))
    }

    fn start_one(&mut self, place: usize) -> Result<()> {
        let name = AUTHORITIES[place];
        let log = OpenOptions::new().create(true).append(true).open(self.log(place))?;
        let mut command = self.network.authority("run");
        command.arg("--directory").arg(self.network.path(name)).args(["--listen", &self.network.listen(place)]);
        command.args(["--metrics", &self.network.metrics(place)]);
        // A group of its own: Ctrl-C reaches us alone, and we stop the four in good order.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if line.starts_with("ready ") {
                self.running[place] = Some(child);
                return Ok(());
            }
        }
        // It has closed its output, or hangs.
        let _ = child.kill();
        let _ = child.wait();
        let log = std::fs::read_to_string(self.log(place)).unwrap_or_default();
        let last = log.lines().last().unwrap_or("it wrote no log");
        bail!(
            "{name} does not start: {last}\nIs another devnet running? Its whole log: {}",
            self.network.shown(&self.log(place))
        )
    }

    /// Starts those that have ended, and says how that went.
    pub fn start_missing(&mut self) {
        for (place, name) in AUTHORITIES.iter().enumerate() {
            if self.running[place].is_none() {
                match self.start_one(place) {
                    Ok(()) => {
                        let id = self.id(place).unwrap_or_default();
                        println!("{name} runs again, as process {id}.");
                    }
                    Err(error) => println!("{error:#}"),
                }
            }
        }
    }

    /// Says which have ended since the last look.
    ///
    /// # Errors
    /// If the kernel cannot say.
    pub fn report_ended(&mut self) -> Result<()> {
        for (place, name) in AUTHORITIES.iter().enumerate() {
            let Some(child) = &mut self.running[place] else { continue };
            let Some(status) = child.try_wait()? else { continue };
            self.running[place] = None;
            let left = self.running.iter().flatten().count();
            println!("\n{name} has ended ({status}). {}", what_follows(left));
            println!("Press Enter here to start it again.");
        }
        Ok(())
    }

    /// Stops those that run, each by its process id, and waits for them.
    ///
    /// # Errors
    /// If one cannot be signalled or does not end.
    pub fn stop(&mut self) -> Result<()> {
        for child in self.running.iter().flatten() {
            // Fails only where it has ended by itself meanwhile.
            let _ = rustix::process::kill_process(Pid::from_child(child), Signal::TERM);
        }
        for (place, name) in AUTHORITIES.iter().enumerate() {
            let Some(mut child) = self.running[place].take() else { continue };
            let deadline = Instant::now() + PATIENCE;
            while child.try_wait()?.is_none() {
                if Instant::now() > deadline {
                    println!("{name} does not stop, so it is killed; nothing it has answered is lost");
                    child.kill()?;
                    child.wait()?;
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }
}

impl Drop for Authorities<'_> {
    fn drop(&mut self) {
        // After an error or a panic; an ordinary end has stopped them before.
        let _ = self.stop();
    }
}

fn what_follows(left: usize) -> &'static str {
    match left {
        3 => "The other three are a quorum: payments go on, and it catches up when it is back.",
        2 => "Two of four are no quorum: payments wait until another is back, and nothing is lost meanwhile.",
        _ => "Payments wait until three of four are back, and nothing is lost meanwhile.",
    }
}
