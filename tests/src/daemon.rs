//! One authority as a process: start, kill, stop, ask, audit.

use crate::link::Link;
use crate::process::{Finished, Process, finish, last_lines};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
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
    /// The link at whose gateway it runs, if not on this host.
    pub link: Option<Arc<Link>>,
    running: Option<Process>,
}

impl Daemon {
    /// An authority that is not running yet.
    pub fn new(place: usize, program: PathBuf, directory: PathBuf, address: SocketAddr, metrics: SocketAddr) -> Self {
        let (flags, environment) = (Vec::new(), Vec::new());
        Self { place, address, metrics, directory, program, flags, environment, link: None, running: None }
    }

    /// A command of the daemon's program, with its directory.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(subcommand).arg("--directory").arg(&self.directory);
        command
    }

    /// Changes the value of a flag of `run`.
    ///
    /// # Errors
    /// If it has no such flag.
    pub fn set_flag(&mut self, name: &str, value: &str) -> Result<()> {
        let at = self.flags.iter().position(|flag| flag == name);
        let old = at.and_then(|at| self.flags.get_mut(at + 1));
        value.clone_into(old.with_context(|| format!("authority {} has no flag {name}", self.place))?);
        Ok(())
    }

    /// Changes these settings in a section of its settings file.
    ///
    /// # Errors
    /// If there is no such file or section.
    pub fn change_settings(&self, section: &str, changes: &toml::Table) -> Result<()> {
        let path = self.directory.join("authority.toml");
        let mut settings: toml::Table = std::fs::read_to_string(&path)?.parse()?;
        let found = settings.get_mut(section).and_then(toml::Value::as_table_mut);
        found.with_context(|| format!("{} has no section {section}", path.display()))?.extend(changes.clone());
        Ok(std::fs::write(&path, settings.to_string())?)
    }

    /// Where its logs go: beside its directory, so that a copy of the directory is not disturbed.
    pub fn log(&self) -> PathBuf {
        self.directory.with_extension("log")
    }

    /// The command that runs it, where it is to run.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub fn run_command(&self) -> Result<Command> {
        let mut command = self.command("run");
        command.arg("--listen").arg(self.address.to_string()).arg("--metrics").arg(self.metrics.to_string());
        command.args(&self.flags).envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(link) = &self.link {
            link.gateway.enter(&mut command)?;
        }
        Ok(command)
    }

    /// Starts it, without waiting until it answers.
    ///
    /// # Errors
    /// If it runs already or cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        let command = self.run_command()?;
        self.launch_as(command)
    }

    /// Starts it by a command of the test's own, which runs it in the end.
    ///
    /// # Errors
    /// As [`Daemon::launch`].
    pub fn launch_as(&mut self, command: Command) -> Result<()> {
        if self.running.is_some() {
            bail!("authority {} runs already", self.place);
        }
        self.running = Some(Process::start(command, &self.log())?);
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
        finish(self.run_command()?)?.failure()
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
        let address = self.metrics;
        let connect = || TcpStream::connect_timeout(&address, crate::DEADLINE);
        let mut stream = match &self.link {
            Some(link) => link.gateway.inside(connect)??,
            None => connect()?,
        };
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

    /// Runs `filter status`, `off` or `on`, and returns the picture that it shows.
    ///
    /// # Errors
    /// If it fails.
    pub fn filter(&self, action: &str) -> Result<Value> {
        let mut command = Command::new(&self.program);
        command.args(["filter", action, "--json", "--directory"]).arg(&self.directory);
        let shown = finish(command)?.success()?;
        serde_json::from_str(&shown).with_context(|| format!("filter {action} printed {shown:?}"))
    }

    /// How often the filter came to an outcome.
    ///
    /// # Errors
    /// If it cannot be asked, or knows no such outcome.
    pub fn filtered(&self, outcome: &str) -> Result<u64> {
        outcome_of(&self.filter("status")?, outcome)
    }

    /// How many datagrams the filter ended in userspace for this reason.
    ///
    /// # Errors
    /// If it cannot be asked, or knows no such outcome.
    pub fn ended_in_userspace(&self, outcome: &str) -> Result<u64> {
        let (_, body) = self.get("/metrics")?;
        let (head, tail) = ("meshpay_filtered_total{", format!("outcome=\"{outcome}\"}} "));
        let samples = body.lines().filter(|line| line.starts_with(head));
        let counts: Vec<u64> = samples
            .filter_map(|line| line.split_once(&tail))
            .map(|(_, count)| count.parse())
            .collect::<Result<_, _>>()?;
        ensure!(!counts.is_empty(), "no outcome {outcome} among:\n{body}");
        Ok(counts.iter().sum())
    }

    /// Waits until a condition of the filter's picture holds, and returns the picture.
    ///
    /// # Errors
    /// If it does not come to hold in time.
    pub fn wait_for_filter(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let end = std::time::Instant::now() + crate::DEADLINE;
        loop {
            let status = self.filter("status")?;
            if holds(&status) {
                return Ok(status);
            }
            if std::time::Instant::now() > end {
                bail!("waited in vain until {what}; filter {status}; log:\n{}", self.log_end());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How often an outcome came, by a picture of the filter.
///
/// # Errors
/// If there is no such outcome.
pub fn outcome_of(status: &Value, outcome: &str) -> Result<u64> {
    let counts = status["outcomes"].as_array().context("a picture of the filter has outcomes")?;
    let found = counts.iter().find(|count| count[0] == outcome).and_then(|count| count[1].as_u64());
    found.with_context(|| format!("the filter has no outcome {outcome}: {status}"))
}
