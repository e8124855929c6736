//! What the figures of a report should be, each goal beside its figure.
//!
//! The goals are the project's: what a prototype of two programs reached on a quiet core of the machine that the project began on. On another
//! machine, or one that is shared, an absolute figure says little; so what the CPU time of a packet comes to is judged too, and a ratio within the run.

use serde::{Deserialize, Serialize};

use super::{EchoFigures, FilterReport};
use meshpay_net::Rung;

/// One goal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// What is measured.
    pub what: String,
    /// What it came to.
    pub figure: f64,
    /// What it should be, at least or at most.
    pub goal: f64,
    /// Whether more is better.
    pub at_least: bool,
    /// Unit of both.
    pub unit: String,
}

impl Goal {
    /// Whether it was reached.
    pub fn is_met(&self) -> bool {
        if self.at_least { self.figure >= self.goal } else { self.figure <= self.goal }
    }

    /// A figure that should be so much or more.
    pub fn at_least(what: impl Into<String>, figure: f64, goal: f64, unit: &str) -> Self {
        Self { what: what.into(), figure, goal, at_least: true, unit: unit.to_owned() }
    }

    /// A figure that should be so much or less.
    pub fn at_most(what: impl Into<String>, figure: f64, goal: f64, unit: &str) -> Self {
        Self { at_least: false, ..Self::at_least(what, figure, goal, unit) }
    }
}

/// Most nanoseconds of a verdict for which the whole payload of an order is hashed; of all others too.
const VERDICT_NS: f64 = 250.0;

/// Packets that a payment takes each way.
const PACKETS_OF_PAYMENT: f64 = 2.0;

/// Payments of two packets a second that an echo stub answers, by rung and scheduling of the receiving threads.
const ECHO_PAYMENTS: [(Rung, bool, f64); 4] = [
    (Rung::Udp, false, 47_000.0),
    (Rung::Udp, true, 67_000.0),
    (Rung::XdpUdpXskOut, false, 86_000.0),
    (Rung::XskCopy, true, 95_000.0),
];

/// Most microseconds of user mode for a packet.
const USER_US: f64 = 0.2;

/// Share of the payments that go on while somebody floods, percent.
const GOODPUT: f64 = 90.0;

/// All goals that the report has a figure for.
pub fn goals(report: &FilterReport) -> Vec<Goal> {
    let mut goals = verdicts(report);
    goals.extend(echo(&report.echo));
    goals.extend(report.flood.iter().filter(|figures| figures.rung != Rung::Udp.name()).map(|figures| {
        let what = format!("payments while somebody floods, {}, of those without a flood", figures.rung);
        Goal::at_least(what, 100.0 * figures.goodput, GOODPUT, "%")
    }));
    goals
}

/// The slowest verdict whose frame is no longer than an order's, and the slowest of all: the hash's time grows with the length.
fn verdicts(report: &FilterReport) -> Vec<Goal> {
    let slowest = |longest_bytes: usize| {
        let of_length = report.verdicts.iter().filter(|figure| figure.bytes <= longest_bytes);
        of_length.max_by(|one, other| one.ns.total_cmp(&other.ns))
    };
    let order = report.verdicts.iter().find(|figure| figure.packet.starts_with("echo of an order"));
    let of_order = order.and_then(|order| slowest(order.bytes));
    let of_all = slowest(usize::MAX);
    [("of a frame no longer than an order's", of_order), ("of all", of_all)]
        .into_iter()
        .filter_map(|(which, figure)| {
            let figure = figure?;
            Some(Goal::at_most(format!("slowest verdict {which}: {}", figure.packet), figure.ns, VERDICT_NS, "ns"))
        })
        .collect()
}

fn echo(figures: &[EchoFigures]) -> Vec<Goal> {
    let of = |rung: Rung, batch| {
        figures.iter().find(|figures: &&EchoFigures| figures.rung == rung.name() && figures.napi_batch == batch)
    };
    let scheduling = |batch| if batch { ", NAPI under SCHED_BATCH" } else { "" };
    let payments = |figures: &EchoFigures| figures.answered_per_second / PACKETS_OF_PAYMENT;
    // What the core could answer if nobody else used it: the CPU time of a packet knows nothing of others.
    let by_cpu = |figures: &EchoFigures| 1e6 / ((figures.thread_us + figures.napi_us) * PACKETS_OF_PAYMENT);
    let mut goals = Vec::new();
    for (rung, batch, goal) in ECHO_PAYMENTS {
        let Some(found) = of(rung, batch) else { continue };
        let what = format!("echo, {rung}{}", scheduling(batch));
        goals.push(Goal::at_least(&what, payments(found), goal, "payments/s"));
        goals.push(Goal::at_least(format!("{what}, by the core's time"), by_cpu(found), goal, "payments/s"));
        let (_, _, of_sockets) = ECHO_PAYMENTS[0];
        if let Some(sockets) = of(Rung::Udp, false).filter(|sockets| *sockets != found) {
            let what = format!("{what}, of plain sockets in this run");
            goals.push(Goal::at_least(what, payments(found) / payments(sockets), goal / of_sockets, "times"));
        }
    }
    for figures in figures {
        // By AF_XDP no system call is made between a receive and the flush, so that is measured and not sampled.
        let is_xsk = figures.rung == Rung::XskCopy.name();
        let user_us = if is_xsk { figures.to_flush_us } else { figures.user_us };
        let what = format!("user mode for a packet, {}{}", figures.rung, scheduling(figures.napi_batch));
        goals.push(Goal::at_most(what, user_us, USER_US, "us"));
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_better_or_less() {
        assert!(Goal::at_least("x", 91.0, 90.0, "%").is_met() && !Goal::at_least("x", 89.0, 90.0, "%").is_met());
        assert!(Goal::at_most("x", 249.0, 250.0, "ns").is_met() && !Goal::at_most("x", 251.0, 250.0, "ns").is_met());
    }

    #[test]
    fn echo_goals_are_in_payments_and_beside_plain_sockets() {
        let figures = |rung: Rung, napi_batch, answered_per_second| EchoFigures {
            rung: rung.name().to_owned(),
            napi_batch,
            answered_per_second,
            to_flush_us: 0.1,
            user_us: 0.5,
            thread_us: 3.0,
            napi_us: 2.0,
            ..EchoFigures::default()
        };
        // A machine half as fast as the one of the goals.
        let goals = echo(&[figures(Rung::Udp, false, 47_000.0), figures(Rung::XskCopy, true, 95_000.0)]);
        let judged: Vec<(f64, bool)> = goals.iter().map(|goal| (goal.figure, goal.is_met())).collect();
        assert_eq!(
            judged,
            [
                (23_500.0, false),
                (100_000.0, true),
                (47_500.0, false),
                (100_000.0, true),
                (47_500.0 / 23_500.0, true),
                (0.5, false),
                (0.1, true)
            ]
        );
    }
}
