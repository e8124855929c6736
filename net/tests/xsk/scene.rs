//! Two namespaces and a veth pair between them:
//!
//! ```text
//!   server namespace                           client namespace
//!   xs0  198.18.0.1/24  2001:2::1/64  ------  xc0  198.18.0.2/24  2001:2::2/64
//!   native XDP: redirect to AF_XDP             ordinary sockets and AF_PACKET
//! ```
//!
//! The namespaces have no names: they vanish with the descriptors that hold them, also if the test is killed.

use crate::program::Redirect;
use meshpay_net::xsk::XskGroup;
use meshpay_net::{PacketPort, Peer, Waitable, XskConfig, XskInterface, XskMode, XskPort};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(10);
pub const PORT: u16 = 7433;
pub const SERVER_MAC: [u8; 6] = [0x02, 0x4d, 0x50, 0, 0, 1];
pub const CLIENT_MAC: [u8; 6] = [0x02, 0x4d, 0x50, 0, 0, 2];

/// A network namespace without a name.
pub struct Namespace(File);

impl Namespace {
    fn new() -> io::Result<Self> {
        let make = || {
            // SAFETY: unshare takes a number; it concerns this thread alone, which ends at once.
            match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
                0 => File::open("/proc/thread-self/ns/net").map(Self),
                _ => Err(io::Error::last_os_error()),
            }
        };
        std::thread::spawn(make).join().expect("no panic")
    }

    /// Does `work` on a thread in this namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let entered = scope.spawn(|| {
                // SAFETY: setns takes a descriptor, which is open, and a number; it concerns this thread alone.
                let outcome = unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(outcome, 0, "setns: {}", io::Error::last_os_error());
                work()
            });
            entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a line of `ip` here.
    pub fn ip(&self, line: &str) {
        self.run("ip", line);
    }

    fn run(&self, program: &str, line: &str) {
        self.inside(|| {
            let output = Command::new(program).args(line.split(' ')).output().expect("iproute2");
            let reason = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {line}: {reason}");
        });
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// See the module's documentation.
pub struct Scene {
    pub server: Namespace,
    pub client: Namespace,
    pub interface: XskInterface,
    pub program: Redirect,
    /// At the client's end, where it finds no sockets and passes everything: with XDP at both ends and a queue before each, veth holds a
    /// sender up instead of losing what its receiver has no room for.
    pub client_program: Redirect,
}

/// Why these tests cannot run here, if so.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_SYS_ADMIN (run as root)".to_owned());
    }
    let have_ip = Command::new("ip").arg("-V").output().is_ok_and(|output| output.status.success());
    (!have_ip).then(|| "`ip` of iproute2".to_owned())
}

impl Scene {
    /// Builds it, or says visibly why not. In CI (CI=true) it must be built.
    pub fn build(queues: u32, workers: u32) -> Option<Self> {
        if let Some(needs) = missing() {
            let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(!ci, "in CI no test may be skipped, but this one needs {needs}");
            eprintln!("skipped: needs {needs}");
            return None;
        }
        let server = Namespace::new().expect("a namespace");
        let client = Namespace::new().expect("a namespace");
        create_pair(&server, &client, queues);
        let interface = look_up(&server, queues);
        let program = server.inside(|| Redirect::attach(interface.index, queues, workers)).expect("native XDP on veth");
        let at_client =
            client.inside(|| Redirect::attach(interface_index(c"xc0"), queues, 1)).expect("native XDP on veth");
        Some(Self { server, client, interface, program, client_program: at_client })
    }

    /// Opens the ports of all workers and puts their sockets into the program's map.
    pub fn open(&self, config: &XskConfig, workers: usize) -> Vec<XskPort> {
        let group = self.server.inside(|| XskGroup::open(config, &self.interface, workers, XskMode::Copy));
        self.install(group.expect("AF_XDP in copy mode works on veth"))
    }

    pub fn install(&self, group: XskGroup) -> Vec<XskPort> {
        let workers = group.ports.len() as u32;
        for (worker, port) in group.ports.iter().enumerate() {
            for (queue, socket) in port.sockets() {
                let index = XskGroup::map_index(queue, worker as u32, workers);
                self.program.set(index, socket).expect("a place in the map");
            }
        }
        group.ports
    }

    /// The client's interface.
    pub fn client_interface(&self) -> XskInterface {
        XskInterface { index: self.client.inside(|| interface_index(c"xc0")), ..self.interface }
    }

    /// A kernel socket at the client's end.
    pub fn client_socket(&self, address: &str) -> UdpSocket {
        let socket = self.client.inside(|| UdpSocket::bind(address)).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // Room for a burst of answers.
        set(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 8 << 20);
        socket
    }
}

/// Makes the pair and takes both ends up.
pub fn create_pair(server: &Namespace, client: &Namespace, queues: u32) {
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let (ours, theirs) = (mac(SERVER_MAC), mac(CLIENT_MAC));
    let shape = format!("numrxqueues {queues} numtxqueues {queues}");
    server.ip(&format!(
        "link add xs0 address {ours} {shape} type veth peer name xc0 address {theirs} {shape} netns {}",
        client.path()
    ));
    for (namespace, device, host) in [(server, "xs0", 1), (client, "xc0", 2)] {
        namespace.ip("link set lo up");
        namespace.ip(&format!("link set {device} txqueuelen 1000"));
        if queues == 1 {
            namespace.run("tc", &format!("qdisc replace dev {device} root pfifo_fast"));
        }
        namespace.ip(&format!("link set {device} up"));
        namespace.ip(&format!("address add 198.18.0.{host}/24 dev {device}"));
        namespace.ip(&format!("address add 2001:2::{host}/64 dev {device} nodad"));
    }
    // No neighbour discovery in the middle of a test.
    client.ip(&format!("neighbour replace 198.18.0.1 lladdr {ours} dev xc0 nud permanent"));
    client.ip(&format!("neighbour replace 2001:2::1 lladdr {ours} dev xc0 nud permanent"));
}

