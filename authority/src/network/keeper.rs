//! Looks after filter and rings while the daemon runs: a thread of its own, off the data path, without rights.
//!
//! It follows the host's addresses and links, tells the filter the date, raises the shed level under load, hands evidence to the workers,
//! and brings rings to the workers and takes them away: when the interface goes and comes back, and when the operator says so.
//!
//! What always holds: rings are in the socket map before the filter redirects to them, and the filter stops redirecting before they
//! are taken away; whatever fails here, the sockets serve on.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use meshpay_net::combined::WayOut;
use meshpay_net::host::{Change, Follower, Link};
use meshpay_net::xdp::{AttachMode, Attachment, Ring};
use meshpay_net::xsk::LinkGauge;
use meshpay_net::{Neighbours, Peer, RingSlot, Rung, XskGroup, XskInterface, XskSpare};
use meshpay_protocol::account::shard_of;
use meshpay_wire::Message;
use meshpay_wire::filter::evidence::Record;
use zerocopy::FromBytes;

use super::ladder::{Attached, Prepared, covered, own_addresses, ring_mode};
use super::view::{FilterView, NetworkView};
use super::{Coverage, upgrade};
use crate::pipeline::counters::WorkerCounters;
use crate::settings::Settings;

/// How often load, commands and evidence are looked at; changes of the host wake the thread at once.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the filter is told the date.
const DATE_EVERY: Duration = Duration::from_secs(1);
/// For so long after the last drop for want of room lower classes are shed.
const SHED_FOR: Duration = Duration::from_secs(2);
/// And for so long the lowest class.
const SHED_LOWEST_FOR: Duration = Duration::from_secs(10);
/// Samples of evidence that one look takes.
const EVIDENCE_PER_LOOK: usize = 64;

/// The thread's part.
pub struct Keeper {
    view: Arc<NetworkView>,
    filter: Arc<FilterView>,
    follower: Follower,
    evidence: Option<Ring>,
    slots: Vec<Arc<RingSlot>>,
    counters: Vec<Arc<WorkerCounters>>,
    coverage: Coverage,
    listen: SocketAddr,
    vlans: Vec<u16>,
    queues: u32,
    /// The rung that was reached at the start, and is climbed back to.
    rung: Rung,
    attachment: Option<Attachment>,
    index: u32,
    gauge: Option<Arc<LinkGauge>>,
    spares: Vec<XskSpare>,
    rejected_before: u64,
    rejected_last: Option<Instant>,
    date_told: Instant,
}

impl Keeper {
    /// Hands the rings to the workers and starts to look after them. `slots` are the workers' by their numbers.
    ///
    /// # Errors
    /// If the thread cannot be started or the host cannot be followed.
    pub fn start(
        prepared: Prepared,
        slots: &[Arc<RingSlot>],
        counters: &[Arc<WorkerCounters>],
        coverage: Coverage,
        settings: &Settings,
    ) -> Result<Arc<NetworkView>> {
        let Prepared { rung, missed, filter } = prepared;
        let Some(attached) = filter else {
            return Ok(Arc::new(NetworkView::new(rung, missed, None, slots.to_vec())));
        };
        let Attached { interface, index, mode, not_native, queues, program, attachment, rings, spares } = attached;
        let evidence = program.evidence().map_err(|error| tracing::warn!("no evidence is sampled: {error}")).ok();
        let filter = Arc::new(FilterView::new(interface, mode, not_native, program));
        let view = Arc::new(NetworkView::new(rung, missed, Some(Arc::clone(&filter)), slots.to_vec()));
        let mut keeper = Self {
            view: Arc::clone(&view),
            filter,
            follower: Follower::open().context("cannot follow this host's addresses")?,
            evidence,
            slots: slots.to_vec(),
            counters: counters.to_vec(),
            coverage,
            listen: settings.listen,
            vlans: settings.filter.vlans.clone(),
            queues,
            rung,
            attachment: Some(attachment),
            index,
            gauge: None,
            spares,
            rejected_before: 0,
            rejected_last: None,
            date_told: Instant::now(),
        };
        if let Some(group) = rings {
            keeper.hand_out(group)?;
        }
        // Addresses may have changed since the filter was configured.
        keeper.tell_addresses();
        keeper.tell_coverage();
        std::thread::Builder::new().name("network".to_owned()).spawn(move || keeper.run())?;
        Ok(view)
    }

