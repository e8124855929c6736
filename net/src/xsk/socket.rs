//! One AF_XDP socket: made, given memory and rings, bound to a queue, woken, asked for its statistics.
//!
//! Which calls need rights: socket(2) needs CAP_NET_RAW in the network namespace; registering memory counts against
//! RLIMIT_MEMLOCK without CAP_IPC_LOCK; SO_PRIORITY above 6 and the busy-polling options need CAP_NET_ADMIN (or, the first,
//! CAP_NET_RAW). Binding, mapping, sending, receiving and statistics need none: so a socket that was made early can be bound
//! after all rights were dropped. A socket is bound once; after its interface has gone it can only be closed
//! (net/xdp/xsk.c: `xsk_bind` accepts XSK_READY alone).

use super::ring::{Entry, Producer};
use super::umem::{FRAME_BYTES, Umem};
use super::{BusyPoll, XskMode};
use crate::xsk::ring::Consumer;
use rustix::io::Errno;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING,
    XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpMmapOffsets, XdpOptionsFlags, XdpStatistics,
    XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// From asm-generic/socket.h and linux/if_xdp.h; not in every libc.
const SO_INCOMING_NAPI_ID: libc::c_int = 56;
const SO_PREFER_BUSY_POLL: libc::c_int = 69;
const SO_BUSY_POLL_BUDGET: libc::c_int = 70;
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// SO_PRIORITY of payments. AF_XDP's transmit sets no protocol on the packet, so mac80211 would not find the DSCP and would queue it
/// as best effort; 256 plus a user priority is taken as it is (net/wireless/util.c, `cfg80211_classify8021d`). 6 is voice.
const PRIORITY_PAYMENT: libc::c_int = 262;

/// An AF_XDP socket.
pub(super) struct XskSocket {
    descriptor: OwnedFd,
}

/// What the kernel says to a wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kick {
    /// It did what it could.
    Done,
    /// Something is full for now: the device's queue, the completion ring, memory; or its batch is done and more is left.
    Busy,
    /// The device refused a packet for good; it is counted as sent and gone (EBUSY).
    Dropped,
    /// The interface is down (ENETDOWN).
    Down,
    /// The interface is gone, or the socket was never bound (ENXIO, ENODEV).
    Away,
}

