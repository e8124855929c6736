//! What the verdicts are made from: [`Facts`].

use meshpay_net::BURST_MAX;
use meshpay_net::host::{Capabilities, Interface, Kernel};
use meshpay_net::xsk::XskConfig;

/// Bytes of one frame of packet memory.
const FRAME_BYTES: u64 = 2048;

/// Host, rights and interface.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The running kernel.
    pub kernel: Kernel,
    /// What this process may do.
    pub capabilities: Capabilities,
    /// The interface.
    pub interface: Interface,
    /// Worker threads that the daemon will have.
    pub workers: usize,
    /// Bytes of a memory page.
    pub page_bytes: usize,
}

impl Facts {
    /// Memory that AF_XDP locks on this interface, in bytes: each worker has its frames on each queue.
    pub fn locked_bytes(&self) -> u64 {
        let config = XskConfig::new(meshpay_wire::DEFAULT_PORT);
        let frames = u64::from(config.ring_entries) + BURST_MAX as u64 + u64::from(config.transmit_frames);
        frames * FRAME_BYTES * self.workers as u64 * u64::from(self.interface.queues.receive.max(1))
    }
}