    fn run(mut self) {
        while !self.view.is_closed() {
            let changes = match self.follower.wait(LOOK_EVERY) {
                Ok(changes) => changes,
                Err(error) => {
                    tracing::warn!("cannot follow this host's addresses: {error}; it is tried again");
                    std::thread::sleep(DATE_EVERY);
                    continue;
                }
            };
            if !changes.is_empty() {
                self.follow(&changes);
            }
            self.obey();
            self.shed();
            self.take_evidence();
            if self.date_told.elapsed() >= DATE_EVERY {
                self.filter.program().tables().set_wall_clock();
                self.date_told = Instant::now();
            }
        }
        self.take_rings_away();
        self.attachment = None;
    }

    /// Puts a group's sockets into the map, hands the ports to the workers, and only then lets the filter redirect.
    fn hand_out(&mut self, group: XskGroup) -> Result<()> {
        let workers = self.slots.len() as u32;
        let receives = self.rung >= Rung::XskCopy;
        if receives {
            let map = self.filter.program().sockets();
            for (worker, port) in group.ports.iter().enumerate() {
                for (queue, socket) in port.sockets() {
                    map.set(XskGroup::map_index(queue, worker as u32, workers), socket)?;
                }
            }
        }
        self.gauge = Some(group.gauge);
        for (slot, port) in self.slots.iter().zip(group.ports) {
            let way_out = if receives { None } else { self.way_out()? };
            slot.hand(port, way_out);
        }
        self.redirect();
        Ok(())
    }

    /// Lets the filter use the rings that the workers hold.
    fn redirect(&self) {
        if self.rung >= Rung::XskCopy {
            self.filter.program().tables().writer().set_workers(self.slots.len() as u32);
        }
        self.view.set_rung(self.rung);
    }

    /// The way to peers whose requests came by a socket.
    fn way_out(&self) -> Result<Option<WayOut>> {
        let mac = self.follower.state().link(self.index).and_then(|link| link.mac);
        let neighbours = Neighbours::open(self.index).context("cannot follow the neighbours of the interface")?;
        Ok(mac.map(|mac| WayOut { neighbours, mac }))
    }

    fn take_rings_away(&mut self) {
        self.filter.program().tables().writer().set_workers(0);
        if self.gauge.take().is_some() {
            for slot in &self.slots {
                slot.take_away();
            }
        }
    }

    fn tell_addresses(&self) {
        let addresses: Vec<IpAddr> = own_addresses(self.follower.state(), self.index, &self.vlans, self.listen);
        if !self.filter.program().tables().set_own_addresses(&addresses) {
            tracing::warn!(
                addresses = addresses.len(),
                "the interface has more addresses than the filter holds; it goes on with those it had, the rest passes by sockets"
            );
        }
    }

    /// Tells the workers whose packets the program judges.
    fn tell_coverage(&self) {
        let covered = self.attachment.is_some().then(|| covered(self.follower.state(), self.index, &self.vlans));
        self.coverage.set(covered.into_iter().flatten());
    }

    fn follow(&mut self, changes: &[Change]) {
        self.tell_addresses();
        for change in changes {
            match change {
                Change::LinkRemoved(link) if link.index == self.index => self.lose(),
                Change::LinkAdded(link) if link.name == self.filter.interface() => self.regain(link),
                Change::LinkChanged { before, now } if now.index == self.index => self.adapt(before, now),
                Change::LinkChanged { now, .. } if now.name == self.filter.interface() => self.regain(now),
                _ => {}
            }
        }
        self.tell_coverage();
    }

    fn adapt(&mut self, before: &Link, now: &Link) {
        if let Some(gauge) = &self.gauge {
            gauge.set_mtu(now.mtu);
        }
        if let Some(mac) = now.mac {
            self.filter.program().tables().writer().set_mac(mac);
        }
        if before.up != now.up || before.running != now.running || before.mtu != now.mtu {
            tracing::info!(
                interface = now.name,
                up = now.up,
                running = now.running,
                mtu = now.mtu,
                "the interface changed"
            );
            self.filter.set_state(if now.up { "filtering" } else { "the interface is down" });
        }
    }

    fn lose(&mut self) {
        tracing::warn!(
            interface = self.filter.interface(),
            "the interface is gone; packets come by sockets until it is back"
        );
        self.take_rings_away();
        self.attachment = None;
        self.index = 0;
        self.view.set_rung(Rung::Udp);
        self.filter.set_state("the interface is gone");
    }

