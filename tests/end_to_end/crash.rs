//! `kill -9` at random under a load with conflicting orders: no authority ever signs two orders for one sequence, and whatever
//! was acknowledged is still there. The same test must fail where recovery forgets the locks: else it would prove nothing.

use anyhow::{Result, bail, ensure};
use meshpay_tests::DEADLINE;
use meshpay_tests::client::{Answer, Client, Received};
use meshpay_tests::committee::{Committee, Plan};
use meshpay_tests::ledger::Ledger;
use meshpay_tests::network::{Actor, Certificate, EURO, Network};
use meshpay_tests::random::Random;
use meshpay_wire::{DATAGRAM_MAX, Digest, PublicKey, RefusalCode, SignedOrder};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Kills of an ordinary run.
const KILLS: usize = 100;
/// Authorities, all of them real.
const AUTHORITIES: usize = 4;
/// Their quorum.
const QUORUM: usize = 3;
/// Accounts that can pay; one that was caught signing twice is not used again.
const PAYERS: usize = 3_000;
/// Accounts that pay at the same time.
const ACTIVE: usize = 48;
/// Slots of each kind that are asked about after a restart, the newest first.
const PROBES: usize = 60;

#[test]
fn no_kill_makes_an_authority_sign_twice_or_forget_what_it_acknowledged() -> Result<()> {
    // Two workers, so that some of the kills fall between a debit and a credit; checkpoints, so that some recoveries begin at one.
    let plan = Plan::with_daemons(AUTHORITIES).flag("--workers", "2").flag("--checkpoint-mib", "1");
    must_be_safe(plan, KILLS * meshpay_tests::scale())
}

#[test]
fn nor_where_only_a_killed_process_must_be_survived() -> Result<()> {
    let plan = Plan::with_daemons(AUTHORITIES).flag("--durability", "process");
    must_be_safe(plan, KILLS / 5 * meshpay_tests::scale())
}

fn must_be_safe(plan: Plan, kills: usize) -> Result<()> {
    match Storm::run(plan, kills, Watch::Everything)? {
        Outcome::Safe(summary) => println!("{summary}"),
        Outcome::Violation(what) => bail!("{what}"),
    }
    Ok(())
}

#[test]
fn without_lock_replay_the_same_test_finds_a_double_vote() -> Result<()> {
    let plan = Plan::with_daemons(AUTHORITIES).fault("skip-lock-replay")?;
    match Storm::run(plan, KILLS, Watch::DoubleVotes)? {
        Outcome::Safe(summary) => bail!("no double vote was found, so the test cannot see any: {summary}"),
        Outcome::Violation(what) => println!("found: {what}"),
    }
    Ok(())
}

/// What ends a storm.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Whatever must not be.
    Everything,
    /// Two votes of one authority for one sequence. An authority without its locks shows itself in other ways too: shown a vote that
    /// it does not remember, by a certificate, it stops voting for good. So it is asked for the second vote before the load goes on.
    DoubleVotes,
}

/// What a storm came to.
enum Outcome {
    Safe(String),
    Violation(String),
}

/// One sequence of one account: the orders that were signed for it, and what became of them.
struct Slot {
    payer: usize,
    orders: Vec<SignedOrder>,
    digests: Vec<Digest>,
    /// What each authority has voted for, as the place of the order.
    votes: [Option<(usize, meshpay_wire::Signature)>; AUTHORITIES],
    certificate: Option<Certificate>,
    acknowledged: [bool; AUTHORITIES],
}

/// A committee under load, and all that it has ever said.
struct Storm {
    committee: Committee,
    network: Network,
    addresses: Vec<SocketAddr>,
    client: Client,
    random: Random,
    payers: Vec<Actor>,
    by_key: HashMap<PublicKey, usize>,
    slots: Vec<Slot>,
    /// Slots of each payer, by sequence.
    slots_of: Vec<Vec<usize>>,
    active: Vec<usize>,
    next_payer: usize,
    votes: u64,
    watch: Watch,
    violation: Option<String>,
}

