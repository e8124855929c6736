//! Driver and queues of an interface by the ethtool ioctl; needs no right.
//!
//! Layouts: linux/ethtool.h. `ETHTOOL_GDRVINFO` and `ETHTOOL_GCHANNELS` only read.

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use super::netlink::text;

/// Who drives an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Its name: "veth", "ixgbe", "ath10k_pci"...
    pub name: String,
    /// Its version, mostly the kernel's.
    pub version: String,
    /// Where the device is, such as a PCI address; empty for a virtual one.
    pub bus: String,
}

/// Queues in use. A driver has either combined queues or receive and transmit queues; both are counted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// Queues that packets arrive on; an AF_XDP socket is bound to one of them.
    pub receive: u32,
    /// Queues that packets leave by.
    pub transmit: u32,
    /// The most receive queues that can be set with `ethtool -L`; 0 where the driver does not say.
    pub receive_max: u32,
}

const ETHTOOL_GDRVINFO: u32 = 0x3;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
/// linux/sockios.h.
const SIOCETHTOOL: libc::Ioctl = 0x8946;

#[repr(C)]
struct EthtoolDriverInfo {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware_version: [u8; 32],
    bus_info: [u8; 32],
    rom_version: [u8; 32],
    reserved: [u8; 12],
    counts: [u32; 5],
}
const _: () = assert!(size_of::<EthtoolDriverInfo>() == 196);

#[repr(C)]
struct EthtoolChannels {
    command: u32,
    max_receive: u32,
    max_transmit: u32,
    max_other: u32,
    max_combined: u32,
    receive: u32,
    transmit: u32,
    other: u32,
    combined: u32,
}
const _: () = assert!(size_of::<EthtoolChannels>() == 36);

/// Who drives the interface of this name; fails with `EOPNOTSUPP` for one without a driver of its own, such as the loopback.
pub(super) fn driver(name: &str) -> io::Result<Driver> {
    let empty = [0; 32];
    let mut info = EthtoolDriverInfo {
        command: ETHTOOL_GDRVINFO,
        driver: empty,
        version: empty,
        firmware_version: empty,
        bus_info: empty,
        rom_version: empty,
        reserved: [0; 12],
        counts: [0; 5],
    };
    // SAFETY: the command is the one that `EthtoolDriverInfo` is the layout of.
    unsafe { ask(name, &mut info) }?;
    Ok(Driver { name: text(&info.driver), version: text(&info.version), bus: text(&info.bus_info) })
}

/// The queues in use; fails with `EOPNOTSUPP` where the driver does not tell.
pub(super) fn queues(name: &str) -> io::Result<Queues> {
    let mut channels = EthtoolChannels {
        command: ETHTOOL_GCHANNELS,
        max_receive: 0,
        max_transmit: 0,
        max_other: 0,
        max_combined: 0,
        receive: 0,
        transmit: 0,
        other: 0,
        combined: 0,
    };
    // SAFETY: the command is the one that `EthtoolChannels` is the layout of.
    unsafe { ask(name, &mut channels) }?;
    Ok(Queues {
        receive: channels.receive.saturating_add(channels.combined),
        transmit: channels.transmit.saturating_add(channels.combined),
        receive_max: channels.max_receive.saturating_add(channels.max_combined),
    })
}

/// # Safety
/// `argument` must be the structure that its first field, the command, reads and writes.
unsafe fn ask<T>(name: &str, argument: &mut T) -> io::Result<()> {
    // SAFETY: all zero bytes are an ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays for the zero at the end.
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut *argument).cast();
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: `request` and what it points to live through the call; the caller vouches for the layout behind the pointer.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
