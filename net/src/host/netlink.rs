//! Netlink as far as this room needs it: one request with its answer, one dump, and multicast groups.
//!
//! Own code of one file, because the kept crates (`rtnetlink`, `neli`) bring eight or more packages for three dumps, none of
//! them decodes the `netdev` family, and what matters here, an overrun, is a plain `ENOBUFS`. Layouts: linux/netlink.h.
//!
//! What always holds: only the kernel is believed (sender's port 0); a length is checked before it is used; a request that the
//! kernel does not answer ends after [`ANSWER_MAX`]; a dump that the kernel calls inconsistent is made again.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Longest wait for an answer; the kernel answers within its system call, so this is never reached on a whole machine.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How often an inconsistent dump is made again before the last one is taken as it is.
const DUMP_ATTEMPTS: usize = 8;
/// The kernel fills at most 32 KiB per message of a dump (netlink_dump in net/netlink/af_netlink.c); notifications are smaller.
const BUFFER_BYTES: usize = 64 << 10;

const HEADER_BYTES: usize = size_of::<libc::nlmsghdr>();
const _: () = assert!(HEADER_BYTES == 16 && size_of::<libc::sockaddr_nl>() == 12);

/// An open netlink socket.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
}

/// One message of the kernel: its type and what follows the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

impl Netlink {
    /// A socket of a protocol such as `NETLINK_ROUTE`. Needs no right.
    pub(super) fn open(protocol: libc::c_int) -> io::Result<Self> {
        // SAFETY: no pointers.
        let descriptor = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, Some(ANSWER_MAX))?;
        // SAFETY: all zero bytes are a sockaddr_nl.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        // SAFETY: pointer and length describe `address`, which lives through the call.
        let outcome = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_nl>() as libc::socklen_t,
            )
        };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER_BYTES].into_boxed_slice() })
    }

    /// Subscribes to a multicast group (`RTNLGRP_*`).
    pub(super) fn join(&self, group: libc::c_int) -> io::Result<()> {
        // SAFETY: pointer and length describe `group`, which lives through the call.
        let outcome = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_ADD_MEMBERSHIP,
                (&raw const group).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Asks for the buffer of notifications that nobody has read yet; the kernel may give less without CAP_NET_ADMIN.
    pub(super) fn set_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&self.socket, bytes)
            .or_else(|_| rustix::net::sockopt::set_socket_recv_buffer_size(&self.socket, bytes))?;
        Ok(())
    }

    /// Asks for one thing and hands its answers to `each`.
    ///
    /// # Errors
    /// What the kernel answered, or that it did not answer.
    pub(super) fn request(&mut self, request: Request, mut each: impl FnMut(Message<'_>)) -> io::Result<()> {
        self.exchange(request, libc::NLM_F_ACK as u16, &mut |message| each(message)).map(|_| ())
    }

    /// Asks for all of a kind. `begin` is called before the first message of each attempt, so that what an inconsistent dump
    /// said can be forgotten.
    pub(super) fn dump<T>(
        &mut self,
        request: &Request,
        mut begin: impl FnMut() -> T,
        mut each: impl FnMut(&mut T, Message<'_>),
    ) -> io::Result<T> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut gathered = begin();
            let whole = self.exchange(request.clone(), libc::NLM_F_DUMP as u16, &mut |message| {
                each(&mut gathered, message);
            })?;
            if whole || attempt == DUMP_ATTEMPTS {
                return Ok(gathered);
            }
        }
    }

    /// Sends, and reads until the end of the answer. False if a dump was inconsistent.
    fn exchange(&mut self, request: Request, flags: u16, each: &mut dyn FnMut(Message<'_>)) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let bytes = request.finish(flags | libc::NLM_F_REQUEST as u16, sequence);
        rustix::net::send(&self.socket, &bytes, rustix::net::SendFlags::empty())?;
        let mut whole = true;
        loop {
            let length = self.receive_bytes(0)?.ok_or(io::ErrorKind::TimedOut)?;
            for message in messages(&self.buffer[..length]) {
                // A late answer to a request that was given up.
                if message.sequence != sequence {
                    continue;
                }
                whole &= message.flags & libc::NLM_F_DUMP_INTR as u16 == 0;
                match libc::c_int::from(message.kind) {
                    libc::NLMSG_DONE => {
                        return match read_i32(message.body, 0).unwrap_or(0) {
                            0 => Ok(whole),
                            error => Err(io::Error::from_raw_os_error(error.saturating_neg())),
                        };
                    }
                    libc::NLMSG_ERROR => {
                        return match read_i32(message.body, 0) {
                            Some(0) => Ok(whole),
                            Some(error) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
                            None => Err(io::ErrorKind::InvalidData.into()),
                        };
                    }
                    libc::NLMSG_NOOP => {}
                    _ => each(message),
                }
            }
        }
    }

    /// Hands the notifications of one datagram to `each`. False if none waits.
    ///
    /// # Errors
    /// `ENOBUFS` (see [`is_overrun`]) if notifications were lost since the last call.
    pub(super) fn notifications(&mut self, mut each: impl FnMut(Message<'_>)) -> io::Result<bool> {
        let Some(length) = self.receive_bytes(libc::MSG_DONTWAIT)? else { return Ok(false) };
        for message in messages(&self.buffer[..length]) {
            each(message);
        }
        Ok(true)
    }

    /// One datagram of the kernel into the buffer; nothing if none came in time.
    fn receive_bytes(&mut self, flags: libc::c_int) -> io::Result<Option<usize>> {
        loop {
            // SAFETY: all zero bytes are a sockaddr_nl.
            let mut from: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
            let mut from_length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
            // SAFETY: pointers and lengths describe `buffer` and `from`, which live through the call.
            let length = unsafe {
                libc::recvfrom(
                    self.socket.as_raw_fd(),
                    self.buffer.as_mut_ptr().cast(),
                    self.buffer.len(),
                    flags | libc::MSG_TRUNC,
                    (&raw mut from).cast(),
                    &raw mut from_length,
                )
            };
            if length < 0 {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock => return Ok(None),
                    _ => return Err(error),
                }
            }
            // Another process may send to our port; only the kernel has port 0.
            if from.nl_pid != 0 {
                continue;
            }
            let length = length.unsigned_abs();
            // What was cut off is lost, like what did not fit the socket's buffer.
            if length > self.buffer.len() {
                return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
            }
            return Ok(Some(length));
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether notifications were lost, so that all must be asked for again.
pub(super) fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

/// A request: header, a fixed part, attributes.
#[derive(Clone, Debug)]
pub(super) struct Request(Vec<u8>);

impl Request {
    /// A request of a type, with the fixed part that the type wants.
    pub(super) fn new(kind: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(fixed);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        Self(bytes)
    }

    /// Adds an attribute.
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (4 + value.len()) as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self, flags: u16, sequence: u32) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// The messages of a datagram; ends at the first that is not whole.
pub(super) fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = read_u32(rest, 0)? as usize;
        if length < HEADER_BYTES || length > rest.len() {
            return None;
        }
        let message = Message {
            kind: read_u16(rest, 4)?,
            flags: read_u16(rest, 6)?,
            sequence: read_u32(rest, 8)?,
            body: &rest[HEADER_BYTES..length],
        };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    })
}

