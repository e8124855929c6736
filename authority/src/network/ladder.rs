//! Climbs to the best rung of packet I/O that interface and rights allow, and says of each better one why not.
//!
//! What always holds: everything that needs rights happens in [`prepare`], before a thread is started; a program of somebody else stays
//! where it is; a rung that was required is reached or the start fails.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use meshpay_net::host::{Follower, HostState, Interface, Link, XdpMode};
use meshpay_net::rung::{Missed, Obstacle, climb};
use meshpay_net::xdp::{AttachMode, Attachment, XdpError};
use meshpay_net::{Rung, XskConfig, XskGroup, XskInterface, XskMode, XskSpare};
use meshpay_wire::TokenKey;
use meshpay_wire::filter::{Settings as FilterSettings, TableSizes};

use super::{FilterProgram, upgrade};
use crate::settings::{RungChoice, Settings};

/// Spare AF_XDP sockets made while there are rights: for so many returns of an interface that went away.
const SPARES: usize = 2;

/// Tables of the filter: 32 MiB for accounts, so that of a thousand busy ones two at most share a place, where the filter knows but the
/// later one and lets replays of the other pass.
const TABLES: TableSizes = TableSizes { accounts: 1 << 19, ..TableSizes::ORDINARY };

/// What is wanted.
pub struct NetworkRequest<'a> {
    /// The daemon's settings.
    pub settings: &'a Settings,
    /// Key of return tokens, which the kernel checks.
    pub token_key: &'a TokenKey,
    /// Random key of the filter's tables.
    pub table_key: [u8; 16],
    /// Links that an earlier process left with the service manager.
    pub inherited: Vec<OwnedFd>,
}

/// What was reached, before recovery and before any thread.
pub struct Prepared {
    /// Which rung.
    pub rung: Rung,
    /// Better ones that were tried.
    pub missed: Vec<Missed>,
    /// The filter, where the rung has one.
    pub filter: Option<Attached>,
}

/// A filter on its interface.
pub struct Attached {
    /// Name of the interface, by which it is found again.
    pub interface: String,
    /// Its index now.
    pub index: u32,
    /// Native or generic.
    pub mode: AttachMode,
    /// Why not natively, if so.
    pub not_native: Option<String>,
    /// Receive queues.
    pub queues: u32,
    /// The program and its tables.
    pub program: Arc<FilterProgram>,
    /// Its link, which ends with us.
    pub attachment: Attachment,
    /// AF_XDP sockets, bound.
    pub rings: Option<XskGroup>,
    /// AF_XDP sockets for later, unbound.
    pub spares: Vec<XskSpare>,
}

