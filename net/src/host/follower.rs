//! The host's own addresses and its links, followed as they change: [`Follower`].
//!
//! What always holds: subscribed first and listed then, so nothing falls in between; after an overrun everything is listed again and
//! the difference is told, so whoever applies all changes in order has the kernel's state; an interface that went away took its
//! addresses with it, also where the kernel did not say so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::netlink::{Message, Netlink, is_overrun};
use super::{HostError, Link, OwnAddress};

// linux/rtnetlink.h
const RTNLGRP_LINK: libc::c_int = 1;
const RTNLGRP_IPV4_IFADDR: libc::c_int = 5;
const RTNLGRP_IPV6_IFADDR: libc::c_int = 9;

/// Room for notifications that were not read yet: some thousand of them. Beyond it the kernel says so and all is listed again.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// Datagrams read by one call of [`Follower::changes`], so that it returns also while somebody makes addresses without end.
const DATAGRAMS_MAX: usize = 256;

/// A change of the host's addresses or links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Packets for this address are ours from now on.
    AddressAdded(OwnAddress),
    /// Packets for this address are not ours any more.
    AddressRemoved(OwnAddress),
    /// An interface appeared; also one that was moved into this namespace.
    LinkAdded(Link),
    /// An interface changed: put up or down, carrier, MTU, name, MAC, attached program...
    LinkChanged {
        /// What it was.
        before: Link,
        /// What it is.
        now: Link,
    },
    /// An interface went away: deleted, unplugged, or moved to another namespace. One of the same name that comes later has another
    /// index and needs everything attached anew.
    LinkRemoved(Link),
}

/// Follows the addresses and links of the network namespace that the opening thread was in. Needs no right.
#[derive(Debug)]
pub struct Follower {
    events: Netlink,
    state: HostState,
    overruns: u64,
    /// Notifications were lost and the state has not been listed again yet.
    stale: bool,
    /// Changes that `state` has and the caller does not know yet.
    untold: Vec<Change>,
}

/// Addresses and links at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostState {
    addresses: BTreeSet<OwnAddress>,
    links: BTreeMap<u32, Link>,
}

impl HostState {
    /// The addresses that a packet arriving at the interface of this index may be for, see [`OwnAddress::accepted_at`]. Sorted, each once.
    pub fn addresses_at(&self, interface: u32) -> Vec<IpAddr> {
        let at: BTreeSet<IpAddr> =
            self.addresses.iter().filter(|own| own.accepted_at(interface)).map(|own| own.address).collect();
        at.into_iter().collect()
    }

    /// Every address with its interface.
    pub fn addresses(&self) -> impl Iterator<Item = &OwnAddress> {
        self.addresses.iter()
    }

    /// Every link.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The link of an index.
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    /// The link of a name.
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// Numbers of the VLANs that this host has interfaces for on top of the interface of this index. Sorted, each once.
    pub fn vlans_on(&self, interface: u32) -> Vec<u16> {
        let vlans: BTreeSet<u16> = self
            .links
            .values()
            .filter(|link| link.linked_index == Some(interface) && link.linked_namespace.is_none())
            .filter_map(|link| link.vlan)
            .collect();
        vlans.into_iter().collect()
    }

    pub(super) fn read() -> Result<Self, HostError> {
        let mut netlink = Netlink::open(libc::NETLINK_ROUTE).map_err(HostError::because("open a netlink socket"))?;
        let links = Link::dump(&mut netlink)?.into_iter().map(|link| (link.index, link)).collect();
        let addresses = OwnAddress::dump(&mut netlink)?.into_iter().collect();
        Ok(Self { addresses, links })
    }

    /// Applies one notification and tells what it changed.
    fn apply(&mut self, message: Message<'_>, changes: &mut Vec<Change>) {
        match message.kind {
            libc::RTM_NEWADDR | libc::RTM_DELADDR => {
                let Some((address, usable)) = OwnAddress::parse(message.body) else { return };
                if usable && message.kind == libc::RTM_NEWADDR {
                    // The same address with another prefix or scope takes the place of the old one.
                    self.remove_addresses(changes, |own| {
                        own.address == address.address && own.interface == address.interface && *own != address
                    });
                    if self.addresses.insert(address) {
                        changes.push(Change::AddressAdded(address));
                    }
                } else {
                    self.remove_addresses(changes, |own| {
                        own.address == address.address && own.interface == address.interface
                    });
                }
            }
            libc::RTM_NEWLINK => {
                let Some(now) = Link::parse(message.body) else { return };
                match self.links.insert(now.index, now.clone()) {
                    None => changes.push(Change::LinkAdded(now)),
                    Some(before) if before != now => changes.push(Change::LinkChanged { before, now }),
                    Some(_) => {}
                }
            }
            libc::RTM_DELLINK => {
                let Some(link) = Link::parse(message.body) else { return };
                self.remove_addresses(changes, |own| own.interface == link.index);
                if let Some(link) = self.links.remove(&link.index) {
                    changes.push(Change::LinkRemoved(link));
                }
            }
            _ => {}
        }
    }

