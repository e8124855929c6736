//! UDP sockets as packet ports: recvmmsg(2) and sendmmsg(2) over buffers made at the start.
//!
//! What always holds: answers leave from the address that the request came to, also on a socket bound to the wildcard
//! address; errors that a peer or the network can cause (ICMP messages, full buffers, firewalls, source port 0) are
//! counted and never end the port.

mod address;
mod group;
mod options;
mod slots;

pub use group::{UdpGroup, WORKERS_MAX};
pub(crate) use options::{TRAFFIC_CLASS_CS6, set as set_option};

use crate::{
    BURST_MAX, DATAGRAM_MAX_BYTES, LinkData, PacketPort, Peer, PortCounters, Sent, WAIT_OTHERS_MAX, Waitable, Woken,
};
use address::{Arrived, Family};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use slots::Slots;
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// How long a flush waits, once, for room in the send buffer before it gives up the rest of the burst.
pub const FLUSH_WAIT_MAX_MS: u64 = 1;

/// How many pending errors (ICMP messages of earlier peers) one receive skips before it reports an empty burst.
const RECEIVE_ERRORS_MAX: usize = 16;

/// What a socket carries, and so how it is marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficClass {
    /// Orders, votes, certificates: DSCP CS6, which reaches the voice access category of a mesh interface.
    #[default]
    Payment,
    /// No mark.
    BestEffort,
}

/// How to open a socket.
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// Where to bind. The wildcard `[::]` also speaks IPv4 unless `only_v6`; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// For an IPv6 address: refuse IPv4.
    pub only_v6: bool,
    /// Mark of what is sent.
    pub traffic_class: TrafficClass,
    /// Receive buffer to ask for, counted as the kernel counts: a short datagram takes 1,280 bytes (Linux 6.18), and
    /// the kernel grants twice what is asked for.
    pub receive_buffer_bytes: usize,
    /// Send buffer to ask for.
    pub send_buffer_bytes: usize,
}

impl UdpConfig {
    /// Defaults of a payment socket at `address`: CS6, and a receive buffer for 13,000 short datagrams, which is how many come
    /// in 80 ms at full load: longer than a disk takes for a sync on a bad day.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            only_v6: false,
            traffic_class: TrafficClass::Payment,
            receive_buffer_bytes: 8 << 20,
            send_buffer_bytes: 8 << 20,
        }
    }
}

/// A socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} UDP address {address}: {source}{}", remedy(.source))]
pub struct OpenError {
    what: &'static str,
    address: SocketAddr,
    source: io::Error,
}

impl OpenError {
    /// The kernel's reason.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "; another process has this port, choose another or stop it",
        io::ErrorKind::AddrNotAvailable => "; this host has no such address, see `ip address`",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// One UDP socket as a packet port.
pub struct UdpPort {
    socket: Socket,
    family: Family,
    local: SocketAddr,
    receive_buffer_bytes: usize,
    send_buffer_bytes: usize,
    with_destination: bool,
    incoming: Slots,
    /// Slots at the front that the last receive used and that must be armed again.
    used: usize,
    /// Slots of the datagrams accepted from the last burst.
    accepted: [u16; BURST_MAX],
    accepted_count: usize,
    outgoing: Slots,
    queued: usize,
    counters: PortCounters,
}

impl UdpPort {
    /// Opens a socket that nobody else shares.
    ///
    /// # Errors
    /// When the kernel refuses; the message names the step and, where there is one, the remedy.
    pub fn open(config: &UdpConfig) -> Result<Self, OpenError> {
        Self::unbound(config)?.bind(config.address)
    }

    /// A socket with its options and buffers, to be bound next.
    fn unbound(config: &UdpConfig) -> Result<Self, OpenError> {
        let (socket, family, granted) = options::create(config)?;
        Ok(Self {
            socket,
            family,
            local: config.address,
            receive_buffer_bytes: granted.receive_buffer_bytes,
            send_buffer_bytes: granted.send_buffer_bytes,
            with_destination: granted.with_destination,
            incoming: Slots::new(),
            used: BURST_MAX,
            accepted: [0; BURST_MAX],
            accepted_count: 0,
            outgoing: Slots::new(),
            queued: 0,
            counters: PortCounters::default(),
        })
    }

    fn bind(mut self, address: SocketAddr) -> Result<Self, OpenError> {
        let failed = |what: &'static str| move |source| OpenError { what, address, source };
        self.socket.bind(&address.into()).map_err(failed("bind"))?;
        let local = self.socket.local_addr().map_err(failed("read back"))?;
        self.local = local.as_socket().unwrap_or(address);
        Ok(self)
    }

    /// The address and port that the socket is bound to.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The receive buffer that the kernel granted, in its own counting (twice what was asked for, if nothing limits it).
    pub fn receive_buffer_bytes(&self) -> usize {
        self.receive_buffer_bytes
    }

    /// The send buffer that the kernel granted, counted likewise.
    pub fn send_buffer_bytes(&self) -> usize {
        self.send_buffer_bytes
    }