/// Loads, attaches and binds what the settings ask for. To be called while the process has its rights and one thread.
///
/// # Errors
/// If the interface does not exist, or a required rung is not reached.
pub fn prepare(mut request: NetworkRequest<'_>) -> Result<Prepared> {
    let inherited = std::mem::take(&mut request.inherited);
    let request = &request;
    let settings = &request.settings.filter;
    if settings.interface.is_empty() {
        // The operator has taken the interface out of the settings: no index is 0, so all that was left is taken off.
        upgrade::take_over(inherited, 0);
        return Ok(Prepared { rung: Rung::Udp, missed: Vec::new(), filter: None });
    }
    let interface = Interface::named(&settings.interface).with_context(|| {
        format!(
            "filter.interface names {}, and there is no such interface here; `meshpay-authority doctor` lists them",
            settings.interface
        )
    })?;
    if request.settings.listen.port() == 0 {
        bail!("a filter needs to know the port: give listen a port other than 0");
    }
    let best = match settings.rung {
        RungChoice::Auto => Rung::XskZeroCopy,
        RungChoice::AtMost(rung) => rung,
    };
    let sequence: Vec<Rung> = Rung::BEST_FIRST.into_iter().filter(|rung| *rung <= best).collect();
    let mut inherited = upgrade::take_over(inherited, interface.link.index);
    // Loaded and attached once, whichever rung it is for.
    let mut base: Option<Result<Base, Obstacle>> = None;
    let climbed = climb(&sequence, Some(settings.require.0), |rung| {
        if rung == Rung::Udp {
            return Ok(None);
        }
        let attached = match base.get_or_insert_with(|| attach(request, &interface, inherited.take())) {
            Ok(attached) => attached,
            Err(obstacle) => return Err(obstacle.clone()),
        };
        let rings = open_rings(request.settings, &interface, attached.mode, rung)?;
        Ok(Some(rings))
    })?;
    let filter = match (climbed.opened, base) {
        (Some(rings), Some(Ok(base))) => {
            let attached = Attached {
                interface: settings.interface.clone(),
                index: interface.link.index,
                mode: base.mode,
                not_native: base.not_native,
                queues: interface.queues.receive,
                program: Arc::new(base.program),
                attachment: base.attachment,
                spares: rings.as_ref().map_or_else(Vec::new, |_| spares(request.settings, &interface, climbed.rung)),
                rings,
            };
            attached.configure(request)?;
            upgrade::leave_with_manager(&attached.attachment);
            Some(attached)
        }
        // The rung is sockets alone: a filter that nobody wants is taken off again, from the service manager's hands too.
        (_, Some(Ok(base))) => {
            upgrade::take_off(base.attachment);
            None
        }
        _ => None,
    };
    if let Some(unused) = inherited {
        upgrade::take_off(unused);
    }
    Ok(Prepared { rung: climbed.rung, missed: climbed.missed, filter })
}

struct Base {
    program: FilterProgram,
    attachment: Attachment,
    mode: AttachMode,
    not_native: Option<String>,
}

fn attach(
    request: &NetworkRequest<'_>,
    interface: &Interface,
    inherited: Option<Attachment>,
) -> Result<Base, Obstacle> {
    if !interface.link.ethernet || interface.link.mac.is_none() {
        return Err(Obstacle::new(
            format!("{} is no Ethernet interface", interface.link.name),
            "name the mesh or Ethernet interface that payments arrive on",
        ));
    }
    let sockets = interface.queues.receive.max(1) * request.settings.workers as u32;
    let program = FilterProgram::load(TABLES, sockets).map_err(|error| obstacle(&error))?;
    let index = interface.link.index;
    if let Some(attachment) = inherited {
        match attachment.replace(program.program()) {
            Ok(()) => {
                let generic = interface.link.programs.iter().any(|attached| attached.mode == XdpMode::Generic);
                let mode = if generic { AttachMode::Generic } else { AttachMode::Native };
                tracing::info!(interface = interface.link.name, "the filter of the process before is taken over");
                return Ok(Base { program, attachment, mode, not_native: None });
            }
            Err(error) => {
                tracing::warn!("the filter of the process before cannot be taken over: {error}; it is attached anew");
                upgrade::take_off(attachment);
            }
        }
    }
    let refused = match program.program().attach(index, AttachMode::Native) {
        Ok(attachment) => return Ok(Base { program, attachment, mode: AttachMode::Native, not_native: None }),
        Err(error) => error,
    };
    let may_be_generic =
        matches!(refused, XdpError::NoNativeMode { .. } | XdpError::MtuTooLarge { .. } | XdpError::TooFewQueues { .. });
    if !may_be_generic {
        return Err(obstacle(&refused));
    }
    tracing::warn!("{refused}; the filter runs in generic mode, which costs more for each packet");
    let attachment = program.program().attach(index, AttachMode::Generic).map_err(|error| obstacle(&error))?;
    Ok(Base { program, attachment, mode: AttachMode::Generic, not_native: Some(refused.to_string()) })
}

/// The error's own words say what to do.
fn obstacle(error: &dyn std::error::Error) -> Obstacle {
    Obstacle::new(error.to_string(), "")
}

fn ring_config(settings: &Settings, rung: Rung) -> XskConfig {
    XskConfig { receive: rung >= Rung::XskCopy, ..XskConfig::new(settings.listen.port()) }
}

