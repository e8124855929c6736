//! Authorities running, accounts, books and the generator's ports: everything that a batch of payments needs.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use meshpay_protocol::genesis::allocations_text;
use meshpay_wire::DEFAULT_PORT;

use super::{Cores, Options, Scenario};
use crate::affinity;
use crate::daemons::{AuditInput, Auditing, AuthorityDirectory, PacketIo, Process, audit};
use crate::generator::{
    self, ADDRESSES, AnswerCheck, Clients, GeneratorPort, Idle, Outcome, Pacing, Plan, Quorum, RELAYS, Target,
    WindowEdge,
};
use crate::link::{Link, LinkKind, Side};
use crate::progress::Console;
use crate::workload::{
    Batch, Certificates, Ledger, Network, NetworkRequest, SigningParty, Trace, TransferSource, UniformMix, Wallets,
};

/// How long a batch may take to end after its last payment was due.
pub const DRAIN_MAX: Duration = Duration::from_secs(30);

/// First port of the authorities' metrics; each takes the next.
const METRICS_PORT: u16 = 9450;

/// Most payments of one batch, so that what is signed beforehand stays below about 6 GiB with a committee of 4.
pub const BATCH_MAX: usize = 8_000_000;

/// What a session is made of.
pub struct SessionRequest<'a> {
    /// Which scenario.
    pub scenario: Scenario,
    /// What the user asked for.
    pub options: &'a Options,
    /// Who runs where.
    pub cores: &'a Cores,
    /// The link, which stands.
    pub link: &'a Link,
    /// The accounts.
    pub wallets: &'a Wallets,
    /// The trace to be replayed, if any.
    pub trace: Option<&'a Trace>,
    /// An empty folder for everything.
    pub folder: &'a Path,
    /// Set when the user wants to stop.
    pub stop: &'a AtomicBool,
    /// Where to say what is being done.
    pub console: &'a Console,
}

impl SessionRequest<'_> {
    /// Whether the daemon attaches its own program to the authorities' interface. Several daemons on one interface cannot, so a
    /// committee runs over sockets.
    fn brings_own_program(&self) -> bool {
        self.scenario == Scenario::Single
            && self.link.kind() == LinkKind::Veth
            && self.options.rung.is_none_or(|rung| rung.has_filter())
    }

    /// Why the daemons were not told to bring their own program.
    fn why_sockets(&self) -> String {
        match (self.scenario, self.link.kind()) {
            (Scenario::Committee, _) => "several daemons share one interface, which takes one filter".to_owned(),
            (_, LinkKind::Loopback) => format!("no interface for a filter: {}", self.link.description()),
            (_, LinkKind::Veth) => "as asked for".to_owned(),
        }
    }
}

/// A running network under load.
pub struct Session<'a> {
    request: SessionRequest<'a>,
    network: Network,
    directories: Vec<(u8, AuthorityDirectory)>,
    daemons: Vec<Process>,
    targets: Vec<Target>,
    ledger: Ledger,
    source: Box<dyn TransferSource>,
    ports: Vec<GeneratorPort>,
    clients: Clients,
    batches: u16,
}

/// Figures of a session that outlive its daemons.
pub struct Ended<'a> {
    /// The network.
    pub network: Network,
    /// The authorities' directories by place.
    pub directories: Vec<(u8, AuthorityDirectory)>,
    /// The books.
    pub ledger: Ledger,
    /// The generator's ports.
    pub ports: Vec<GeneratorPort>,
    /// The generator's clients.
    pub clients: Clients,
    /// What the session was made of.
    pub request: SessionRequest<'a>,
    /// The next batch number.
    pub batches: u16,
    /// By which means the first daemon exchanged packets.
    pub packet_io: PacketIo,
}

