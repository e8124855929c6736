//! Generated committees, faults, weather and pasts. A failing case is printed by proptest and kept in `proptest-regressions`, which
//! replays it; all randomness below it comes from the printed seed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy knows that of test functions only")]

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::authority::Behaviour;
use common::network::{TestNetwork, Weather};
use common::{EUR, TestCommittee, account, account_key};
use meshpay_client::machine::{HistoryWalk, Outcome, Pace, Payment, PersistedOrder, Survey};
use meshpay_client::{MemoryBook, Transfer};
use meshpay_wire::{DATAGRAM_MAX, Digest};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Scenario {
    seed: u8,
    weights: Vec<u32>,
    /// Behaviours to hand out to authorities in turn while the faulty weight is tolerated.
    faults: Vec<(usize, Behaviour)>,
    weather: Weather,
    /// Payments of the past: payer, payee, and a number that chooses who cannot be reached meanwhile.
    past: Vec<(u8, u8, u32)>,
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        Just(Behaviour::Silent),
        Just(Behaviour::WrongSignatures),
        Just(Behaviour::FalseRefusals),
        Just(Behaviour::Garbage)
    ]
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let weights = prop_oneof![Just(vec![1; 4]), Just(vec![1; 7]), prop::collection::vec(1u32..4, 4..8)];
    let weather = (0u64..35, 0u64..30, 1u64..200).prop_map(|(loss_percent, duplicate_percent, delay_max_ms)| Weather {
        loss_percent,
        duplicate_percent,
        delay_max_ms,
    });
    let past = prop::collection::vec((0u8..4, 0u8..6, any::<u32>()), 0..12);
    let faults = prop::collection::vec((0usize..8, behaviour()), 0..3);
    (any::<u8>(), weights, faults, weather, past).prop_map(|(seed, weights, faults, weather, past)| Scenario {
        seed,
        weights,
        faults,
        weather,
        past,
    })
}

struct World {
    committee: TestCommittee,
    network: TestNetwork,
    books: HashMap<u8, MemoryBook>,
    next: HashMap<u8, u64>,
    certified: HashMap<([u8; 32], u64), Digest>,
    faulty: u32,
}

impl World {
    fn new(scenario: &Scenario) -> Self {
        let mut committee = TestCommittee::with_weights(&scenario.weights);
        let rules = committee.verifier.clone();
        let rules = rules.rules();
        let mut faulty = 0u32;
        for (place, behaviour) in &scenario.faults {
            let place = place % scenario.weights.len();
            if rules.committee.weight_of(faulty | 1 << place) <= rules.committee.tolerated() {
                faulty |= 1 << place;
                committee.authorities[place].behaviour = *behaviour;
            }
        }
        Self {
            committee,
            network: TestNetwork::new(scenario.seed, scenario.weather),
            books: HashMap::new(),
            next: HashMap::new(),
            certified: HashMap::new(),
            faulty,
        }
    }

    fn pay(&mut self, from: u8, to: u8, amount: u64, deadline: Duration) -> bool {
        let sequence = *self.next.entry(from).or_default();
        let rules = self.committee.verifier.rules();
        let order = Transfer::new(sequence, EUR, account(to), amount).sign(rules, &account_key(from));
        let book = self.books.entry(from).or_default();
        let pace = Pace::until(self.network.now + deadline);
        let (random, now) = (self.network.random(), self.network.now);
        let verifier = self.committee.verifier.clone();
        let wanted = PersistedOrder::assume(order);
        let mut payment = Payment::new(verifier, wanted, &[], &[], book, pace, random, now);
        self.network.run(
            &mut payment,
            &mut self.committee.authorities,
            |payment, _| while payment.poll_event().is_some() {},
        );
        let report = payment.report();
        let Outcome::Certified(certificate) = &report.outcome else {
            panic!("{order:?} was not certified: {report:#?}");
        };
        assert_eq!(self.committee.verifier.check_certificate(&certificate.view()).as_ref(), Ok(&**certificate));
        let before = self.certified.insert((certificate.sender(), sequence), certificate.digest());
        assert!(before.is_none_or(|before| before == certificate.digest()), "two certificates for one sequence");
        self.next.insert(from, sequence + 1);
        report.quorum_acknowledged
    }

