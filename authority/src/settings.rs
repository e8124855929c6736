//! The daemon's settings: one TOML file, every option with a default, flags override.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use meshpay_net::Rung;
use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// UDP address and port where payments are served.
    pub listen: SocketAddr,
    /// TCP address and port of metrics, health and status. Anyone who reaches it can read them.
    pub metrics: SocketAddr,
    /// Worker threads. May change at any restart.
    pub workers: usize,
    /// Cores for the workers, in turn; empty leaves it to the kernel.
    pub cores: Vec<usize>,
    /// How long a sender that provably signed two orders for one sequence may not lock new ones, in milliseconds.
    pub penalty_ms: u64,
    /// "text" or "json".
    pub log: LogFormat,
    /// The account table.
    pub accounts: AccountSettings,
    /// The journal.
    pub journal: JournalSettings,
    /// The filter on the mesh interface, and by which means packets come and go.
    pub filter: FilterSettings,
}

/// Form of the log on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, an object a line.
    Json,
}

/// Settings of the account table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountSettings {
    /// Accounts to make room for; each further token of an account counts as one more. About 384 bytes of disk and memory each.
    pub capacity: u64,
}

/// Settings of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalSettings {
    /// "power-loss": every answer waits for the disk. "process": survives kill -9, not a power cut; never for real money.
    pub durability: DurabilitySetting,
    /// Size of a segment file in MiB, fixed when the journal is made.
    pub segment_mib: u64,
    /// Room that only certificates may use when the disk is nearly full, in MiB; 0 for one segment.
    pub reserve_mib: u64,
    /// A checkpoint is made after this much journal, in MiB; it bounds the time of a restart after a crash.
    pub checkpoint_mib: u64,
    /// Shortest time between two commits in microseconds; larger makes commits fewer and answers later.
    pub commit_spacing_us: u64,
}

/// Settings of the filter and of packet I/O.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterSettings {
    /// The interface on which the filter runs, for example "mesh0"; empty for none: then packets come by sockets, unfiltered.
    pub interface: String,
    /// The best means of packet I/O to try, and everything below it: "auto" takes what is fastest on the interface at hand.
    /// `meshpay-authority doctor` lists the rungs.
    pub rung: RungChoice,
    /// The start fails if this rung is not reached. "udp" never fails.
    pub require: RungName,
    /// VLANs on the interface whose packets are filtered like untagged ones; others pass untouched.
    pub vlans: Vec<u16>,
    /// Under load, also shed what others' programs receive by this interface (never ARP, neighbour discovery or what is forwarded).
    pub shed_interface: bool,
    /// User to become when started as root, after all rights were used; empty to stay.
    pub user: String,
}

/// A rung of the ladder, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RungName(pub Rung);

/// The best rung to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RungChoice {
    /// What wins on the interface at hand.
    Auto,
    /// This one or a lower one.
    AtMost(Rung),
}

impl std::str::FromStr for RungName {
    type Err = meshpay_net::rung::UnknownRung;

    fn from_str(name: &str) -> std::result::Result<Self, Self::Err> {
        name.parse().map(Self)
    }
}

impl std::str::FromStr for RungChoice {
    type Err = meshpay_net::rung::UnknownRung;

    fn from_str(name: &str) -> std::result::Result<Self, Self::Err> {
        if name == "auto" { Ok(Self::Auto) } else { name.parse().map(Self::AtMost) }
    }
}

impl std::fmt::Display for RungName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::fmt::Display for RungChoice {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::AtMost(rung) => rung.fmt(formatter),
        }
    }
}

/// Both are text in the settings file.
macro_rules! serde_by_name {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_by_name!(RungName, RungChoice);

/// What 'durable' survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DurabilitySetting {
    /// A power cut.
    PowerLoss,
    /// A killed process only.
    Process,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], meshpay_wire::DEFAULT_PORT)),
            metrics: SocketAddr::from(([127, 0, 0, 1], 9450)),
            workers: 1,
            cores: Vec::new(),
            penalty_ms: 60_000,
            log: LogFormat::Text,
            accounts: AccountSettings::default(),
            journal: JournalSettings::default(),
            filter: FilterSettings::default(),
        }
    }
}

impl Default for AccountSettings {
    fn default() -> Self {
        Self { capacity: 1_000_000 }
    }
}

impl Default for FilterSettings {
    fn default() -> Self {
        Self {
            interface: String::new(),
            rung: RungChoice::Auto,
            require: RungName(Rung::Udp),
            vlans: Vec::new(),
            shed_interface: false,
            user: String::new(),
        }
    }
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            durability: DurabilitySetting::PowerLoss,
            segment_mib: 64,
            reserve_mib: 0,
            checkpoint_mib: 1024,
            commit_spacing_us: 0,
        }
    }
}

/// Most workers.
pub const WORKERS_MAX: usize = 64;
/// Cores that can be named.
const CORES_MAX: usize = rustix::thread::CpuSet::MAX_CPU;

impl Settings {
    /// Reads a settings file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the settings file {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Reads the text of a settings file.
    ///
    /// # Errors
    /// Where it is no TOML of this form, with the line, or where a bound is broken.
    pub fn parse(text: &str) -> Result<Self> {
        let settings: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
            anyhow::anyhow!(
                "line {line}: {}. `meshpay-authority config --print` shows every setting with its default.",
                error.message()
            )
        })?;
        settings.check()?;
        Ok(settings)
    }

    /// Checks the bounds.
    pub fn check(&self) -> Result<()> {
        if self.workers == 0 || self.workers > WORKERS_MAX {
            bail!("workers is {}, must be 1 to {WORKERS_MAX}", self.workers);
        }
        if let Some(core) = self.cores.iter().find(|core| **core >= CORES_MAX) {
            bail!("cores names core {core}, the highest that can be named is {}", CORES_MAX - 1);
        }
        if self.penalty_ms == 0 {
            bail!(
                "penalty_ms is 0, must be at least 1: without a penalty every conflicting order would be written into the journal"
            );
        }
        if self.journal.segment_mib == 0 || self.journal.segment_mib > 1024 {
            bail!("journal.segment_mib is {}, must be 1 to 1024", self.journal.segment_mib);
        }
        if self.journal.checkpoint_mib == 0 {
            bail!("journal.checkpoint_mib is 0, must be at least 1");
        }
        if self.filter.require.0 > Rung::Udp && self.filter.interface.is_empty() {
            bail!("filter.require is \"{}\" but filter.interface names no interface for it", self.filter.require);
        }
        if let RungChoice::AtMost(best) = self.filter.rung
            && best < self.filter.require.0
        {
            bail!("filter.require is \"{}\", which is above filter.rung, \"{best}\"", self.filter.require);
        }
        if let Some(vlan) = self.filter.vlans.iter().find(|vlan| !(1..=4094).contains(*vlan)) {
            bail!("filter.vlans names VLAN {vlan}, must be 1 to 4094");
        }
        if self.accounts.capacity > 1 << 32 {
            bail!("accounts.capacity is {}, must be at most {}", self.accounts.capacity, 1u64 << 32);
        }
        Ok(())
    }

    /// Its text, with every setting.
    pub fn text(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }
}

impl DurabilitySetting {
    /// The journal's word for it.
    pub fn durability(self) -> crate::journal::Durability {
        match self {
            Self::PowerLoss => crate::journal::Durability::PowerLoss,
            Self::Process => crate::journal::Durability::Process,
        }
    }
}
