//! Nanoseconds of the kernel's program for each verdict, by BPF_PROG_TEST_RUN.
//!
//! What always holds: while figures are taken the filter writes no state, so that every repeat meets the same state and the same verdict;
//! that it was this verdict every time is checked by the filter's own counters.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use meshpay_net::xdp::TestRun;
use meshpay_wire::Kind;
use meshpay_wire::filter::Outcome;
use meshpay_wire::filter::rates::word_of_shared;
use serde::{Deserialize, Serialize};

use super::loaded::{LoadedFilter, settings, token_key, wall_ms};
use super::median;
use super::messages::{ORDER_BYTES, account, frame, message};
use crate::progress::Console;

/// Measurements of each verdict in a round: short ones, some of which nobody interrupts.
const RUNS_OF_ROUND: usize = 5;
/// Repeats of one: some 10 milliseconds.
pub(super) const REPEAT: u32 = 50_000;
const PORT: u16 = 7450;
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 7], [2, 0, 0, 0, 0, 1]];

/// The cost of one verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictFigures {
    /// What the frame is.
    pub packet: String,
    /// What the filter says of it.
    pub outcome: String,
    /// Length of the frame.
    pub bytes: usize,
    /// Nanoseconds, the median of all measurements.
    pub ns: f64,
    /// The least of them: other programs on the core only ever add to it.
    pub ns_min: f64,
}

struct Measurement<'a> {
    filter: &'a LoadedFilter,
    rounds: usize,
    repeat: u32,
    figures: Vec<VerdictFigures>,
}

impl Measurement<'_> {
    fn of(&mut self, packet: &str, frame: &[u8], expected: Outcome) -> Result<()> {
        let request = TestRun { packet: frame, repeat: self.repeat, ..TestRun::default() };
        let before = self.filter.count(expected);
        let mut runs = Vec::new();
        for _ in 0..RUNS_OF_ROUND * self.rounds {
            runs.push(f64::from(self.filter.program().test_run(&request)?.duration_ns));
        }
        let came = self.filter.count(expected) - before;
        let all = u64::from(self.repeat) * runs.len() as u64;
        ensure!(came == all, "{packet}: {came} of {all} were {}, not all", expected.name());
        self.figures.push(VerdictFigures {
            packet: packet.to_owned(),
            outcome: expected.name().to_owned(),
            bytes: frame.len(),
            ns_min: runs.iter().copied().fold(f64::INFINITY, f64::min),
            ns: median(runs.into_iter()),
        });
        Ok(())
    }

    /// Runs once with writes on, so that the state is as after such a packet.
    fn prime(&self, frame: &[u8]) -> Result<()> {
        let writer = self.filter.writer();
        writer.set_frozen(false);
        self.filter.program().test_run(&TestRun { packet: frame, ..TestRun::default() })?;
        writer.set_frozen(true);
        Ok(())
    }
}

