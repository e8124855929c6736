//! A worker's port whose rings are handed over by another thread: whoever watches the interface puts them into a [`RingSlot`], or
//! has them taken away, while the worker runs.
//!
//! What always holds: an order takes effect between two bursts; rings that nobody took are closed by the next order; what is injected
//! is a burst of its own and never delays what was received.

use crate::combined::WayOut;
use crate::mailbox::Mailbox;
use crate::{
    CombinedPort, PacketPort, Peer, PortCounters, Sent, UdpPort, WAIT_OTHERS_MAX, Waitable, Woken, XskCounters, XskPort,
};
use meshpay_sync::atomic::{AtomicBool, Ordering};
use meshpay_sync::{ArrayQueue, Mutex};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Datagrams that wait in a slot to be taken like received ones.
const INJECTED_MAX: usize = 64;

/// What a worker shall do with its rings.
enum Order {
    Take(Box<XskPort>, Option<WayOut>),
    GiveUp,
}

/// The way by which a worker is handed rings, or told to give them up.
pub struct RingSlot {
    orders: Mailbox<Order>,
    has_rings: AtomicBool,
    details: Mutex<XskCounters>,
    injected: ArrayQueue<(Vec<u8>, Peer)>,
}

impl RingSlot {
    /// A slot with nothing in it.
    ///
    /// # Errors
    /// When the process or the machine is out of descriptors.
    pub fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            orders: Mailbox::new()?,
            has_rings: AtomicBool::new(false),
            details: Mutex::new(XskCounters::default()),
            injected: ArrayQueue::new(INJECTED_MAX),
        }))
    }

    /// Hands the worker rings, which take the place of those it has, and for rings that only send the way to those who ask by socket.
    pub fn hand(&self, rings: XskPort, way_out: Option<WayOut>) {
        self.orders.put(Order::Take(Box::new(rings), way_out));
    }

    /// Makes the worker close its rings and go on by its socket alone.
    pub fn take_away(&self) {
        self.orders.put(Order::GiveUp);
    }

    /// Gives the worker a datagram as if it had been received from `peer`. False, and nothing happens, if too many wait already.
    pub fn inject(&self, datagram: &[u8], peer: Peer) -> bool {
        let taken = self.injected.push((datagram.to_vec(), peer)).is_ok();
        self.orders.waker().wake();
        taken
    }

    /// Whether the worker has rings now. An order takes effect at the worker's next burst or wait.
    pub fn has_rings(&self) -> bool {
        self.has_rings.load(Ordering::Acquire)
    }

    /// Details of all rings that this worker has had, as copied the last time [`WorkerPort::publish`] was called.
    pub fn details(&self) -> XskCounters {
        *self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module's documentation.
pub struct WorkerPort {
    port: CombinedPort,
    slot: Arc<RingSlot>,
    /// Details of rings that are closed.
    closed: XskCounters,
    /// The injected datagram that is the burst, if so.
    injected: Option<(Vec<u8>, Peer)>,
}

impl WorkerPort {
    /// A port of this socket, which gets rings when they come through the slot.
    pub fn new(socket: UdpPort, slot: Arc<RingSlot>) -> Self {
        Self { port: CombinedPort::new(socket), slot, closed: XskCounters::default(), injected: None }
    }

    /// Copies the rings' details to where the slot's other side sees them.
    pub fn publish(&self) {
        let mut details = self.closed;
        if let Some(rings) = self.port.xsk() {
            details += rings.details();
        }
        *self.slot.details.lock().unwrap_or_else(PoisonError::into_inner) = details;
    }

    fn follow_orders(&mut self) {
        let Some(order) = self.slot.orders.take() else { return };
        if let Some(old) = self.port.fall() {
            self.closed += old.details();
        }
        if let Order::Take(rings, way_out) = order {
            self.port.climb(*rings, way_out);
        }
        self.slot.has_rings.store(self.port.xsk().is_some(), Ordering::Release);
    }
}

impl PacketPort for WorkerPort {
    fn receive(&mut self) -> io::Result<usize> {
        self.follow_orders();
        self.injected = None;
        let received = self.port.receive()?;
        if received == 0 && !self.slot.injected.is_empty() {
            self.injected = self.slot.injected.pop();
            return Ok(usize::from(self.injected.is_some()));
        }
        Ok(received)
    }

    fn packet(&self, index: usize) -> (&[u8], Peer) {
        match &self.injected {
            Some((datagram, peer)) if index == 0 => (datagram, *peer),
            _ => self.port.packet(index),
        }
    }

    fn queue(&mut self, to: &Peer, parts: &[&[u8]]) -> bool {
        self.port.queue(to, parts)
    }

    fn flush(&mut self) -> io::Result<Sent> {
        self.port.flush()
    }

    fn counters(&self) -> PortCounters {
        self.port.counters()
    }
}

impl Waitable for WorkerPort {
    /// As [`Waitable::wait`]; `others` may be one less than [`WAIT_OTHERS_MAX`].
    fn wait(&mut self, timeout: Duration, others: &[BorrowedFd<'_>]) -> io::Result<Woken> {
        let given = others.len();
        if given + 1 > WAIT_OTHERS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors to wait for"));
        }
        let slot = Arc::clone(&self.slot);
        let mut watched = [slot.orders.waker().as_fd(); WAIT_OTHERS_MAX];
        watched[..given].copy_from_slice(others);
        let mut woken = self.port.wait(timeout, &watched[..=given])?;
        if woken.others >> given & 1 == 1 {
            self.slot.orders.woken();
        }
        woken.others &= (1 << given) - 1;
        Ok(woken)
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::{UdpConfig, UdpPort};

    fn port() -> (WorkerPort, Arc<RingSlot>) {
        let socket = UdpPort::open(&UdpConfig::new(([127, 0, 0, 1], 0).into())).expect("a socket");
        let slot = RingSlot::new().expect("a slot");
        (WorkerPort::new(socket, Arc::clone(&slot)), slot)
    }

    /// The other thread was interrupted between leaving its order and waking: the wake-up comes when the order is already taken.
    #[test]
    fn a_wake_up_that_comes_late_ends_one_wait_and_no_more() {
        let (mut port, slot) = port();
        slot.take_away();
        assert_eq!(port.receive().unwrap(), 0);
        slot.orders.waker().wake();
        port.wait(Duration::from_secs(1), &[]).unwrap();
        assert!(!slot.orders.waker().clear(), "the worker would spin until the next order");
    }

    #[test]
    fn what_is_injected_is_received_and_then_the_worker_sleeps() {
        let (mut port, slot) = port();
        let peer = Peer::new(([127, 0, 0, 1], 9).into());
        assert!(slot.inject(b"datagram", peer));
        port.wait(Duration::from_secs(1), &[]).unwrap();
        assert_eq!(port.receive().unwrap(), 1);
        assert_eq!(port.packet(0).0, b"datagram");
        assert_eq!(port.receive().unwrap(), 0);
        assert!(!slot.orders.waker().clear(), "the worker would spin");
    }
}
