//! The link between authorities and load generator: a veth pair whose two ends each pay for themselves.
//!
//! On loopback the sender's core runs the receiver's part of the network stack, and a figure of CPU per payment is
//! worth little. So with the rights for it, [`Link::open`] builds:
//!
//! ```text
//!   namespace ...-a (authorities)                     namespace ...-g (generator)
//!   198.18.0.1  2001:2:0:1::1                         198.18.0.2  2001:2:0:1::2
//!   and 198.18.64.0/18 (as many as you like)          and 198.18.128.0/18
//!        mp...a  ------------------ veth, MTU 1500 ----------------  mp...g
//!        native XDP pass, threaded NAPI                native XDP pass, threaded NAPI
//!        pinned to the authority's core                pinned to the generator's core
//! ```
//!
//! GSO, GRO and TSO are off, so that a packet costs what a packet costs. Each end has a queue, so that bursts wait as they do
//! at a network card instead of being lost. With native XDP veth receives by NAPI, NAPI runs
//! in a kernel thread of its own, and that thread is pinned: thus each side's receiving is on its own core's account.
//! The addresses are those set aside for benchmarks (RFC 2544, RFC 5180).
//!
//! What always holds: only our own namespaces are touched. They vanish with the [`Link`], and also if this process is
//! killed: a small shell holds the other end of a pipe and removes them when the pipe closes. Their names carry our
//! process id, so what even that left behind is recognised and removed at the next start.
//!
//! Without the rights the link is loopback, and [`Link::description`] says so and why.

pub(crate) mod attacker;
mod device;
mod namespace;

use crate::cpu;
use anyhow::{Context as _, Result, bail, ensure};
use device::Napi;
use meshpay_net::host;
use meshpay_net::xdp::{AttachMode, Attachment, Bare, Program};
use namespace::{Janitor, Namespace};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// How the kernel threads that receive for an interface are scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum NapiScheduling {
    /// Like any thread: each wake-up may interrupt the program that shares its core.
    #[default]
    Normal,
    /// SCHED_BATCH: it lets that program finish its time slice, so bursts grow and switches are few.
    Batch,
}

/// What is wanted of a link.
#[derive(Clone, Copy, Debug)]
pub struct LinkRequest {
    /// The core that the authority runs on, which also receives for it.
    pub authority_core: usize,
    /// The core that the generator runs on, which also receives for it.
    pub generator_core: usize,
    /// How the receiving threads of both sides are scheduled.
    pub napi_scheduling: NapiScheduling,
}

impl LinkRequest {
    /// A link between two cores, with ordinary scheduling.
    pub fn new(authority_core: usize, generator_core: usize) -> Self {
        Self { authority_core, generator_core, napi_scheduling: NapiScheduling::default() }
    }
}

/// What the two sides are connected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A veth pair, each side paying for its own receiving.
    Veth,
    /// Loopback, the sender paying for the peer's receiving.
    Loopback,
}

/// A link that stands. Dropping it takes it down.
#[derive(Debug)]
pub struct Link {
    /// The side of the authorities.
    pub authority: Side,
    /// The side of the load generator.
    pub generator: Side,
    kind: LinkKind,
    description: String,
    // After the sides: their descriptors are closed, then the namespaces are removed.
    _janitor: Option<Janitor>,
}

/// One end of a link.
#[derive(Debug)]
pub struct Side {
    namespace: Option<Namespace>,
    interface: String,
    core: usize,
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
    ipv4_more: Ipv4Addr,
    napi_scheduling: NapiScheduling,
    napi: Mutex<Vec<Napi>>,
    program: Mutex<Option<Attachment>>,
}

/// How many further IPv4 addresses a side has: those of its /18, without the first and the last.
pub const MORE_ADDRESSES: u16 = (1 << 14) - 2;

/// Tells apart the links of one process.
static NEXT_LINK: AtomicU32 = AtomicU32::new(0);

impl Link {
    /// Builds the best link there is: veth, or else loopback with the reason in [`description`](Self::description).
    ///
    /// # Errors
    /// If a core does not exist.
    pub fn open(request: LinkRequest) -> Result<Self> {
        check_cores(request)?;
        Self::open_veth(request).or_else(|error| Self::open_loopback(request, &format!("{error:#}")))
    }

