//! One socket per worker on one address and port, and a program in the kernel that steers datagrams by account.
//!
//! The program is classic BPF (three instructions, no privileges needed): it takes one byte of the payload, the first of
//! the first message's account, modulo the number of workers, as the index of a socket. A datagram too short to have
//! that byte goes to socket 0. Indices are positions in the order of binding. The kernel fills the gap of a closed socket
//! with the last one, so positions are sound only if no socket of a group is ever closed or reopened by itself: hence
//! a group is opened whole, and its parts share one lifetime in the process. Wrong steering would cost time only, since
//! a worker hands foreign messages to their owner.

use super::options::set;
use super::{OpenError, UdpConfig, UdpPort};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// The most workers of a group: there are 256 shards.
pub const WORKERS_MAX: usize = 256;

/// Opens groups of sockets; see [`UdpGroup::open`].
pub struct UdpGroup;

impl UdpGroup {
    /// Opens one port per worker at `config.address`, such that port `i` receives the datagrams whose payload byte at
    /// `account_offset` is `i` modulo `workers`.
    ///
    /// # Errors
    /// As [`UdpPort::open`]; `InvalidInput` if `workers` is 0 or above [`WORKERS_MAX`]. `AddrInUse` if any other process
    /// has the port, even one that would share it.
    pub fn open(config: &UdpConfig, workers: usize, account_offset: u32) -> Result<Vec<UdpPort>, OpenError> {
        let failed = |what: &'static str| move |source| OpenError { what, address: config.address, source };
        if workers == 0 || workers > WORKERS_MAX {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the number of workers must be 1 to 256");
            return Err(failed("share")(source));
        }
        let first = UdpPort::open(config)?;
        if workers == 1 {
            return Ok(vec![first]);
        }
        // The first socket is bound alone and opened for sharing only then: so a second daemon of the same user, which
        // SO_REUSEPORT would let in, meets EADDRINUSE instead of taking half of the payments.
        let share = |port: &UdpPort| set(port.socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1);
        share(&first).map_err(failed("share"))?;
        let address = first.local_address();
        let mut ports = vec![first];
        while ports.len() < workers {
            let next = UdpPort::unbound(config)?;
            share(&next).map_err(failed("share"))?;
            ports.push(next.bind(address)?);
        }
        steer(&ports[0], workers, account_offset).map_err(failed("attach the steering program to"))?;
        Ok(ports)
    }
}

/// Attaches the steering program to the group that `port` belongs to.
///
/// Offset 0 is the first byte of the UDP payload here (net/core/sock_reuseport.c, `run_bpf_filter`), and a load beyond the
/// end of the packet ends the program with 0.
fn steer(port: &UdpPort, workers: usize, account_offset: u32) -> io::Result<()> {
    let instruction = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, account_offset),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, workers as u32),
        instruction(libc::BPF_RET | libc::BPF_A, 0),
    ];
    let description = libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    // SAFETY: `description` and the program it points to live through the call, in which the kernel copies them.
    let outcome = unsafe {
        libc::setsockopt(
            port.socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const description).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
