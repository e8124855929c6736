//! All sockets of an interface, for all queues and workers: made first, bound later, perhaps with fewer rights.
//!
//! What always holds: a group has a socket for every worker on every queue, or there is no group.

use super::counters::XskCounters;
use super::depot::{Depot, Shares};
use super::frame_rings::{CompletionRing, FillRing, ReceiveRing, TransmitRing};
use super::headers::{HEADERS_MAX_BYTES, Marks};
use super::interface::{LinkGauge, XskInterface};
use super::port::{Lane, QUEUES_MAX, XskPort};
use super::socket::XskSocket;
use super::umem::{FRAME_BYTES, FRAMES_MAX, Umem};
use super::{XskConfig, XskMode};
use crate::rung::Obstacle;
use crate::udp::{TRAFFIC_CLASS_CS6, WORKERS_MAX};
use crate::{BURST_MAX, DATAGRAM_MAX_BYTES, TrafficClass};
use std::io;
use std::sync::Arc;
use std::time::Duration;

// Whatever is queued fits a frame.
const _: () = assert!(HEADERS_MAX_BYTES + DATAGRAM_MAX_BYTES <= FRAME_BYTES);

/// How often, and after which pause, a queue is tried that is still taken: half a second in all.
const BIND_TRIES_MAX: usize = 100;
const BIND_PAUSE: Duration = Duration::from_millis(5);

/// A step of making or binding AF_XDP sockets failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}{}", remedy(.source))]
pub struct XskError {
    what: String,
    source: io::Error,
}

impl XskError {
    /// The kernel's reason.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// The same as an obstacle on the ladder.
    pub fn obstacle(&self) -> Obstacle {
        let remedy = remedy(&self.source).trim_start_matches("; ");
        Obstacle::new(format!("cannot {}: {}", self.what, self.source), remedy)
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.raw_os_error().unwrap_or(0) {
        libc::EPERM | libc::EACCES => {
            "; AF_XDP needs CAP_NET_RAW when it is opened: start as root or by the systemd unit"
        }
        libc::ENOBUFS | libc::ENOMEM => {
            "; the memory may not be pinned: raise LimitMEMLOCK (ulimit -l), or lower the ring sizes"
        }
        libc::EOPNOTSUPP => "; the driver cannot do this, try copy mode",
        libc::EAFNOSUPPORT => "; this kernel was built without CONFIG_XDP_SOCKETS",
        libc::EBUSY => "; another program has AF_XDP sockets on this queue, see `ss --xdp`",
        libc::ENODEV | libc::ENXIO => "; there is no such interface in this network namespace",
        libc::ENETDOWN => "; take the interface up first",
        libc::EINVAL => "; does the interface have this queue? see `ethtool -l`",
        _ => "",
    }
}

/// What became of [`XskSpare::bind`] when it failed.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct BindFailed {
    /// Why.
    pub error: XskError,
    /// The same sockets, still unbound, to try again: in another mode, or when the interface is there. `None` if some were bound
    /// already; then new ones are needed.
    pub spare: Option<Box<XskSpare>>,
}

/// The sockets of one queue before they are bound.
struct Queue {
    umem: Arc<Umem>,
    depot: Arc<Depot>,
    workers: Vec<(Arc<XskSocket>, Option<ReceiveRing>, TransmitRing)>,
}

/// Sockets with memory and rings, bound to nothing yet. Making them needs CAP_NET_RAW and locked memory; binding needs no right at
/// all. So a daemon makes a few before it drops its capabilities, and can climb back when an interface returns.
pub struct XskSpare {
    config: XskConfig,
    queues: Vec<Queue>,
    workers: usize,
}

impl std::fmt::Debug for XskSpare {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "XskSpare({} queues, {} workers)", self.queues.len(), self.workers)
    }
}

