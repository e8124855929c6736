//! What two families of generic netlink say of an interface: `netdev` its XDP features, `nl80211` whether it is wireless.
//!
//! Layouts: linux/genetlink.h, linux/netdev.h (from Documentation/netlink/specs/netdev.yaml, kernel 6.3), linux/nl80211.h. A kernel
//! without the family answers 'unknown', never 'no'.

use std::io;

use super::netlink::{Netlink, Request, attributes, read_u16, read_u32, read_u64};

const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_A_DEV_XDP_ZC_MAX_SEGS: u16 = 4;
const NETDEV_A_DEV_XSK_FEATURES: u16 = 6;

const NL80211_CMD_GET_INTERFACE: u8 = 5;
const NL80211_ATTR_IFINDEX: u16 = 3;
const NL80211_ATTR_IFTYPE: u16 = 5;

/// Length of `genlmsghdr`: command, version, reserved.
const GENLMSGHDR_BYTES: usize = 4;

/// What a driver can do with XDP, as the kernel's `netdev` family says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures {
    bits: u64,
    /// Most buffers of one packet in zero-copy AF_XDP; 1 where packets of several are not supported, 0 where the kernel does not say.
    pub zero_copy_segments_max: u32,
    /// `NETDEV_XSK_FLAGS_*`: what the driver does for AF_XDP transmission (1 timestamp, 2 checksum, 4 launch time).
    pub transmit_offloads: u64,
}

impl XdpFeatures {
    /// Features of these `NETDEV_XDP_ACT_*` bits.
    pub fn from_bits(bits: u64) -> Self {
        Self { bits, zero_copy_segments_max: 0, transmit_offloads: 0 }
    }

    /// The bits, `NETDEV_XDP_ACT_*`.
    pub fn bits(self) -> u64 {
        self.bits
    }

    /// The driver runs a program itself (ABORTED, DROP, PASS, TX).
    pub fn native(self) -> bool {
        self.bits & 1 != 0
    }

    /// A program in the driver may redirect, which AF_XDP needs.
    pub fn redirect(self) -> bool {
        self.bits & 2 != 0
    }

    /// The interface takes frames that were redirected to it.
    pub fn redirect_target(self) -> bool {
        self.bits & 4 != 0
    }

    /// AF_XDP without a copy.
    pub fn zero_copy(self) -> bool {
        self.bits & 8 != 0
    }

    /// A program on the card.
    pub fn offload(self) -> bool {
        self.bits & 16 != 0
    }

    /// Received packets of several buffers, which lifts the limit on the MTU.
    pub fn several_buffers(self) -> bool {
        self.bits & 32 != 0
    }
}

/// How a wireless interface is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WirelessMode {
    /// Ad hoc (IBSS).
    AdHoc,
    /// Client of an access point.
    Station,
    /// Access point.
    AccessPoint,
    /// 802.11s.
    MeshPoint,
    /// Another `NL80211_IFTYPE_*`.
    Other(u32),
}

impl WirelessMode {
    /// Its name.
    pub fn name(self) -> String {
        match self {
            Self::AdHoc => "ad hoc".to_owned(),
            Self::Station => "station".to_owned(),
            Self::AccessPoint => "access point".to_owned(),
            Self::MeshPoint => "mesh point (802.11s)".to_owned(),
            Self::Other(number) => format!("nl80211 type {number}"),
        }
    }
}

/// Asks generic netlink; families are looked up once.
pub(super) struct Families {
    netlink: Netlink,
    netdev: Option<u16>,
    nl80211: Option<u16>,
}

impl Families {
    pub(super) fn open() -> io::Result<Self> {
        let mut netlink = Netlink::open(libc::NETLINK_GENERIC)?;
        let netdev = family(&mut netlink, "netdev")?;
        let nl80211 = family(&mut netlink, "nl80211")?;
        Ok(Self { netlink, netdev, nl80211 })
    }

    /// XDP features of the interface of this index; nothing if the kernel (before 6.3) does not tell.
    pub(super) fn xdp_features(&mut self, index: u32) -> Option<XdpFeatures> {
        let request =
            Request::new(self.netdev?, &[NETDEV_CMD_DEV_GET, 1, 0, 0]).with(NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes());
        let mut features = None;
        let answered = self.netlink.request(request, |message| {
            let mut found = XdpFeatures::from_bits(0);
            let mut told = false;
            for (kind, value) in attributes(message.body.get(GENLMSGHDR_BYTES..).unwrap_or(&[])) {
                match kind {
                    NETDEV_A_DEV_XDP_FEATURES => {
                        told = true;
                        found.bits = read_u64(value, 0).unwrap_or(0);
                    }
                    NETDEV_A_DEV_XDP_ZC_MAX_SEGS => found.zero_copy_segments_max = read_u32(value, 0).unwrap_or(0),
                    NETDEV_A_DEV_XSK_FEATURES => found.transmit_offloads = read_u64(value, 0).unwrap_or(0),
                    _ => {}
                }
            }
            features = told.then_some(found);
        });
        answered.ok().and(features)
    }

    /// How the interface of this index is used, if it is wireless.
    pub(super) fn wireless(&mut self, index: u32) -> Option<WirelessMode> {
        let request = Request::new(self.nl80211?, &[NL80211_CMD_GET_INTERFACE, 0, 0, 0])
            .with(NL80211_ATTR_IFINDEX, &index.to_ne_bytes());
        let mut mode = None;
        let answered = self.netlink.request(request, |message| {
            let all = attributes(message.body.get(GENLMSGHDR_BYTES..).unwrap_or(&[]));
            for (kind, value) in all {
                if kind == NL80211_ATTR_IFTYPE {
                    mode = read_u32(value, 0).map(|number| match number {
                        1 => WirelessMode::AdHoc,
                        2 => WirelessMode::Station,
                        3 => WirelessMode::AccessPoint,
                        7 => WirelessMode::MeshPoint,
                        other => WirelessMode::Other(other),
                    });
                }
            }
        });
        answered.ok().and(mode)
    }
}

/// The number of a family in this boot; nothing if the kernel has none of this name.
fn family(netlink: &mut Netlink, name: &str) -> io::Result<Option<u16>> {
    let terminated = [name.as_bytes(), b"\0"].concat();
    // GENL_ID_CTRL, the family of families, is the first number that is not a control message (NLMSG_MIN_TYPE).
    let request = Request::new(libc::NLMSG_MIN_TYPE as u16, &[CTRL_CMD_GETFAMILY, 2, 0, 0])
        .with(CTRL_ATTR_FAMILY_NAME, &terminated);
    let mut id = None;
    let answered = netlink.request(request, |message| {
        let mut all = attributes(message.body.get(GENLMSGHDR_BYTES..).unwrap_or(&[]));
        id = all.find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID).and_then(|(_, value)| read_u16(value, 0));
    });
    match answered {
        Ok(()) => Ok(id),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
