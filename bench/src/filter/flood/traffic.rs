//! What an attacker sends, and how: live XDP frames at a steady rate, of every kind that costs an authority something or nothing.
//!
//! What always holds: as many of one kind as of another; headers and checksums are right, so that a frame is stopped for what it says and
//! not for a mistake; nobody of the attackers holds a return token, since their addresses are not their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use meshpay_net::xdp::{Attachment, Bare, Program, TestRun, Variation};
use meshpay_protocol::Rules;
use meshpay_wire::{DATAGRAM_MAX, DEFAULT_PORT, Envelope, Header, Kind, SignedOrder, order_digest};

use super::super::loaded::Host;
use super::super::messages::frame;
use crate::cpu;
use crate::link::attacker::Attacker;

/// Source addresses of all that does not have to come from one.
pub(super) const SOURCES: u16 = 1_000;

/// Frames of one system call, which are alike but for their variation. A call costs as much as a hundred of them.
const SALVO: u32 = 256;

/// Frames that enter the wire at once: a quarter of a veth's receive ring, so that others' packets find room beside them.
const LIVE_BATCH: u32 = 64;

/// Longest pause, in which the rate is made up for afterwards.
const PAUSE: Duration = Duration::from_micros(200);

/// Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 14 + 20 + 8;

/// Length of random bytes.
const NOISE_BYTES: usize = 300;

/// The kinds of frames, by their names in the report.
pub(super) const KINDS: [&str; 5] = ["echo", "stale", "wrong class", "random bytes", "bad signature"];

/// Salvos of all kinds, ready to be sent.
pub(super) struct Traffic {
    /// By kind: frames to choose from in turn, and whether their copies are varied.
    salvos: [(Vec<Vec<u8>>, bool); KINDS.len()],
    as_it_is: Program,
    varied: Program,
    index: u32,
    _held: [Attachment; 2],
}

/// What the frames are made of.
pub(super) struct Ingredients<'a> {
    /// The network.
    pub rules: &'a Rules,
    /// An order that was executed.
    pub executed: &'a SignedOrder,
    /// Orders with the next sequence of funded accounts, whose signatures are none.
    pub forged: &'a [SignedOrder],
    /// The authority under attack.
    pub authority: (Host, Ipv4Addr),
    /// The first of the attackers' addresses.
    pub first_source: Ipv4Addr,
}

impl Traffic {
    /// Makes the frames.
    pub(super) fn new(attacker: &Attacker, ingredients: &Ingredients<'_>) -> Result<Self> {
        let Ingredients { rules, executed, forged, authority: (host, address), first_source } = *ingredients;
        let random_at = HEADERS + std::mem::offset_of!(Header, request_id);
        let variation = Variation { first_source, sources: SOURCES, random_at: random_at as u16 };
        let from = SocketAddr::from((first_source, 4_000));
        let framed = |payload: &[u8]| {
            let mut frame = frame([attacker.mac(), host.mac], from, (address, DEFAULT_PORT).into(), payload);
            variation.prepare(&mut frame);
            frame
        };
        let order = |order: &SignedOrder| {
            let mut message = [0; DATAGRAM_MAX];
            let envelope =
                Envelope { network: rules.network, epoch: rules.epoch, request_id: [7; 8], return_token: [0; 8] };
            let digest = order_digest(&rules.genesis, &order.body);
            let length = meshpay_wire::transfer_request(&mut message, &envelope, order, &digest);
            message[..length].to_vec()
        };
        let mut answer = order(executed);
        (answer[5], answer[6]) = (Kind::Refusal.class() as u8, Kind::Refusal as u8);
        let forged: Vec<Vec<u8>> = forged.iter().map(|forged| framed(&order(forged))).collect();
        // Not a message of this format, whatever the random bytes among them are.
        let noise: Vec<u8> = (0..NOISE_BYTES).map(|at| (at * 37 + 11) as u8).collect();
        let salvos = [
            (forged.iter().take(1).cloned().collect(), false),
            (vec![framed(&order(executed))], true),
            (vec![framed(&answer)], true),
            (vec![framed(&noise)], true),
            (forged, true),
        ];
        let (as_it_is, varied) = (Program::bare(Bare::Transmit)?, Program::bare(Bare::TransmitVaried(variation))?);
        let held = attacker.hold_ready([&varied, &as_it_is])?;
        Ok(Self { salvos, as_it_is, varied, index: attacker.index(), _held: held })
    }

    /// Sends `per_second` frames in each second from `core` until told to stop, counting them, and returns the microseconds that the
    /// sending thread ran. To be called in the attacker's namespace.
    pub(super) fn send(&self, per_second: f64, core: usize, stop: &AtomicBool, sent: &AtomicU64) -> Result<u64> {
        cpu::pin_current_thread(core)?;
        let began = Instant::now();
        let mut salvo = 0u64;
        while !stop.load(Ordering::Relaxed) {
            let due = began.elapsed().as_secs_f64() * per_second;
            if due < (salvo * u64::from(SALVO)) as f64 {
                std::thread::sleep(PAUSE);
                continue;
            }
            let (frames, is_varied) = &self.salvos[salvo as usize % KINDS.len()];
            let program = if *is_varied { &self.varied } else { &self.as_it_is };
            let packet = &frames[salvo as usize / KINDS.len() % frames.len()];
            program.test_run(&TestRun {
                packet,
                repeat: SALVO,
                arrived_at: Some((self.index, 0)),
                live_batch: Some(LIVE_BATCH),
            })?;
            salvo += 1;
            sent.fetch_add(u64::from(SALVO), Ordering::Relaxed);
        }
        Ok(cpu::current_thread_ns() / 1_000)
    }
}
