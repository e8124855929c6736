//! A look at passing packets: [`Tap`], an AF_PACKET socket that sees copies of what the host's interfaces receive and send over UDP port
//! P. It takes nothing away, and sees nothing that XDP has dropped or redirected before.
//!
//! What always holds: one filter in the kernel keeps everything else out before it is copied; what did not fit the buffer is counted;
//! a frame is handed out as it was on the wire, with its VLAN tag. Layouts: packet(7), linux/if_packet.h, linux/filter.h.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Room for packets that nobody has looked at yet.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;
/// Longest frame that is kept whole; ours have at most 1,400 bytes behind their headers. Longer ones are cut.
const FRAME_MAX_BYTES: usize = 4096;
const CONTROL_BYTES: usize = 256;
/// Two Ethernet addresses, behind which a VLAN tag stands.
const TAG_OFFSET: usize = 12;

/// linux/if_arp.h.
const ARPHRD_LOOPBACK: u16 = 772;
const ARPHRD_ETHER: u16 = 1;

/// A frame that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TappedFrame<'a> {
    /// When, in nanoseconds since 1970 UTC.
    pub time_ns: u64,
    /// Index of the interface.
    pub interface: u32,
    /// This host sent it.
    pub outgoing: bool,
    /// It begins with an Ethernet header; otherwise with that of IP.
    pub ethernet: bool,
    /// Its bytes, cut after 4,096.
    pub bytes: &'a [u8],
    /// Its length on the wire in bytes.
    pub length: usize,
}

/// A tap. Dropping it ends it.
pub struct Tap {
    socket: OwnedFd,
    buffer: Box<[u8]>,
    lost: u64,
}

