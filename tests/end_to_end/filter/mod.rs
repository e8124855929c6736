//! The filter in the kernel, for real: a daemon at a gateway, native XDP and AF_XDP on its interface, everybody else at the other end.
//!
//! | file | what |
//! |---|---|
//! | `payments.rs` | payments on every rung are payments without the filter |
//! | `drops.rs` | each reason to drop a packet for what it is, and what must pass untouched |
//! | `load.rs` | packets dropped because there are too many: rates, and classes shed |
//! | `life_cycle.rs` | killed, switched off, interface gone, rights missing |
//! | `upgrade.rs` | one daemon takes the place of another, and the filter stays |
//! | `poisoning.rs` | an attacker cannot turn the filter against a client |
//! | `replay.rs` | a million recorded packets, replayed |
//! | `flood.rs` | a flood of everything, while a client pays |

mod drops;
mod flood;
mod life_cycle;
mod load;
mod payments;
mod poisoning;
mod replay;
mod upgrade;

use crate::scene::{ALICE, Scene};
use anyhow::{Result, bail, ensure};
use meshpay_tests::DEADLINE;
use meshpay_tests::client::{Client, Received};
use meshpay_tests::committee::Plan;
use meshpay_tests::link::{GATEWAY_V4, INTERFACE, Link};
use meshpay_tests::network::{Actor, Certificate};
use meshpay_wire::{CertificateView, DATAGRAM_MAX, Digest, Envelope, SignedOrder};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Every rung that veth can reach, the best last.
const RUNGS: [&str; 4] = ["udp", "xdp-udp", "xdp-udp-xsk-out", "xsk-copy"];

/// A scene at the gateway on this rung and no lower one.
fn scene(link: &Arc<Link>, rung: &str, plan: Plan) -> Result<Scene> {
    Scene::of(plan.on(link, GATEWAY_V4.into()).flag("--rung", rung).flag("--require", rung))
}

/// Like [`scene`], with more accounts that hold as much as Alice.
fn scene_with(link: &Arc<Link>, rung: &str, accounts: &[Actor]) -> Result<Scene> {
    let plan = accounts.iter().fold(Plan::single(), |plan, actor| plan.fund(actor, ALICE));
    scene(link, rung, plan)
}

/// An order as a datagram.
fn order_datagram(envelope: &Envelope, order: &SignedOrder, digest: &Digest) -> Vec<u8> {
    let mut buffer = [0; DATAGRAM_MAX];
    let length = meshpay_wire::transfer_request(&mut buffer, envelope, order, digest);
    buffer[..length].to_vec()
}

/// A certificate as a datagram.
fn certificate_datagram(envelope: &Envelope, certificate: &Certificate, digest: &Digest) -> Vec<u8> {
    let mut buffer = [0; DATAGRAM_MAX];
    let bytes = certificate.bytes();
    let (view, _) = CertificateView::parse(&bytes).expect("a certificate that the test made");
    let length = meshpay_wire::confirmation_request(&mut buffer, envelope, &view, digest);
    buffer[..length].to_vec()
}

/// How long one transmission may take. So long that no slow machine needs a second one.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends what `write` makes, at most `transmissions` times with a fresh request id each, and returns the answer.
fn within(
    client: &mut Client,
    to: SocketAddr,
    transmissions: usize,
    write: impl Fn(&Envelope) -> Vec<u8>,
) -> Result<Received> {
    let mut sent = HashSet::new();
    for _ in 0..transmissions {
        let envelope = client.envelope(to);
        sent.insert(envelope.request_id);
        client.send(to, &write(&envelope))?;
        let end = Instant::now() + PATIENCE;
        while let Some(received) = client.receive(end.saturating_duration_since(Instant::now()))? {
            let ours = |message: &Received| message.from == to && sent.contains(&message.header.request_id);
            if let Some(found) = received.into_iter().find(ours) {
                return Ok(found);
            }
            if Instant::now() > end {
                break;
            }
        }
    }
    bail!("no answer from {to} to {transmissions} transmissions")
}

/// Repeats `act` until the filter has counted an outcome that it had not counted before.
fn until_counted(scene: &mut Scene, outcome: &str, mut act: impl FnMut(&mut Scene) -> Result<()>) -> Result<()> {
    let before = scene.committee.daemons[0].filtered(outcome)?;
    let end = Instant::now() + DEADLINE;
    loop {
        act(scene)?;
        if scene.committee.daemons[0].filtered(outcome)? > before {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{outcome} was not reached: {}", scene.committee.daemons[0].filter("status")?);
    }
}

/// Whatever comes for the client by now is of no interest.
fn drain(scene: &mut Scene) -> Result<()> {
    while scene.client.receive(Duration::from_millis(5))?.is_some() {}
    Ok(())
}

/// Waits until the gateway's interface is without programs: the kernel frees what was closed a moment later.
fn until_clean(link: &Link) -> Result<()> {
    let end = Instant::now() + DEADLINE;
    while !link.gateway.programs(INTERFACE)?.is_empty() {
        ensure!(Instant::now() < end, "a program is still attached");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Something that goes on beside a test until it is dropped.
struct Meanwhile<'scope> {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::ScopedJoinHandle<'scope, Result<u64>>>,
}

impl<'scope> Meanwhile<'scope> {
    /// Calls `act` again and again; it returns how much it did.
    fn start<'environment>(
        scope: &'scope std::thread::Scope<'scope, 'environment>,
        mut act: impl FnMut() -> Result<u64> + Send + 'scope,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = scope.spawn(move || {
            let mut done = 0;
            while !seen.load(Ordering::Relaxed) {
                done += act()?;
            }
            Ok(done)
        });
        Self { stop, thread: Some(thread) }
    }

    /// Whether it has ended by itself, which is a failure; [`Meanwhile::end`] says why.
    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(std::thread::ScopedJoinHandle::is_finished)
    }

    /// Ends it and returns how much was done in all.
    fn end(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(std::thread::ScopedJoinHandle::join) {
            Some(Ok(done)) => done,
            _ => bail!("a thread of the test panicked"),
        }
    }
}

impl Drop for Meanwhile<'_> {
    fn drop(&mut self) {
        // The scope waits for its threads, also when the test failed.
        self.stop.store(true, Ordering::Relaxed);
    }
}