    /// Builds a veth link or fails.
    ///
    /// # Errors
    /// If a right is missing (CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF), `ip` of iproute2 is missing, or the kernel cannot.
    pub fn open_veth(request: LinkRequest) -> Result<Self> {
        check_cores(request)?;
        ensure!(has_rights(), "a veth link needs CAP_NET_ADMIN and CAP_SYS_ADMIN: run as root");
        namespace::remove_leftovers();
        let number = NEXT_LINK.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let names = [namespace::name(pid, number, 'a'), namespace::name(pid, number, 'g')];
        let devices = [format!("mp{pid}x{number}a"), format!("mp{pid}x{number}g")];

        let janitor = Janitor::start(&names, &devices[0])?;
        let namespaces = [Namespace::create(&names[0])?, Namespace::create(&names[1])?];
        device::create_pair(&namespaces, &devices)?;
        for (own, other) in [(0, 1), (1, 0)] {
            device::configure(&namespaces[own], &devices[own], own, other)?;
        }
        // Both ends must run XDP and be up before either is sure to receive by NAPI.
        let [a, g] = namespaces;
        let programs =
            [a.inside(|| attach_bare(&devices[0], Bare::Pass))??, g.inside(|| attach_bare(&devices[1], Bare::Pass))??];
        let scheduling = request.napi_scheduling;
        let napi_a = device::thread_and_pin(&a, &devices[0], request.authority_core, scheduling)?;
        let napi_g = device::thread_and_pin(&g, &devices[1], request.generator_core, scheduling)?;
        let [program_a, program_g] = programs;
        let [device_a, device_g] = devices;
        let side = |index, namespace, interface, core, napi, program| Side {
            napi_scheduling: scheduling,
            namespace: Some(namespace),
            interface,
            core,
            ipv4: device::ipv4(index),
            ipv6: device::ipv6(index),
            ipv4_more: device::ipv4_more(index),
            napi: Mutex::new(napi),
            program: Mutex::new(Some(program)),
        };
        let description = match request.napi_scheduling {
            NapiScheduling::Normal => "veth, native XDP pass both ends, threaded NAPI pinned",
            NapiScheduling::Batch => "veth, native XDP pass both ends, threaded NAPI pinned, SCHED_BATCH",
        };
        Ok(Self {
            authority: side(0, a, device_a, request.authority_core, napi_a, program_a),
            generator: side(1, g, device_g, request.generator_core, napi_g, program_g),
            kind: LinkKind::Veth,
            description: description.to_owned(),
            _janitor: Some(janitor),
        })
    }

    /// A link over loopback, for the `reason` given.
    ///
    /// # Errors
    /// If a core does not exist.
    pub fn open_loopback(request: LinkRequest, reason: &str) -> Result<Self> {
        check_cores(request)?;
        let side = |core, index| Side {
            namespace: None,
            interface: "lo".to_owned(),
            core,
            ipv4: Ipv4Addr::LOCALHOST,
            ipv6: Ipv6Addr::LOCALHOST,
            ipv4_more: device::ipv4_more_loopback(index),
            napi_scheduling: NapiScheduling::default(),
            napi: Mutex::default(),
            program: Mutex::default(),
        };
        Ok(Self {
            authority: side(request.authority_core, 0),
            generator: side(request.generator_core, 1),
            kind: LinkKind::Loopback,
            description: format!("loopback: sender pays for the peer's receive ({reason})"),
            _janitor: None,
        })
    }

    /// What the sides are connected by.
    pub fn kind(&self) -> LinkKind {
        self.kind
    }

    /// The link in words, for a report.
    pub fn description(&self) -> &str {
        &self.description
    }
}

impl Side {
    /// The path of the side's network namespace; `None` on loopback.
    pub fn namespace(&self) -> Option<&Path> {
        self.namespace.as_ref().map(Namespace::path)
    }

    /// The side's interface, within its namespace.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The core that receives for this side and that its programs should run on.
    pub fn core(&self) -> usize {
        self.core
    }

    /// The side's IPv4 address.
    pub fn ipv4(&self) -> Ipv4Addr {
        self.ipv4
    }

    /// The side's IPv6 address.
    pub fn ipv6(&self) -> Ipv6Addr {
        self.ipv6
    }

