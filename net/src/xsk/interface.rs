//! What the ports of one interface know of it, shared with whoever watches it.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Which interface, as the caller found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XskInterface {
    /// Its index in the network namespace of the calling thread.
    pub index: u32,
    /// Its receive queues. Each gets a socket of every worker: a packet that arrives on a queue without one is lost, and nothing
    /// counts it.
    pub queues: u32,
    /// Its MTU in bytes of an IP packet.
    pub mtu: u32,
}

/// Whether an interface carries packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// It does.
    #[default]
    Up,
    /// Taken down (ENETDOWN). The sockets stay bound; when it is taken up again they go on by themselves.
    Down,
    /// Gone from this namespace (ENXIO, ENODEV). These sockets never work again; bind spare ones when it is back.
    Away,
}

/// An interface's state and MTU, shared by all its ports. Cheap to read and to write, from any thread.
#[derive(Debug)]
pub struct LinkGauge {
    state: AtomicU8,
    mtu: AtomicU32,
}

impl LinkGauge {
    pub(super) fn new(mtu: u32) -> Self {
        Self { state: AtomicU8::new(0), mtu: AtomicU32::new(mtu) }
    }

    /// The state as the ports saw it last: at the latest one [`wait`](crate::Waitable::wait) ago.
    pub fn state(&self) -> LinkState {
        match self.state.load(Ordering::Relaxed) {
            0 => LinkState::Up,
            1 => LinkState::Down,
            _ => LinkState::Away,
        }
    }

    /// An interface that has gone never comes back to these sockets, so [`LinkState::Away`] is final.
    pub(super) fn set_state(&self, state: LinkState) {
        let number = match state {
            LinkState::Up => 0,
            LinkState::Down => 1,
            LinkState::Away => 2,
        };
        let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| (old < 2).then_some(number));
    }

    /// The MTU that sending goes by.
    pub fn mtu(&self) -> u32 {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Tells the ports of a changed MTU: AF_XDP has no word for it, so whoever follows the interface by netlink says so.
    pub fn set_mtu(&self, mtu: u32) {
        self.mtu.store(mtu, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_goes_up_and_down_but_never_returns_from_away() {
        let gauge = LinkGauge::new(1500);
        for state in [LinkState::Down, LinkState::Up, LinkState::Away] {
            gauge.set_state(state);
            assert_eq!(gauge.state(), state);
        }
        gauge.set_state(LinkState::Up);
        assert_eq!(gauge.state(), LinkState::Away);
    }
}