/// Measures every verdict in turn, with so many repeats of each measurement.
pub(super) fn measure(rounds: usize, repeat: u32, console: &Console) -> Result<Vec<VerdictFigures>> {
    let step = console.step("nanoseconds per verdict", 1);
    let filter = LoadedFilter::load()?;
    let writer = filter.writer();
    let mut run = Measurement { filter: &filter, rounds, repeat, figures: Vec::new() };
    let source: SocketAddr = ([10, 0, 0, 7], 4000).into();
    let source6: SocketAddr = ([0xfd00, 0, 0, 0, 0, 0, 0, 7], 4000).into();
    let ours: SocketAddr = ([10, 0, 0, 1], PORT).into();
    let ours6: SocketAddr = ([0xfd00, 0, 0, 0, 0, 0, 0, 1], PORT).into();
    let framed = |payload: &[u8]| frame(MACS, source, ours, payload);
    let order_of = |number, sequence, token| message(Kind::TransferRequest, ORDER_BYTES, number, sequence, token);

    let order = framed(&order_of(1, 5, [0; 8]));
    run.of("switched off", &order, Outcome::Off)?;
    let mut wanted = settings(PORT, MACS[1]);
    (wanted.echo_window_ns, wanted.allowance_window_ns) = (u64::MAX, u64::MAX);
    filter.start(&wanted, &[ours.ip(), ours6.ip()])?;
    writer.set_frozen(true);

    let changed = |at: usize, bytes: &[u8]| {
        let mut frame = order.clone();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    run.of("ARP", &changed(12, &[8, 6]), Outcome::OtherNetwork)?;
    run.of("TCP", &changed(23, &[6]), Outcome::OtherProtocol)?;
    run.of("UDP to another host", &changed(33, &[99]), Outcome::OtherDestination)?;
    run.of("UDP to another port", &changed(36, &[0, 22]), Outcome::OtherPort)?;
    run.of("garbage", &framed(&[0x55; ORDER_BYTES]), Outcome::MalformedMessage)?;
    run.of("peer discovery", &framed(&message(Kind::PeerDiscovery, 200, 1, 0, [0; 8])), Outcome::WrongClass)?;
    writer.set_shed_level(2);
    run.of("query under load", &framed(&message(Kind::AccountQuery, 368, 1, 0, [0; 8])), Outcome::Shed)?;
    writer.set_shed_level(0);

    let wall_ms = wall_ms();
    let token = token_key().token(&source, wall_ms);
    let token6 = token_key().token(&source6, wall_ms);
    run.of("order, no token, unknown account", &order, Outcome::Delivered)?;
    writer.executed(&account(1), 5);
    let known = framed(&order_of(1, 5, token));
    run.of("order, token, known account", &known, Outcome::Delivered)?;
    run.of("the same over IPv6", &frame(MACS, source6, ours6, &order_of(1, 5, token6)), Outcome::Delivered)?;
    let certificate = |length| framed(&message(Kind::ConfirmationRequest, length, 1, 5, token));
    run.of("certificate of three, token", &certificate(488), Outcome::Delivered)?;
    run.of("bundle of four, token", &framed(&order_of(1, 5, token).repeat(4)), Outcome::Delivered)?;

    writer.penalised(&account(2), u64::MAX);
    run.of("order of a penalised sender", &framed(&order_of(2, 5, token)), Outcome::Penalised)?;
    let stale = framed(&order_of(1, 4, token));
    run.of("stale, allowance open", &stale, Outcome::DeliveredStale)?;
    run.prime(&stale)?;
    run.of("stale, allowance spent", &stale, Outcome::Stale)?;
    writer.locked(&account(3), 5, [2; 8]);
    filter.set_shared(word_of_shared::EVIDENCE, u64::MAX);
    let conflict = framed(&order_of(3, 5, token));
    run.prime(&conflict)?;
    run.of("conflict", &conflict, Outcome::Conflict)?;
    run.prime(&known)?;
    run.of("echo of an order", &known, Outcome::Echo)?;
    let longest = certificate(1400);
    run.prime(&longest)?;
    run.of("echo of the longest datagram", &longest, Outcome::Echo)?;
    // A rate, with its bucket full for ever.
    wanted.shared_rate = meshpay_wire::filter::Rate::per_second(50_000, 4_096);
    filter.start(&wanted, &[ours.ip(), ours6.ip()])?;
    writer.set_frozen(true);
    filter.set_shared(word_of_shared::SHARED, u64::MAX);
    run.of("source without token over its rate", &order, Outcome::OverSharedRate)?;
    step.finish(&format!("{} kinds", run.figures.len()));
    Ok(run.figures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::has_rights;

    #[test]
    fn every_frame_comes_to_the_verdict_that_it_is_there_for() {
        if !has_rights() {
            let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(!ci, "in CI no test may be skipped, but this one needs CAP_BPF and CAP_NET_ADMIN");
            eprintln!("skipped: needs CAP_BPF and CAP_NET_ADMIN (run as root)");
            return;
        }
        let figures = measure(1, 100, &Console::new()).expect("a measurement");
        assert!(figures.len() >= 20 && figures.iter().all(|figure| figure.ns > 0.0), "{figures:?}");
    }
}