/// The server's interface.
pub fn look_up(server: &Namespace, queues: u32) -> XskInterface {
    let index = server.inside(|| interface_index(c"xs0"));
    assert_ne!(index, 0, "xs0 was just made");
    XskInterface { index, queues, mtu: 1500 }
}

/// Receives until `count` datagrams have come, and returns them with their senders.
pub fn receive_all(port: &mut (impl Waitable + ?Sized), count: usize) -> Vec<(Vec<u8>, Peer)> {
    let mut received = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while received.len() < count {
        assert!(Instant::now() < deadline, "only {} of {count} datagrams came: {:?}", received.len(), port.counters());
        port.wait(Duration::from_millis(100), &[]).expect("waiting");
        for index in 0..port.receive().expect("receiving") {
            let (payload, peer) = port.packet(index);
            received.push((payload.to_vec(), peer));
        }
    }
    received
}

/// Waits until the device has taken what was flushed: it may hold us up.
pub fn settle(port: &mut XskPort) {
    let deadline = Instant::now() + PATIENCE;
    while port.frames().being_sent > 0 {
        assert!(Instant::now() < deadline, "{:?} {:?}", port.counters(), port.frames());
        port.wait(Duration::from_millis(1), &[]).expect("waiting");
    }
}

/// Answers whatever comes, until `count` datagrams were answered.
pub fn echo(port: &mut XskPort, count: usize) {
    let mut buffer = [0; meshpay_net::DATAGRAM_MAX_BYTES];
    let mut answered = 0;
    let deadline = Instant::now() + PATIENCE;
    while answered < count {
        assert!(Instant::now() < deadline, "only {answered} of {count}: {:?} {:?}", port.counters(), port.details());
        port.wait(Duration::from_millis(100), &[]).expect("waiting");
        for index in 0..port.receive().expect("receiving") {
            let (payload, peer) = port.packet(index);
            let length = payload.len();
            buffer[..length].copy_from_slice(payload);
            assert!(port.queue(&peer, &[&buffer[..length]]));
        }
        let sent = port.flush().expect("flushing");
        assert_eq!(sent.refused, 0, "{:?}", port.counters());
        answered += sent.sent;
    }
    settle(port);
}

pub fn server_address(client: &str) -> SocketAddr {
    let ip = if client.contains('.') { "198.18.0.1" } else { "2001:2::1" };
    SocketAddr::new(ip.parse().expect("an address"), PORT)
}

/// A socket that sends and receives whole frames at the client's end.
pub struct RawSocket(socket2::Socket);

impl RawSocket {
    pub fn open(scene: &Scene) -> Self {
        scene.client.inside(|| {
            let all = libc::c_int::from((libc::ETH_P_ALL as u16).to_be());
            let socket = socket2::Socket::new(libc::AF_PACKET.into(), libc::SOCK_RAW.into(), Some(all.into()));
            let socket = socket.expect("a packet socket");
            let index = interface_index(c"xc0");
            // SAFETY: zero is a value of every field, and the length is that of the structure.
            let ((), address) = unsafe {
                socket2::SockAddr::try_init(|storage, length| {
                    let address = libc::sockaddr_ll {
                        sll_family: libc::AF_PACKET as u16,
                        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
                        sll_ifindex: index as i32,
                        sll_hatype: 0,
                        sll_pkttype: 0,
                        sll_halen: 0,
                        sll_addr: [0; 8],
                    };
                    storage.cast::<libc::sockaddr_ll>().write(address);
                    *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
                    Ok(())
                })
            }
            .expect("an address");
            socket.bind(&address).expect("binding");
            socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
            set(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_AUXDATA, 1);
            Self(socket)
        })
    }

    pub fn send(&self, frame: &[u8]) {
        assert_eq!(self.0.send(frame).expect("sending a frame"), frame.len());
    }

    /// The next frame from the server, with the VLAN tag that the kernel has taken out of it.
    pub fn receive(&self) -> Option<(Vec<u8>, Option<u16>)> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut bytes = [0u8; 2048];
            let mut control = [0u64; 16];
            let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            // SAFETY: all fields are integers and pointers, for which zero is a value.
            let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
            header.msg_iov = &raw mut vector;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = size_of_val(&control) as _;
            // SAFETY: the header describes memory that lives through the call.
            let length = unsafe { libc::recvmsg(self.0.as_fd().as_raw_fd(), &raw mut header, 0) };
            let Ok(length) = usize::try_from(length) else { continue };
            if bytes[..6] != CLIENT_MAC || bytes[6..12] != SERVER_MAC {
                continue;
            }
            // A cmsghdr of 16 bytes, then tpacket_auxdata: status, len, snaplen (32 bits each), mac, net, vlan_tci, vlan_tpid.
            let status = control[2] as u32;
            let tci = control[4] as u16;
            let has_tag = header.msg_controllen > 16 && status & libc::TP_STATUS_VLAN_VALID != 0;
            return Some((bytes[..length].to_vec(), has_tag.then_some(tci)));
        }
        None
    }
}

fn set(socket: libc::c_int, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`.
    let outcome = unsafe { libc::setsockopt(socket, level, option, (&raw const value).cast(), length) };
    assert_eq!(outcome, 0, "setsockopt: {}", io::Error::last_os_error());
}

fn interface_index(name: &std::ffi::CStr) -> u32 {
    // SAFETY: the name is a string with its zero.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}
