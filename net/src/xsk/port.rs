//! A worker's AF_XDP sockets, one per queue of the interface, as one packet port.
//!
//! What always holds: after construction nothing is allocated; a received frame is ours from [`receive`](PacketPort::receive) to the
//! next one, then it goes back to the kernel; a queued answer is in the transmit ring or counted as refused; an answer leaves by
//! the queue that its request came from. Nothing here ends the port for what the interface does: it shows in
//! [`LinkState`], so that the owner can go on by sockets meanwhile.

use super::counters::XskCounters;
use super::depot::Depot;
use super::frame::Frame;
use super::frame_rings::{NotOurs, ReceiveRing, TransmitRing};
use super::headers::{self, CannotSend, Marks, NotADatagram};
use super::interface::{LinkGauge, LinkState};
use super::link::Link;
use super::socket::{Kick, XskSocket};
use super::umem::Umem;
use crate::prefetch::prefetch;
use crate::{
    BURST_MAX, DATAGRAM_MAX_BYTES, LinkData, PacketPort, Peer, PortCounters, Sent, WAIT_OTHERS_MAX, Waitable, Woken,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

/// The most queues of an interface.
pub const QUEUES_MAX: usize = 64;

/// How long a wait lasts while packets that the device did not take yet are to be offered again.
const RETRY_TRANSMIT_MS: u64 = 1;

/// Frames that one receive takes from a socket, datagrams or not: a flood of rubbish must not keep a worker here.
const TAKEN_MAX: usize = 2 * BURST_MAX;

/// System calls without any progress after which a flush leaves the rest in the ring, for the next flush or wait.
const FRUITLESS_KICKS_MAX: usize = 2;

/// One socket and all that belongs to it.
pub(super) struct Lane {
    pub(super) queue: u32,
    pub(super) worker: usize,
    /// Before the rings, so that the kernel lets go of them first.
    pub(super) socket: Arc<XskSocket>,
    pub(super) receive: Option<ReceiveRing>,
    pub(super) transmit: TransmitRing,
    pub(super) depot: Arc<Depot>,
    pub(super) umem: Arc<Umem>,
    /// Frames to send from.
    pub(super) free: Vec<Frame>,
    /// Frames of the last burst on their way back.
    pub(super) returning: Vec<Frame>,
    /// Written to the transmit ring and not shown to the kernel yet.
    pub(super) unpublished: usize,
    /// Published packets may still wait for a kick.
    pub(super) unsent: bool,
    pub(super) zero_copy: bool,
    pub(super) busy_polling: bool,
}

impl Lane {
    fn exchange(&mut self) {
        self.depot.exchange(&mut self.returning, self.worker, &mut self.free);
    }

    /// A frame to send from, if there is one and the ring has a place for it.
    fn frame(&mut self) -> Option<Frame> {
        if self.free.is_empty() {
            self.exchange();
        }
        if self.transmit.room() == 0 {
            return None;
        }
        self.free.pop()
    }

    fn publish(&mut self) {
        if self.unpublished > 0 {
            self.transmit.publish();
            self.unpublished = 0;
            self.unsent = true;
        }
    }
}

struct Received {
    lane: usize,
    frame: Frame,
    payload: Range<usize>,
    peer: Peer,
}

/// See the module's documentation. Made by [`XskGroup`](super::XskGroup).
pub struct XskPort {
    lanes: Box<[Lane]>,
    /// The lane that the next burst begins with, so that none is preferred.
    first: usize,
    received: Vec<Received>,
    /// Packets of the lane being looked at whose headers were not read yet; empty between calls.
    taken: Vec<(Frame, Range<usize>)>,
    queued: usize,
    refused: usize,
    port: u16,
    marks: Marks,
    interface: u32,
    gauge: Arc<LinkGauge>,
    counters: PortCounters,
    details: XskCounters,
}

impl XskPort {
    pub(super) fn new(lanes: Vec<Lane>, port: u16, marks: Marks, interface: u32, gauge: Arc<LinkGauge>) -> Self {
        Self {
            lanes: lanes.into_boxed_slice(),
            first: 0,
            received: Vec::with_capacity(BURST_MAX),
            taken: Vec::with_capacity(BURST_MAX),
            queued: 0,
            refused: 0,
            port,
            marks,
            interface,
            gauge,
            counters: PortCounters::default(),
            details: XskCounters::default(),
        }
    }

    /// Queue and socket of each lane: what belongs into the program's XSKMAP.
    pub fn sockets(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        self.lanes.iter().map(|lane| (lane.queue, lane.socket.as_fd()))
    }

    /// The interface's state and MTU, to be kept by whoever watches it.
    pub fn gauge(&self) -> Arc<LinkGauge> {
        Arc::clone(&self.gauge)
    }

    /// Index of the interface that the sockets are bound to.
    pub fn interface(&self) -> u32 {
        self.interface
    }

    /// Whether its sockets receive at all.
    pub fn receives(&self) -> bool {
        self.lanes.iter().any(|lane| lane.receive.is_some())
    }

    /// Whether it can answer a peer with these data: they are of a packet that came by this interface, or of
    /// [`link_to`](super::link_to).
    pub fn knows(&self, link: &LinkData) -> bool {
        Link::decode(link, self.interface).is_some_and(|link| usize::from(link.queue) < self.lanes.len())
    }

    /// Whether packets reach this port without being copied.
    pub fn is_zero_copy(&self) -> bool {
        self.lanes.iter().all(|lane| lane.zero_copy)
    }

    /// Whether every socket knows the NAPI that its packets come from, which busy polling needs. At the earliest when packets have come.
    pub fn has_napi(&self) -> bool {
        self.lanes.iter().all(|lane| lane.socket.napi() != 0)
    }

    /// What happened below the datagrams.
    pub fn details(&self) -> XskCounters {
        let mut details = self.details;
        for lane in &self.lanes {
            details.frames_lost += lane.depot.lost();
            if let Ok(kernel) = lane.socket.statistics() {
                details.kernel_dropped += kernel.rx_dropped;
                details.kernel_ring_full += kernel.rx_ring_full.unwrap_or(0);
                details.kernel_fill_empty += kernel.rx_fill_ring_empty_descs.unwrap_or(0);
                details.kernel_invalid += kernel.rx_invalid_descs + kernel.tx_invalid_descs;
            }
        }
        details
    }

    /// How many datagrams can be queued now without one being refused for want of a frame or a place, whichever queue they leave by.
    pub fn room_to_send(&mut self) -> usize {
        let room = |lane: &mut Lane| {
            if lane.free.len() < BURST_MAX {
                lane.exchange();
            }
            lane.free.len().min(lane.transmit.room())
        };
        self.lanes.iter_mut().map(room).min().unwrap_or(0)
    }

    /// Where the frames of this port's queues are. Exact only while no worker of the group and no packet moves.
    pub fn frames(&mut self) -> FrameCount {
        let mut count = FrameCount::default();
        for lane in &mut self.lanes {
            let (receive, sent) = lane.depot.count();
            count.waiting_to_receive += receive + lane.returning.len();
            count.free_to_send += sent + lane.free.len();
            count.arrived += lane.receive.as_mut().map_or(0, ReceiveRing::available);
            count.being_sent += lane.transmit.pending();
        }
        count.arrived += self.received.len();
        count
    }

    /// Takes what has arrived, up to a burst. First all tokens, then all headers: a packet was written by the kernel, perhaps into memory that nobody
    /// touched for long, so all of them are on their way into the cache before the first one is read.
    fn take_from(&mut self, lane_index: usize) {
        let mut seen = 0;
        while seen < TAKEN_MAX && self.received.len() < BURST_MAX {
            let lane = &mut self.lanes[lane_index];
            let Some(ring) = &mut lane.receive else { return };
            let wanted = (BURST_MAX - self.received.len()).min(TAKEN_MAX - seen);
            let before = seen;
            for _ in 0..wanted {
                let Some(taken) = ring.take() else { break };
                seen += 1;
                match taken {
                    Ok((frame, range)) => {
                        prefetch(&lane.umem.bytes(&frame)[range.clone()]);
                        self.taken.push((frame, range));
                    }
                    Err(NotOurs) => lane.depot.count_lost(),
                }
            }
            if seen == before {
                return;
            }
            ring.release();
            self.read_taken(lane_index);
        }
    }

    /// Reads the headers of what was taken.
    fn read_taken(&mut self, lane_index: usize) {
        let lane = &mut self.lanes[lane_index];
        for (frame, range) in self.taken.drain(..) {
            let start = range.start;
            let packet = &lane.umem.bytes(&frame)[range];
            match headers::parse(packet, self.port, lane_index as u16, self.interface) {
                Ok(datagram) => {
                    let payload = start + datagram.payload.start..start + datagram.payload.end;
                    self.received.push(Received { lane: lane_index, frame, payload, peer: datagram.peer });
                }
                Err(reason) => {
                    match reason {
                        NotADatagram::Truncated => self.details.truncated += 1,
                        NotADatagram::NotOurs => self.details.not_ours += 1,
                        NotADatagram::Address => self.details.bad_address += 1,
                        NotADatagram::Oversized => self.counters.received_oversized += 1,
                    }
                    if reason != NotADatagram::Oversized {
                        self.counters.received_malformed += 1;
                    }
                    lane.returning.push(frame);
                    if lane.returning.len() >= BURST_MAX {
                        lane.depot.exchange(&mut lane.returning, lane.worker, &mut lane.free);
                    }
                }
            }
        }
    }

    /// Whether the interface carried packets when it was last looked at.
    pub fn link_state(&self) -> LinkState {
        self.gauge.state()
    }

    /// What must be done before this port's thread sleeps: frames are returned, and what the device did not take is offered again.
    /// Returns how long the thread may sleep.
    fn prepare_to_wait(&mut self, timeout: Duration) -> io::Result<Duration> {
        let mut timeout = timeout;
        for index in 0..self.lanes.len() {
            self.lanes[index].exchange();
            let dropped = self.kick(index)?;
            self.counters.refused.count(libc::ENOBUFS, dropped as u64);
            if self.lanes[index].unsent && self.gauge.state() == LinkState::Up {
                timeout = timeout.min(Duration::from_millis(RETRY_TRANSMIT_MS));
            }
        }
        Ok(timeout)
    }

    /// Waits for packets here or at the socket `beside`, and for `others`.
    pub(crate) fn wait_beside(
        &mut self,
        timeout: Duration,
        beside: Option<BorrowedFd<'_>>,
        others: &[BorrowedFd<'_>],
    ) -> io::Result<Woken> {
        if others.len() > WAIT_OTHERS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors to wait for"));
        }
        let timeout = self.prepare_to_wait(timeout)?;
        let lanes = self.lanes.len();
        let placeholder = self.lanes[0].socket.as_fd();
        let mut watched: [PollFd<'_>; QUEUES_MAX + 1 + WAIT_OTHERS_MAX] =
            std::array::from_fn(|_| PollFd::from_borrowed_fd(placeholder, PollFlags::IN));
        for (place, lane) in watched.iter_mut().zip(&self.lanes) {
            *place = PollFd::from_borrowed_fd(lane.socket.as_fd(), PollFlags::IN);
        }
        let sources = lanes + usize::from(beside.is_some());
        for (place, descriptor) in watched[lanes..].iter_mut().zip(beside.iter().chain(others)) {
            *place = PollFd::from_borrowed_fd(*descriptor, PollFlags::IN);
        }
        match poll(&mut watched[..sources + others.len()], Some(&crate::wake::timespec(timeout))) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Woken::default()),
            Err(error) => return Err(error.into()),
        }
        // A socket whose interface has gone may report other events than packets, again and again: only IN counts.
        let arrived = watched[..lanes].iter().any(|lane| lane.revents().contains(PollFlags::IN));
        let beside = watched[lanes..sources].iter().any(|socket| !socket.revents().is_empty());
        let mut woken = Woken { packets: arrived || beside, others: 0 };
        for (index, other) in watched[sources..sources + others.len()].iter().enumerate() {
            if !other.revents().is_empty() {
                woken.others |= 1 << index;
            }
        }
        if !arrived {
            self.look_at_interface()?;
        }
        Ok(woken)
    }

    /// Asks the kernel how the interface is, with the cheapest call that says so.
    pub(crate) fn look_at_interface(&mut self) -> io::Result<()> {
        for lane in &self.lanes {
            let state = match lane.socket.kick_receive()? {
                Kick::Down => LinkState::Down,
                Kick::Away => LinkState::Away,
                Kick::Done | Kick::Busy | Kick::Dropped => LinkState::Up,
            };
            self.gauge.set_state(state);
        }
        Ok(())
    }

    /// Makes the kernel send what lane `index` has published. Returns how many packets the device refused for good.
    fn kick(&mut self, index: usize) -> io::Result<usize> {
        let lane = &mut self.lanes[index];
        if !lane.unsent {
            return Ok(0);
        }
        if lane.zero_copy {
            // The driver says that it sleeps and then looks at the ring once more; we publish and then look whether it sleeps. Each
            // side's two steps must not change places, or both miss each other.
            fence(Ordering::SeqCst);
            if lane.transmit.needs_wakeup() {
                self.details.kicks += 1;
                note(&self.gauge, lane.socket.kick_transmit()?);
            }
            // What is still there is looked after by the next wait.
            lane.unsent = lane.transmit.pending() > 0;
            return Ok(0);
        }
        let mut dropped = 0;
        let mut fruitless = 0;
        let mut pending = lane.transmit.pending();
        while pending > 0 && fruitless < FRUITLESS_KICKS_MAX {
            self.details.kicks += 1;
            let outcome = lane.socket.kick_transmit()?;
            note(&self.gauge, outcome);
            let before = std::mem::replace(&mut pending, lane.transmit.pending());
            match outcome {
                Kick::Down | Kick::Away => break,
                Kick::Dropped => dropped += 1,
                Kick::Done | Kick::Busy => {}
            }
            if pending < before {
                fruitless = 0;
            } else {
                // The completion ring may be full of frames that nobody has fetched.
                fruitless += 1;
                lane.exchange();
            }
        }
        lane.unsent = pending > 0;
        Ok(dropped)
    }

    /// Counts a datagram that will not leave, for the reason that `errno` stands for.
    fn refuse(&mut self, errno: i32) {
        self.counters.refused.count(errno, 1);
        self.refused += 1;
    }
}

