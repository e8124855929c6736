//! The generator against stand-ins made of the protocol's reference authority, over loopback.

mod support;

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use meshpay_bench::generator::{
    AnswerCheck, BUNDLE_REQUESTS_MAX, Clients, Idle, Outcome, PORTS, Pacing, Plan, Quorum, Schedule, Target,
    WindowEdge, open_sockets, run,
};
use meshpay_bench::null_server;
use meshpay_bench::workload::{
    Batch, Certificates, Ending, Ledger, Network, NetworkRequest, SigningParty, Trace, TransferSource, UniformMix,
    Wallets,
};
use meshpay_protocol::Accounts as _;
use support::{Faults, Finished, StandIn};

const SEED: u64 = 42;

/// A network of four with so many accounts.
fn network(accounts: usize, trace: Option<&Trace>) -> (Network, Wallets) {
    let wallets = Wallets::from_seed(SEED, accounts, |_| {});
    let committee = (0..4).map(|place| Network::seeded_authority_key(SEED, place)).collect();
    let request = NetworkRequest { committee, addresses: vec![None; 4], wallets: &wallets, trace };
    (Network::new(request).expect("a sound genesis"), wallets)
}

struct Scene {
    network: Network,
    wallets: Wallets,
    servers: Vec<StandIn>,
    quorum: Quorum,
    ledger: Ledger,
}

impl Scene {
    fn new(quorum: Quorum, accounts: usize, faults: Faults, trace: Option<&Trace>) -> Self {
        let (network, wallets) = network(accounts, trace);
        let servers = match quorum {
            Quorum::OneOfMany => 0..1,
            Quorum::Committee => 0..4,
        }
        .map(|place| {
            let key = Network::seeded_authority_key(SEED, place);
            StandIn::start(network.rules.clone(), &network.allocations, key, place as u8, faults)
        })
        .collect();
        let ledger = Ledger::new(network.allocations.iter().map(|allocation| allocation.amount));
        Self { network, wallets, servers, quorum, ledger }
    }

    fn sign(&mut self, source: &mut dyn TransferSource, count: usize) -> Batch {
        let certificates = match self.quorum {
            Quorum::OneOfMany => Certificates::RandomQuorum,
            Quorum::Committee => Certificates::FirstVotes,
        };
        let party = SigningParty {
            rules: &self.network.rules,
            committee: &self.network.committee,
            wallets: &self.wallets,
            certificates,
        };
        Batch::sign(party, source, &mut self.ledger, count, SEED, |_| {})
    }

    fn run(&self, batch: &Batch, pacing: Pacing) -> Outcome {
        let targets: Vec<Target> = self
            .servers
            .iter()
            .enumerate()
            .map(|(place, server)| Target { place: place as u8, address: server.address })
            .collect();
        let plan = self.plan(&targets, batch, pacing);
        let mut edges = Vec::new();
        let outcome = run(&plan, &mut open_sockets().expect("ports"), &mut clients(), |edge| edges.push(edge));
        assert_eq!(edges, [WindowEdge::Begin, WindowEdge::End]);
        outcome.expect("the ports live")
    }

    fn plan<'a>(&'a self, targets: &'a [Target], batch: &'a Batch, pacing: Pacing) -> Plan<'a> {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Plan {
            rules: &self.network.rules,
            targets,
            quorum: self.quorum,
            check: AnswerCheck::Exact,
            batch,
            batch_number: 3,
            pacing,
            bundle: 1,
            idle: Idle::Sleep,
            drain: Duration::from_secs(20),
            stop: &NEVER,
            on_settled: &|_| {},
        }
    }

    fn finish(self) -> (Vec<Finished>, Ledger, Wallets) {
        (self.servers.into_iter().map(StandIn::finish).collect(), self.ledger, self.wallets)
    }
}

fn clients() -> Clients {
    let addresses = (0..512).map(|at| Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 18, 128, 1)) + at)).collect();
    Clients::new(addresses, PORTS, 4)
}

fn poisson(per_second: f64, measured_ms: u64) -> Schedule {
    Schedule::poisson(SEED, per_second, 100_000_000, measured_ms * 1_000_000)
}