    /// One of [`MORE_ADDRESSES`] further IPv4 addresses of this side, to bind to or to send from.
    ///
    /// # Panics
    /// If `index` is not below [`MORE_ADDRESSES`].
    pub fn ipv4_further(&self, index: u16) -> Ipv4Addr {
        assert!(index < MORE_ADDRESSES, "a side has {MORE_ADDRESSES} further addresses");
        Ipv4Addr::from(u32::from(self.ipv4_more) + 1 + u32::from(index))
    }

    /// Process ids of the kernel threads that receive for this side; none on loopback.
    pub fn napi_pids(&self) -> Vec<u32> {
        let napi = self.napi.lock().unwrap_or_else(PoisonError::into_inner);
        napi.iter().map(|napi| napi.pid).collect()
    }

    /// Takes the pass program off the interface, so that a daemon can attach its own. Nothing on loopback.
    pub fn make_way(&self) {
        *self.program.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Puts the pass program back where no other one is, and pins the threads that receive. Nothing on loopback.
    ///
    /// # Errors
    /// If another program is attached.
    pub fn attach_pass(&self) -> Result<()> {
        let mut program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        if self.namespace.is_none() || program.is_some() {
            return Ok(());
        }
        *program = Some(self.inside(|| attach_bare(&self.interface, Bare::Pass))??);
        drop(program);
        self.pin_receiving()
    }

    /// Pins the threads that receive for this side: to be called when another program was attached, since the kernel makes the
    /// threads with it. Nothing on loopback.
    ///
    /// # Errors
    /// If the kernel made none.
    pub fn pin_receiving(&self) -> Result<()> {
        let Some(namespace) = &self.namespace else { return Ok(()) };
        let napi = device::thread_and_pin(namespace, &self.interface, self.core, self.napi_scheduling)?;
        *self.napi.lock().unwrap_or_else(PoisonError::into_inner) = napi;
        Ok(())
    }

    /// Makes `command` start its program in this side's namespace. (Pinning is the program's own business.)
    ///
    /// # Errors
    /// If the process is out of descriptors.
    pub fn start_here(&self, command: &mut Command) -> io::Result<()> {
        match &self.namespace {
            Some(namespace) => namespace.start_here(command),
            None => Ok(()),
        }
    }

    /// Runs `work` on a thread in this side's namespace and returns its result. Sockets opened there stay there, and may be
    /// used from any thread.
    ///
    /// # Errors
    /// If the kernel refuses to change the namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        match &self.namespace {
            Some(namespace) => namespace.inside(work),
            None => Ok(work()),
        }
    }

    /// Packets that this side's interface has received, those among them that its XDP program dropped.
    ///
    /// # Errors
    /// If the interface's counters cannot be read.
    pub fn received(&self) -> Result<u64> {
        let interface = self.interface.clone();
        self.inside(move || device::received(&interface))?
    }

    /// Packets that this side's interface dropped instead of receiving (its ring was full), or failed to send.
    ///
    /// # Errors
    /// If the interface's counters cannot be read.
    pub fn drops(&self) -> Result<u64> {
        let interface = self.interface.clone();
        self.inside(move || device::drops(&interface))?
    }
}

/// Whether this process may make namespaces and interfaces in them: CAP_NET_ADMIN and CAP_SYS_ADMIN.
pub fn has_rights() -> bool {
    // From linux/capability.h.
    const WANTED: u64 = 1 << 12 | 1 << 21;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default();
    u64::from_str_radix(effective.trim(), 16).is_ok_and(|effective| effective & WANTED == WANTED)
}

fn check_cores(request: LinkRequest) -> Result<()> {
    for core in [request.authority_core, request.generator_core] {
        cpu::CoreSample::take(core)?;
    }
    Ok(())
}

/// Attaches a bare program natively to an interface of the calling thread's namespace, for as long as the returned value lives. A killed
/// process leaves the interface clean.
pub(crate) fn attach_bare(interface: &str, what: Bare) -> Result<Attachment> {
    let index = host::Link::named(interface)?.index;
    Ok(Program::bare(what)?.attach(index, AttachMode::Native)?)
}

/// Runs `ip` (or another program of iproute2) and turns its refusal into an error.
fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot start `{program}`; install iproute2"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        let line = arguments.join(" ");
        bail!("`{program} {line}` failed: {}", reason.trim());
    }
    Ok(())
}
