//! The network's files: keys, genesis, wallets. Made once, by the very commands that an operator would use.

use crate::shell;
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The four authorities.
pub const AUTHORITIES: [&str; 4] = ["north", "east", "south", "west"];
/// Wallets, and what they hold at first, in cents.
pub const WALLETS: [(&str, u64); 2] = [("alice", 100_000), ("bob", 5_000)];
/// Between the ports for payments and those for metrics.
const METRICS_ABOVE: u16 = 2_000;
/// Written last, so that a network which has it is whole. It also tells a devnet from a directory that must not be deleted.
const MARKER: &str = "devnet-is-complete";
const UNFINISHED_MARKER: &str = "devnet-is-being-made";

/// A network in its directory.
pub struct Network {
    directory: PathBuf,
    programs: PathBuf,
    port: u16,
    /// Accounts of the wallets, in their order.
    pub accounts: Vec<String>,
    /// Whether an earlier run made it.
    pub continued: bool,
}

impl Network {
    /// Opens what an earlier run left, or makes a new network; `fresh` deletes what is there.
    ///
    /// # Errors
    /// If a command fails, or if the directory holds something else.
    pub fn open_or_make(directory: &Path, programs: PathBuf, port: u16, fresh: bool) -> Result<Self> {
        let directory = shell::root().join(directory);
        let (complete, unfinished) = (directory.join(MARKER), directory.join(UNFINISHED_MARKER));
        let shown = directory.display();
        if fresh && (complete.exists() || unfinished.exists()) {
            std::fs::remove_dir_all(&directory).with_context(|| format!("deleting {shown}"))?;
        }
        let mut network = Self { directory, programs, port, accounts: Vec::new(), continued: complete.exists() };
        if network.continued {
            let made_for: u16 = std::fs::read_to_string(&complete)?.trim().parse().unwrap_or(port);
            if made_for != port {
                bail!(
                    "the network in {} was made for port {made_for}; use --port {made_for}, or --fresh",
                    network.path("").display()
                );
            }
        } else {
            network.refuse_what_is_not_ours()?;
            network.make()?;
        }
        for (name, _) in WALLETS {
            let account = shell::output(&mut network.wallet("address", name))?;
            network.accounts.push(account.trim().to_owned());
        }
        Ok(network)
    }

    fn refuse_what_is_not_ours(&self) -> Result<()> {
        let shown = self.directory.display();
        if self.directory.join(UNFINISHED_MARKER).exists() {
            bail!("an earlier run was interrupted while it made {shown}; begin anew with `cargo xtask devnet --fresh`");
        }
        let is_empty = std::fs::read_dir(&self.directory).map_or(true, |mut entries| entries.next().is_none());
        if !is_empty {
            bail!("{shown} exists and is no network of ours; move it away, or name another place with --directory");
        }
        Ok(())
    }

    fn make(&self) -> Result<()> {
        println!("making a network in {}", self.directory.display());
        std::fs::create_dir_all(&self.directory).with_context(|| format!("making {}", self.directory.display()))?;
        std::fs::write(self.path(UNFINISHED_MARKER), "")?;
        let mut passphrase = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(self.path("passphrase"))?;
        writeln!(passphrase, "devnet")?;
        let mut allocations = String::new();
        for (name, amount) in WALLETS {
            // Cheap to guess, and so quick to open: there is nothing to steal here.
            let mut keygen = self.wallet("keygen", name);
            shell::output(keygen.args(["--work-factor", "10"]))?;
            let account = shell::output(&mut self.wallet("address", name))?;
            allocations += &format!("{},1,{amount}\n", account.trim());
        }
        std::fs::write(self.path("allocations.csv"), allocations)?;
        let mut genesis = self.authority("genesis");
        genesis.args(["--name", "devnet", "--epoch", "0", "--minimum-first-credit", "1", "--token", "1:EUR:2"]);
        for (place, name) in AUTHORITIES.iter().enumerate() {
            let key = shell::output(self.authority("init").arg("--directory").arg(self.path(name)))?;
            genesis.arg("--member").arg(format!("{name},{},1,{}", key.trim(), self.listen(place)));
        }
        genesis.arg("--allocations").arg(self.path("allocations.csv")).arg("--out").arg(self.path("genesis.toml"));
        shell::output(&mut genesis)?;
        for (place, name) in AUTHORITIES.iter().enumerate() {
            let mut init = self.authority("init");
            init.arg("--directory").arg(self.path(name));
            init.arg("--genesis").arg(self.path("genesis.toml")).arg("--allocations").arg(self.path("allocations.csv"));
            init.args(["--listen", &self.listen(place), "--metrics", &self.metrics(place)]);
            // Small files: nobody pays a million times here.
            init.args(["--accounts-capacity", "10000", "--segment-mib", "4"]);
            shell::output(&mut init)?;
        }
        for (name, _) in WALLETS {
            // The wallet keeps a copy, so that no later command needs to name it.
            shell::output(self.wallet("address", name).arg("--genesis").arg(self.path("genesis.toml")))?;
        }
        std::fs::rename(self.path(UNFINISHED_MARKER), self.path(MARKER))?;
        std::fs::write(self.path(MARKER), format!("{}\n", self.port))?;
        Ok(())
    }

    /// A path in the network's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// As [`Network::path`], as people type it in the repository's root.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(shell::root()).unwrap_or(path).display().to_string()
    }

    /// Where the programs lie.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Where an authority answers clients.
    pub fn listen(&self, place: usize) -> String {
        format!("127.0.0.1:{}", self.port + place as u16)
    }

    /// Where it answers operators.
    pub fn metrics(&self, place: usize) -> String {
        format!("127.0.0.1:{}", self.port + METRICS_ABOVE + place as u16)
    }

    /// A command of the daemon's program.
    pub fn authority(&self, subcommand: &str) -> Command {
        let mut command = Command::new(self.programs.join("meshpay-authority"));
        command.arg(subcommand);
        command
    }

    fn wallet(&self, subcommand: &str, name: &str) -> Command {
        let mut command = Command::new(self.programs.join("meshpay"));
        command.arg(subcommand).arg("--wallet").arg(self.path(name));
        command.arg("--passphrase-file").arg(self.path("passphrase"));
        command
    }
}