/// How AF_XDP sockets are bound on a rung.
pub(super) fn ring_mode(rung: Rung) -> XskMode {
    if rung == Rung::XskZeroCopy { XskMode::ZeroCopy } else { XskMode::Copy }
}

/// What a rung needs besides the filter.
fn open_rings(
    settings: &Settings,
    interface: &Interface,
    mode: AttachMode,
    rung: Rung,
) -> Result<Option<XskGroup>, Obstacle> {
    if rung < Rung::XdpUdpXskOut {
        return Ok(None);
    }
    if rung == Rung::XskZeroCopy {
        if mode == AttachMode::Generic {
            return Err(Obstacle::new("without native XDP there is no zero-copy", ""));
        }
        if interface.xdp_features.is_some_and(|features| !features.zero_copy()) {
            return Err(Obstacle::new(format!("the driver of {} has no zero-copy", interface.link.name), ""));
        }
    }
    let config = ring_config(settings, rung);
    XskGroup::open(&config, &ring_interface(interface), settings.workers, ring_mode(rung))
        .map(Some)
        .map_err(|error| obstacle(&error))
}

fn spares(settings: &Settings, interface: &Interface, rung: Rung) -> Vec<XskSpare> {
    let spare = || XskSpare::new(&ring_config(settings, rung), interface.queues.receive.max(1), settings.workers);
    let mut spares = Vec::new();
    for _ in 0..SPARES {
        match spare() {
            Ok(spare) => spares.push(spare),
            Err(error) => {
                tracing::warn!("no spare AF_XDP sockets, so a new interface is served by sockets: {error}");
                break;
            }
        }
    }
    spares
}

fn ring_interface(interface: &Interface) -> XskInterface {
    XskInterface { index: interface.link.index, queues: interface.queues.receive.max(1), mtu: interface.link.mtu }
}

impl Attached {
    /// Writes settings and addresses, and switches the filter on; sockets go into the map when the workers take them.
    fn configure(&self, request: &NetworkRequest<'_>) -> Result<()> {
        let follower = Follower::open().context("cannot read this host's addresses")?;
        let state = follower.state();
        let mac = state.link(self.index).and_then(|link| link.mac).context("the interface has no MAC address")?;
        let settings = &request.settings.filter;
        let mut filter =
            FilterSettings::new(request.table_key, request.token_key.clone(), request.settings.listen.port(), mac);
        filter.shed_interface = settings.shed_interface;
        self.program.start(&filter);
        let writer = self.program.tables().writer();
        for vlan in &settings.vlans {
            writer.set_vlan(*vlan, true);
        }
        self.program.tables().set_own_addresses(&own_addresses(
            state,
            self.index,
            &settings.vlans,
            request.settings.listen,
        ));
        Ok(())
    }
}

/// The interfaces whose packets a program on one of them judges: itself, and the permitted VLANs above it.
pub(super) fn covered(state: &HostState, index: u32, vlans: &[u16]) -> Vec<u32> {
    let above = vlans_above(state, index, vlans).map(|link| link.index);
    std::iter::once(index).chain(above).collect()
}

fn vlans_above<'a>(state: &'a HostState, index: u32, vlans: &'a [u16]) -> impl Iterator<Item = &'a Link> {
    state
        .links()
        .filter(move |link| link.linked_index == Some(index) && link.vlan.is_some_and(|vlan| vlans.contains(&vlan)))
}

/// The addresses that packets for us may carry: all of the interface and of its permitted VLANs, or the one that we listen at.
pub(super) fn own_addresses(state: &HostState, index: u32, vlans: &[u16], listen: SocketAddr) -> Vec<IpAddr> {
    let on_vlans = vlans_above(state, index, vlans).flat_map(|link| state.addresses_at(link.index));
    let mut addresses: Vec<IpAddr> = state.addresses_at(index).into_iter().chain(on_vlans).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if !listen.ip().is_unspecified() {
        addresses.retain(|address| *address == listen.ip());
    }
    addresses
}