/// The authority's balances and sequences are those of the bench's own books.
fn assert_same_books(finished: &Finished, ledger: &Ledger, wallets: &Wallets) {
    for number in 0..wallets.count() as u32 {
        let key = wallets.public_key(number);
        assert_eq!(finished.accounts.balance(key, 1), ledger.balance(number), "account {number}");
        let next = finished.accounts.account(key).expect("it is in the genesis").next_sequence.get();
        assert_eq!(next, ledger.acknowledged_by(0, number), "account {number}");
    }
}

#[test]
fn single_settles_all_and_the_books_agree() {
    let mut scene = Scene::new(Quorum::OneOfMany, 500, Faults::default(), None);
    let schedule = poisson(1_000.0, 900);
    let batch = scene.sign(&mut UniformMix::new(SEED, 500), schedule.len());
    let own_vote = batch.payments().iter().filter(|payment| payment.signers & 1 == 1).count();
    let share = own_vote as f64 / batch.len() as f64;
    assert!((0.69..0.81).contains(&share), "the own vote is in 3 of 4 certificates, here in {share}");
    assert!(batch.payments().iter().all(|payment| payment.signers.count_ones() == 3));

    let offered = schedule.offered_in_window() as u64;
    let outcome = scene.run(&batch, Pacing::Open(schedule));
    assert_eq!((outcome.settled, outcome.lost, outcome.incomplete), (batch.len() as u64, 0, 0));
    assert_eq!((outcome.wrong_answers, outcome.foreign), (0, 0), "{:?}", outcome.first_wrong);
    assert_eq!(outcome.offered_in_window, offered);
    assert_eq!(outcome.finality_us.len(), offered);
    assert_eq!(outcome.settlement_us.len(), offered);
    assert!(outcome.settlement_us.max() >= outcome.finality_us.max() || outcome.retries > 0);
    assert!((0..batch.len()).all(|at| outcome.ending(at) == Ending::Complete));

    let (finished, mut ledger, wallets) = scene.finish();
    ledger.book_batch(&batch, |at| outcome.ending(at));
    assert_same_books(&finished[0], &ledger, &wallets);
    // 500 accounts are 500 sources, and every source that was answered once echoes its token.
    assert_eq!(finished[0].sources, 500);
    assert!(
        finished[0].with_token >= outcome.sent - outcome.retries - 500,
        "{} {}",
        finished[0].with_token,
        outcome.sent
    );
}

#[test]
fn committee_settles_all_and_the_books_of_all_agree() {
    let mut scene = Scene::new(Quorum::Committee, 300, Faults::default(), None);
    let schedule = poisson(200.0, 900);
    let batch = scene.sign(&mut UniformMix::new(SEED, 300), schedule.len());
    let outcome = scene.run(&batch, Pacing::Open(schedule));
    assert_eq!((outcome.settled, outcome.lost, outcome.incomplete), (batch.len() as u64, 0, 0));
    assert_eq!((outcome.wrong_answers, outcome.foreign), (0, 0), "{:?}", outcome.first_wrong);
    let (finished, mut ledger, wallets) = scene.finish();
    ledger.book_batch(&batch, |at| outcome.ending(at));
    for one in &finished {
        assert_same_books(one, &ledger, &wallets);
    }
}

#[test]
fn a_closed_loop_uses_up_its_batch() {
    let mut scene = Scene::new(Quorum::OneOfMany, 300, Faults::default(), None);
    let batch = scene.sign(&mut UniformMix::new(SEED, 300), 600);
    let targets = [Target { place: 0, address: scene.servers[0].address }];
    let plan = scene.plan(&targets, &batch, Pacing::Closed { in_flight: 32 });
    let outcome = run(&plan, &mut open_sockets().expect("ports"), &mut clients(), |_| panic!("it has no edges"));
    let outcome = outcome.expect("the ports live");
    assert_eq!((outcome.settled, outcome.lost, outcome.settled_in_window), (600, 0, 600));
    assert!(outcome.settled_per_second() > 0.0);
}

#[test]
fn forgotten_answers_are_asked_for_again() {
    let faults = Faults { forget_every: 10, ..Faults::default() };
    let mut scene = Scene::new(Quorum::OneOfMany, 500, faults, None);
    let schedule = poisson(400.0, 400);
    let batch = scene.sign(&mut UniformMix::new(SEED, 500), schedule.len());
    let outcome = scene.run(&batch, Pacing::Open(schedule));
    assert_eq!((outcome.settled, outcome.lost), (batch.len() as u64, 0));
    assert!(outcome.retries > 0);
    assert_eq!(outcome.wrong_answers, 0, "{:?}", outcome.first_wrong);
    let (finished, mut ledger, wallets) = scene.finish();
    ledger.book_batch(&batch, |at| outcome.ending(at));
    assert_same_books(&finished[0], &ledger, &wallets);
}

