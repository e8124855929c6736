//! Payments settled a second on each rung: the scenario `single` as it is, rung by rung, round by round.

use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::echo::RUNGS;
use super::median;
use crate::progress::Console;
use crate::scenario::{self, LinkChoice, Options, Scenario};
use crate::workload::Wallets;

/// One rung's figures, medians of the rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PaymentFigures {
    /// The rung asked for.
    pub rung: String,
    /// The rungs reached: this one, or there was an obstacle.
    pub reached: Vec<String>,
    /// Payments settled a second at the highest rate that was sustained.
    pub settled_per_second: f64,
    /// Microseconds per payment of the worker's thread and of the one that receives for it: what packet I/O is a part of. Others' programs
    /// on that core are left out, so that a shared machine can be measured on.
    pub cpu_us_per_settled: f64,
    /// Settled a second by those of `udp`; the median of the rounds' ratios.
    pub ratio: f64,
    /// CPU per payment by that of `udp`, likewise.
    pub cpu_ratio: f64,
    /// What made a round a failed one.
    pub failures: Vec<String>,
}

/// One round on one rung: settled a second, CPU per payment.
type Round = (f64, f64);

/// Runs them all.
pub(super) fn measure(
    options: &Options,
    rounds: usize,
    stop: &AtomicBool,
    console: &Console,
) -> Result<Vec<PaymentFigures>> {
    let wallets = Wallets::from_seed(options.seed, options.accounts, |_| {});
    let mut all: Vec<(PaymentFigures, Vec<Round>)> = RUNGS
        .iter()
        .map(|rung| {
            let figures = PaymentFigures {
                rung: rung.name().to_owned(),
                reached: Vec::new(),
                settled_per_second: 0.0,
                cpu_us_per_settled: 0.0,
                ratio: 0.0,
                cpu_ratio: 0.0,
                failures: Vec::new(),
            };
            (figures, Vec::new())
        })
        .collect();
    for round in 1..=rounds {
        for (rung, (figures, taken)) in RUNGS.iter().zip(&mut all) {
            let options = Options { rung: Some(*rung), link: LinkChoice::Veth, ..options.clone() };
            let console = console.part(&format!("round {round}, {rung}"));
            let measured = scenario::run(Scenario::Single, &options, &wallets, None, stop, &console)
                .with_context(|| format!("payments on the rung {rung}"))?;
            if !figures.reached.contains(&measured.rung) {
                figures.reached.push(measured.rung.clone());
            }
            figures.failures.extend(measured.failures.iter().map(|failure| format!("round {round}: {failure}")));
            let is_on_the_way = |name: &str| name.starts_with("worker-") || name.starts_with("napi/");
            let threads = measured.cpu.threads.iter().filter(|share| is_on_the_way(&share.thread));
            let cpu_us = threads.map(|share| share.us_per_settled).sum();
            let settled = measured.outcome.settled_per_second();
            // What was measured is told at once: the whole takes long, and somebody may end it.
            console.say(&format!("{settled:.0} settled a second on {}, {cpu_us:.2} us each", measured.rung));
            taken.push((settled, cpu_us));
        }
    }
    let of_sockets: Vec<Round> = all.first().map(|(_, rounds)| rounds.clone()).unwrap_or_default();
    Ok(all.into_iter().map(|(figures, rounds)| of_rounds(figures, &rounds, &of_sockets)).collect())
}

fn of_rounds(figures: PaymentFigures, rounds: &[Round], of_sockets: &[Round]) -> PaymentFigures {
    let pairs = || rounds.iter().zip(of_sockets);
    PaymentFigures {
        settled_per_second: median(rounds.iter().map(|(settled, _)| *settled)),
        cpu_us_per_settled: median(rounds.iter().map(|(_, cpu_us)| *cpu_us)),
        ratio: median(pairs().map(|((settled, _), (sockets, _))| settled / sockets)),
        cpu_ratio: median(pairs().map(|((_, cpu_us), (_, sockets))| cpu_us / sockets)),
        ..figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_one_round() {
        let figures = PaymentFigures {
            rung: "xsk-copy".to_owned(),
            reached: Vec::new(),
            settled_per_second: 0.0,
            cpu_us_per_settled: 0.0,
            ratio: 0.0,
            cpu_ratio: 0.0,
            failures: Vec::new(),
        };
        // The machine became twice as slow in the second round, and still slower in the third.
        let of_sockets = [(1_000.0, 20.0), (500.0, 40.0), (250.0, 80.0)];
        let rounds = [(2_000.0, 10.0), (1_000.0, 20.0), (500.0, 40.0)];
        let figures = of_rounds(figures, &rounds, &of_sockets);
        assert_eq!((figures.ratio, figures.cpu_ratio, figures.settled_per_second), (2.0, 0.5, 1_000.0));
    }
}