impl Storm {
    fn run(plan: Plan, kills: usize, watch: Watch) -> Result<Outcome> {
        let mut storm = Self::start(plan, watch)?;
        for _ in 0..kills {
            storm.round()?;
            if let Some(what) = storm.violation {
                return Ok(Outcome::Violation(what));
            }
        }
        storm.settle_everything()?;
        storm.compare_states()?;
        Ok(match storm.violation {
            Some(what) => Outcome::Violation(what),
            None => {
                let certified = storm.slots.iter().filter(|slot| slot.certificate.is_some()).count();
                let conflicts = storm.slots.iter().filter(|slot| slot.orders.len() > 1).count();
                Outcome::Safe(format!(
                    "{kills} kills, {} votes, {certified} certificates, {conflicts} sequences with two orders",
                    storm.votes
                ))
            }
        })
    }

    fn start(plan: Plan, watch: Watch) -> Result<Self> {
        let random = Random::new("kills under load")?;
        let payers: Vec<Actor> = (0..PAYERS).map(Actor::account).collect();
        let plan = payers.iter().fold(plan, |plan, payer| plan.fund(payer, 1_000_000));
        let committee = plan.flag("--accounts-capacity", "8192").start()?;
        let client = committee.client()?;
        Ok(Self {
            network: committee.network.clone(),
            addresses: committee.daemons.iter().map(|daemon| daemon.address).collect(),
            committee,
            client,
            random,
            by_key: payers.iter().enumerate().map(|(at, payer)| (payer.public, at)).collect(),
            slots: Vec::new(),
            slots_of: vec![Vec::new(); PAYERS],
            active: (0..ACTIVE).collect(),
            next_payer: ACTIVE,
            payers,
            votes: 0,
            watch,
            violation: None,
        })
    }

