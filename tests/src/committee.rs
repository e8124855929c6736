//! A network of daemons and puppets, from its plan to its running processes.

use crate::binaries;
use crate::client::Client;
use crate::daemon::Daemon;
use crate::link::{INTERFACE, Link};
use crate::network::{Actor, EURO, Network, parse_key};
use crate::process::finish;
use crate::scratch::Scratch;
use crate::wallet::Wallet;
use anyhow::{Context, Result};
use meshpay_protocol::genesis::{MemberEntry, allocations_text};
use meshpay_protocol::{Allocation, Genesis};
use meshpay_wire::PublicKey;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Small files, since a test pays a few times only and all of them share a disk; and no penalty that lasts, since many tests
/// offer a conflicting order on the way to something else.
const DEFAULT_FLAGS: [&str; 8] =
    ["--accounts-capacity", "4096", "--segment-mib", "1", "--workers", "1", "--penalty-ms", "1"];

/// What a network shall be.
pub struct Plan {
    daemons: usize,
    others: Vec<Other>,
    allocations: Vec<Allocation>,
    minimum_first_credit: u64,
    flags: Vec<String>,
    filter_settings: toml::Table,
    environment: Vec<(String, String)>,
    program: Option<PathBuf>,
    directory: Option<PathBuf>,
    wallets: Option<Scratch>,
    link: Option<(Arc<Link>, IpAddr)>,
}

/// A member without a daemon.
struct Other {
    key: PublicKey,
    address: Option<SocketAddr>,
}

impl Plan {
    /// One daemon, at place 0, and three puppets: enough for whatever concerns a single authority, since the puppets
    /// make a quorum without it.
    pub fn single() -> Self {
        Self::with_daemons(1).puppets(3)
    }

    /// As many daemons, at the first places.
    pub fn with_daemons(daemons: usize) -> Self {
        Self {
            daemons,
            others: Vec::new(),
            allocations: Vec::new(),
            minimum_first_credit: 1,
            flags: DEFAULT_FLAGS.map(str::to_owned).to_vec(),
            filter_settings: toml::Table::new(),
            environment: Vec::new(),
            program: None,
            directory: None,
            wallets: None,
            link: None,
        }
    }

    /// More members, whose keys the test holds.
    pub fn puppets(mut self, count: usize) -> Self {
        for _ in 0..count {
            let place = self.daemons + self.others.len();
            self.others.push(Other { key: Actor::puppet(place).public, address: None });
        }
        self
    }

    /// One more member, whose key the test holds and who answers at an address.
    pub fn puppet_at(mut self, address: SocketAddr) -> Self {
        let place = self.daemons + self.others.len();
        self.others.push(Other { key: Actor::puppet(place).public, address: Some(address) });
        self
    }

    /// An account that holds euros from the start.
    pub fn fund(self, account: &Actor, amount: u64) -> Self {
        self.fund_token(account, EURO, amount)
    }

    /// An account that holds a token from the start.
    pub fn fund_token(self, account: &Actor, token: u32, amount: u64) -> Self {
        self.fund_key(account.public, token, amount)
    }

    /// As [`Plan::fund_token`], for an account of which only the key is known.
    pub fn fund_key(mut self, account: PublicKey, token: u32, amount: u64) -> Self {
        self.allocations.push(Allocation { account, token, amount });
        self
    }