impl Tap {
    /// Listens at one interface, or at all with `None`, for UDP from or to `port`. Needs CAP_NET_RAW now and nothing later.
    ///
    /// # Errors
    /// `EPERM` without the right; else what the kernel says.
    pub fn open(interface: Option<u32>, port: u16) -> io::Result<Self> {
        // Protocol 0 hears nothing until the filter stands and the socket is bound.
        // SAFETY: no pointers.
        let descriptor = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let mut program = filter(port);
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        set(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)?;
        set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)?;
        set(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1i32)?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES)
            .or_else(|_| rustix::net::sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES))?;
        // SAFETY: all zero bytes are a sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = interface.unwrap_or(0).cast_signed();
        // SAFETY: pointer and length describe `address`, which lives through the call.
        let outcome = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { socket, buffer: vec![0; FRAME_MAX_BYTES + 4].into_boxed_slice(), lost: 0 })
    }

    /// The next frame, or nothing if none waits. Never blocks; wait on [`AsFd::as_fd`].
    ///
    /// # Errors
    /// `ENETDOWN` once if the interface went down; it goes on when that comes up again.
    pub fn receive(&mut self) -> io::Result<Option<TappedFrame<'_>>> {
        loop {
            // SAFETY: all zero bytes are each of these.
            let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
            let mut control = [0u64; CONTROL_BYTES / 8];
            let mut part = libc::iovec {
                // Room for a tag is left in front.
                iov_base: self.buffer[4..].as_mut_ptr().cast(),
                iov_len: FRAME_MAX_BYTES,
            };
            message.msg_name = (&raw mut from).cast();
            message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = CONTROL_BYTES as _;
            // SAFETY: every pointer in `message` is to a value that lives through the call, with its length beside it.
            let length = unsafe {
                libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT | libc::MSG_TRUNC)
            };
            if length < 0 {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock => return Ok(None),
                    _ => return Err(error),
                }
            }
            let outgoing = from.sll_pkttype == libc::PACKET_OUTGOING;
            // The loopback shows each packet twice: as it leaves and as it comes.
            if outgoing && from.sll_hatype == ARPHRD_LOOPBACK {
                continue;
            }
            // SAFETY: `message` is as the kernel left it, and `control` lives.
            let (time_ns, tag) = unsafe { read_control(&message) };
            let mut length = length.unsigned_abs();
            let mut kept = length.min(FRAME_MAX_BYTES);
            let ethernet = matches!(from.sll_hatype, ARPHRD_ETHER | ARPHRD_LOOPBACK);
            let mut start = 4;
            if let Some([protocol, tag]) = tag
                && ethernet
                && kept >= TAG_OFFSET
            {
                // The kernel has taken the tag out; it goes back behind the addresses.
                self.buffer.copy_within(4..4 + TAG_OFFSET, 0);
                self.buffer[TAG_OFFSET..TAG_OFFSET + 2].copy_from_slice(&protocol.to_be_bytes());
                self.buffer[TAG_OFFSET + 2..TAG_OFFSET + 4].copy_from_slice(&tag.to_be_bytes());
                (start, kept, length) = (0, kept + 4, length + 4);
            }
            let bytes = &self.buffer[start..start + kept];
            let interface = from.sll_ifindex.cast_unsigned();
            return Ok(Some(TappedFrame { time_ns, interface, outgoing, ethernet, bytes, length }));
        }
    }

    /// Frames that passed and did not fit the buffer, since the opening.
    ///
    /// # Errors
    /// If the kernel refuses, which it does not.
    pub fn lost(&mut self) -> io::Result<u64> {
        // SAFETY: all zero bytes are a tpacket_stats.
        let mut statistics: libc::tpacket_stats = unsafe { zeroed() };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: pointer and length describe `statistics`, and the kernel writes no more than that.
        let outcome = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
        // Reading sets the kernel's number to zero.
        self.lost += u64::from(statistics.tp_drops);
        Ok(self.lost)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Time, and protocol and number of a VLAN tag that was taken out.
///
/// # Safety
/// `message` must be as recvmsg(2) left it, and its control buffer must live.
unsafe fn read_control(message: &libc::msghdr) -> (u64, Option<[u16; 2]>) {
    let (mut time_ns, mut tag) = (0, None);
    // SAFETY: the caller vouches for the message; the macros stay within its control buffer.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: `header` is null or points to a header within the control buffer.
    while let Some(head) = unsafe { header.as_ref() } {
        // SAFETY: likewise; its data follow it.
        let data = unsafe { libc::CMSG_DATA(header) };
        if (head.cmsg_level, head.cmsg_type) == (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) {
            // SAFETY: the kernel puts a timespec behind a header of this type; it need not be aligned.
            let time: libc::timespec = unsafe { data.cast::<libc::timespec>().read_unaligned() };
            time_ns = time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned();
        } else if (head.cmsg_level, head.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
            // SAFETY: the kernel puts a tpacket_auxdata behind a header of this type; it need not be aligned.
            let extra: libc::tpacket_auxdata = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
            if extra.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                tag = Some([extra.tp_vlan_tpid, extra.tp_vlan_tci]);
            }
        }
        // SAFETY: as for the first header.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    (time_ns, tag)
}

fn set<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: pointer and length describe `value`, which lives through the call, as does what a filter points to.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Accepts UDP over IPv4 or IPv6 from or to `port`. Where a packet is not simple to read (VLAN tags within, IPv6 extension headers), it is
/// accepted too, and whoever reads it decides. Offsets count from the network header, whatever is in front of it.
fn filter(port: u16) -> Vec<libc::sock_filter> {
    const NETWORK: u32 = libc::SKF_NET_OFF as u32;
    const PROTOCOL: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL) as u32;
    const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    /// From behind the IPv4 header.
    const LOAD_HALF_BEHIND: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_IND) as u16;
    const HEADER_LENGTH: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const ANSWER: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const OUT: usize = 22;
    const IN: usize = 23;
    let port = u32::from(port);
    // Code, operand, and the steps where it goes on if a test holds and if not.
    let steps: [(u16, u32, usize, usize); 24] = [
        (LOAD_WORD, PROTOCOL, 1, 1),
        (EQUAL, 0x0800, 5, 2),
        (EQUAL, 0x86dd, 14, 3),
        (EQUAL, 0x8100, IN, 4),
        (EQUAL, 0x88a8, IN, OUT),
        // 5: IPv4. UDP, the first fragment, ports behind the options.
        (LOAD_BYTE, NETWORK + 9, 6, 6),
        (EQUAL, 17, 7, OUT),
        (LOAD_HALF, NETWORK + 6, 8, 8),
        (ANY_BIT, 0x1fff, OUT, 9),
        (HEADER_LENGTH, NETWORK, 10, 10),
        (LOAD_HALF_BEHIND, NETWORK, 11, 11),
        (EQUAL, port, IN, 12),
        (LOAD_HALF_BEHIND, NETWORK + 2, 13, 13),
        (EQUAL, port, IN, OUT),
        // 14: IPv6. UDP at once, or a header that is neither TCP nor ICMP.
        (LOAD_BYTE, NETWORK + 6, 15, 15),
        (EQUAL, 6, OUT, 16),
        (EQUAL, 58, OUT, 17),
        (EQUAL, 17, 18, IN),
        (LOAD_HALF, NETWORK + 40, 19, 19),
        (EQUAL, port, IN, 20),
        (LOAD_HALF, NETWORK + 42, 21, 21),
        (EQUAL, port, IN, OUT),
        // 22 and 23: none of it, all of it.
        (ANSWER, 0, OUT + 1, OUT + 1),
        (ANSWER, u32::MAX, IN + 1, IN + 1),
    ];
    let step = |(at, (code, k, holds, fails)): (usize, (u16, u32, usize, usize))| {
        let (jt, jf) = ((holds - at - 1) as u8, (fails - at - 1) as u8);
        libc::sock_filter { code, jt, jf, k }
    };
    steps.into_iter().enumerate().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::namespace::{in_namespace, ip};
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    const PORT: u16 = 7450;

    /// Payloads behind the port's packets, in order, until `count` came.
    fn payloads(tap: &mut Tap, count: usize) -> Vec<(bool, Vec<u8>)> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut found = Vec::new();
        while found.len() < count {
            assert!(Instant::now() < deadline, "{found:?}");
            match tap.receive().unwrap() {
                Some(frame) => {
                    assert_eq!(frame.length, frame.bytes.len());
                    assert!(frame.time_ns > 1_600_000_000_000_000_000 && frame.ethernet && frame.interface > 0);
                    found.push((frame.outgoing, frame.bytes[frame.bytes.len() - 4..].to_vec()));
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        found
    }

    #[test]
    fn only_packets_of_the_port_are_seen_each_once() {
        in_namespace(|| {
            ip("link set lo up");
            let mut tap = Tap::open(None, PORT).unwrap();
            for host in ["127.0.0.1", "[::1]"] {
                let authority = UdpSocket::bind(format!("{host}:{PORT}")).unwrap();
                let client = UdpSocket::bind(format!("{host}:0")).unwrap();
                let other = UdpSocket::bind(format!("{host}:0")).unwrap();
                client.send_to(b"none", other.local_addr().unwrap()).unwrap();
                client.send_to(b"ask.", authority.local_addr().unwrap()).unwrap();
                authority.send_to(b"back", client.local_addr().unwrap()).unwrap();
                let seen: Vec<_> = payloads(&mut tap, 2).into_iter().map(|(_, payload)| payload).collect();
                assert_eq!(seen, [b"ask.", b"back"]);
            }
            assert_eq!(tap.receive().unwrap(), None);
            assert_eq!(tap.lost().unwrap(), 0);
        });
    }

    #[test]
    fn what_leaves_is_told_from_what_comes() {
        in_namespace(|| {
            ip("link add left type veth peer name right");
            ip("link set left up");
            ip("link set right up");
            ip("address add 192.0.2.1/24 dev left");
            ip("neighbor add 192.0.2.2 lladdr 02:00:00:00:00:02 dev left");
            let index = |name| crate::host::Link::named(name).unwrap().index;
            let mut left = Tap::open(Some(index("left")), PORT).unwrap();
            let mut right = Tap::open(Some(index("right")), PORT).unwrap();
            UdpSocket::bind("192.0.2.1:0").unwrap().send_to(b"here", ("192.0.2.2", PORT)).unwrap();
            assert_eq!(payloads(&mut left, 1), [(true, b"here".to_vec())]);
            assert_eq!(payloads(&mut right, 1), [(false, b"here".to_vec())]);
        });
    }
}
