//! Hosts of their own on wires of their own: network namespaces and veth pairs, as a gateway and its mesh.
//!
//! ```text
//!   gateway namespace                              mesh namespace
//!   mp0  198.18.0.1/16  2001:2::1/64  ------  peer0  198.18.0.2 to .5/16  2001:2::2/64
//!   the daemon, its filter and rings          clients and attackers: ordinary sockets and whole frames
//! ```
//!
//! What always holds: namespaces have no names. They vanish with the descriptors and processes that hold them, so nothing is left
//! when a test fails or is killed.

use crate::skip;
use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use serde_json::Value;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

/// The gateway's interface.
pub const INTERFACE: &str = "mp0";
/// The other end.
pub const PEER: &str = "peer0";
/// Hardware address of the gateway.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0x4d, 0x50, 0, 0, 1];
/// Hardware address of its neighbours.
pub const MESH_MAC: [u8; 6] = [0x02, 0x4d, 0x50, 0, 0, 2];
/// The gateway's addresses.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// See [`GATEWAY_V4`].
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1);
/// Where clients are.
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// See [`CLIENT_V4`].
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 2);
/// Where somebody else is.
pub const OTHERS_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(198, 18, 0, 3), Ipv4Addr::new(198, 18, 0, 4), Ipv4Addr::new(198, 18, 0, 5)];

/// A network namespace.
pub struct Namespace(File);

impl Namespace {
    /// A new one, in which loopback is up.
    ///
    /// # Errors
    /// If there are no rights to make one.
    pub fn new() -> Result<Self> {
        let make = || -> Result<Self> {
            // SAFETY: a network namespace is a thread's own; no memory or descriptor is affected, and the thread ends at once.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("making a network namespace")?;
            Ok(Self(File::open("/proc/thread-self/ns/net")?))
        };
        let namespace = std::thread::spawn(make).join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Does something on a thread in this namespace. Sockets that are opened there stay in it.
    ///
    /// # Errors
    /// If it cannot be entered.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let entered = scope.spawn(|| -> Result<T> {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            });
            entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).context("entering a namespace")
        })
    }

    /// Runs a line of `ip` here and returns what it prints.
    ///
    /// # Errors
    /// If it fails, with what it says.
    pub fn ip(&self, line: &str) -> Result<String> {
        let output = self.inside(|| Command::new("ip").args(line.split(' ')).output())??;
        ensure!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Sets a kernel parameter of this namespace, by its path below `/proc/sys`.
    ///
    /// # Errors
    /// If there is none of the kind.
    pub fn set(&self, parameter: &str, value: &str) -> Result<()> {
        self.inside(|| std::fs::write(format!("/proc/sys/{parameter}"), value))?.with_context(|| parameter.to_owned())
    }

    /// Has a program start here.
    ///
    /// # Errors
    /// If no further descriptor can be had.
    pub fn enter(&self, command: &mut Command) -> Result<()> {
        let file = self.0.try_clone()?;
        // SAFETY: between fork and exec one system call is made, setns, which is async-signal-safe; nothing is allocated.
        unsafe {
            command.pre_exec(move || Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?));
        }
        Ok(())
    }

    /// A path by which other programs of this test find it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Identifiers of the XDP programs on an interface.
    ///
    /// # Errors
    /// If there is no such interface.
    pub fn programs(&self, interface: &str) -> Result<Vec<u64>> {
        let shown: Value = serde_json::from_str(&self.ip(&format!("-json link show dev {interface}"))?)?;
        let xdp = &shown[0]["xdp"];
        let attached = xdp["attached"].as_array().cloned().unwrap_or_else(|| vec![xdp.clone()]);
        Ok(attached.iter().filter_map(|program| program["prog"]["id"].as_u64()).collect())
    }
}

/// A gateway and its neighbours.
pub struct Link {
    /// Where the daemon runs.
    pub gateway: Namespace,
    /// Where everybody else is.
    pub mesh: Namespace,
}

impl Link {
    /// Makes one, or says visibly why a test is skipped.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn make() -> Result<Option<Arc<Self>>> {
        if skip::without_root().is_some() {
            skip::skipped("CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_SYS_ADMIN (run as root)");
            return Ok(None);
        }
        if !Command::new("ip").arg("-V").output().is_ok_and(|output| output.status.success()) {
            skip::skipped("`ip` of iproute2");
            return Ok(None);
        }
        let link = Self { gateway: Namespace::new()?, mesh: Namespace::new()? };
        link.connect(1500)?;
        Ok(Some(Arc::new(link)))
    }

    /// Makes the pair, with all addresses; also again after [`Link::cut`].
    ///
    /// # Errors
    /// If it is there.
    pub fn connect(&self, mtu: u32) -> Result<()> {
        let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
        self.gateway.ip(&format!(
            "link add {INTERFACE} address {} mtu {mtu} type veth peer name {PEER} address {} mtu {mtu} netns {}",
            mac(GATEWAY_MAC),
            mac(MESH_MAC),
            self.mesh.path()
        ))?;
        self.gateway.ip(&format!("link set {INTERFACE} up"))?;
        self.mesh.ip(&format!("link set {PEER} up"))?;
        self.gateway.ip(&format!("address add {GATEWAY_V4}/16 dev {INTERFACE}"))?;
        self.gateway.ip(&format!("address add {GATEWAY_V6}/64 dev {INTERFACE} nodad"))?;
        for address in [CLIENT_V4].iter().chain(&OTHERS_V4) {
            self.mesh.ip(&format!("address add {address}/16 dev {PEER}"))?;
        }
        self.mesh.ip(&format!("address add {CLIENT_V6}/64 dev {PEER} nodad"))?;
        Ok(())
    }

    /// Removes the pair.
    ///
    /// # Errors
    /// If it is not there.
    pub fn cut(&self) -> Result<()> {
        self.gateway.ip(&format!("link delete {INTERFACE}")).map(drop)
    }

    /// The client's address that goes with an address of the gateway.
    ///
    /// # Errors
    /// If that is none of the gateway's.
    pub fn client_of(gateway: IpAddr) -> Result<IpAddr> {
        if gateway == GATEWAY_V4 {
            Ok(CLIENT_V4.into())
        } else if gateway == GATEWAY_V6 {
            Ok(CLIENT_V6.into())
        } else {
            bail!("{gateway} is not the gateway's address")
        }
    }
}
