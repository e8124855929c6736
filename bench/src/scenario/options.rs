//! What the user asked for.

use std::path::PathBuf;
use std::str::FromStr;

use meshpay_net::Rung;
use serde::{Deserialize, Serialize};

use crate::link::NapiScheduling;

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
    /// Loads at which latency is measured besides, in percent of the capacity that was found or of the rate that was given.
    pub loads: Vec<f64>,
    /// Measured seconds of each of them.
    pub load_seconds: f64,
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
    /// The best means of packet I/O that a single authority may use; nothing: what wins. A committee on one interface uses sockets.
    pub rung: Option<Rung>,
    /// How the threads that receive for authorities and generator are scheduled.
    pub napi: NapiScheduling,
    /// Most requests that share a datagram: 1 as from phones, more as from merchants' relays.
    pub bundle: usize,
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

/// Seconds that each load is run before its figures are taken. Buffers and tables are warm from the run before.
pub const LOAD_WARM_UP_SECONDS: f64 = 0.5;

/// Loads in percent of a capacity, as they are written: `10,50,80,95`, or nothing for none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loads(pub Vec<f64>);

/// Most loads of one run.
const LOADS_MAX: usize = 16;

/// Highest load in percent: twice the capacity shows how it gives way, more shows the same.
const LOAD_PERCENT_MAX: f64 = 200.0;

impl Loads {
    /// Where nobody says otherwise: at rest, half busy, busy, at the edge.
    pub fn usual() -> Self {
        Self(vec![10.0, 50.0, 80.0, 95.0])
    }
}

impl FromStr for Loads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let load = |word: &str| match word.parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent <= LOAD_PERCENT_MAX => Ok(percent),
            _ => Err(format!("{word:?} is no percentage above 0 and up to {LOAD_PERCENT_MAX}")),
        };
        let loads: Vec<f64> = words.map(load).collect::<Result<_, _>>()?;
        if loads.len() > LOADS_MAX {
            return Err(format!("{} loads are more than the {LOADS_MAX} that one run measures", loads.len()));
        }
        Ok(Self(loads))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_percentages_or_none() {
        assert_eq!("10,50, 80,95".parse(), Ok(Loads::usual()));
        assert_eq!("".parse(), Ok(Loads(Vec::new())));
        assert_eq!("2.5,200".parse(), Ok(Loads(vec![2.5, 200.0])));
        for wrong in ["0", "-1", "201", "many", "NaN", "inf", &["1"; 17].join(",")] {
            assert!(wrong.parse::<Loads>().is_err(), "{wrong}");
        }
    }
}
