//! What the kernel says of a network interface over rtnetlink: [`Link`].
//!
//! Layouts: `ifinfomsg` and `IFLA_*` of linux/rtnetlink.h and linux/if_link.h. An attribute that is missing or too short is taken
//! as absent, never guessed.

use super::HostError;
use super::netlink::{Message, Netlink, Request, attributes, read_u16, read_u32, text};

/// Length of `ifinfomsg`: family, padding, type (u16), index, flags, change mask.
const IFINFOMSG_BYTES: usize = 16;

// linux/if_link.h; libc does not name all of them.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_TARGET_NETNSID: u16 = 46;
const IFLA_MAX_MTU: u16 = 51;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFLA_XDP_HW_PROG_ID: u16 = 7;

/// linux/rtnetlink.h: leave out the statistics, which are most of a dump.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

/// linux/if_arp.h.
const ARPHRD_ETHER: u16 = 1;

/// Where in the receive path an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum XdpMode {
    /// In the driver, before the kernel has made a packet of it.
    Native,
    /// In the stack, on any interface; the packet has been allocated already.
    Generic,
    /// On the card.
    Offloaded,
}

impl XdpMode {
    /// Its name as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
        }
    }
}

/// An XDP program that is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedProgram {
    /// Where it runs.
    pub mode: XdpMode,
    /// The kernel's number of the program, as `bpftool prog show id` takes it.
    pub program_id: u32,
}

/// A network interface as rtnetlink shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number in this network namespace; a number is not used again soon, a name may be.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Ethernet address; absent where the interface has none of 6 bytes.
    pub mac: Option<[u8; 6]>,
    /// Longest packet without the link's header, in bytes.
    pub mtu: u32,
    /// Largest MTU that the driver allows; absent where it does not say.
    pub mtu_max: Option<u32>,
    /// `IFF_UP`: the operator has put it up.
    pub up: bool,
    /// `IFF_LOWER_UP` and no operational state against it: packets can pass.
    pub running: bool,
    /// `IFF_LOOPBACK`.
    pub loopback: bool,
    /// Frames have an Ethernet header (also of the loopback).
    pub ethernet: bool,
    /// `ARPHRD_*` of linux/if_arp.h.
    pub hardware_type: u16,
    /// Kind of a virtual interface: "veth", "bridge", "vlan", "bond"...; absent for hardware and the loopback.
    pub kind: Option<String>,
    /// For a VLAN the interface below it, for a veth its peer; in the namespace of `linked_namespace`.
    pub linked_index: Option<u32>,
    /// The namespace of `linked_index` by this namespace's number for it; absent where it is this namespace.
    pub linked_namespace: Option<i32>,
    /// Bridge or bond that it is a port of.
    pub master: Option<u32>,
    /// Number of a VLAN interface's VLAN.
    pub vlan: Option<u16>,
    /// Receive queues that the driver allocated; how many are in use says [`super::Queues`].
    pub receive_queues: u32,
    /// Transmit queues that the driver allocated.
    pub transmit_queues: u32,
    /// Attached XDP programs.
    pub programs: Vec<AttachedProgram>,
}

