//! What the user asked for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// One authority on one core; the votes of the others are signed beforehand. The capacity figure.
    Single,
    /// The full protocol with all authorities, which share this machine.
    Committee,
}

impl Scenario {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Single => "single",
            Scenario::Committee => "committee",
        }
    }
}

/// What an answer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Every answer waits for the disk.
    PowerLoss,
    /// Survives a killed process, not a power cut.
    Process,
}

impl Durability {
    /// Its name on the daemon's command line.
    pub fn name(self) -> &'static str {
        match self {
            Durability::PowerLoss => "power-loss",
            Durability::Process => "process",
        }
    }
}

/// Which link to build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LinkChoice {
    /// veth where we have the rights, else loopback.
    #[default]
    Auto,
    /// veth or nothing.
    Veth,
    /// Loopback.
    Loopback,
}

/// All that decides a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Measured seconds; of a trace, at most so many (0: all of it).
    pub seconds: f64,
    /// Payments a second; nothing: the highest that is sustained, to be searched for.
    pub rate: Option<f64>,
    /// Accounts in the genesis.
    pub accounts: usize,
    /// Authorities in the committee.
    pub committee: usize,
    /// A recorded trace instead of the uniform mix.
    pub trace: Option<PathBuf>,
    /// What an answer waits for.
    pub durability: Durability,
    /// Which link to build.
    pub link: LinkChoice,
    /// Whether the thread that receives for the authorities lets them finish their time slices (SCHED_BATCH).
    pub napi_batch: bool,
    /// Keep the authorities' directories, under this one.
    pub keep: Option<PathBuf>,
    /// Folder under which directories are made that are removed afterwards.
    pub work: PathBuf,
    /// The daemon.
    pub authority_binary: PathBuf,
    /// This program, which can also be the null server.
    pub bench_binary: PathBuf,
    /// Seed of accounts, transfers and times.
    pub seed: u64,
}

/// Seconds that are run before figures are taken.
pub const WARM_UP_SECONDS: f64 = 1.0;
