//! `run`: serve payments.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use tracing_subscriber::EnvFilter;

use crate::daemon;
use crate::directory::Directory;
use crate::settings::{DurabilitySetting, LogFormat, RungChoice, RungName, Settings};

/// Flags of `run`; each overrides the settings file.
#[derive(clap::Args)]
pub struct Run {
    /// The authority's directory, made by `init`.
    #[arg(long)]
    directory: PathBuf,
    /// Settings file [default: authority.toml in the directory].
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
}

/// Settings that flags can override; `init` writes them into the settings file.
#[derive(clap::Args)]
pub struct Overrides {
    /// UDP address and port for payments; port 0 lets the kernel choose.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// TCP address and port for metrics, health and status.
    #[arg(long)]
    metrics: Option<SocketAddr>,
    /// Worker threads.
    #[arg(long)]
    workers: Option<usize>,
    /// Cores for the workers, for example 0,1.
    #[arg(long, value_delimiter = ',')]
    cores: Option<Vec<usize>>,
    /// What an acknowledged vote survives.
    #[arg(long)]
    durability: Option<DurabilitySetting>,
    /// Accounts to make room for.
    #[arg(long)]
    accounts_capacity: Option<u64>,
    /// Size of a journal segment in MiB; counts when the journal is made.
    #[arg(long)]
    segment_mib: Option<u64>,
    /// A checkpoint after this much journal, in MiB.
    #[arg(long)]
    checkpoint_mib: Option<u64>,
    /// How long a proven equivocation bars new orders, in milliseconds.
    #[arg(long)]
    penalty_ms: Option<u64>,
    /// Interface on which the filter runs, for example mesh0.
    #[arg(long)]
    interface: Option<String>,
    /// Best means of packet I/O to try: auto, udp, xdp-udp, xdp-udp-xsk-out, xsk-copy or xsk-zero-copy.
    #[arg(long)]
    rung: Option<RungChoice>,
    /// Refuse to start below this rung.
    #[arg(long, value_name = "RUNG")]
    require: Option<RungName>,
    /// User to become when started as root, after all rights were used.
    #[arg(long)]
    user: Option<String>,
    /// Form of the log on standard error. RUST_LOG sets what is logged.
    #[arg(long)]
    log: Option<LogFormat>,
}

impl Overrides {
    /// Lays the flags over settings.
    pub fn apply(self, settings: &mut Settings) {
        fn set<T>(to: &mut T, from: Option<T>) {
            if let Some(value) = from {
                *to = value;
            }
        }
        set(&mut settings.listen, self.listen);
        set(&mut settings.metrics, self.metrics);
        set(&mut settings.workers, self.workers);
        set(&mut settings.cores, self.cores);
        set(&mut settings.journal.durability, self.durability);
        set(&mut settings.accounts.capacity, self.accounts_capacity);
        set(&mut settings.journal.segment_mib, self.segment_mib);
        set(&mut settings.journal.checkpoint_mib, self.checkpoint_mib);
        set(&mut settings.penalty_ms, self.penalty_ms);
        set(&mut settings.filter.interface, self.interface);
        set(&mut settings.filter.rung, self.rung);
        set(&mut settings.filter.require, self.require);
        set(&mut settings.filter.user, self.user);
        set(&mut settings.log, self.log);
    }
}

impl Run {
    pub fn run(self) -> Result<ExitCode> {
        let directory = Directory::new(&self.directory);
        let path = self.config.unwrap_or_else(|| directory.settings());
        let mut settings = Settings::read(&path)?;
        self.overrides.apply(&mut settings);
        start_log(settings.log);
        daemon::run(&directory, &settings)
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
