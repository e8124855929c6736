//! Packets that are dropped on a veth pair in a second: by the filter, and by a program of two instructions that drops everything.
//!
//! As socket buffers (a sender with a socket) and as XDP frames (live frames of BPF_PROG_TEST_RUN, transmitted into the pair). Sender and
//! receiver have a core each. Where the sender is the slower one, the packets of a second are its figure; so the receiver's time per
//! packet is given too.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use meshpay_net::xdp::{AttachMode, Bare, LIVE_BATCH_MAX, Program, TestRun};
use meshpay_net::{BURST_MAX, PacketPort as _, Peer, UdpConfig, UdpPort};
use meshpay_wire::filter::Outcome;
use meshpay_wire::{DEFAULT_PORT, Kind};
use serde::{Deserialize, Serialize};

use super::loaded::{Host, LoadedFilter, settings};
use super::messages::{ORDER_BYTES, frame, message};
use super::{link_request, median};
use crate::cpu;
use crate::link::{Link, NapiScheduling, attach_bare};
use crate::progress::Console;

/// Live frames of one system call: a tenth of a second or so.
const LIVE_FRAMES: u32 = 100_000;

/// Before figures are taken.
const WARM_UP: Duration = Duration::from_millis(200);

/// One rate of dropping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DropRate {
    /// Packets dropped a second.
    pub per_second: f64,
    /// Nanoseconds that the receiving thread ran for each.
    pub receiver_ns: f64,
}

/// The filter beside a bare drop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DropFigures {
    /// "skb" or "xdp_frame".
    pub input: String,
    /// What was sent.
    pub packet: String,
    /// Two instructions that drop everything.
    pub bare: DropRate,
    /// The filter.
    pub filter: DropRate,
    /// Packets a second of the filter by those of the bare drop; the median of the rounds' ratios.
    pub ratio: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    Skb,
    XdpFrame,
}

struct Scene {
    link: Link,
    filter: LoadedFilter,
    receiver: Host,
    sender: Host,
    transmit: Program,
}

/// What is sent, and what the filter says of it.
struct Packet {
    name: &'static str,
    payload: Vec<u8>,
    outcome: Outcome,
}

/// Measures each input with each kind of packet.
pub(super) fn measure(seconds: f64, rounds: usize, stop: &AtomicBool, console: &Console) -> Result<Vec<DropFigures>> {
    let link = Link::open_veth(link_request(NapiScheduling::Normal))?;
    let (receiver, sender) = (Host::of(&link.authority)?, Host::of(&link.generator)?);
    let transmit = Program::bare(Bare::Transmit)?;
    let filter = LoadedFilter::load()?;
    let mut wanted = settings(DEFAULT_PORT, receiver.mac);
    wanted.echo_window_ns = u64::MAX;
    filter.start(&wanted, &[link.authority.ipv4().into()])?;
    let scene = Scene { link, filter, receiver, sender, transmit };
    let packets = [
        Packet { name: "garbage", payload: vec![0x55; ORDER_BYTES], outcome: Outcome::MalformedMessage },
        Packet {
            name: "echo of an order",
            payload: message(Kind::TransferRequest, ORDER_BYTES, 1, 5, [0; 8]),
            outcome: Outcome::Echo,
        },
    ];
    let step = console.step("packets dropped a second", (4 * rounds) as u64);
    let mut all = Vec::new();
    for input in [Input::Skb, Input::XdpFrame] {
        for packet in &packets {
            let (mut bare, mut filtered) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                bare.push(scene.measure_bare(input, packet, seconds)?);
                filtered.push(scene.measure_filter(input, packet, seconds)?);
                step.advance(1);
                ensure!(!stop.load(Ordering::Relaxed), crate::generator::Interrupted);
            }
            let of = |rates: &[DropRate]| DropRate {
                per_second: median(rates.iter().map(|rate| rate.per_second)),
                receiver_ns: median(rates.iter().map(|rate| rate.receiver_ns)),
            };
            all.push(DropFigures {
                input: if input == Input::Skb { "skb" } else { "xdp_frame" }.to_owned(),
                packet: packet.name.to_owned(),
                bare: of(&bare),
                filter: of(&filtered),
                ratio: median(bare.iter().zip(&filtered).map(|(bare, filter)| filter.per_second / bare.per_second)),
            });
        }
    }
    step.finish("done");
    Ok(all)
}

