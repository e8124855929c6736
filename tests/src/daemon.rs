//! One authority as a process: start, kill, stop, ask, audit.

use crate::process::{Finished, Process, finish, last_lines};
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// An authority and its directory; running or not.
pub struct Daemon {
    /// Its place in the committee.
    pub place: usize,
    /// Where it answers clients.
    pub address: SocketAddr,
    /// Where it answers operators.
    pub metrics: SocketAddr,
    /// Its directory.
    pub directory: PathBuf,
    /// The program.
    pub program: PathBuf,
    /// Further flags of `run`.
    pub flags: Vec<String>,
    /// Further environment of `run`.
    pub environment: Vec<(String, String)>,
    running: Option<Process>,
}

impl Daemon {
    /// An authority that is not running yet.
    pub fn new(place: usize, program: PathBuf, directory: PathBuf, address: SocketAddr, metrics: SocketAddr) -> Self {
        let (flags, environment) = (Vec::new(), Vec::new());
        Self { place, address, metrics, directory, program, flags, environment, running: None }
    }

    /// A command of the daemon's program, with its directory.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(subcommand).arg("--directory").arg(&self.directory);
        command
    }

    /// Where its logs go: beside its directory, so that a copy of the directory is not disturbed.
    pub fn log(&self) -> PathBuf {
        self.directory.with_extension("log")
    }

    fn run_command(&self) -> Command {
        let mut command = self.command("run");
        command.arg("--listen").arg(self.address.to_string()).arg("--metrics").arg(self.metrics.to_string());
        command.args(&self.flags).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it, without waiting until it answers.
    ///
    /// # Errors
    /// If it runs already or cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        if self.running.is_some() {
            bail!("authority {} runs already", self.place);
        }
        self.running = Some(Process::start(self.run_command(), &self.log())?);
        Ok(())
    }

    /// Waits until it answers, and returns what its ready line says.
    ///
    /// # Errors
    /// If it ends first.
    pub fn wait_until_ready(&mut self) -> Result<BTreeMap<String, String>> {
        let process = self.running.as_mut().context("the authority was not started")?;
        let line = process.line_beginning_with("ready ").with_context(|| format!("authority {}", self.place))?;
        let fields = line.split_whitespace().filter_map(|field| field.split_once('='));
        Ok(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Whether it answers by now, for tests that do something else meanwhile.
    ///
    /// # Errors
    /// If it has ended.
    pub fn is_ready(&mut self) -> Result<bool> {
        let process = self.running.as_mut().context("the authority was not started")?;
        while let Some(line) = process.line_so_far() {
            if line.starts_with("ready ") {
                return Ok(true);
            }
        }
        if let Some(status) = process.has_ended()? {
            bail!("authority {} ended with {status} instead of starting:\n{}", self.place, process.log_end());
        }
        Ok(false)
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// If it does not.
    pub fn start(&mut self) -> Result<BTreeMap<String, String>> {
        self.launch()?;
        self.wait_until_ready()
    }

    /// Runs it where it must refuse, and returns its message.
    ///
    /// # Errors
    /// If it does not end with exit code 1 and a message.
    pub fn refuses_to_start(&self) -> Result<String> {
        finish(self.run_command())?.failure()
    }

    /// Kills it as a power cut would, except that the kernel keeps what was written.
    ///
    /// # Errors
    /// If it was not running.
    pub fn kill(&mut self) -> Result<()> {
        self.running.take().context("the authority is not running")?.kill()?;
        Ok(())
    }

    /// Asks it to stop, as an operator does, and waits for its end.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let mut process = self.running.take().context("the authority is not running")?;
        process.signal(Signal::TERM)?;
        process.wait()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// If it does not.
    pub fn wait_for_end(&mut self) -> Result<ExitStatus> {
        self.running.take().context("the authority is not running")?.wait()
    }

    /// Whether it is still there.
    ///
    /// # Errors
    /// If the kernel cannot say.
    pub fn is_running(&mut self) -> Result<bool> {
        match &mut self.running {
            Some(process) => Ok(process.has_ended()?.is_none()),
            None => Ok(false),
        }
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(Process::id)
    }

    /// The last lines of its log, for messages.
    pub fn log_end(&self) -> String {
        last_lines(&self.log())
    }

    /// Its whole log.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Runs `audit`, without judging it.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn run_audit(&self, accounts: Option<&Path>) -> Result<Finished> {
        let mut command = self.command("audit");
        command.arg("--json");
        if let Some(file) = accounts {
            command.arg("--accounts").arg(file);
        }
        finish(command)
    }

    /// Audits its journal, which must pass.
    ///
    /// # Errors
    /// If it does not.
    pub fn audit(&self) -> Result<Value> {
        let finished = self.run_audit(None)?;
        let report: Value = serde_json::from_str(&finished.output)
            .with_context(|| format!("audit of authority {} printed no JSON: {finished:?}", self.place))?;
        if report["result"] != "passed" || finished.code != Some(0) {
            bail!("audit of authority {}: {finished:?}", self.place);
        }
        Ok(report)
    }

    /// All balances and next sequences that an audit finds, by account and token.
    ///
    /// # Errors
    /// If the audit fails.
    pub fn audited_accounts(&self) -> Result<BTreeMap<(String, u32), (u64, i128)>> {
        let file = self.directory.with_extension("accounts.csv");
        self.run_audit(Some(&file))?.success()?;
        let mut accounts = BTreeMap::new();
        for line in std::fs::read_to_string(&file)?.lines() {
            let fields: Vec<&str> = line.split(',').collect();
            let [account, sequence, token, balance] = fields[..] else { bail!("an audit wrote the line {line:?}") };
            // A line of column names has no numbers.
            let Ok(token) = token.parse() else { continue };
            accounts.insert((account.to_owned(), token), (sequence.parse()?, balance.parse()?));
        }
        Ok(accounts)
    }

    /// Asks over HTTP, and returns the status code and the body.
    ///
    /// # Errors
    /// If nobody answers.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.metrics, crate::DEADLINE)?;
        stream.set_read_timeout(Some(crate::DEADLINE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.metrics)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let code = head.split_whitespace().nth(1).context("no HTTP status")?.parse()?;
        Ok((code, body.to_owned()))
    }

    /// Sum of all samples of a metric, whatever their labels.
    ///
    /// # Errors
    /// If it cannot be asked, or has no such metric.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let (_, body) = self.get("/metrics")?;
        let samples: Vec<f64> = body
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter_map(|line| line.split_whitespace().last()?.parse().ok())
            .collect();
        if samples.is_empty() {
            bail!("no metric {name} among:\n{body}");
        }
        Ok(samples.iter().sum())
    }

    /// The status as JSON.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn status(&self) -> Result<Value> {
        let (code, body) = self.get("/status")?;
        serde_json::from_str(&body).with_context(|| format!("status answered {code} {body:?}"))
    }

    /// Waits until a condition of its status holds.
    ///
    /// # Errors
    /// If it does not come to hold in time.
    pub fn wait_for_status(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let end = std::time::Instant::now() + crate::DEADLINE;
        loop {
            let status = self.status()?;
            if holds(&status) {
                return Ok(status);
            }
            if std::time::Instant::now() > end {
                bail!("waited in vain until {what}; status {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