impl XskSpare {
    /// Makes sockets for `workers` workers on each of `queues` queues.
    ///
    /// # Errors
    /// If a right or memory is missing, or a number is out of bounds (1 to [`QUEUES_MAX`] queues, 1 to [`WORKERS_MAX`] workers, ring
    /// sizes powers of two).
    pub fn new(config: &XskConfig, queues: u32, workers: usize) -> Result<Self, XskError> {
        let valid = (1..=QUEUES_MAX as u32).contains(&queues)
            && (1..=WORKERS_MAX).contains(&workers)
            && (64..=1 << 15).contains(&config.ring_entries)
            && config.ring_entries.is_power_of_two()
            && (1..=1 << 15).contains(&config.transmit_frames)
            && shares(config, workers).total() <= FRAMES_MAX;
        if !valid {
            let what = format!("make AF_XDP sockets for {queues} queues and {workers} workers with {config:?}");
            let reason = "1 to 64 queues, 1 to 256 workers, rings a power of two from 64 to 32768, 2 GiB in all";
            return Err(XskError { what, source: io::Error::other(reason) });
        }
        let queues = (0..queues)
            .map(|queue| {
                Queue::open(config, workers)
                    .map_err(|(what, source)| XskError { what: format!("{what} for queue {queue}"), source })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { config: *config, queues, workers })
    }

    /// Binds all sockets to `interface`. May take half a second if the queue was in use until a moment ago.
    ///
    /// # Errors
    /// If the kernel refuses one of them, or the interface has another number of queues than these sockets were made for.
    pub fn bind(self, interface: &XskInterface, mode: XskMode) -> Result<XskGroup, BindFailed> {
        if interface.queues as usize != self.queues.len() {
            let what = format!(
                "bind to interface {}: it has {} queues, and the sockets were made for {}",
                interface.index,
                interface.queues,
                self.queues.len()
            );
            let source = io::Error::other("every queue needs a socket; open them anew");
            return Err(BindFailed { error: XskError { what, source }, spare: Some(Box::new(self)) });
        }
        for (number, queue) in self.queues.iter().enumerate() {
            for (worker, (socket, ..)) in queue.workers.iter().enumerate() {
                let (index, queue_number) = (interface.index, number as u32);
                let outcome = patiently(|| match worker {
                    0 => socket.bind(index, queue_number, mode),
                    _ => socket.bind_beside(&queue.workers[0].0, index, queue_number),
                });
                if let Err(source) = outcome {
                    let what = format!(
                        "bind an AF_XDP socket ({}) to interface {index}, queue {number}, for worker {worker}",
                        mode.name()
                    );
                    let nothing_bound = number == 0 && worker == 0;
                    let error = XskError { what, source };
                    return Err(BindFailed { error, spare: nothing_bound.then(|| Box::new(self)) });
                }
            }
        }
        XskGroup::assemble(self, interface).map_err(|source| {
            let what = format!("ask the AF_XDP sockets of interface {} for their mode", interface.index);
            BindFailed { error: XskError { what, source }, spare: None }
        })
    }
}

/// Tries again for a moment while the queue is taken: the kernel frees a queue some time after its last socket was closed
/// (net/xdp/xsk_buff_pool.c, `xp_put_pool` leaves it to a work queue).
fn patiently(mut bind: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..BIND_TRIES_MAX {
        match bind() {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(BIND_PAUSE),
            outcome => return outcome,
        }
    }
    bind()
}

pub(super) fn shares(config: &XskConfig, workers: usize) -> Shares {
    // A worker that sleeps can fill its ring and no more, so the others still find frames.
    let per_worker = if config.receive { config.ring_entries + BURST_MAX as u32 } else { 0 };
    Shares { receive: per_worker * workers as u32, transmit: config.transmit_frames, workers: workers as u32 }
}

type Failed = (&'static str, io::Error);

impl Queue {
    fn open(config: &XskConfig, workers: usize) -> Result<Self, Failed> {
        let failed = |what: &'static str| move |source| (what, source);
        let shares = shares(config, workers);
        let (umem, frames) = Umem::map(shares.total(), config.huge_pages).map_err(failed("map memory"))?;
        let umem = Arc::new(umem);
        let first = Arc::new(XskSocket::open().map_err(failed("open an AF_XDP socket"))?);
        first.register(&umem).map_err(failed("register memory"))?;
        let fill = shares.receive.next_power_of_two().min(1 << 15);
        let completion = (shares.transmit * shares.workers).next_power_of_two();
        let (fill, completion) =
            first.frame_rings(fill.max(1), completion).map_err(failed("make fill and completion rings"))?;
        let mut sockets = Vec::with_capacity(workers);
        for worker in 0..workers {
            let socket = match worker {
                0 => Arc::clone(&first),
                _ => Arc::new(XskSocket::open().map_err(failed("open an AF_XDP socket"))?),
            };
            if config.traffic_class == TrafficClass::Payment {
                socket.prioritise().map_err(failed("set SO_PRIORITY"))?;
            }
            if let Some(wanted) = config.busy_poll {
                socket.poll_busily(wanted).map_err(failed("turn on busy polling"))?;
            }
            let receive = match config.receive {
                true => Some(socket.receive_ring(config.ring_entries).map_err(failed("make a receive ring"))?),
                false => None,
            };
            let transmit = config.transmit_frames.next_power_of_two();
            let transmit = socket.transmit_ring(transmit).map_err(failed("make a transmit ring"))?;
            sockets.push((
                socket,
                receive.map(|ring| ReceiveRing::new(ring, Arc::clone(&umem))),
                TransmitRing::new(transmit, Arc::clone(&umem)),
            ));
        }
        let depot = Depot::new(
            shares,
            FillRing::new(fill, Arc::clone(&umem)),
            CompletionRing::new(completion, Arc::clone(&umem)),
            frames,
        );
        Ok(Self { umem, depot: Arc::new(depot), workers: sockets })
    }
}

/// The ports of an interface: one per worker, each with a socket on every queue.
pub struct XskGroup {
    /// Port `i` is for worker `i`.
    pub ports: Vec<XskPort>,
    /// The interface's state and MTU, shared by all ports.
    pub gauge: Arc<LinkGauge>,
}

impl XskGroup {
    /// Makes sockets and binds them at once.
    ///
    /// # Errors
    /// As [`XskSpare::new`] and [`XskSpare::bind`].
    pub fn open(config: &XskConfig, interface: &XskInterface, workers: usize, mode: XskMode) -> Result<Self, XskError> {
        XskSpare::new(config, interface.queues, workers)?.bind(interface, mode).map_err(|failed| failed.error)
    }

    fn assemble(spare: XskSpare, interface: &XskInterface) -> io::Result<Self> {
        let gauge = Arc::new(LinkGauge::new(interface.mtu));
        let marks = match spare.config.traffic_class {
            TrafficClass::Payment => Marks { traffic_class: TRAFFIC_CLASS_CS6 as u8, vlan_priority: 6 },
            TrafficClass::BestEffort => Marks { traffic_class: 0, vlan_priority: 0 },
        };
        let mut lanes: Vec<Vec<Lane>> = (0..spare.workers).map(|_| Vec::new()).collect();
        for (number, queue) in spare.queues.into_iter().enumerate() {
            for (worker, (socket, receive, transmit)) in queue.workers.into_iter().enumerate() {
                lanes[worker].push(Lane {
                    queue: number as u32,
                    worker,
                    zero_copy: socket.is_zero_copy()?,
                    socket,
                    receive,
                    transmit,
                    free: Vec::with_capacity(queue.depot.transmit_frames()),
                    depot: Arc::clone(&queue.depot),
                    umem: Arc::clone(&queue.umem),
                    returning: Vec::with_capacity(BURST_MAX),
                    unpublished: 0,
                    unsent: false,
                    busy_polling: spare.config.busy_poll.is_some(),
                });
            }
        }
        let port = spare.config.port;
        let ports = lanes
            .into_iter()
            .map(|lanes| XskPort::new(lanes, port, marks, interface.index, Arc::clone(&gauge)))
            .collect();
        Ok(Self { ports, gauge })
    }

    /// Where the socket of a worker and queue belongs in the program's XSKMAP: the program finds it by queue and worker.
    pub fn map_index(queue: u32, worker: u32, workers: u32) -> u32 {
        queue * workers + worker
    }

    /// Details of all ports together.
    pub fn details(&self) -> XskCounters {
        let mut sum = XskCounters::default();
        for port in &self.ports {
            sum += port.details();
        }
        sum
    }
}
