//! Whole Ethernet frames from the mesh, with any sender that one likes: what an attacker on the air can send.
//!
//! What always holds: a frame goes out as it was built; nothing fills in or repairs a field.

use crate::link::{GATEWAY_MAC, MESH_MAC, Namespace, PEER};
use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

/// Hardware address of an attacker whose frames carry other people's IP addresses.
pub const ATTACKER_MAC: [u8; 6] = [0x02, 0x4d, 0x50, 0, 0, 0x66];

/// Length of Ethernet, IPv4 and UDP headers.
pub const HEADERS: usize = 14 + 20 + 8;

/// A datagram in a frame to the gateway.
pub fn udp_frame(source_mac: [u8; 6], source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADERS + payload.len());
    frame.extend(GATEWAY_MAC);
    frame.extend(source_mac);
    frame.extend([0x08, 0x00]);
    frame.extend([0x45, 0]);
    frame.extend((28 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend(source.ip().octets());
    frame.extend(destination.ip().octets());
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum);
    frame.extend(source.port().to_be_bytes());
    frame.extend(destination.port().to_be_bytes());
    frame.extend((8 + payload.len() as u16).to_be_bytes());
    // No checksum, which IPv4 allows: signatures protect what matters.
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// A datagram in a frame from the mesh's own hardware address.
pub fn from_mesh(source: (Ipv4Addr, u16), destination: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    udp_frame(MESH_MAC, SocketAddrV4::new(source.0, source.1), destination, payload)
}

/// A datagram over IPv6 in a frame from the mesh's own hardware address, behind so many destination options (RFC 8200) that say nothing.
pub fn from_mesh_v6(
    source: SocketAddrV6,
    destination: SocketAddrV6,
    extension_headers: usize,
    payload: &[u8],
) -> Vec<u8> {
    const DESTINATION_OPTIONS: u8 = 60;
    const UDP: u8 = 17;
    let first = if extension_headers > 0 { DESTINATION_OPTIONS } else { UDP };
    let mut frame = [GATEWAY_MAC, MESH_MAC].concat();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(((8 * extension_headers + 8 + payload.len()) as u16).to_be_bytes());
    frame.extend([first, 64]);
    frame.extend(source.ip().octets());
    frame.extend(destination.ip().octets());
    for number in 1..=extension_headers {
        let next = if number < extension_headers { DESTINATION_OPTIONS } else { UDP };
        // Of eight bytes, padded by PadN.
        frame.extend([next, 0, 1, 4, 0, 0, 0, 0]);
    }
    frame.extend(source.port().to_be_bytes());
    frame.extend(destination.port().to_be_bytes());
    frame.extend((8 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// A frame with VLAN tags (IEEE 802.1Q) put into it, the outermost first.
pub fn tagged(frame: &[u8], vlans: &[u16]) -> Vec<u8> {
    let tags = vlans.iter().flat_map(|vlan| [[0x81, 0x00], vlan.to_be_bytes()]).flatten();
    frame[..12].iter().copied().chain(tags).chain(frame[12..].iter().copied()).collect()
}

/// The internet checksum (RFC 1071).
pub fn checksum(bytes: &[u8]) -> [u8; 2] {
    let pairs = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = pairs.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// A socket that sends whole frames by the mesh's end of the link.
pub struct FrameSocket(OwnedFd);

impl FrameSocket {
    /// Opens one.
    ///
    /// # Errors
    /// If there are no rights for it.
    pub fn open(mesh: &Namespace) -> Result<Self> {
        mesh.inside(|| {
            // Protocol 0: it receives nothing.
            let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)
                .context("a packet socket")?;
            let index = interface_index(PEER);
            let index = index.with_context(|| format!("there is no {PEER}"))?;
            let address = libc::sockaddr_ll {
                sll_family: libc::AF_PACKET as u16,
                sll_protocol: 0,
                sll_ifindex: index,
                sll_hatype: 0,
                sll_pkttype: 0,
                sll_halen: 0,
                sll_addr: [0; 8],
            };
            let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            // SAFETY: pointer and length describe `address`, which lives through the call.
            let outcome = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
            ensure!(outcome == 0, "binding a packet socket: {}", std::io::Error::last_os_error());
            Ok(Self(socket))
        })?
    }

    /// Sends frames, one system call for up to 64 of them, and returns how many the device took.
    ///
    /// # Errors
    /// If the device is down or gone.
    pub fn send(&self, frames: &[impl AsRef<[u8]>]) -> Result<usize> {
        let mut sent = 0;
        for chunk in frames.chunks(64) {
            let mut vectors: Vec<libc::iovec> = chunk
                .iter()
                .map(|frame| libc::iovec {
                    iov_base: frame.as_ref().as_ptr().cast_mut().cast(),
                    iov_len: frame.as_ref().len(),
                })
                .collect();
            let mut messages: Vec<libc::mmsghdr> = vectors
                .iter_mut()
                .map(|vector| {
                    // SAFETY: all fields are integers and pointers, for which zero is a value.
                    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                    message.msg_hdr.msg_iov = vector;
                    message.msg_hdr.msg_iovlen = 1;
                    message
                })
                .collect();
            let mut from = 0;
            while from < messages.len() {
                let rest = &mut messages[from..];
                // SAFETY: the headers describe `frames`, which live through the call and are only read.
                let taken =
                    unsafe { libc::sendmmsg(self.0.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0) };
                match usize::try_from(taken) {
                    Ok(taken) => {
                        (from, sent) = (from + taken, sent + taken);
                    }
                    Err(_) => {
                        let error = std::io::Error::last_os_error();
                        // The device's queue is full: that frame is lost, as on the air.
                        ensure!(error.raw_os_error() == Some(libc::ENOBUFS), "sending frames: {error}");
                        from += 1;
                    }
                }
            }
        }
        Ok(sent)
    }
}

/// Index of an interface in the calling thread's namespace.
fn interface_index(name: &str) -> Option<i32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: the name ends with its zero and lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    i32::try_from(index).ok().filter(|index| *index != 0)
}