impl Scene {
    fn measure_bare(&self, input: Input, packet: &Packet, seconds: f64) -> Result<DropRate> {
        let side = &self.link.authority;
        side.make_way();
        let _program = side.inside(|| attach_bare(side.interface(), Bare::Drop))??;
        side.pin_receiving()?;
        self.flood(input, packet, seconds)
    }

    fn measure_filter(&self, input: Input, packet: &Packet, seconds: f64) -> Result<DropRate> {
        let side = &self.link.authority;
        side.make_way();
        let _attached = side.inside(|| self.filter.program().attach(self.receiver.index, AttachMode::Native))??;
        side.pin_receiving()?;
        let before = (side.received()?, self.filter.count(packet.outcome));
        let rate = self.flood(input, packet, seconds)?;
        let received = side.received()? - before.0;
        let dropped = self.filter.count(packet.outcome) - before.1;
        // All but the packet by which an echo becomes known, and what the host itself says (neighbours).
        let is_all = dropped as f64 >= 0.99 * received as f64;
        ensure!(is_all, "of {received} packets only {dropped} were {}", packet.outcome.name());
        Ok(rate)
    }

    /// Sends from the generator's core as fast as that goes, while the authority's side drops.
    fn flood(&self, input: Input, packet: &Packet, seconds: f64) -> Result<DropRate> {
        let (side, stop) = (&self.link.authority, AtomicBool::new(false));
        let sample = || -> Result<(Instant, u64, u64)> {
            let ran = side.napi_pids().into_iter().filter_map(|pid| cpu::threads_of(pid).ok()).flatten();
            let ran_us = ran.map(|thread| thread.cpu_us).sum();
            Ok((Instant::now(), side.received()?, ran_us))
        };
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                self.link.generator.inside(|| -> Result<()> {
                    cpu::pin_current_thread(self.link.generator.core())?;
                    self.send(input, packet, &stop)
                })?
            });
            std::thread::sleep(WARM_UP);
            let begin = sample();
            std::thread::sleep(Duration::from_secs_f64(seconds));
            let end = sample();
            stop.store(true, Ordering::Relaxed);
            match sending.join() {
                Ok(outcome) => outcome.context("the sender failed")?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
            let (begin, end) = (begin?, end?);
            let packets = (end.1 - begin.1) as f64;
            ensure!(packets > 0.0, "no packet came through the link");
            Ok(DropRate {
                per_second: packets / (end.0 - begin.0).as_secs_f64(),
                receiver_ns: end.2.saturating_sub(begin.2) as f64 * 1_000.0 / packets,
            })
        })
    }

    fn send(&self, input: Input, packet: &Packet, stop: &AtomicBool) -> Result<()> {
        let to: SocketAddr = (self.link.authority.ipv4(), DEFAULT_PORT).into();
        let from: SocketAddr = (self.link.generator.ipv4(), 4000).into();
        match input {
            Input::Skb => {
                let mut port = UdpPort::open(&UdpConfig::new(from))?;
                let peer = Peer::new(to);
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..BURST_MAX {
                        port.queue(&peer, &[&packet.payload]);
                    }
                    // What the kernel refuses is not received, and so not counted.
                    let _ = port.flush()?;
                }
            }
            Input::XdpFrame => {
                let frame = frame([self.sender.mac, self.receiver.mac], from, to, &packet.payload);
                let run = TestRun {
                    packet: &frame,
                    repeat: LIVE_FRAMES,
                    arrived_at: Some((self.sender.index, 0)),
                    live_batch: Some(LIVE_BATCH_MAX),
                };
                while !stop.load(Ordering::Relaxed) {
                    self.transmit.test_run(&run)?;
                }
            }
        }
        Ok(())
    }
}