    /// Attaches to an interface of our name that appeared.
    fn regain(&mut self, link: &Link) {
        if self.attachment.is_some() || self.filter.is_off() {
            return;
        }
        let program = self.filter.program();
        let native = program.program().attach(link.index, AttachMode::Native);
        let attached = native.or_else(|_| program.program().attach(link.index, AttachMode::Generic));
        let attachment = match attached {
            Ok(attachment) => attachment,
            Err(error) => {
                tracing::warn!("the filter is not attached: {error}; packets come by sockets");
                self.filter.set_state("not attached");
                return;
            }
        };
        upgrade::leave_with_manager(&attachment);
        self.attachment = Some(attachment);
        self.index = link.index;
        if let Some(mac) = link.mac {
            program.tables().writer().set_mac(mac);
        }
        self.tell_addresses();
        self.view.set_rung(Rung::XdpUdp);
        self.filter.set_state("filtering");
        tracing::info!(interface = link.name, "the filter is attached again");
        if self.gauge.is_some() {
            self.redirect();
        } else if let Err(error) = self.regain_rings(link) {
            tracing::warn!("no AF_XDP on {}: {error:#}; packets come by sockets, filtered", link.name);
        }
    }

    fn regain_rings(&mut self, link: &Link) -> Result<()> {
        if self.rung < Rung::XdpUdpXskOut {
            return Ok(());
        }
        let spare = self.spares.pop().context("no spare sockets are left; restart the daemon to have some again")?;
        let interface = XskInterface { index: link.index, queues: self.queues.max(1), mtu: link.mtu };
        match spare.bind(&interface, ring_mode(self.rung)) {
            Ok(group) => self.hand_out(group),
            Err(failed) => {
                self.spares.extend(failed.spare.map(|spare| *spare));
                Err(failed.error.into())
            }
        }
    }

    /// Does what the operator asked for.
    fn obey(&mut self) {
        match (self.filter.wants_off(), self.filter.is_off()) {
            (true, false) => {
                if self.rung >= Rung::XskCopy {
                    // Rings that receive answer only what came by them: without the filter they rest, and are not used up by a switch.
                    self.filter.program().tables().writer().set_workers(0);
                } else {
                    self.take_rings_away();
                }
                if let Some(attachment) = self.attachment.take() {
                    upgrade::take_off(attachment);
                }
                self.filter.set_off(true);
                self.coverage.switch_off(true);
                self.view.set_rung(Rung::Udp);
                self.filter.set_state("taken off by the operator");
                tracing::warn!(interface = self.filter.interface(), "the filter was taken off by the operator");
            }
            (false, true) => {
                self.filter.set_off(false);
                self.coverage.switch_off(false);
                let link = self.follower.state().link_named(self.filter.interface()).cloned();
                match link {
                    Some(link) => self.regain(&link),
                    None => self.filter.set_state("the interface is gone"),
                }
                self.tell_coverage();
            }
            _ => {}
        }
    }

    /// Sheds lower classes while the workers drop requests for want of room, and for a while after.
    fn shed(&mut self) {
        let rejected: u64 = self
            .counters
            .iter()
            .map(|counters| counters.totals.dropped_no_buffer.get() + counters.totals.dropped_source_queue.get())
            .sum();
        if rejected > self.rejected_before {
            self.rejected_last = Some(Instant::now());
        }
        self.rejected_before = rejected;
        let level = match self.rejected_last.map(|last| last.elapsed()) {
            Some(since) if since < SHED_FOR => 2,
            Some(since) if since < SHED_LOWEST_FOR => 1,
            _ => 0,
        };
        if self.filter.shed_level.swap(level, Ordering::Relaxed) != level {
            self.filter.program().tables().writer().set_shed_level(level);
        }
    }

    /// Hands conflicting orders that the filter dropped to the worker of their account, which verifies them like any other.
    fn take_evidence(&mut self) {
        let Some(ring) = &mut self.evidence else { return };
        for _ in 0..EVIDENCE_PER_LOOK {
            let record = ring.next(|bytes| Record::read_from_bytes(bytes).ok());
            let Some(record) = record else { return };
            let Some(record) = record else { continue };
            self.filter.evidence.fetch_add(1, Ordering::Relaxed);
            let Ok((message, _)) = Message::decode(&record.message) else { continue };
            let worker = shard_of(&message.header().account) % self.slots.len();
            let source = SocketAddr::new(IpAddr::from(record.source).to_canonical(), record.port.get());
            self.slots[worker].inject(&record.message, Peer::new(source));
        }
    }
}