#[test]
fn a_wrong_vote_is_noticed() {
    let faults = Faults { corrupt_vote_every: 50, ..Faults::default() };
    let mut scene = Scene::new(Quorum::OneOfMany, 500, faults, None);
    let schedule = poisson(400.0, 400);
    let batch = scene.sign(&mut UniformMix::new(SEED, 500), schedule.len());
    let outcome = scene.run(&batch, Pacing::Open(schedule));
    assert!(outcome.wrong_answers > 0);
    assert!(outcome.first_wrong.as_deref().is_some_and(|text| text.contains("vote")), "{:?}", outcome.first_wrong);
}

#[test]
fn a_sender_with_two_payments_under_way_waits_like_a_wallet() {
    // One sender pays ten times at the same instant: nine wait, each for the one before, and all settle.
    let text: String = (0..10).map(|_| "0,alice,bob,5\n").collect();
    let mut trace = Trace::parse(&text).expect("well formed");
    let mut scene = Scene::new(Quorum::OneOfMany, 2, Faults::default(), Some(&trace));
    let schedule = Schedule::of_trace(&trace);
    let batch = scene.sign(&mut trace, 10);
    let outcome = scene.run(&batch, Pacing::Open(schedule));
    assert_eq!((outcome.settled, outcome.lost, outcome.held), (10, 0, 9));
    assert_eq!(outcome.finality_us.len(), 10);
    let (finished, mut ledger, wallets) = scene.finish();
    ledger.book_batch(&batch, |at| outcome.ending(at));
    assert_same_books(&finished[0], &ledger, &wallets);
    assert_eq!(finished[0].accounts.balance(wallets.public_key(0), 1), 1);
}

#[test]
fn the_null_server_answers_what_the_generator_expects() {
    let (outcome, payments) = against_the_null_server(clients(), 1);
    assert_eq!((outcome.settled, outcome.lost, outcome.wrong_answers), (payments, 0, 0));
    assert_eq!(outcome.sent, 2 * payments + outcome.retries, "one request per datagram");
}

#[test]
fn relays_share_datagrams_and_every_request_is_answered() {
    let relays = Clients::new(vec![Ipv4Addr::new(127, 18, 128, 1)], PORTS, 4);
    let (outcome, payments) = against_the_null_server(relays, BUNDLE_REQUESTS_MAX);
    assert_eq!((outcome.settled, outcome.lost, outcome.wrong_answers), (payments, 0, 0));
    assert!(outcome.sent < 2 * payments, "{} datagrams for {payments} payments", outcome.sent);
}

/// Runs payments of these clients, and says what came of them and how many they were.
fn against_the_null_server(mut clients: Clients, bundle: usize) -> (Outcome, u64) {
    let (network, wallets) = network(500, None);
    let (mut port, address) = null_server::open(([127, 0, 0, 1], 0).into(), None).expect("a port");
    let target = Target { place: 0, address };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let server = scope.spawn(|| null_server::serve(&mut port, &stop));
        let party = SigningParty {
            rules: &network.rules,
            committee: &network.committee,
            wallets: &wallets,
            certificates: Certificates::RandomQuorum,
        };
        let schedule = poisson(2_000.0 * bundle as f64, 400);
        let mut ledger = Ledger::new(network.allocations.iter().map(|allocation| allocation.amount));
        let batch = Batch::sign(party, &mut UniformMix::new(SEED, 500), &mut ledger, schedule.len(), SEED, |_| {});
        let plan = Plan {
            rules: &network.rules,
            targets: &[target],
            quorum: Quorum::OneOfMany,
            check: AnswerCheck::SizeOnly,
            batch: &batch,
            batch_number: 9,
            pacing: Pacing::Open(schedule),
            bundle,
            idle: Idle::Sleep,
            drain: Duration::from_secs(20),
            stop: &AtomicBool::new(false),
            on_settled: &|_| {},
        };
        let outcome = run(&plan, &mut open_sockets().expect("ports"), &mut clients, |_| {}).expect("the ports live");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        server.join().expect("no panic").expect("the port lives");
        (outcome, batch.len() as u64)
    })
}