    /// Makes as much weight unreachable as a quorum can do without, beyond the faulty; which, the number says.
    fn hide(&mut self, choice: u32) {
        let rules = self.committee.verifier.rules();
        let mut hidden = self.faulty;
        for at in 0..8 {
            let place = (choice >> (at * 3) & 7) as usize % self.committee.authorities.len();
            if rules.committee.weight_of(hidden | 1 << place) <= rules.committee.tolerated() {
                hidden |= 1 << place;
            }
        }
        self.network.reachable = !hidden | self.faulty;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Whatever f authorities do and whatever the network loses, every payment is certified, and a quorum executes it.
    #[test]
    fn every_payment_ends_well(scenario in scenario()) {
        let mut world = World::new(&scenario);
        for (from, to, choice) in &scenario.past {
            world.hide(*choice);
            world.pay(*from, *to, 100, Duration::from_secs(600));
        }
        world.network.reachable = u32::MAX;
        // Account 5 lives from what it was paid, and pays it all on.
        let income = scenario.past.iter().filter(|(_, to, _)| *to == 5).count() as u64 * 100;
        if income > 0 {
            prop_assert!(world.pay(5, 0, income, Duration::from_secs(600)));
        }
        prop_assert!(world.pay(0, 1, 100, Duration::from_secs(600)));
        prop_assert!(world.network.largest <= DATAGRAM_MAX);
        // Lost packets, liars and laggards cost repetitions, but never a flood.
        let payments = scenario.past.len() as u64 + 2;
        prop_assert!(world.network.datagrams < 3_000 * payments, "{} datagrams", world.network.datagrams);
        for (place, authority) in world.committee.authorities.iter().enumerate() {
            if world.faulty >> place & 1 == 0 {
                let sum: i128 = (0..8).map(|number| authority.balance(&account(number))).sum();
                prop_assert_eq!(sum, 40_000);
            }
        }
    }

    /// A wallet that knows nothing learns its true next sequence and its history, whatever f authorities claim.
    #[test]
    fn a_wallet_that_lost_everything_learns_the_truth(mut scenario in scenario()) {
        scenario.weather.loss_percent = 0;
        let mut world = World::new(&scenario);
        for (from, to, choice) in &scenario.past {
            world.hide(*choice);
            let everybody = world.pay(*from, *to, 100, Duration::from_secs(600));
            prop_assert!(everybody);
        }
        // Another f cannot be reached now.
        world.hide(scenario.past.first().map_or(0, |(_, _, choice)| choice.rotate_left(9)));
        for number in 0..4u8 {
            let pace = Pace::until(world.network.now + Duration::from_secs(60));
            let (verifier, random, now) = (world.committee.verifier.clone(), world.network.random(), world.network.now);
            let mut survey = Survey::new(verifier.clone(), account(number), &[EUR], pace, random, now);
            world.network.run(&mut survey, &mut world.committee.authorities, |_, _| {});
            let report = survey.report();
            prop_assert!(report.quorum_answered || world.network.now >= pace.deadline);
            let true_next = world.next.get(&number).copied().unwrap_or(0);
            if report.quorum_answered {
                prop_assert_eq!(report.next_sequence, Some(true_next));
                prop_assert!(report.locked().is_empty(), "no honest authority holds anything");
            }
            // So patient that it ends at the deadline, where somebody never answers.
            let pace = Pace { linger_least: Duration::from_secs(60), ..Pace::until(world.network.now + Duration::from_secs(60)) };
            let (random, now) = (world.network.random(), world.network.now);
            let mut walk =
                HistoryWalk::new(verifier, account(number), true_next, 100, MemoryBook::new(), pace, random, now);
            world.network.run(&mut walk, &mut world.committee.authorities, |_, _| {});
            let history = walk.history();
            prop_assert_eq!(history.debits.len() as u64, true_next);
            let received = scenario.past.iter().filter(|(_, to, _)| *to == number).count();
            // Each was executed by a quorum, of which some honest authority is within reach.
            prop_assert_eq!(history.credits.len(), received);
            prop_assert!(history.debits.iter().all(|debit| debit.sender() == account(number)));
        }
    }
}
