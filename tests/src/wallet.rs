//! The `meshpay` command, with a wallet of its own.

use crate::binaries;
use crate::network::parse_key;
use crate::process::{Finished, finish};
use anyhow::{Context, Result, bail, ensure};
use meshpay_wire::PublicKey;
use serde_json::Value;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A wallet's directory, and the network that it belongs to.
pub struct Wallet {
    /// Its directory.
    pub directory: PathBuf,
    /// The genesis file.
    pub genesis: PathBuf,
    /// Its account.
    pub account: PublicKey,
    /// How long its commands try, in milliseconds.
    pub timeout_ms: u64,
}

impl Wallet {
    /// Makes a wallet and returns its account.
    ///
    /// # Errors
    /// If `keygen` fails.
    pub fn make(directory: &Path) -> Result<PublicKey> {
        use std::io::Write;
        let passphrase = passphrase_file(directory);
        let mut file =
            std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(passphrase)?;
        writeln!(file, "correct horse battery staple")?;
        // A work factor for tests: the real one takes a second for each payment.
        let mut command = command_of(binaries::wallet()?, directory, "keygen");
        command.args(["--json", "--work-factor", "4"]);
        let made: Value = serde_json::from_str(&finish(command)?.success()?)?;
        parse_key(made["account"].as_str().context("`keygen` names no account")?)
    }

    /// The wallet of a directory; made where there is none.
    ///
    /// # Errors
    /// If it cannot be made or read.
    pub fn open(directory: &Path, genesis: &Path) -> Result<Self> {
        let account = if directory.join("key").exists() {
            let address = finish(command_of(binaries::wallet()?, directory, "address"))?.success()?;
            parse_key(&address)?
        } else {
            Self::make(directory)?
        };
        Ok(Self { directory: directory.to_path_buf(), genesis: genesis.to_path_buf(), account, timeout_ms: 60_000 })
    }

    /// A command of this wallet that answers in JSON.
    ///
    /// # Errors
    /// If the program cannot be built.
    pub fn command(&self, subcommand: &str) -> Result<Command> {
        Ok(self.command_by(binaries::wallet()?, subcommand))
    }

    /// The same, which stops as by a power cut at a named point.
    ///
    /// # Errors
    /// If the program cannot be built.
    pub fn command_killed_at(&self, point: &str, subcommand: &str) -> Result<Command> {
        let mut command = self.command_by(binaries::wallet_with_faults()?, subcommand);
        command.env("MESHPAY_FAULT", format!("kill-at:{point}"));
        Ok(command)
    }

    fn command_by(&self, program: PathBuf, subcommand: &str) -> Command {
        let mut command = command_of(program, &self.directory, subcommand);
        command.arg("--genesis").arg(&self.genesis).arg("--json");
        command.arg("--timeout-ms").arg(self.timeout_ms.to_string());
        command
    }

    /// Runs a command that must succeed, and returns what it says.
    ///
    /// # Errors
    /// If it fails.
    pub fn run(&self, subcommand: &str, arguments: &[&str]) -> Result<Value> {
        let finished = self.try_run(subcommand, arguments)?;
        ensure!(finished.code == Some(0), "`meshpay {subcommand}` failed: {finished:?}");
        Ok(serde_json::from_str(&finished.output)?)
    }

    /// Runs a command, however it ends.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn try_run(&self, subcommand: &str, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.command(subcommand)?;
        command.args(arguments);
        finish(command)
    }

    /// Pays an amount in minor units, which must become final.
    ///
    /// # Errors
    /// If it does not.
    pub fn pay(&self, to: &PublicKey, amount: u64) -> Result<Value> {
        let paid = self.run("pay", &["--minor-units", &hex::encode(to), &amount.to_string()])?;
        if paid["result"] != "final" {
            bail!("the payment is not final: {paid}");
        }
        Ok(paid)
    }

    /// The balance on which a quorum agrees, in minor units.
    ///
    /// # Errors
    /// If there is none.
    pub fn balance(&self) -> Result<i128> {
        let said = self.run("balance", &[])?;
        let agreed = said["balances"][0]["agreed_minor"].as_str();
        Ok(agreed.with_context(|| format!("no agreed balance: {said}"))?.parse()?)
    }
}

fn passphrase_file(directory: &Path) -> PathBuf {
    directory.with_extension("passphrase")
}

fn command_of(program: PathBuf, directory: &Path, subcommand: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(subcommand).arg("--wallet").arg(directory);
    command.arg("--passphrase-file").arg(passphrase_file(directory));
    command
}
