//! Packets answered in a second and what that costs, on each rung, with the receiving threads scheduled normally or by SCHED_BATCH.
//!
//! A stub that answers every message with an order of the same length takes the daemon's place. The filter is the real one, with its
//! state written; its rates are unlimited. The client keeps a window of requests under way by AF_XDP, since one with sockets would be the
//! slower end. `user` is the kernel's account of user mode, sampled by its tick, so it is good only over seconds. `to flush` is what the
//! server's thread ran between a receive and the flush: for AF_XDP that is all it does in user mode, and no system call.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use meshpay_net::combined::WayOut;
use meshpay_net::xdp::AttachMode;
use meshpay_net::xsk::link_to;
use meshpay_net::{
    BURST_MAX, CombinedPort, Neighbours, PacketPort as _, Peer, Rung, UdpConfig, UdpPort, Waitable as _, XskConfig,
    XskGroup, XskInterface, XskMode, XskPort,
};
use meshpay_wire::{DEFAULT_PORT, Header, Kind};
use serde::{Deserialize, Serialize};

use super::loaded::{Host, LoadedFilter, settings};
use super::messages::{ORDER_BYTES, message};
use super::{link_request, median};
use crate::cpu;
use crate::link::{Link, NapiScheduling, Side};
use crate::progress::Console;

/// Rungs of a veth pair, which has no zero-copy.
pub(super) const RUNGS: [Rung; 4] = [Rung::Udp, Rung::XdpUdp, Rung::XdpUdpXskOut, Rung::XskCopy];

/// Requests under way.
const WINDOW: usize = 512;
/// Without an answer for so long, what is under way is given up for lost.
const LOST_AFTER: Duration = Duration::from_millis(20);
const WARM_UP: Duration = Duration::from_millis(300);

/// One rung's figures, medians of the rounds. Times are microseconds of the server's core per packet answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EchoFigures {
    /// The rung.
    pub rung: String,
    /// Whether the receiving threads ran under SCHED_BATCH.
    pub napi_batch: bool,
    /// Packets answered a second.
    pub answered_per_second: f64,
    /// Share of the requests that got no answer.
    pub lost: f64,
    /// Packets of a burst.
    pub burst: f64,
    /// The server's thread, in user mode and in the kernel.
    pub thread_us: f64,
    /// Of that, user mode.
    pub user_us: f64,
    /// Of that, between receive and flush.
    pub to_flush_us: f64,
    /// The thread that receives for the server, with the filter.
    pub napi_us: f64,
    /// Packets answered a second by those of `udp` under the same scheduling; the median of the rounds' ratios.
    pub ratio: f64,
}

struct Scene {
    link: Link,
    server: Host,
    client: Host,
    server_filter: LoadedFilter,
    client_filter: LoadedFilter,
}

/// Measures every rung under both schedulings.
pub(super) fn measure(seconds: f64, rounds: usize, stop: &AtomicBool, console: &Console) -> Result<Vec<EchoFigures>> {
    let scenes = [Scene::build(NapiScheduling::Normal)?, Scene::build(NapiScheduling::Batch)?];
    let step = console.step("packets answered a second", (rounds * scenes.len() * RUNGS.len()) as u64);
    let mut runs: Vec<Vec<EchoFigures>> = vec![Vec::new(); scenes.len() * RUNGS.len()];
    for _ in 0..rounds {
        for (at, scene) in scenes.iter().enumerate() {
            let mut of_sockets = 0.0;
            for (rung, all) in RUNGS.iter().zip(&mut runs[at * RUNGS.len()..]) {
                let mut figures = scene.measure(*rung, seconds).with_context(|| format!("on the rung {rung}"))?;
                if *rung == Rung::Udp {
                    of_sockets = figures.answered_per_second;
                }
                figures.ratio = figures.answered_per_second / of_sockets;
                figures.napi_batch = at == 1;
                all.push(figures);
                step.advance(1);
                ensure!(!stop.load(Ordering::Relaxed), crate::generator::Interrupted);
            }
        }
    }
    step.finish("done");
    Ok(runs.iter().filter_map(|rounds| of_rounds(rounds)).collect())
}