impl Link {
    /// The link of an `RTM_NEWLINK` or `RTM_DELLINK`; nothing if the message is too short or names no interface.
    ///
    /// Bridges tell of their ports in messages of the same type (family AF_BRIDGE), and wireless events come as links without an MTU:
    /// neither is about the link itself.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        if body.first().map(|family| libc::c_int::from(*family)) != Some(libc::AF_UNSPEC) {
            return None;
        }
        let hardware_type = read_u16(body, 2)?;
        let index = read_u32(body, 4)?;
        let flags = read_u32(body, 8)?;
        let has = |bit: libc::c_int| flags & bit as u32 != 0;
        let loopback = has(libc::IFF_LOOPBACK);
        let mut link = Self {
            index,
            up: has(libc::IFF_UP),
            running: has(libc::IFF_LOWER_UP),
            loopback,
            ethernet: loopback || hardware_type == ARPHRD_ETHER,
            hardware_type,
            ..Self::default()
        };
        for (kind, value) in attributes(body.get(IFINFOMSG_BYTES..)?) {
            match kind {
                IFLA_IFNAME => link.name = text(value),
                IFLA_ADDRESS => link.mac = value.try_into().ok(),
                IFLA_MTU => link.mtu = read_u32(value, 0)?,
                // 0 means that the driver sets no limit.
                IFLA_MAX_MTU => link.mtu_max = read_u32(value, 0).filter(|mtu| *mtu > 0),
                // RFC 2863: 2 down, 3 lower layer down, 4 testing, 5 dormant. 0 unknown and 6 up let packets pass.
                IFLA_OPERSTATE => link.running &= !matches!(value.first(), Some(1..=5)),
                IFLA_LINK => link.linked_index = read_u32(value, 0).filter(|index| *index > 0),
                IFLA_LINK_NETNSID => link.linked_namespace = read_u32(value, 0).map(u32::cast_signed),
                IFLA_MASTER => link.master = read_u32(value, 0),
                IFLA_NUM_RX_QUEUES => link.receive_queues = read_u32(value, 0).unwrap_or(0),
                IFLA_NUM_TX_QUEUES => link.transmit_queues = read_u32(value, 0).unwrap_or(0),
                IFLA_LINKINFO => link.read_info(value),
                IFLA_XDP => link.programs = read_programs(value),
                _ => {}
            }
        }
        (index != 0 && link.mtu != 0 && !link.name.is_empty()).then_some(link)
    }

    fn read_info(&mut self, info: &[u8]) {
        for (kind, value) in attributes(info) {
            if kind == IFLA_INFO_KIND {
                self.kind = Some(text(value));
            } else if kind == IFLA_INFO_DATA && self.kind.as_deref() == Some("vlan") {
                let id = attributes(value).find(|(kind, _)| *kind == IFLA_VLAN_ID);
                self.vlan = id.and_then(|(_, value)| read_u16(value, 0));
            }
        }
    }

    /// All links of this network namespace.
    ///
    /// # Errors
    /// If the kernel refuses netlink.
    pub fn all() -> Result<Vec<Self>, HostError> {
        let mut netlink = Netlink::open(libc::NETLINK_ROUTE).map_err(HostError::because("open a netlink socket"))?;
        Self::dump(&mut netlink)
    }

    pub(super) fn dump(netlink: &mut Netlink) -> Result<Vec<Self>, HostError> {
        let gather = |links: &mut Vec<Self>, message: Message<'_>| {
            if message.kind == libc::RTM_NEWLINK {
                links.extend(Self::parse(message.body));
            }
        };
        netlink.dump(&request(), Vec::new, gather).map_err(HostError::because("list the interfaces"))
    }

    /// The link of this name.
    ///
    /// # Errors
    /// [`HostError::is_absent`] if there is none.
    pub fn named(name: &str) -> Result<Self, HostError> {
        let mut netlink = Netlink::open(libc::NETLINK_ROUTE).map_err(HostError::because("open a netlink socket"))?;
        let mut found = None;
        let terminated = [name.as_bytes(), b"\0"].concat();
        // The kernel takes names of at most 15 bytes (IFNAMSIZ) and answers ERANGE to longer ones.
        netlink
            .request(request().with(IFLA_IFNAME, &terminated), |message| found = Link::parse(message.body))
            .and_then(|()| found.ok_or_else(|| std::io::Error::from_raw_os_error(libc::ENODEV)))
            .map_err(HostError::because(format!("read the interface {name}")))
    }

    /// The link of this index in another namespace, by this namespace's number for that one. Needs CAP_NET_ADMIN there.
    pub(super) fn in_namespace(namespace: i32, index: u32) -> Result<Self, HostError> {
        let mut netlink = Netlink::open(libc::NETLINK_ROUTE).map_err(HostError::because("open a netlink socket"))?;
        let mut fixed = [0; IFINFOMSG_BYTES];
        fixed[4..8].copy_from_slice(&index.to_ne_bytes());
        let request = Request::new(libc::RTM_GETLINK, &fixed)
            .with(IFLA_TARGET_NETNSID, &namespace.to_ne_bytes())
            .with(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
        let mut found = None;
        netlink
            .request(request, |message| found = Link::parse(message.body))
            .and_then(|()| found.ok_or_else(|| std::io::Error::from_raw_os_error(libc::ENODEV)))
            .map_err(HostError::because(format!("read interface {index} of another namespace")))
    }
}