    /// Sorts the first `count` slots into accepted and oversized.
    fn accept(&mut self, count: usize) {
        self.used = count;
        for slot in 0..count {
            if self.incoming.flags(slot) & libc::MSG_TRUNC != 0 {
                self.counters.received_oversized += 1;
                continue;
            }
            self.accepted[self.accepted_count] = slot as u16;
            self.accepted_count += 1;
        }
        self.counters.received += self.accepted_count as u64;
    }
}

impl AsFd for UdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Errors after which this descriptor will never work: mistakes of ours, not of a peer.
fn is_fatal(errno: i32) -> bool {
    matches!(errno, libc::EBADF | libc::ENOTSOCK | libc::EFAULT)
}

impl PacketPort for UdpPort {
    fn receive(&mut self) -> io::Result<usize> {
        for slot in 0..self.used {
            self.incoming.arm(slot, self.with_destination);
        }
        self.used = 0;
        self.accepted_count = 0;
        for _ in 0..RECEIVE_ERRORS_MAX {
            let error = match self.incoming.receive(self.socket.as_fd()) {
                Ok(count) => {
                    self.accept(count);
                    return Ok(self.accepted_count);
                }
                Err(error) => error,
            };
            match error.raw_os_error().unwrap_or(0) {
                libc::EAGAIN => return Ok(0),
                libc::EINTR => {}
                errno if is_fatal(errno) => return Err(error),
                _ => self.counters.receive_errors += 1,
            }
        }
        Ok(0)
    }

    fn packet(&self, index: usize) -> (&[u8], Peer) {
        let slot = usize::from(self.accepted[..self.accepted_count][index]);
        let (name, name_bytes) = self.incoming.name(slot);
        // UDP sockets always name the sender. Should one not, its answer is refused by the kernel and counted.
        let address = address::decode_name(name, name_bytes).unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        let arrived = if self.with_destination {
            let (control, control_bytes) = self.incoming.control(slot);
            address::decode_destination(control, control_bytes)
        } else {
            Arrived::default()
        };
        let link = LinkData::from_socket(arrived.interface);
        (self.incoming.payload(slot), Peer { address, local: arrived.at, link })
    }

    fn queue(&mut self, to: &Peer, parts: &[&[u8]]) -> bool {
        if self.queued == BURST_MAX {
            return false;
        }
        let length: usize = parts.iter().map(|part| part.len()).sum();
        debug_assert!(length <= DATAGRAM_MAX_BYTES, "a datagram of {length} bytes was queued");
        if length > DATAGRAM_MAX_BYTES {
            self.counters.queue_oversized += 1;
            return true;
        }
        let name = address::encode_name(self.family, to.address);
        let control = to.local.and_then(|local| address::encode_source(self.family, local));
        self.outgoing.fill(self.queued, parts, name, control);
        self.queued += 1;
        true
    }

    fn flush(&mut self) -> io::Result<Sent> {
        let end = std::mem::take(&mut self.queued);
        let mut next = 0;
        let mut sent = 0;
        let mut has_waited = false;
        while next < end {
            let error = match self.outgoing.send(self.socket.as_fd(), next, end) {
                Ok(count) => {
                    next += count;
                    sent += count;
                    continue;
                }
                Err(error) => error,
            };
            match error.raw_os_error().unwrap_or(0) {
                libc::EINTR => {}
                libc::EAGAIN if !has_waited => {
                    has_waited = true;
                    wait_writable(self.socket.as_fd());
                }
                libc::EAGAIN => {
                    self.counters.refused.count(libc::EAGAIN, (end - next) as u64);
                    next = end;
                }
                errno if is_fatal(errno) => return Err(error),
                errno => {
                    // The error is that of the first datagram offered; those behind it get their own chance.
                    self.counters.refused.count(errno, 1);
                    next += 1;
                }
            }
        }
        self.counters.sent += sent as u64;
        Ok(Sent { sent, refused: end - sent })
    }

    fn counters(&self) -> PortCounters {
        let dropped = options::dropped_by_kernel(self.socket.as_fd()).unwrap_or(0);
        PortCounters { receive_dropped_by_kernel: u64::from(dropped), ..self.counters }
    }
}

fn wait_writable(socket: BorrowedFd<'_>) {
    let mut watched = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    // Whatever comes of it, the caller tries to send again and looks at that outcome.
    let _ = poll(&mut watched, Some(&crate::wake::timespec(Duration::from_millis(FLUSH_WAIT_MAX_MS))));
}

impl Waitable for UdpPort {
    fn wait(&mut self, timeout: Duration, others: &[BorrowedFd<'_>]) -> io::Result<Woken> {
        if others.len() > WAIT_OTHERS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors to wait for"));
        }
        let socket = self.socket.as_fd();
        let mut watched: [PollFd<'_>; WAIT_OTHERS_MAX + 1] =
            std::array::from_fn(|index| match index.checked_sub(1).and_then(|other| others.get(other)) {
                Some(other) => PollFd::from_borrowed_fd(*other, PollFlags::IN),
                None => PollFd::from_borrowed_fd(socket, PollFlags::IN),
            });
        match poll(&mut watched[..=others.len()], Some(&crate::wake::timespec(timeout))) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Woken::default()),
            Err(error) => return Err(error.into()),
        }
        let mut woken = Woken { packets: !watched[0].revents().is_empty(), others: 0 };
        for (index, other) in watched[1..=others.len()].iter().enumerate() {
            if !other.revents().is_empty() {
                woken.others |= 1 << index;
            }
        }
        Ok(woken)
    }
}