fn of_rounds(rounds: &[EchoFigures]) -> Option<EchoFigures> {
    let of = |pick: fn(&EchoFigures) -> f64| median(rounds.iter().map(pick));
    rounds.first().map(|first| EchoFigures {
        rung: first.rung.clone(),
        napi_batch: first.napi_batch,
        answered_per_second: of(|figures| figures.answered_per_second),
        lost: of(|figures| figures.lost),
        burst: of(|figures| figures.burst),
        thread_us: of(|figures| figures.thread_us),
        user_us: of(|figures| figures.user_us),
        to_flush_us: of(|figures| figures.to_flush_us),
        napi_us: of(|figures| figures.napi_us),
        ratio: of(|figures| figures.ratio),
    })
}

impl Scene {
    fn build(scheduling: NapiScheduling) -> Result<Self> {
        let link = Link::open_veth(link_request(scheduling))?;
        let (server, client) = (Host::of(&link.authority)?, Host::of(&link.generator)?);
        let filter = |side: &Side, host: Host| -> Result<LoadedFilter> {
            let filter = LoadedFilter::load()?;
            filter.start(&settings(DEFAULT_PORT, host.mac), &[side.ipv4().into()])?;
            Ok(filter)
        };
        let server_filter = filter(&link.authority, server)?;
        let client_filter = filter(&link.generator, client)?;
        // All answers are alike, and the client wants them all.
        client_filter.writer().set_frozen(true);
        Ok(Self { link, server, client, server_filter, client_filter })
    }

    fn measure(&self, rung: Rung, seconds: f64) -> Result<EchoFigures> {
        let (ours, theirs) = (&self.link.authority, &self.link.generator);
        theirs.make_way();
        let _client_attached =
            theirs.inside(|| self.client_filter.program().attach(self.client.index, AttachMode::Native))??;
        theirs.pin_receiving()?;
        let mut client = open_xsk(theirs, self.client, XskConfig::new(DEFAULT_PORT))?;
        give(&self.client_filter, &client)?;

        let _server_attached = if rung.has_filter() {
            ours.make_way();
            let attached =
                ours.inside(|| self.server_filter.program().attach(self.server.index, AttachMode::Native))??;
            ours.pin_receiving()?;
            Some(attached)
        } else {
            ours.attach_pass()?;
            None
        };
        let mut server = self.open_server(rung)?;
        let napi = *ours.napi_pids().first().context("veth has no receiving thread")?;

        let (stop, answers, lost) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let peer = Peer {
            address: SocketAddr::from((ours.ipv4(), DEFAULT_PORT)),
            local: Some(theirs.ipv4().into()),
            link: link_to(client.interface(), self.client.mac, self.server.mac),
        };
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| {
                let outcome = cpu::pin_current_thread(ours.core()).and_then(|()| serve(&mut server, napi, &stop));
                stop.store(true, Ordering::Relaxed);
                outcome
            });
            let generating = scope.spawn(|| {
                let outcome = cpu::pin_current_thread(theirs.core())
                    .and_then(|()| generate(&mut client, &peer, &stop, &answers, &lost));
                stop.store(true, Ordering::Relaxed);
                outcome
            });
            std::thread::sleep(WARM_UP);
            let now = || (Instant::now(), answers.load(Ordering::Relaxed), lost.load(Ordering::Relaxed));
            let begin = now();
            std::thread::sleep(Duration::from_secs_f64(seconds));
            let end = now();
            stop.store(true, Ordering::Relaxed);
            let joined = (generating.join(), serving.join());
            let (Ok(generated), Ok(served)) = joined else { anyhow::bail!("a thread panicked") };
            generated.context("the client failed")?;
            let figures = served.context("the server failed")?;
            let answered = (end.1 - begin.1) as f64;
            ensure!(answered > 0.0, "nothing was answered");
            Ok(EchoFigures {
                rung: rung.name().to_owned(),
                answered_per_second: answered / (end.0 - begin.0).as_secs_f64(),
                lost: (end.2 - begin.2) as f64 / answered,
                ..figures
            })
        })
    }

    /// What the daemon's worker drives on this rung.
    fn open_server(&self, rung: Rung) -> Result<CombinedPort> {
        let side = &self.link.authority;
        let address = SocketAddr::from((side.ipv4(), DEFAULT_PORT));
        let mut port = CombinedPort::new(side.inside(|| UdpPort::open(&UdpConfig::new(address)))??);
        if rung < Rung::XdpUdpXskOut {
            return Ok(port);
        }
        let receive = rung >= Rung::XskCopy;
        let xsk = open_xsk(side, self.server, XskConfig { receive, ..XskConfig::new(DEFAULT_PORT) })?;
        let way_out = if receive {
            give(&self.server_filter, &xsk)?;
            None
        } else {
            let neighbours = side.inside(|| Neighbours::open(self.server.index))??;
            Some(WayOut { neighbours, mac: self.server.mac })
        };
        port.climb(xsk, way_out);
        Ok(port)
    }
}

