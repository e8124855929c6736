//! Somebody in a namespace of his own who sends whole frames to the gateway as fast as the kernel can make them: live XDP frames.
//!
//! ```text
//!   attacker's namespace        mesh namespace                                    gateway namespace
//!   wire0  ------ veth ------  air0, XDP: everything on to peer0  ------ veth ------  mp0, the interface that is flooded
//! ```
//!
//! What always holds: a frame reaches the gateway's interface as it was given, but for its variation, beside what clients send by sockets;
//! the namespace and its wire vanish with this value.

use crate::link::{INTERFACE, Link, Namespace, PEER};
use anyhow::{Context, Result};
use meshpay_net::host;
use meshpay_net::xdp::{AttachMode, Attachment, Bare, Program, TestRun, Variation};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Copies of one frame that enter the wire at once: a quarter of a veth's receive ring, so that none is lost and others' packets find room.
pub const SALVO: u32 = 64;

/// How long a salvo may be on its way.
const PATIENCE: Duration = Duration::from_secs(1);

/// An attacker on a link.
pub struct Attacker {
    link: Arc<Link>,
    namespace: Namespace,
    index: u32,
    as_it_is: Program,
    varied: Program,
    // Attached, the two programs need not be made known to the kernel anew for each run.
    _attached: [Attachment; 3],
}

impl Attacker {
    /// Lays a wire to the mesh. The gateway's interface must run an XDP program, since veth takes live frames only then.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn join(link: &Arc<Link>, variation: Variation) -> Result<Self> {
        let namespace = Namespace::new()?;
        link.mesh.ip(&format!("link add air0 type veth peer name wire0 netns {}", namespace.path()))?;
        link.mesh.ip("link set air0 up")?;
        namespace.ip("link set wire0 up")?;
        let attach = |program: &Program, interface, mode| -> Result<Attachment> {
            Ok(program.attach(host::Link::named(interface)?.index, mode)?)
        };
        let on = link.mesh.inside(|| {
            attach(&Program::bare(Bare::Redirect(host::Link::named(PEER)?.index))?, "air0", AttachMode::Native)
        })??;
        let (as_it_is, varied) = (Program::bare(Bare::Transmit)?, Program::bare(Bare::TransmitVaried(variation))?);
        let (at_wire, at_loopback, index) = namespace.inside(|| -> Result<_> {
            let at_loopback = attach(&as_it_is, "lo", AttachMode::Generic)?;
            Ok((attach(&varied, "wire0", AttachMode::Native)?, at_loopback, host::Link::named("wire0")?.index))
        })??;
        let link = Arc::clone(link);
        Ok(Self { link, namespace, index, as_it_is, varied, _attached: [on, at_wire, at_loopback] })
    }

    /// Sends a salvo of copies of a frame and waits until all of them have come to the gateway's interface.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn send(&self, frame: &[u8], is_varied: bool) -> Result<()> {
        let before = self.arrived()?;
        let program = if is_varied { &self.varied } else { &self.as_it_is };
        let run = TestRun { packet: frame, repeat: SALVO, arrived_at: Some((self.index, 0)), live_batch: Some(SALVO) };
        self.namespace.inside(|| program.test_run(&run))??;
        let end = Instant::now() + PATIENCE;
        // What is lost on a wire is lost; a test counts what has arrived.
        while self.arrived()? < before + u64::from(SALVO) && Instant::now() < end {
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Packets that have come to the gateway's interface, from anybody.
    ///
    /// # Errors
    /// If the interface is gone.
    pub fn arrived(&self) -> Result<u64> {
        let table = self.link.gateway.inside(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
        let line = table.lines().find_map(|line| line.trim_start().strip_prefix(INTERFACE)?.strip_prefix(':'));
        let packets = line.and_then(|line| line.split_ascii_whitespace().nth(1));
        packets.and_then(|packets| packets.parse().ok()).with_context(|| format!("there is no interface {INTERFACE}"))
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        // The mesh lives on, and so would its end of the wire until the namespace is gone.
        let _ = self.link.mesh.ip("link delete air0");
    }
}