/// Keeps the interface's state as a system call has just shown it.
fn note(gauge: &LinkGauge, outcome: Kick) {
    match outcome {
        Kick::Down => gauge.set_state(LinkState::Down),
        Kick::Away => gauge.set_state(LinkState::Away),
        Kick::Done => gauge.set_state(LinkState::Up),
        Kick::Busy | Kick::Dropped => {}
    }
}

/// Where a port's frames are; see [`XskPort::frames`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCount {
    /// In the fill rings or on their way there. Of the queues, so the same for all workers.
    pub waiting_to_receive: usize,
    /// In receive rings and in the burst received last, of this worker.
    pub arrived: usize,
    /// Free to send from, or sent. Includes what other workers' frames wait in shared queues.
    pub free_to_send: usize,
    /// In transmit rings, of this worker.
    pub being_sent: usize,
}

impl PacketPort for XskPort {
    fn receive(&mut self) -> io::Result<usize> {
        for Received { lane, frame, .. } in self.received.drain(..) {
            self.lanes[lane].returning.push(frame);
        }
        let lanes = self.lanes.len();
        for offset in 0..lanes {
            let index = (self.first + offset) % lanes;
            self.lanes[index].exchange();
            self.take_from(index);
            if self.received.len() == BURST_MAX {
                break;
            }
        }
        self.first = (self.first + 1) % lanes;
        if self.received.is_empty() {
            // Only now, with nothing to do, it is worth a system call.
            if self.gauge.state() != LinkState::Up {
                self.look_at_interface()?;
            }
            for lane in &self.lanes {
                if (lane.busy_polling && lane.socket.napi() != 0) || (lane.zero_copy && lane.depot.fill_needs_wakeup())
                {
                    note(&self.gauge, lane.socket.kick_receive()?);
                }
            }
        }
        self.counters.received += self.received.len() as u64;
        Ok(self.received.len())
    }