    /// A new wallet of this name that holds euros from the start.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn fund_wallet(mut self, name: &str, amount: u64) -> Result<Self> {
        let wallets = match self.wallets.take() {
            Some(wallets) => wallets,
            None => Scratch::new()?,
        };
        let account = Wallet::make(&wallets.path().join(name))?;
        self.wallets = Some(wallets);
        Ok(self.fund_key(account, EURO, amount))
    }

    /// Least first credit of a new account.
    pub fn minimum_first_credit(mut self, amount: u64) -> Self {
        self.minimum_first_credit = amount;
        self
    }

    /// Sets a flag of `run` and its value, in place of what it was.
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        if let Some(at) = self.flags.iter().position(|flag| flag == name) {
            self.flags[at + 1] = value.to_owned();
        } else {
            self.flags.extend([name.to_owned(), value.to_owned()]);
        }
        self
    }

    /// Sets what has no flag in the section `filter` of the settings file.
    pub fn filter_setting(mut self, name: &str, value: impl Into<toml::Value>) -> Self {
        self.filter_settings.insert(name.to_owned(), value.into());
        self
    }

    /// Sets a variable in the daemons' environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Uses the daemon with fault injection, with this fault.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn fault(mut self, fault: &str) -> Result<Self> {
        self.program = Some(binaries::authority_with_faults()?);
        Ok(self.environment("MESHPAY_FAULT", fault))
    }

    /// Puts the daemons below this directory, and not below a scratch directory.
    pub fn below(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_path_buf());
        self
    }

    /// Puts the daemons at the gateway of a link, to listen at this address of it, with the filter on its interface. Clients are
    /// at the other end.
    pub fn on(mut self, link: &Arc<Link>, address: IpAddr) -> Self {
        self.link = Some((Arc::clone(link), address));
        self.flag("--interface", INTERFACE)
    }

    /// Makes keys, genesis and journals, but starts nothing.
    ///
    /// # Errors
    /// If a step fails; with what the program said.
    pub fn prepare(self) -> Result<Committee> {
        let program = match self.program {
            Some(program) => program,
            None => binaries::authority()?,
        };
        let scratch = Scratch::new()?;
        let base = self.directory.clone().unwrap_or_else(|| scratch.path().to_path_buf());
        let host = self.link.as_ref().map_or_else(own_loopback_address, |(_, address)| *address);
        let metrics = if self.link.is_some() { Ipv4Addr::LOCALHOST.into() } else { host };
        let mut daemons = Vec::new();
        let mut members = Vec::new();
        for place in 0..self.daemons {
            let directory = base.join(format!("authority-{place}"));
            let address = SocketAddr::new(host, 7450 + place as u16);
            let mut daemon =
                Daemon::new(place, program.clone(), directory, address, SocketAddr::new(metrics, 9450 + place as u16));
            daemon.link = self.link.as_ref().map(|(link, _)| Arc::clone(link));
            daemon.flags.clone_from(&self.flags);
            daemon.environment.clone_from(&self.environment);
            let key = parse_key(&finish(daemon.command("init"))?.success()?)?;
            members.push((key, Some(address)));
            daemons.push(daemon);
        }
        members.extend(self.others.iter().map(|other| (other.key, other.address)));
        let committee = members.iter().enumerate().map(|(place, (key, address))| MemberEntry {
            name: format!("authority-{place}"),
            key: hex::encode(key),
            weight: 1,
            address: *address,
        });
        let genesis = make_genesis(committee.collect(), &self.allocations, self.minimum_first_credit)?;
        let (genesis_file, allocations_file) = (base.join("genesis.toml"), base.join("allocations.csv"));
        std::fs::write(&genesis_file, genesis.text())?;
        std::fs::write(&allocations_file, allocations_text(&self.allocations))?;
        for daemon in &daemons {
            let mut init = daemon.command("init");
            init.arg("--genesis").arg(&genesis_file).arg("--allocations").arg(&allocations_file).args(&daemon.flags);
            init.arg("--listen").arg(daemon.address.to_string()).arg("--metrics").arg(daemon.metrics.to_string());
            finish(init)?.success().with_context(|| format!("making the journal of authority {}", daemon.place))?;
            daemon.change_settings("filter", &self.filter_settings)?;
        }
        let network = Network { rules: genesis.rules()? };
        let wallets = self.wallets.map_or_else(Scratch::new, Ok)?;
        Ok(Committee {
            daemons,
            network,
            link: self.link,
            allocations: self.allocations,
            genesis_file,
            wallets,
            scratch,
        })
    }

    /// Makes the network and starts its daemons.
    ///
    /// # Errors
    /// If a step fails.
    pub fn start(self) -> Result<Committee> {
        let mut committee = self.prepare()?;
        for daemon in &mut committee.daemons {
            daemon.launch()?;
        }
        for daemon in &mut committee.daemons {
            daemon.wait_until_ready()?;
        }
        Ok(committee)
    }
}

/// A network with its daemons; all of them are killed when it is dropped.
pub struct Committee {
    /// The daemons, by place.
    pub daemons: Vec<Daemon>,
    /// What they agree on.
    pub network: Network,
    /// What accounts hold at first.
    pub allocations: Vec<Allocation>,
    /// The genesis file, which is all that a wallet needs.
    pub genesis_file: PathBuf,
    wallets: Scratch,
    link: Option<(Arc<Link>, IpAddr)>,
    // Last, so that the daemons are dead before their directories go.
    scratch: Scratch,
}

impl Committee {
    /// A client of this network.
    ///
    /// # Errors
    /// If no socket can be had.
    pub fn client(&self) -> Result<Client> {
        match &self.link {
            None => Client::new(&self.network.rules),
            Some((link, address)) => self.client_at(link, Link::client_of(*address)?),
        }
    }

    /// A client at an address of the mesh.
    ///
    /// # Errors
    /// If it is none of the mesh's.
    pub fn client_at(&self, link: &Link, address: IpAddr) -> Result<Client> {
        let rules = &self.network.rules;
        link.mesh.inside(|| Client::bound(rules, SocketAddr::new(address, 0)))?
    }

    /// Room for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// A wallet whose account [`Plan::fund_wallet`] gave money, or any other.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn wallet(&self, name: &str) -> Result<Wallet> {
        Wallet::open(&self.wallets.path().join(name), &self.genesis_file)
    }

    /// Balance and next sequence of an account at an authority.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn account(&self, client: &mut Client, place: usize, account: &PublicKey, token: u32) -> Result<(i128, u64)> {
        let answer = client.account(self.daemons[place].address, account, token)?;
        Ok((answer.balance.get(), answer.next_sequence.get()))
    }
}

fn make_genesis(members: Vec<MemberEntry>, allocations: &[Allocation], minimum_first_credit: u64) -> Result<Genesis> {
    let mut tokens: Vec<u32> = allocations.iter().map(|allocation| allocation.token).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let tokens = tokens.into_iter().map(|id| (id, format!("T{id}"), 2)).collect();
    Ok(Genesis::new("end-to-end", 0, minimum_first_credit, tokens, members, allocations)?)
}

/// A loopback address that nobody else uses: all of 127/8 is local on Linux. So a port that was freed by a killed daemon is still
/// free when it starts again.
pub fn own_loopback_address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let process = std::process::id();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let byte = |value: u32| (value % 256) as u8;
    IpAddr::V4(Ipv4Addr::new(127, 64 + byte(process) % 128, byte(process >> 7), 1 + byte(number) % 254))
}