impl<'a> Session<'a> {
    /// Makes keys, genesis and directories, and starts the daemons.
    ///
    /// # Errors
    /// If the daemon refuses anything, or does not become ready.
    pub fn start(request: SessionRequest<'a>) -> Result<Self> {
        let options = request.options;
        let running = match request.scenario {
            Scenario::Single => 1,
            Scenario::Committee => options.committee,
        };
        let directories: Vec<(u8, AuthorityDirectory)> = (0..running)
            .map(|place| {
                let path = request.folder.join(format!("authority-{place}"));
                (place as u8, AuthorityDirectory::new(&options.authority_binary, &path))
            })
            .collect();
        let addresses: Vec<SocketAddr> =
            (0..running).map(|place| (request.link.authority.ipv4(), DEFAULT_PORT + place as u16).into()).collect();

        let network = make_network(&request, &directories, &addresses)?;
        let step = request.console.step("starting authorities", running as u64);
        let mut daemons = Vec::new();
        let has_own_program = request.brings_own_program();
        if has_own_program {
            request.link.authority.make_way();
        }
        for (place, directory) in &directories {
            daemons.push(start_daemon(&request, usize::from(*place), directory, addresses[usize::from(*place)])?);
            step.advance(1);
        }
        if has_own_program {
            let fell = daemons.iter().all(|daemon| daemon.ready().fact("rung", "udp") == "udp");
            if fell {
                // Without a program on it veth has no thread that receives, and so none to pin.
                request.link.authority.attach_pass()?;
            } else {
                request.link.authority.pin_receiving()?;
            }
        }
        let ready: Vec<String> = daemons.iter().map(|daemon| daemon.ready().listen.to_string()).collect();
        step.finish(&format!("{running} ready at {}", ready.join(", ")));

        let targets = directories
            .iter()
            .zip(&daemons)
            .map(|((place, _), daemon)| Target { place: *place, address: daemon.ready().listen })
            .collect();
        let side = &request.link.generator;
        let ports = generator::open(request.link.kind(), side, &request.link.authority)?;
        let addresses = if options.bundle > 1 { RELAYS } else { ADDRESSES };
        let client_addresses: Vec<_> = (0..addresses as u16).map(|index| side.ipv4_further(index)).collect();
        let source: Box<dyn TransferSource> = match request.trace {
            Some(trace) => Box::new(trace.clone()),
            None => {
                let [payers, accounts] = [request.wallets.payers(), request.wallets.count()].map(u32::try_from);
                Box::new(UniformMix::with_payers(options.seed, payers?, accounts?))
            }
        };
        Ok(Self {
            ledger: Ledger::new(network.allocations.iter().map(|allocation| allocation.amount)),
            clients: Clients::new(client_addresses, ports.ports.len(), options.committee).by_link(ports.link),
            network,
            directories,
            daemons,
            targets,
            source,
            ports: ports.ports,
            batches: 0,
            request,
        })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What settles a payment here.
    pub fn quorum(&self) -> Quorum {
        quorum_of(self.request.scenario)
    }

    /// The daemons.
    pub fn daemons(&self) -> &[Process] {
        &self.daemons
    }

    /// What the session was made of.
    pub fn request(&self) -> &SessionRequest<'a> {
        &self.request
    }

    /// Signs the next payments.
    ///
    /// # Errors
    /// If there are too many, or the user interrupts.
    pub fn sign(&mut self, count: usize) -> Result<Batch> {
        ensure!(
            count <= BATCH_MAX,
            "{count} payments are more than the {BATCH_MAX} that one run may sign beforehand; lower --seconds or --rate"
        );
        let certificates = match self.request.scenario {
            Scenario::Single => Certificates::RandomQuorum,
            Scenario::Committee => Certificates::FirstVotes,
        };
        let party = SigningParty {
            rules: &self.network.rules,
            committee: &self.network.committee,
            wallets: self.request.wallets,
            certificates,
        };
        let step = self.request.console.step("signing payments and votes", count as u64);
        let seed = self.request.options.seed ^ u64::from(self.batches) << 32;
        let batch = Batch::sign(party, &mut *self.source, &mut self.ledger, count, seed, |signed| step.advance(signed));
        step.finish(&format!("{} payments", batch.len()));
        self.check_stop()?;
        Ok(batch)
    }

    fn check_stop(&self) -> Result<()> {
        ensure!(!self.request.stop.load(Ordering::Relaxed), generator::Interrupted);
        Ok(())
    }

