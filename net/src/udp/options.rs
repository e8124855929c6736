//! Socket options of a payment socket, and the few that no library wraps.

use super::address::Family;
use super::{OpenError, TrafficClass, UdpConfig};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// DSCP CS6 in the upper six bits of the traffic class: the value that mac80211 maps to the voice access category.
pub(crate) const TRAFFIC_CLASS_CS6: u32 = 48 << 2;

/// The highest priority that needs no right; lets the host's own queue discipline send votes ahead of bulk traffic.
const PRIORITY_PAYMENT: libc::c_int = 6;

/// From linux/in.h and linux/in6.h: learn no path MTU from ICMP (anyone can forge it), refuse only what the interface
/// itself cannot carry.
const PMTUDISC_INTERFACE: libc::c_int = 4;

/// From linux/sock_diag.h: the place of the drop counter in what SO_MEMINFO returns, and how many counters there are.
const MEMINFO_DROPS: usize = 8;
const MEMINFO_COUNT: usize = 9;

/// What a socket got, as far as that may differ from what it asked for.
pub(super) struct Granted {
    pub(super) receive_buffer_bytes: usize,
    pub(super) send_buffer_bytes: usize,
    pub(super) with_destination: bool,
}

/// A socket for `config`, with all options set and not yet bound.
pub(super) fn create(config: &UdpConfig) -> Result<(Socket, Family, Granted), OpenError> {
    let failed = |what: &'static str| move |source| OpenError { what, address: config.address, source };
    let (domain, family) = match config.address {
        SocketAddr::V4(_) => (Domain::IPV4, Family::V4),
        SocketAddr::V6(_) => (Domain::IPV6, Family::V6),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).map_err(failed("open a socket for"))?;
    if family == Family::V6 {
        socket.set_only_v6(config.only_v6).map_err(failed("set IPV6_V6ONLY for"))?;
    }
    // An IPv6 socket that also speaks IPv4 takes the IPv4 options too.
    let speaks_v4 = family == Family::V4 || !config.only_v6;
    let speaks_v6 = family == Family::V6;

    if config.traffic_class == TrafficClass::Payment {
        if speaks_v4 {
            socket.set_tos_v4(TRAFFIC_CLASS_CS6).map_err(failed("set IP_TOS for"))?;
        }
        if speaks_v6 {
            socket.set_tclass_v6(TRAFFIC_CLASS_CS6).map_err(failed("set IPV6_TCLASS for"))?;
        }
        // After IP_TOS, which resets it.
        set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_PRIORITY, PRIORITY_PAYMENT)
            .map_err(failed("set SO_PRIORITY for"))?;
    }
    if speaks_v4 {
        set(socket.as_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, PMTUDISC_INTERFACE)
            .map_err(failed("set IP_MTU_DISCOVER for"))?;
    }
    if speaks_v6 {
        set(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, PMTUDISC_INTERFACE)
            .map_err(failed("set IPV6_MTU_DISCOVER for"))?;
    }
    // Bound to one address, that is what answers leave from, and asking for it would only cost time.
    let with_destination = config.address.ip().is_unspecified();
    if with_destination {
        let (level, option) = match family {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_PKTINFO),
            Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        };
        set(socket.as_fd(), level, option, 1).map_err(failed("ask for destination addresses of"))?;
    }

    // With CAP_NET_ADMIN beyond the system's maximum, else up to it; either way the kernel says what it became.
    let receive_bytes = libc::c_int::try_from(config.receive_buffer_bytes).unwrap_or(libc::c_int::MAX);
    let send_bytes = libc::c_int::try_from(config.send_buffer_bytes).unwrap_or(libc::c_int::MAX);
    set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, receive_bytes)
        .or_else(|_| set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, receive_bytes))
        .map_err(failed("set the receive buffer of"))?;
    set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, send_bytes)
        .or_else(|_| set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, send_bytes))
        .map_err(failed("set the send buffer of"))?;
    let granted = Granted {
        receive_buffer_bytes: socket.recv_buffer_size().map_err(failed("read the receive buffer of"))?,
        send_buffer_bytes: socket.send_buffer_size().map_err(failed("read the send buffer of"))?,
        with_destination,
    };
    Ok((socket, family, granted))
}

/// setsockopt(2) with an integer.
pub(crate) fn set(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which lives through the call.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Datagrams that the kernel dropped at this socket, its receive buffer being full. Modulo 2^32.
///
/// SO_MEMINFO instead of SO_RXQ_OVFL: the same number, without control data on every datagram, and up to date even if
/// no further datagram arrives.
pub(super) fn dropped_by_kernel(socket: BorrowedFd<'_>) -> Option<u32> {
    let mut counters = [0u32; MEMINFO_COUNT];
    let mut length = size_of_val(&counters) as libc::socklen_t;
    // SAFETY: the pointer and the length describe `counters`, and the kernel writes no more than that.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            counters.as_mut_ptr().cast(),
            &mut length,
        )
    };
    (outcome == 0 && length as usize == size_of_val(&counters)).then_some(counters[MEMINFO_DROPS])
}