    fn packet(&self, index: usize) -> (&[u8], Peer) {
        let received = &self.received[index];
        let bytes = self.lanes[received.lane].umem.bytes(&received.frame);
        (&bytes[received.payload.clone()], received.peer)
    }

    fn queue(&mut self, to: &Peer, parts: &[&[u8]]) -> bool {
        if self.queued == BURST_MAX {
            return false;
        }
        let length: usize = parts.iter().map(|part| part.len()).sum();
        debug_assert!(length <= DATAGRAM_MAX_BYTES, "a datagram of {length} bytes was queued");
        if length > DATAGRAM_MAX_BYTES {
            self.counters.queue_oversized += 1;
            return true;
        }
        self.queued += 1;
        if self.gauge.state() != LinkState::Up {
            self.refuse(libc::ENETDOWN);
            return true;
        }
        if headers::ip_bytes(to, length) > self.gauge.mtu() as usize {
            self.refuse(libc::EMSGSIZE);
            return true;
        }
        let Some(link) = Link::decode(&to.link, self.interface) else {
            self.refuse(libc::EHOSTUNREACH);
            return true;
        };
        let Some(lane) = self.lanes.get_mut(usize::from(link.queue)) else {
            self.refuse(libc::EHOSTUNREACH);
            return true;
        };
        let Some(mut frame) = lane.frame() else {
            self.refuse(libc::EAGAIN);
            return true;
        };
        let bytes = lane.umem.bytes_mut(&mut frame);
        match headers::write(bytes, to, &link, self.port, self.marks, parts) {
            Ok(length) => {
                lane.transmit.give(frame, length as u32);
                lane.unpublished += 1;
            }
            Err(reason) => {
                lane.free.push(frame);
                self.refuse(match reason {
                    CannotSend::NoSource => libc::EHOSTUNREACH,
                    CannotSend::Address => libc::EINVAL,
                });
            }
        }
        true
    }

    fn flush(&mut self) -> io::Result<Sent> {
        let queued = std::mem::take(&mut self.queued);
        let mut refused = std::mem::take(&mut self.refused);
        for index in 0..self.lanes.len() {
            self.lanes[index].publish();
            let dropped = self.kick(index)?;
            self.counters.refused.count(libc::ENOBUFS, dropped as u64);
            refused += dropped;
        }
        // What the device dropped may be of an earlier burst that was still in the ring.
        let refused = refused.min(queued);
        let sent = queued - refused;
        self.counters.sent += sent as u64;
        Ok(Sent { sent, refused })
    }

    fn counters(&self) -> PortCounters {
        let details = self.details();
        PortCounters { receive_dropped_by_kernel: details.kernel_dropped + details.kernel_ring_full, ..self.counters }
    }
}

impl Waitable for XskPort {
    /// As [`Waitable::wait`]. Before it sleeps it returns frames and offers what the device did not take; it looks at the
    /// interface's state whenever nothing came.
    fn wait(&mut self, timeout: Duration, others: &[BorrowedFd<'_>]) -> io::Result<Woken> {
        self.wait_beside(timeout, None, others)
    }
}