    /// Runs a batch on the generator's core and books how its payments ended.
    ///
    /// # Errors
    /// If a daemon ends, or the user interrupts.
    pub fn run(
        &mut self,
        what: &str,
        batch: &Batch,
        pacing: Pacing,
        edge: impl FnMut(WindowEdge) + Send,
    ) -> Result<Outcome> {
        self.batches += 1;
        let plan = BatchPlan {
            targets: &self.targets,
            quorum: self.quorum(),
            check: AnswerCheck::Exact,
            batch,
            number: self.batches,
            pacing,
        };
        let outcome = drive(&self.request, &self.network, what, plan, &mut self.ports, &mut self.clients, edge);
        // Ctrl-C at a terminal reaches the daemons too; then it is no news that they ended.
        self.check_stop()?;
        for daemon in &mut self.daemons {
            daemon.check_alive()?;
        }
        let outcome = outcome?;
        self.ledger.book_batch(batch, |at| outcome.ending(at));
        Ok(outcome)
    }

    /// Stops the daemons.
    ///
    /// # Errors
    /// If one does not stop cleanly.
    pub fn end(self) -> Result<Ended<'a>> {
        let packet_io = self.packet_io();
        let step = self.request.console.step("stopping authorities", self.daemons.len() as u64);
        for daemon in self.daemons {
            daemon.stop()?;
            step.advance(1);
        }
        step.finish("stopped");
        self.request.link.authority.attach_pass()?;
        Ok(Ended {
            network: self.network,
            directories: self.directories,
            ledger: self.ledger,
            ports: self.ports,
            clients: self.clients,
            request: self.request,
            batches: self.batches,
            packet_io,
        })
    }

    /// By which means the first daemon exchanges packets, and its filter's counters so far.
    pub fn packet_io(&self) -> PacketIo {
        match (self.daemons.first(), self.directories.first()) {
            (Some(daemon), Some((_, directory))) if self.request.brings_own_program() => {
                PacketIo::ask(directory, daemon.ready(), &self.request.link.authority)
            }
            _ => PacketIo::sockets(&self.request.why_sockets()),
        }
    }
}

impl Ended<'_> {
    /// Audits all journals from the genesis on, and compares every balance with the books.
    pub fn audit(&self) -> Auditing {
        let step = self.request.console.step("auditing the journals from genesis", self.directories.len() as u64);
        let input = AuditInput {
            authorities: &self.directories,
            network: &self.network,
            wallets: self.request.wallets,
            ledger: &self.ledger,
            done: &|| step.advance(1),
        };
        let auditing = audit(&input, self.request.folder);
        step.finish(&format!("{}, {} records", auditing.result(), auditing.records));
        auditing
    }
}

/// What settles a payment in a scenario.
pub fn quorum_of(scenario: Scenario) -> Quorum {
    match scenario {
        Scenario::Single => Quorum::OneOfMany,
        Scenario::Committee => Quorum::Committee,
    }
}

/// A batch and how to run it.
pub struct BatchPlan<'a> {
    /// Who is asked.
    pub targets: &'a [Target],
    /// What settles a payment.
    pub quorum: Quorum,
    /// How strictly answers are looked at.
    pub check: AnswerCheck,
    /// The payments.
    pub batch: &'a Batch,
    /// Its number.
    pub number: u16,
    /// How payments are let go.
    pub pacing: Pacing,
}

