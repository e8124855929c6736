//! A network with seeded time, loss, duplication and delay between a machine and a committee.

use std::collections::BTreeMap;
use std::time::Duration;

use meshpay_client::Randomness;
use meshpay_client::machine::Machine;

use super::authority::TestAuthority;

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    pub delay_max_ms: u64,
}

/// Everything arrives after a millisecond.
pub const CLEAR: Weather = Weather { loss_percent: 0, duplicate_percent: 0, delay_max_ms: 1 };
/// A bad mesh.
pub const STORM: Weather = Weather { loss_percent: 30, duplicate_percent: 20, delay_max_ms: 300 };

pub struct TestNetwork {
    pub now: Duration,
    pub weather: Weather,
    /// Authorities that can be reached, as bits.
    pub reachable: u32,
    random: Randomness,
    /// Answers on their way, by arrival time and a counter.
    flying: BTreeMap<(Duration, u64), (usize, Vec<u8>)>,
    counter: u64,
    pub datagrams: u64,
    pub largest: usize,
}

impl TestNetwork {
    pub fn new(seed: u8, weather: Weather) -> Self {
        Self {
            now: Duration::ZERO,
            weather,
            reachable: u32::MAX,
            random: Randomness::new([seed; 32]),
            flying: BTreeMap::new(),
            counter: 0,
            datagrams: 0,
            largest: 0,
        }
    }

    pub fn random(&mut self) -> Randomness {
        self.random.split()
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.random.below(100) < chance
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(200 + self.random.below(self.weather.delay_max_ms * 1_000))
    }

    /// Requests reach authorities at once in the order of sending, answers fly; loss and duplication on both ways.
    fn send(&mut self, authorities: &mut [TestAuthority], to: usize, datagram: &[u8]) {
        self.datagrams += 1;
        self.largest = self.largest.max(datagram.len());
        if self.reachable >> to & 1 == 0 {
            return;
        }
        let copies = 1 + usize::from(self.percent(self.weather.duplicate_percent));
        for _ in 0..copies {
            if self.percent(self.weather.loss_percent) {
                continue;
            }
            let Some(answer) = authorities[to].answer(datagram, 0) else { continue };
            let copies = 1 + usize::from(self.percent(self.weather.duplicate_percent));
            for _ in 0..copies {
                if !self.percent(self.weather.loss_percent) {
                    let at = self.now + self.delay();
                    self.counter += 1;
                    self.flying.insert((at, self.counter), (to, answer.clone()));
                }
            }
        }
    }

    /// Drives a machine until it is done. `after` sees it after every step.
    pub fn run<M: Machine>(
        &mut self,
        machine: &mut M,
        authorities: &mut [TestAuthority],
        mut after: impl FnMut(&mut M, &mut [TestAuthority]),
    ) {
        let mut steps = 0u64;
        loop {
            while let Some(transmission) = machine.transmit() {
                self.send(authorities, transmission.authority, &transmission.datagram);
            }
            after(machine, authorities);
            if machine.is_done() {
                return;
            }
            steps += 1;
            assert!(steps < 1_000_000, "the machine never ends");
            let timer = machine.next_timer().expect("a machine that is not done has a timer");
            match self.flying.first_key_value().map(|((at, _), _)| *at) {
                Some(at) if at <= timer => {
                    let (_, (from, answer)) = self.flying.pop_first().unwrap();
                    self.now = self.now.max(at);
                    machine.receive(from, &answer, self.now);
                }
                _ => {
                    assert!(timer >= self.now || steps < 900_000, "the machine spins");
                    self.now = self.now.max(timer);
                    machine.advance(self.now);
                }
            }
        }
    }
}