/// Type and value of each attribute; ends at the first that is not whole.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = read_u16(rest, 0)? as usize;
        // The two highest bits say 'nested' and 'network byte order' (NLA_TYPE_MASK).
        let kind = read_u16(rest, 2)? & 0x3fff;
        if length < 4 || length > rest.len() {
            return None;
        }
        let value = &rest[4..length];
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// A number in the machine's byte order, if the bytes reach that far.
pub(super) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Likewise.
pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Likewise.
pub(super) fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn read_i32(bytes: &[u8], at: usize) -> Option<i32> {
    read_u32(bytes, at).map(u32::cast_signed)
}

/// Text that may end with a zero byte.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let bytes = Request::new(18, &[1, 2, 3, 4]).with(3, b"eth0\0").with(0x8005, &7u32.to_ne_bytes()).finish(1, 9);
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].flags, all[0].sequence), (18, 1, 9));
        let found: Vec<_> = attributes(&all[0].body[4..]).collect();
        assert_eq!(found, [(3, b"eth0\0".as_slice()), (5, 7u32.to_ne_bytes().as_slice())]);
        assert_eq!(text(found[0].1), "eth0");
    }

    #[test]
    fn cut_and_lying_lengths_end_the_reading() {
        let bytes = Request::new(18, &[]).with(3, b"eth0\0").with(4, &[0; 4]).finish(1, 9);
        for length in 0..bytes.len() {
            assert_eq!(messages(&bytes[..length]).count(), 0, "{length} bytes");
            for (_, value) in attributes(&bytes[HEADER_BYTES..length.max(HEADER_BYTES)]) {
                assert!(value.len() <= 5);
            }
        }
        for lie in [0u32, 15, u32::MAX] {
            let mut lying = bytes.clone();
            lying[..4].copy_from_slice(&lie.to_ne_bytes());
            assert_eq!(messages(&lying).count(), 0, "a length of {lie}");
        }
        for lie in [0u16, 3, u16::MAX] {
            assert_eq!(
                attributes(&[lie.to_ne_bytes(), [1, 0], [0; 2], [0; 2]].concat()).count(),
                0,
                "a length of {lie}"
            );
        }
    }

    #[test]
    fn the_kernel_answers_and_refuses() {
        let mut netlink = Netlink::open(libc::NETLINK_ROUTE).unwrap();
        let request = Request::new(libc::RTM_GETLINK, &[0; 16]);
        let links = netlink.dump(&request, || 0, |count, _| *count += 1).unwrap();
        assert!(links >= 1, "there is no loopback");
        let refused = netlink.request(Request::new(libc::RTM_GETLINK, &[0; 16]).with(3, b"no-such-if\0"), |_| {});
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
