//! The host's own addresses as rtnetlink shows them: [`OwnAddress`].
//!
//! Layouts: `ifaddrmsg` and `IFA_*` of linux/if_addr.h. What the kernel itself would not accept packets for (tentative, duplicate) is
//! not ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::HostError;
use super::netlink::{Message, Netlink, Request, attributes, read_u32};

/// Length of `ifaddrmsg`: family, prefix length, flags, scope, interface index.
const IFADDRMSG_BYTES: usize = 8;

// linux/if_addr.h
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_OPTIMISTIC: u32 = 0x04;
const IFA_F_TENTATIVE: u32 = 0x40;

/// linux/rtnetlink.h: RT_SCOPE_LINK and RT_SCOPE_HOST.
const SCOPE_LINK: u8 = 253;
const SCOPE_HOST: u8 = 254;

/// An address that this host accepts packets for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnAddress {
    /// The address.
    pub address: IpAddr,
    /// Index of the interface that it was given to.
    pub interface: u32,
    /// Length of its network's prefix in bits.
    pub prefix_bits: u8,
    /// How far it is known.
    pub scope: Scope,
}

/// How far an address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everywhere; Linux accepts packets for it from any interface.
    Global,
    /// On its interface's link only.
    Link,
    /// On this host only, such as 127.0.0.1.
    Host,
}

impl OwnAddress {
    /// Whether a packet that arrives at the interface of this index may be for this address: Linux takes global addresses from any
    /// interface (the weak host model), link-local ones from their own only, and host addresses from no wire.
    pub fn accepted_at(&self, interface: u32) -> bool {
        match self.scope {
            Scope::Global => true,
            Scope::Link => self.interface == interface,
            Scope::Host => false,
        }
    }

    /// The address of an `RTM_NEWADDR` or `RTM_DELADDR`, and whether the kernel accepts packets for it now. Nothing if it is neither
    /// IPv4 nor IPv6.
    pub(super) fn parse(body: &[u8]) -> Option<(Self, bool)> {
        let head: &[u8; IFADDRMSG_BYTES] = body.first_chunk()?;
        let [family, prefix_bits, flags, scope, ..] = *head;
        let interface = read_u32(body, 4)?;
        let (mut address, mut local, mut flags) = (None, None, u32::from(flags));
        for (kind, value) in attributes(&body[IFADDRMSG_BYTES..]) {
            match kind {
                IFA_ADDRESS => address = Some(value),
                IFA_LOCAL => local = Some(value),
                IFA_FLAGS => flags = read_u32(value, 0)?,
                _ => {}
            }
        }
        // On a point-to-point link IFA_ADDRESS is the other side.
        let bytes = local.or(address)?;
        let address = match libc::c_int::from(family) {
            libc::AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
            _ => return None,
        };
        let scope = match scope {
            SCOPE_HOST => Scope::Host,
            SCOPE_LINK => Scope::Link,
            _ => Scope::Global,
        };
        let optimistic = flags & IFA_F_OPTIMISTIC != 0;
        let usable = flags & IFA_F_DADFAILED == 0 && (flags & IFA_F_TENTATIVE == 0 || optimistic);
        // An IPv4 address of scope link is an ordinary one to the kernel's lookup of local addresses.
        let scope = if address.is_ipv4() && scope == Scope::Link { Scope::Global } else { scope };
        Some((Self { address, interface, prefix_bits, scope }, usable))
    }

    /// All addresses of this network namespace.
    ///
    /// # Errors
    /// If the kernel refuses netlink.
    pub fn all() -> Result<Vec<Self>, HostError> {
        let mut netlink = Netlink::open(libc::NETLINK_ROUTE).map_err(HostError::because("open a netlink socket"))?;
        Self::dump(&mut netlink)
    }

    pub(super) fn dump(netlink: &mut Netlink) -> Result<Vec<Self>, HostError> {
        let gather = |addresses: &mut Vec<Self>, message: Message<'_>| {
            if message.kind == libc::RTM_NEWADDR
                && let Some((address, true)) = Self::parse(message.body)
            {
                addresses.push(address);
            }
        };
        netlink
            .dump(&Request::new(libc::RTM_GETADDR, &[0; IFADDRMSG_BYTES]), Vec::new, gather)
            .map_err(HostError::because("list this host's addresses"))
    }
}