fn open_xsk(side: &Side, host: Host, config: XskConfig) -> Result<XskPort> {
    let interface = XskInterface { index: host.index, queues: 1, mtu: 1500 };
    let group = side.inside(|| XskGroup::open(&config, &interface, 1, XskMode::Copy))??;
    group.ports.into_iter().next().context("no AF_XDP socket was opened")
}

/// Lets a filter deliver to this port.
fn give(filter: &LoadedFilter, port: &XskPort) -> Result<()> {
    port.sockets().try_for_each(|(_, socket)| filter.set_socket(socket))
}

/// Answers until told to stop, and says what that cost.
fn serve(port: &mut CombinedPort, napi: u32, stop: &AtomicBool) -> Result<EchoFigures> {
    let answer = message(Kind::TransferRequest, ORDER_BYTES, 2, 0, [0; 8]);
    let napi_us = || -> Result<u64> { Ok(cpu::threads_of(napi)?.iter().map(|thread| thread.cpu_us).sum()) };
    let (mut packets, mut bursts, mut to_flush_ns) = (0u64, 0u64, 0u64);
    let ((user_before, own_before), napi_before) = (own_us()?, napi_us()?);
    while !stop.load(Ordering::Relaxed) {
        let before = cpu::current_thread_ns();
        let count = port.receive()?;
        if count == 0 {
            let _ = port.wait(Duration::from_millis(20), &[])?;
            continue;
        }
        for index in 0..count {
            let (_, peer) = port.packet(index);
            port.queue(&peer, &[&answer]);
        }
        to_flush_ns += cpu::current_thread_ns() - before;
        let _ = port.flush()?;
        packets += count as u64;
        bursts += 1;
    }
    let ((user, own), napi) = (own_us()?, napi_us()?);
    let per_packet = |us: f64| us / packets.max(1) as f64;
    Ok(EchoFigures {
        thread_us: per_packet(own - own_before),
        user_us: per_packet(user - user_before),
        napi_us: per_packet(napi.saturating_sub(napi_before) as f64),
        to_flush_us: per_packet(to_flush_ns as f64 / 1_000.0),
        burst: packets as f64 / bursts.max(1) as f64,
        ..EchoFigures::default()
    })
}

/// Keeps a window of requests under way, each with an id of its own, or they would be echoes.
fn generate(client: &mut XskPort, to: &Peer, stop: &AtomicBool, answers: &AtomicU64, lost: &AtomicU64) -> Result<()> {
    let mut request = message(Kind::TransferRequest, ORDER_BYTES, 1, 0, [0; 8]);
    let request_id = std::mem::offset_of!(Header, request_id);
    let (mut number, mut under_way, mut heard) = (0u64, 0usize, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..(WINDOW - under_way.min(WINDOW)).min(BURST_MAX) {
            number += 1;
            request[request_id..request_id + 8].copy_from_slice(&number.to_le_bytes());
            client.queue(to, &[&request]);
        }
        under_way += client.flush()?.sent;
        let count = client.receive()?;
        answers.fetch_add(count as u64, Ordering::Relaxed);
        under_way = under_way.saturating_sub(count);
        if count > 0 {
            heard = Instant::now();
        } else if heard.elapsed() > LOST_AFTER {
            lost.fetch_add(under_way as u64, Ordering::Relaxed);
            (under_way, heard) = (0, Instant::now());
        } else {
            let _ = client.wait(Duration::from_millis(1), &[])?;
        }
    }
    Ok(())
}

/// Microseconds of the calling thread: in user mode, and in all.
fn own_us() -> Result<(f64, f64)> {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes the structure that it is given, which lives through it.
    let outcome = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    ensure!(outcome == 0, "cannot read the thread's account: {}", std::io::Error::last_os_error());
    let us = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
    Ok((us(usage.ru_utime), us(usage.ru_utime) + us(usage.ru_stime)))
}