/// Runs a batch on a thread pinned to the generator's core, while this thread, on the same core, shows how far it is.
pub fn drive(
    request: &SessionRequest<'_>,
    network: &Network,
    what: &str,
    plan: BatchPlan<'_>,
    ports: &mut [GeneratorPort],
    clients: &mut Clients,
    edge: impl FnMut(WindowEdge) + Send,
) -> Result<Outcome> {
    let settled = AtomicU64::new(0);
    let step = request.console.step(what.to_owned(), plan.batch.len() as u64);
    let plan = Plan {
        rules: &network.rules,
        targets: plan.targets,
        quorum: plan.quorum,
        check: plan.check,
        batch: plan.batch,
        batch_number: plan.number,
        pacing: plan.pacing,
        bundle: request.options.bundle,
        idle: Idle::Yield,
        drain: DRAIN_MAX,
        stop: request.stop,
        on_settled: &|count| settled.store(count, Ordering::Relaxed),
    };
    let core = &[request.cores.generator];
    let generate_and_watch = || -> Result<Outcome> {
        std::thread::scope(|scope| {
            let generating = std::thread::Builder::new().name("generator".to_owned()).spawn_scoped(scope, || {
                keep_time(&request.link.generator);
                Ok(generator::run(&plan, ports, clients, edge)?)
            })?;
            while !generating.is_finished() {
                std::thread::sleep(Duration::from_millis(100));
                step.set(settled.load(Ordering::Relaxed));
            }
            match generating.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    };
    // The generator's thread inherits the core.
    let outcome = affinity::tied_to(core, generate_and_watch)??;
    step.finish(&format!("{} settled, {:.0} a second", outcome.settled, outcome.settled_per_second()));
    Ok(outcome)
}

/// Nice value of the generator's threads, where we may: other programs on its core should not make it late. The authorities' side
/// gets none.
const GENERATOR_NICE: i32 = -15;

/// Lets this thread, and the one that receives for it, run when they want to, as far as the kernel allows us.
fn keep_time(side: &Side) {
    // Sleeps end when they should, not up to 50 microseconds later.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let receiving =
        side.napi_pids().into_iter().filter_map(|pid| i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw));
    for thread in receiving {
        schedule_batch(thread);
        let _ = rustix::process::setpriority_process(Some(thread), GENERATOR_NICE);
    }
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), GENERATOR_NICE);
}

/// Keeps a thread from interrupting whoever runs when it is woken: the generator offers it the core often enough.
fn schedule_batch(thread: rustix::process::Pid) {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` lives through the call, which only reads it. Refused without the rights for it, and that is no harm.
    let _ = unsafe { libc::sched_setscheduler(thread.as_raw_nonzero().get(), libc::SCHED_BATCH, &parameters) };
}

/// Keys from the daemons that will run and from the seed for the others; genesis; directories.
fn make_network(
    request: &SessionRequest<'_>,
    directories: &[(u8, AuthorityDirectory)],
    addresses: &[SocketAddr],
) -> Result<Network> {
    let options = request.options;
    let step = request.console.step("making keys, genesis and directories", 2 * directories.len() as u64 + 1);
    let mut committee = Vec::new();
    for (_, directory) in directories {
        committee.push(directory.make_key()?);
        step.advance(1);
    }
    committee
        .extend((directories.len()..options.committee).map(|place| Network::seeded_authority_key(options.seed, place)));
    let addresses = (0..options.committee).map(|place| addresses.get(place).copied()).collect();
    let network =
        Network::new(NetworkRequest { committee, addresses, wallets: request.wallets, trace: request.trace })?;
    let write = |name: &str, text: &str| -> Result<PathBuf> {
        let path = request.folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    let genesis = write("genesis.toml", &network.genesis.text())?;
    let allocations = write("allocations.csv", &allocations_text(&network.allocations))?;
    step.advance(1);
    for (_, directory) in directories {
        directory.make_journal(&genesis, &allocations, options.durability.name())?;
        step.advance(1);
    }
    step.finish(&format!("{} accounts, committee of {}", request.wallets.count(), options.committee));
    Ok(network)
}

fn start_daemon(
    request: &SessionRequest<'_>,
    place: usize,
    directory: &AuthorityDirectory,
    address: SocketAddr,
) -> Result<Process> {
    let core = request.cores.authority[place];
    let mut command = directory.command("run");
    command
        .args(["--listen", &address.to_string()])
        .args(["--metrics", &format!("127.0.0.1:{}", METRICS_PORT + place as u16)])
        .args(["--workers", "1", "--cores", &core.to_string()])
        .args(["--durability", request.options.durability.name()])
        // Room for all accounts and as many again.
        .args(["--accounts-capacity", &(2 * request.wallets.count()).to_string()]);
    if request.brings_own_program() {
        command.args(["--interface", request.link.authority.interface()]);
    }
    if let Some(rung) = request.options.rung {
        command.args(["--rung", rung.name()]);
    }
    let log = request.folder.join(format!("authority-{place}.log"));
    let name = format!("authority {place}");
    Process::start(&name, command, &request.link.authority, &[core], &log, request.stop)
}
