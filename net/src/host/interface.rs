//! Everything that is known of an interface in one value, gathered once: [`Interface`]. For what changes, see [`super::Follower`].
//!
//! What always holds: what cannot be read is `None`, never a guess; reading changes nothing and needs no right (with CAP_NET_ADMIN a
//! veth's peer in another namespace can be seen too).

use std::net::IpAddr;

use super::families::Families;
use super::follower::HostState;
use super::{Driver, HostError, Link, OwnAddress, Queues, WirelessMode, XdpFeatures, ethtool};

/// Largest MTU of a veth's *peer* with which a native program that takes packets of one buffer can be attached, where pages have 4,096
/// bytes: a page less 256 bytes of headroom, 320 of `skb_shared_info` and 14 of Ethernet (`veth_xdp_set` in drivers/net/veth.c). Above
/// it the kernel answers ERANGE. A test asks the running kernel.
pub const VETH_PEER_MTU_MAX: u32 = 4096 - 256 - 320 - 14;

/// Facts of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// What rtnetlink says.
    pub link: Link,
    /// Who drives it, where it has a driver.
    pub driver: Option<Driver>,
    /// Queues in use; from ethtool, or where the driver does not tell, what it allocated.
    pub queues: Queues,
    /// What the driver can do with XDP; `None` where the kernel (before 6.3) does not say.
    pub xdp_features: Option<XdpFeatures>,
    /// How it is used, if it is wireless.
    pub wireless: Option<WirelessMode>,
    /// The other end, if it is a veth.
    pub peer: Option<VethPeer>,
    /// VLANs that this host has interfaces for on top of this one, sorted.
    pub vlans: Vec<u16>,
    /// Addresses that packets arriving here may be for, sorted; see [`OwnAddress::accepted_at`].
    pub addresses: Vec<IpAddr>,
}

/// The other end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VethPeer {
    /// Its index in its own namespace.
    pub index: u32,
    /// Its namespace by this namespace's number for it; `None` if it is this one.
    pub namespace: Option<i32>,
    /// Its link where it can be read: in this namespace, or in another with CAP_NET_ADMIN.
    pub link: Option<Link>,
    /// What its driver can do now; for a veth that depends on whether it has a program or GRO. In this namespace only.
    pub xdp_features: Option<XdpFeatures>,
}

impl Interface {
    /// The interface of this name.
    ///
    /// # Errors
    /// [`HostError::is_absent`] if there is none.
    pub fn named(name: &str) -> Result<Self, HostError> {
        let link = Link::named(name)?;
        let mut all = Self::gather(vec![link])?;
        all.pop().ok_or_else(|| {
            HostError::because(format!("read the interface {name}"))(std::io::Error::from_raw_os_error(libc::ENODEV))
        })
    }

    /// All interfaces of this network namespace, by index.
    ///
    /// # Errors
    /// If the kernel refuses netlink.
    pub fn all() -> Result<Vec<Self>, HostError> {
        Self::gather(Link::all()?)
    }

    fn gather(links: Vec<Link>) -> Result<Vec<Self>, HostError> {
        // A kernel without generic netlink is no reason to know nothing.
        let mut families = Families::open().ok();
        let state = HostState::read()?;
        Ok(links.into_iter().map(|link| Self::of(link, families.as_mut(), &state)).collect())
    }

    fn of(link: Link, mut families: Option<&mut Families>, state: &HostState) -> Self {
        let queues = ethtool::queues(&link.name).ok().filter(|queues| queues.receive > 0);
        let peer =
            (link.kind.as_deref() == Some("veth")).then_some(link.linked_index).flatten().map(|index| VethPeer {
                index,
                namespace: link.linked_namespace,
                link: match link.linked_namespace {
                    None => state.link(index).cloned(),
                    Some(namespace) => Link::in_namespace(namespace, index).ok(),
                },
                xdp_features: match (link.linked_namespace, &mut families) {
                    (None, Some(families)) => families.xdp_features(index),
                    _ => None,
                },
            });
        Self {
            driver: ethtool::driver(&link.name).ok(),
            queues: queues.unwrap_or(Queues {
                receive: link.receive_queues,
                transmit: link.transmit_queues,
                receive_max: 0,
            }),
            xdp_features: families.as_mut().and_then(|families| families.xdp_features(link.index)),
            wireless: families.as_mut().and_then(|families| families.wireless(link.index)),
            peer,
            vlans: state.vlans_on(link.index),
            addresses: state.addresses_at(link.index),
            link,
        }
    }
}

impl OwnAddress {
    /// Name of the interface among these, for messages.
    pub fn interface_name<'a>(&self, state: &'a HostState) -> &'a str {
        state.link(self.interface).map_or("?", |link| link.name.as_str())
    }
}