fn request() -> Request {
    Request::new(libc::RTM_GETLINK, &[0; IFINFOMSG_BYTES]).with(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
}

/// `IFLA_XDP_ATTACHED` is 0 none, 1 native, 2 generic, 3 offloaded, 4 several, each with its own attribute then.
fn read_programs(nested: &[u8]) -> Vec<AttachedProgram> {
    let attribute = |wanted: u16| attributes(nested).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let number = |wanted: u16| attribute(wanted).and_then(|value| read_u32(value, 0)).filter(|id| *id > 0);
    let mut programs = Vec::new();
    for (kind, mode) in [
        (IFLA_XDP_DRV_PROG_ID, XdpMode::Native),
        (IFLA_XDP_SKB_PROG_ID, XdpMode::Generic),
        (IFLA_XDP_HW_PROG_ID, XdpMode::Offloaded),
    ] {
        programs.extend(number(kind).map(|program_id| AttachedProgram { mode, program_id }));
    }
    if programs.is_empty()
        && let Some(program_id) = number(IFLA_XDP_PROG_ID)
    {
        let mode = match attribute(IFLA_XDP_ATTACHED).and_then(|value| value.first().copied()) {
            Some(2) => XdpMode::Generic,
            Some(3) => XdpMode::Offloaded,
            _ => XdpMode::Native,
        };
        programs.push(AttachedProgram { mode, program_id });
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body of a message with these attributes, as the kernel would send it.
    fn body(family: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![family, 0];
        bytes.extend(ARPHRD_ETHER.to_ne_bytes());
        bytes.extend(9u32.to_ne_bytes());
        bytes.extend(((libc::IFF_UP | libc::IFF_LOWER_UP) as u32).to_ne_bytes());
        bytes.extend([0; 4]);
        for (kind, value) in attributes {
            bytes.extend(attribute(*kind, value));
        }
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = [(4 + value.len() as u16).to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_vlan_interface_says_its_number_and_what_it_is_on() {
        let data = attribute(IFLA_VLAN_ID, &4001u16.to_ne_bytes());
        let info = [attribute(IFLA_INFO_KIND, b"vlan\0"), attribute(IFLA_INFO_DATA, &data)].concat();
        let mtu = 1500u32.to_ne_bytes();
        let below = 3u32.to_ne_bytes();
        let whole =
            body(0, &[(IFLA_IFNAME, b"guests\0"), (IFLA_MTU, &mtu), (IFLA_LINK, &below), (IFLA_LINKINFO, &info)]);
        let link = Link::parse(&whole).unwrap();
        assert_eq!((link.vlan, link.linked_index, link.kind.as_deref()), (Some(4001), Some(3), Some("vlan")));
        assert!(link.up && link.running && link.ethernet);
        for length in 0..whole.len() {
            // Whatever is cut off, nothing is invented.
            if let Some(cut) = Link::parse(&whole[..length]) {
                assert!(cut.vlan.is_none() || cut == link);
            }
        }
    }

    #[test]
    fn what_is_not_about_the_link_itself_is_passed_over() {
        let mtu = 1500u32.to_ne_bytes();
        let bridge_port = body(libc::AF_BRIDGE as u8, &[(IFLA_IFNAME, b"left\0"), (IFLA_MTU, &mtu)]);
        assert_eq!(Link::parse(&bridge_port), None);
        let wireless_event = body(0, &[(IFLA_IFNAME, b"wlan0\0")]);
        assert_eq!(Link::parse(&wireless_event), None);
    }

    #[test]
    fn several_programs_are_told_apart() {
        let nested = [
            attribute(IFLA_XDP_ATTACHED, &[4]),
            attribute(IFLA_XDP_DRV_PROG_ID, &7u32.to_ne_bytes()),
            attribute(IFLA_XDP_SKB_PROG_ID, &8u32.to_ne_bytes()),
        ]
        .concat();
        let modes: Vec<_> = read_programs(&nested).iter().map(|program| (program.mode, program.program_id)).collect();
        assert_eq!(modes, [(XdpMode::Native, 7), (XdpMode::Generic, 8)]);
        assert_eq!(read_programs(&attribute(IFLA_XDP_ATTACHED, &[0])), []);
    }
}