    fn remove_addresses(&mut self, changes: &mut Vec<Change>, which: impl Fn(&OwnAddress) -> bool) {
        self.addresses.retain(|own| {
            let goes = which(own);
            if goes {
                changes.push(Change::AddressRemoved(*own));
            }
            !goes
        });
    }

    /// What leads from this state to `next`: what goes before what comes, links before the addresses on them.
    fn differences(&self, next: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        changes.extend(self.addresses.difference(&next.addresses).map(|own| Change::AddressRemoved(*own)));
        for (index, before) in &self.links {
            match next.links.get(index) {
                None => changes.push(Change::LinkRemoved(before.clone())),
                Some(now) if now != before => {
                    changes.push(Change::LinkChanged { before: before.clone(), now: now.clone() });
                }
                Some(_) => {}
            }
        }
        let added = next.links.iter().filter(|(index, _)| !self.links.contains_key(index));
        changes.extend(added.map(|(_, link)| Change::LinkAdded(link.clone())));
        changes.extend(next.addresses.difference(&self.addresses).map(|own| Change::AddressAdded(*own)));
        changes
    }
}

impl Follower {
    /// Subscribes, then lists what there is.
    ///
    /// # Errors
    /// If the kernel refuses netlink.
    pub fn open() -> Result<Self, HostError> {
        Self::open_with_buffer(RECEIVE_BUFFER_BYTES)
    }

    /// Like [`Self::open`], with room for this many bytes of unread notifications.
    ///
    /// # Errors
    /// If the kernel refuses netlink.
    pub fn open_with_buffer(receive_buffer_bytes: usize) -> Result<Self, HostError> {
        let events = Netlink::open(libc::NETLINK_ROUTE).map_err(HostError::because("open a netlink socket"))?;
        events.set_receive_buffer(receive_buffer_bytes).map_err(HostError::because("size a netlink socket"))?;
        for group in [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR] {
            events.join(group).map_err(HostError::because("subscribe to changes of links and addresses"))?;
        }
        Ok(Self { events, state: HostState::read()?, overruns: 0, stale: false, untold: Vec::new() })
    }

    /// What is known now: everything up to the last call of [`Self::changes`].
    pub fn state(&self) -> &HostState {
        &self.state
    }

    /// How often changes came faster than they were read, so that everything was listed again.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// What changed since the last call, in order; empty if nothing did. Never blocks. Call it when [`AsFd::as_fd`] is readable, and
    /// again until it returns nothing.
    ///
    /// # Errors
    /// If the kernel refuses netlink. Nothing is lost: the next call that works tells everything since the last one that did.
    pub fn changes(&mut self) -> Result<Vec<Change>, HostError> {
        for _ in 0..DATAGRAMS_MAX {
            self.list_again_if_stale()?;
            let (state, untold) = (&mut self.state, &mut self.untold);
            match self.events.notifications(|message| state.apply(message, untold)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if is_overrun(&error) => {
                    self.overruns += 1;
                    self.stale = true;
                }
                Err(error) => return Err(HostError::because("read changes of links and addresses")(error)),
            }
        }
        // An overrun in the last round leaves nothing to be read, so nobody would call for it.
        self.list_again_if_stale()?;
        Ok(std::mem::take(&mut self.untold))
    }

    fn list_again_if_stale(&mut self) -> Result<(), HostError> {
        if self.stale {
            let next = HostState::read()?;
            self.untold.extend(self.state.differences(&next));
            self.state = next;
            self.stale = false;
        }
        Ok(())
    }

    /// Like [`Self::changes`], and waits for the first change; returns nothing if none came within `patience`.
    ///
    /// # Errors
    /// As [`Self::changes`].
    pub fn wait(&mut self, patience: Duration) -> Result<Vec<Change>, HostError> {
        let deadline = std::time::Instant::now() + patience;
        loop {
            let changes = self.changes()?;
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if !changes.is_empty() || left.is_zero() {
                return Ok(changes);
            }
            let timeout = rustix::event::Timespec {
                tv_sec: left.as_secs().min(3600) as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.events, PollFlags::IN)], Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(HostError::because("wait for changes of links and addresses")(error.into())),
            }
        }
    }
}

impl AsFd for Follower {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}