impl XskSocket {
    pub(super) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(Self { descriptor: rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, flags, None)? })
    }

    /// Registers the UMEM with the kernel, which pins its pages.
    pub(super) fn register(&self, umem: &Umem) -> io::Result<()> {
        let (addr, len) = umem.region();
        let registration = XdpUmemReg {
            addr,
            len,
            chunk_size: FRAME_BYTES as u32,
            headroom: 0,
            flags: XdpUmemRegFlags::empty(),
            tx_metadata_len: 0,
        };
        Ok(sockopt::set_xdp_umem_reg(self, registration)?)
    }

    /// Makes and maps the rings of frames: fill and completion. Once per UMEM and queue.
    pub(super) fn frame_rings(&self, fill: u32, completion: u32) -> io::Result<(Producer<u64>, Consumer<u64>)> {
        sockopt::set_xdp_umem_fill_ring_size(self, fill)?;
        sockopt::set_xdp_umem_completion_ring_size(self, completion)?;
        let offsets = self.offsets()?;
        Ok((
            Producer::map(self.as_fd(), XDP_UMEM_PGOFF_FILL_RING, &offsets.fr, fill)?,
            Consumer::map(self.as_fd(), XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr, completion)?,
        ))
    }

    /// Makes and maps the receive ring.
    pub(super) fn receive_ring<T: Entry>(&self, size: u32) -> io::Result<Consumer<T>> {
        sockopt::set_xdp_rx_ring_size(self, size)?;
        Consumer::map(self.as_fd(), XDP_PGOFF_RX_RING, &self.offsets()?.rx, size)
    }

    /// Makes and maps the transmit ring, and lets one system call send as much as the kernel allows.
    pub(super) fn transmit_ring<T: Entry>(&self, size: u32) -> io::Result<Producer<T>> {
        sockopt::set_xdp_tx_ring_size(self, size)?;
        // Since Linux 6.17; before, a call sends 32 packets and another one must follow.
        let _ = self.set(libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, size as libc::c_int);
        Producer::map(self.as_fd(), XDP_PGOFF_TX_RING, &self.offsets()?.tx, size)
    }

    fn offsets(&self) -> io::Result<XdpMmapOffsets> {
        Ok(sockopt::xdp_mmap_offsets(self)?)
    }

    /// Binds the first socket of a queue, which has the UMEM.
    pub(super) fn bind(&self, interface: u32, queue: u32, mode: XskMode) -> io::Result<()> {
        let mode = match mode {
            XskMode::Copy => SocketAddrXdpFlags::XDP_COPY,
            XskMode::ZeroCopy => SocketAddrXdpFlags::XDP_ZEROCOPY,
        };
        let address = SocketAddrXdp::new(mode | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP, interface, queue);
        Ok(rustix::net::bind(self, &address)?)
    }

    /// Binds a further socket to the queue of `first`, whose UMEM, mode and frame rings it shares.
    pub(super) fn bind_beside(&self, first: &Self, interface: u32, queue: u32) -> io::Result<()> {
        let address = SocketAddrXdpWithSharedUmem {
            addr: SocketAddrXdp::new(SocketAddrXdpFlags::XDP_SHARED_UMEM, interface, queue),
            shared_umem_fd: first.as_fd(),
        };
        Ok(rustix::net::bind(self, &address)?)
    }

    /// Whether the kernel exchanges packets with the driver without copying.
    pub(super) fn is_zero_copy(&self) -> io::Result<bool> {
        Ok(sockopt::xdp_options(self)?.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY))
    }

    pub(super) fn statistics(&self) -> io::Result<XdpStatistics> {
        Ok(sockopt::xdp_statistics(self)?)
    }

    /// Marks what is sent for mac80211's voice queue; other drivers do not look at it.
    pub(super) fn prioritise(&self) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_PRIORITY, PRIORITY_PAYMENT)
    }

    /// Asks for busy polling. The kernel does so only once the socket knows its NAPI ([`napi`](Self::napi)).
    pub(super) fn poll_busily(&self, wanted: BusyPoll) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, 1)?;
        self.set(libc::SOL_SOCKET, libc::SO_BUSY_POLL, libc::c_int::from(wanted.time_us))?;
        self.set(libc::SOL_SOCKET, SO_BUSY_POLL_BUDGET, libc::c_int::from(wanted.budget_packets))
    }

    /// The NAPI instance that packets come from; 0 where the driver has none or nothing has come yet (mac80211, for one).
    pub(super) fn napi(&self) -> u32 {
        let mut id = 0u32;
        let mut length = size_of::<u32>() as libc::socklen_t;
        // SAFETY: pointer and length describe `id`, and the kernel writes no more than that.
        let outcome = unsafe {
            libc::getsockopt(
                self.descriptor.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_INCOMING_NAPI_ID,
                (&raw mut id).cast(),
                &mut length,
            )
        };
        if outcome == 0 { id } else { 0 }
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        crate::udp::set_option(self.as_fd(), level, option, value)
    }

    /// Makes the kernel send what is in the transmit ring (`xsk_sendmsg`).
    pub(super) fn kick_transmit(&self) -> io::Result<Kick> {
        understand(rustix::net::send(self, &[], SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop))
    }

    /// Makes the driver look at the fill ring, polls busily where that is on, and tells the interface's state (`xsk_recvmsg`).
    pub(super) fn kick_receive(&self) -> io::Result<Kick> {
        let mut nothing = [0u8; 0];
        understand(rustix::net::recv(self, &mut nothing, RecvFlags::DONTWAIT).map(drop))
    }
}

/// The outcome of a wake-up. An error is one that only a mistake of ours can cause, such as a closed descriptor.
fn understand(outcome: Result<(), Errno>) -> io::Result<Kick> {
    match outcome {
        Ok(()) => Ok(Kick::Done),
        Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::INTR) => Ok(Kick::Busy),
        Err(Errno::BUSY) => Ok(Kick::Dropped),
        Err(Errno::NETDOWN) => Ok(Kick::Down),
        Err(Errno::NXIO | Errno::NODEV) => Ok(Kick::Away),
        Err(error @ (Errno::BADF | Errno::NOTSOCK | Errno::FAULT)) => Err(error.into()),
        // Whatever else a driver's wake-up returns concerns this moment.
        Err(_) => Ok(Kick::Busy),
    }
}

impl AsFd for XskSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