    /// Load, a kill in the midst of it, load meanwhile, a restart, and questions to whoever was killed.
    fn round(&mut self) -> Result<()> {
        let busy = Duration::from_millis(10 + self.random.below(60) as u64);
        self.load_until(Instant::now() + busy)?;
        // Mostly one; now and then several, or all of them, as when the lights go out.
        let victims: Vec<usize> = match self.random.below(10) {
            0 => (0..AUTHORITIES).collect(),
            1 | 2 => (0..AUTHORITIES).filter(|_| self.random.chance(50)).collect(),
            _ => vec![self.random.below(AUTHORITIES)],
        };
        // Full of work at that moment.
        for _ in 0..16 {
            self.send_something()?;
        }
        std::thread::sleep(Duration::from_micros(self.random.below(3_000) as u64));
        for victim in &victims {
            self.committee.daemons[*victim].kill()?;
        }
        let meanwhile = Duration::from_millis(self.random.below(20) as u64);
        self.load_until(Instant::now() + meanwhile)?;
        for victim in &victims {
            self.committee.daemons[*victim].launch()?;
        }
        let end = Instant::now() + DEADLINE;
        for victim in &victims {
            while !self.committee.daemons[*victim].is_ready()? {
                ensure!(Instant::now() < end, "authority {victim} does not start again");
                match self.watch {
                    Watch::Everything => self.load_until(Instant::now() + Duration::from_millis(2))?,
                    Watch::DoubleVotes => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        }
        for victim in victims {
            self.probe_locks(victim)?;
            self.probe_executions(victim)?;
        }
        Ok(())
    }

    fn load_until(&mut self, end: Instant) -> Result<()> {
        while Instant::now() < end && self.violation.is_none() {
            self.send_something()?;
            self.receive(Duration::from_micros(800))?;
        }
        Ok(())
    }

    /// Takes what came, for at most `wait` where nothing is there yet.
    fn receive(&mut self, mut wait: Duration) -> Result<()> {
        while let Some(messages) = self.client.receive(wait)? {
            for message in messages {
                self.take(&message);
            }
            wait = Duration::from_micros(1);
        }
        Ok(())
    }

    /// One payer goes one step further at all authorities.
    fn send_something(&mut self) -> Result<()> {
        let Some(at) = (!self.active.is_empty()).then(|| self.random.below(self.active.len())) else { return Ok(()) };
        let payer = self.active[at];
        let current = self.slots_of[payer].last().copied();
        let slot = match current {
            Some(slot) if !self.is_done(slot) => slot,
            Some(slot) if self.slots[slot].orders.len() > 1 => {
                // It signed twice and may be penalised by now: another takes its place.
                match (self.next_payer < PAYERS).then_some(self.next_payer) {
                    Some(next) => {
                        self.next_payer += 1;
                        self.active[at] = next;
                    }
                    None => drop(self.active.swap_remove(at)),
                }
                return Ok(());
            }
            _ => self.new_slot(payer),
        };
        for place in 0..AUTHORITIES {
            // An authority that was away may lack an earlier certificate, and a client brings it up to date first.
            let lacks = |earlier: &&usize| {
                let earlier = &self.slots[**earlier];
                earlier.certificate.is_some() && !earlier.acknowledged[place]
            };
            let first = self.slots_of[payer].iter().find(lacks).copied().unwrap_or(slot);
            self.send_slot(first, place)?;
        }
        Ok(())
    }

    /// Whether nothing more can come of a slot: acknowledged by all, or its votes are split.
    fn is_done(&self, slot: usize) -> bool {
        let slot = &self.slots[slot];
        match slot.certificate {
            Some(_) => slot.acknowledged.iter().filter(|acknowledged| **acknowledged).count() >= QUORUM,
            None => {
                let missing = slot.votes.iter().filter(|vote| vote.is_none()).count();
                let most = (0..slot.orders.len()).map(|order| votes_for(slot, order)).max().unwrap_or(0);
                most + missing < QUORUM
            }
        }
    }

    fn new_slot(&mut self, payer: usize) -> usize {
        let sequence = self.slots_of[payer].len() as u64;
        let payee = self.random.below(PAYERS);
        let amount = 1 + self.random.below(9) as u64;
        let mut orders = vec![self.network.order(&self.payers[payer], &self.payers[payee], sequence, amount)];
        if self.random.chance(30) {
            orders.push(self.network.order(&self.payers[payer], &self.payers[payee], sequence, amount + 10));
        }
        let digests = orders.iter().map(|order| self.network.digest(&order.body)).collect();
        let slot = self.slots.len();
        self.slots.push(Slot {
            payer,
            orders,
            digests,
            votes: [None; AUTHORITIES],
            certificate: None,
            acknowledged: [false; AUTHORITIES],
        });
        self.slots_of[payer].push(slot);
        slot
    }

    /// Sends one authority what it should see next of a slot.
    fn send_slot(&mut self, slot: usize, place: usize) -> Result<()> {
        let to = self.addresses[place];
        let slot = &self.slots[slot];
        match &slot.certificate {
            Some(_) if slot.acknowledged[place] => Ok(()),
            Some(certificate) => send_certificate(&mut self.client, &self.network, to, certificate),
            None if slot.votes[place].is_some() => Ok(()),
            None => {
                let order = self.random.below(slot.orders.len());
                send_order(&mut self.client, to, &slot.orders[order], &slot.digests[order])
            }
        }
    }

    /// Books what an authority said, and notices what it must never say.
    fn take(&mut self, message: &Received) {
        let Some(place) = self.addresses.iter().position(|address| *address == message.from) else { return };
        let Some(payer) = self.by_key.get(&message.header.account).copied() else { return };
        let sequence = message.header.sequence.get() as usize;
        let Some(slot) = self.slots_of[payer].get(sequence).copied() else { return };
        let what = match &message.answer {
            Answer::Vote(vote) => self.take_vote(slot, place, vote),
            Answer::Executed(executed) => self.take_acknowledgement(slot, place, &executed.order),
            Answer::Refusal(body, Some(locked)) if body.code.get() == RefusalCode::Conflict as u16 => {
                self.take_conflict(slot, place, locked)
            }
            _ => Ok(()),
        };
        if let Err(what) = what {
            self.report(what);
        }
    }

    fn take_vote(&mut self, slot: usize, place: usize, vote: &meshpay_wire::Vote) -> Result<(), String> {
        let name = self.name(slot);
        let slot = &mut self.slots[slot];
        let Some(order) = slot.digests.iter().position(|digest| *digest == vote.order) else {
            return Err(format!("authority {place} voted at {name} for an order that nobody signed"));
        };
        if !self.network.is_vote_of(place, &slot.orders[order].body, &vote.signature) {
            return Err(format!("authority {place} answered at {name} with a vote that does not verify"));
        }
        self.votes += 1;
        match slot.votes[place] {
            Some((before, _)) if before != order => {
                return Err(format!("authority {place} signed two orders for {name}"));
            }
            Some(_) => return Ok(()),
            None => slot.votes[place] = Some((order, vote.signature)),
        }
        if slot.certificate.is_none() && votes_for(slot, order) >= QUORUM {
            let votes: Vec<_> = slot
                .votes
                .iter()
                .enumerate()
                .filter_map(|(place, vote)| {
                    vote.filter(|(of, _)| *of == order).map(|(_, signature)| (place, signature))
                })
                .take(QUORUM)
                .collect();
            slot.certificate = Some(Certificate::assemble(slot.orders[order], &votes));
        }
        Ok(())
    }

    fn take_acknowledgement(&mut self, slot: usize, place: usize, digest: &Digest) -> Result<(), String> {
        let name = self.name(slot);
        let slot = &mut self.slots[slot];
        match &slot.certificate {
            Some(certificate) if self.network.digest(&certificate.order.body) == *digest => {
                slot.acknowledged[place] = true;
                Ok(())
            }
            Some(_) => Err(format!("authority {place} executed at {name} another order than the certified one")),
            None => Err(format!("authority {place} executed {name}, for which no certificate exists")),
        }
    }

    fn take_conflict(&mut self, slot: usize, place: usize, locked: &SignedOrder) -> Result<(), String> {
        let name = self.name(slot);
        let digest = self.network.digest(&locked.body);
        let slot = &self.slots[slot];
        match slot.votes[place] {
            Some((order, _)) if slot.digests[order] != digest => {
                Err(format!("authority {place} voted for one of two orders for {name} and holds the other locked"))
            }
            _ => Ok(()),
        }
    }

    /// Notes what must not be, if it is what this storm watches for.
    fn report(&mut self, what: String) {
        if self.watch == Watch::Everything || what.contains("two orders") {
            self.violation.get_or_insert(what);
        }
    }

    fn name(&self, slot: usize) -> String {
        let slot = &self.slots[slot];
        format!("sequence {} of account {}", slot.orders[0].body.sequence, slot.payer)
    }

    /// After a restart: where this authority has voted, it must still hold that order, whatever it is offered.
    fn probe_locks(&mut self, place: usize) -> Result<()> {
        let voted = |slot: &&usize| {
            let slot = &self.slots[**slot];
            slot.votes[place].is_some() && !slot.acknowledged[place]
        };
        let indices: Vec<usize> = (0..self.slots.len()).collect();
        let probes: Vec<usize> = indices.iter().rev().filter(voted).take(PROBES).copied().collect();
        for at in probes {
            let (payer, sequence) = (self.slots[at].payer, self.slots[at].orders[0].body.sequence.get());
            let Some((order, _)) = self.slots[at].votes[place] else { continue };
            if self.slots[at].orders.len() == 1 {
                let other = self.network.order(&self.payers[payer], &self.payers[(payer + 1) % PAYERS], sequence, 77);
                self.slots[at].digests.push(self.network.digest(&other.body));
                self.slots[at].orders.push(other);
            }
            let other = self.slots[at].orders[1 - order];
            let answer = self.ask_again(place, |client, to, network| client.order(to, &network.rules, &other))?;
            let what = match &answer {
                Answer::Vote(vote) => self.take_vote(at, place, vote),
                Answer::Executed(executed) => self.take_acknowledgement(at, place, &executed.order),
                Answer::Refusal(body, Some(locked)) if body.code.get() == RefusalCode::Conflict as u16 => {
                    self.take_conflict(at, place, locked)
                }
                other => Err(format!("authority {place} has lost its lock at {}: {other:?}", self.name(at))),
            };
            if let Err(what) = what {
                self.report(what);
            }
            if self.violation.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// After a restart: what this authority has acknowledged, it must still serve.
    fn probe_executions(&mut self, place: usize) -> Result<()> {
        let acknowledged: Vec<usize> =
            (0..self.slots.len()).rev().filter(|slot| self.slots[*slot].acknowledged[place]).take(PROBES).collect();
        for at in acknowledged {
            let Some(certificate) = self.slots[at].certificate.clone() else { continue };
            let body = certificate.order.body;
            let answer = self.ask_again(place, |client, to, network| {
                client.debit(to, &network.rules, &body.sender, body.sequence.get())
            })?;
            let found = match &answer {
                Answer::Certificate(_, found) => found.order.body == body,
                _ => false,
            };
            if !found {
                let name = self.name(at);
                self.report(format!("authority {place} has forgotten {name}, which it acknowledged: {answer:?}"));
                return Ok(());
            }
        }
        Ok(())
    }

    fn ask_again(
        &mut self,
        place: usize,
        mut ask: impl FnMut(&mut Client, SocketAddr, &Network) -> Result<Answer>,
    ) -> Result<Answer> {
        let end = Instant::now() + DEADLINE;
        // Apart from the load's socket, so that no answer to the load is lost.
        let mut client = self.committee.client()?;
        loop {
            let answer = ask(&mut client, self.addresses[place], &self.network)?;
            if !answer.is_retry_later() {
                return Ok(answer);
            }
            ensure!(Instant::now() < end, "authority {place} has no time for anything");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Brings every certificate to every authority, in the order of each payer's sequences.
    fn settle_everything(&mut self) -> Result<()> {
        const AT_ONCE: usize = 32;
        let mut end = Instant::now() + DEADLINE;
        for place in 0..AUTHORITIES {
            loop {
                let missing: Vec<usize> = self
                    .slots_of
                    .iter()
                    .filter_map(|slots| {
                        slots.iter().copied().find(|slot| {
                            self.slots[*slot].certificate.is_some() && !self.slots[*slot].acknowledged[place]
                        })
                    })
                    .take(AT_ONCE)
                    .collect();
                if missing.is_empty() || self.violation.is_some() {
                    break;
                }
                for slot in &missing {
                    self.send_slot(*slot, place)?;
                }
                self.receive(Duration::from_millis(50))?;
                if missing.iter().any(|slot| self.slots[*slot].acknowledged[place]) {
                    end = Instant::now() + DEADLINE;
                }
                ensure!(Instant::now() < end, "authority {place} does not execute the certificates of {missing:?}");
            }
        }
        Ok(())
    }

    /// All four have the same balances, which are those that the certificates make.
    fn compare_states(&mut self) -> Result<()> {
        if self.violation.is_some() {
            return Ok(());
        }
        let mut ledger = Ledger::new(&self.committee.allocations);
        for slot in self.slots_of.iter().flatten() {
            if let Some(certificate) = &self.slots[*slot].certificate {
                ledger.execute(&certificate.order);
            }
        }
        let mut digests = Vec::new();
        for daemon in &mut self.committee.daemons {
            ensure!(daemon.stop()?.success(), "authority {} did not stop cleanly", daemon.place);
            let report = daemon.audit()?;
            digests.push(report["state_digest"].clone());
            let found = daemon.audited_accounts()?;
            for (account, token, balance) in ledger.balances() {
                let held = found.get(&(hex::encode(account), token)).copied();
                let expected = (ledger.next_sequence(account), balance);
                ensure!(held == Some(expected), "authority {}: {held:?} where {expected:?} must be", daemon.place);
            }
            let held: i128 = found.values().map(|(_, balance)| balance).sum();
            ensure!(held == ledger.total(EURO), "authority {}: money is not conserved", daemon.place);
        }
        ensure!(digests.iter().all(|digest| *digest == digests[0]), "state digests differ: {digests:?}");
        Ok(())
    }
}

fn votes_for(slot: &Slot, order: usize) -> usize {
    slot.votes.iter().flatten().filter(|(of, _)| *of == order).count()
}

fn send_order(client: &mut Client, to: SocketAddr, order: &SignedOrder, digest: &Digest) -> Result<()> {
    let envelope = client.envelope(to);
    let mut datagram = [0; DATAGRAM_MAX];
    let length = meshpay_wire::transfer_request(&mut datagram, &envelope, order, digest);
    client.send(to, &datagram[..length])
}

fn send_certificate(client: &mut Client, network: &Network, to: SocketAddr, certificate: &Certificate) -> Result<()> {
    let envelope = client.envelope(to);
    let (bytes, digest) = (certificate.bytes(), network.digest(&certificate.order.body));
    let mut datagram = [0; DATAGRAM_MAX];
    let (view, _) =
        meshpay_wire::CertificateView::parse(&bytes).ok_or_else(|| anyhow::anyhow!("a certificate without a form"))?;
    let length = meshpay_wire::confirmation_request(&mut datagram, &envelope, &view, &digest);
    client.send(to, &datagram[..length])
}
