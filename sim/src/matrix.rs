//! The crash matrix: one fixed workload of a whole authority, and the power goes at every write, every sync and every change of a name, of
//! journal, mark and checkpoints; what was unsynced is kept, lost, torn at each sector, reordered or garbled; and during the recovery it goes
//! again, at each of its steps.
//!
//! What always holds: every case is judged by the same checker as the simulation, from what the authority had said before.

use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use meshpay_authority::journal::{CrashFault, FaultDisk};
use meshpay_net::Peer;
use meshpay_wire::{
    CertificateHead, CertificateView, Envelope, OPERATION_TRANSFER, OrderBody, SignedOrder, account_query,
    confirmation_request, order_digest, transfer_request, vote_digest,
};
use zerocopy::IntoBytes;

use crate::air::address_of;
use crate::checker::Checker;
use crate::dice::Dice;
use crate::node::{Appended, Node};
use crate::setting::{Request, Setting};

/// The authority that runs it.
const PLACE: usize = 0;
/// Commits before the first crash point, so that a segment ends among the crash points.
const COMMITS_BEFORE: u64 = 247;
/// Commits among the crash points.
const COMMITS: u64 = 14;
/// Most sectors of a write that a power cut tears: beyond that a torn write is like one of so many.
const TORN_SECTORS: u64 = 24;

/// What a matrix came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Writes, syncs and changes of names at which the power goes.
    pub points: u64,
    /// Crashes.
    pub crashes: u64,
    /// Of these, crashes in a recovery.
    pub double_crashes: u64,
}

/// What an authority has done and said.
enum Seen {
    Appended(Appended),
    Sent(Vec<u8>),
}

struct Run {
    disk: FaultDisk,
    seen: Vec<Seen>,
    /// Disk operations before the first crash point.
    first: u64,
}

/// Runs the matrix over so many threads. With `stride` above 1 only every so many steps of a recovery are crash points; everything else is
/// always enumerated.
///
/// # Errors
/// The first case in which something was lost, by name.
pub fn crash_matrix(jobs: usize, stride: u64) -> Result<Counts> {
    let whole = workload(None)?;
    let last = whole.disk.operations();
    let next = AtomicU64::new(whole.first);
    let sum: Mutex<Result<Counts>> = Mutex::new(Ok(Counts::default()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let point = next.fetch_add(1, Ordering::Relaxed);
                    if point >= last {
                        return;
                    }
                    let counts = crash_at(point, stride);
                    let mut sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    match (&mut *sum, counts) {
                        (Ok(sum), Ok(counts)) => {
                            sum.points += 1;
                            sum.crashes += counts.crashes;
                            sum.double_crashes += counts.double_crashes;
                        }
                        (Ok(_), Err(error)) => {
                            *sum = Err(error);
                            next.store(last, Ordering::Relaxed);
                        }
                        (Err(_), _) => return,
                    }
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The setting of the first seed that has four honest authorities.
fn plain_setting() -> Rc<Setting> {
    let settings = (0..).map(|seed| Setting::of(&Request::new(seed, 1)));
    let plain = |setting: &Setting| setting.liars == 0 && !setting.crowded && setting.members() == 4;
    Rc::new({ settings }.find(plain).unwrap_or_else(|| unreachable!("there is no last seed")))
}

fn first_faults(point: u64) -> Vec<(CrashFault, u64)> {
    let mut faults = vec![(CrashFault::Kept, 0), (CrashFault::Lost, 0)];
    faults.extend((0..=TORN_SECTORS).map(|sectors| (CrashFault::Torn(sectors), 0)));
    for seed in point * 2..point * 2 + 2 {
        faults
            .extend([CrashFault::Reordered, CrashFault::Garbled, CrashFault::GarbledBlocks].map(|fault| (fault, seed)));
    }
    faults
}

/// All cases of one crash point.
fn crash_at(point: u64, stride: u64) -> Result<Counts> {
    let run = workload(Some(point))?;
    let setting = plain_setting();
    let mut node = Node::new(Rc::clone(&setting), PLACE, &mut Dice::new(1))?;
    let mut counts = Counts::default();
    for (fault, seed) in first_faults(point) {
        let case = format!("operation {point}, {fault:?}, seed {seed}");
        let crashed = run.disk.fork();
        crashed.crash(fault, seed);
        let disk = crashed.fork();
        judge(&mut node, &setting, &run, &disk, &case)?;
        if !matches!(fault, CrashFault::Lost | CrashFault::Torn(_)) {
            // What that recovery showed must be on the disk, also where nothing but the page cache had held it.
            disk.crash(CrashFault::Lost, 0);
            judge(&mut node, &setting, &run, &disk, &format!("{case}, again at rest"))?;
        }
        counts.crashes += 1;
        if !matches!(fault, CrashFault::Kept | CrashFault::Lost | CrashFault::Torn(1) | CrashFault::Reordered) {
            continue;
        }
        let begins = crashed.operations();
        for step in (point % stride..).step_by(stride as usize) {
            let disk = crashed.fork();
            disk.crash_at(begins + step);
            node.disk = disk.clone();
            let finished = node.look(&mut Dice::new(2)).is_ok();
            for second in [CrashFault::Lost, CrashFault::GarbledBlocks] {
                let disk = disk.fork();
                disk.crash(second, point * 1_000 + step);
                judge(&mut node, &setting, &run, &disk, &format!("{case}, step {step} of recovery, {second:?}"))?;
                counts.crashes += 1;
                counts.double_crashes += 1;
            }
            if finished {
                break;
            }
        }
    }
    Ok(counts)
}

/// Starts from a disk and lets the checker say whether anything is lost.
fn judge(node: &mut Node, setting: &Rc<Setting>, run: &Run, disk: &FaultDisk, case: &str) -> Result<()> {
    node.disk = disk.clone();
    let started = node.look(&mut Dice::new(3)).with_context(|| format!("{case}: refused to start"))?;
    let mut checker = Checker::new(Rc::clone(setting));
    for seen in &run.seen {
        match seen {
            Seen::Appended(record) => checker.appended(PLACE, record.position, record.kind, &record.payload),
            Seen::Sent(datagram) => checker.sent(PLACE, datagram),
        }
    }
    checker.restarted(PLACE, started.head, &started.slots);
    match checker.violation() {
        None => Ok(()),
        Some(violation) => bail!("{case}: {}: {}", violation.promise, violation.what),
    }
}

/// Votes, executions and queries of two workers, with checkpoints and marks; ends when the power goes.
fn workload(crash_at: Option<u64>) -> Result<Run> {
    let setting = plain_setting();
    let mut node = Node::new(Rc::clone(&setting), PLACE, &mut Dice::new(4))?;
    node.workers = 2;
    node.start(&mut Dice::new(5))?;
    let mut run = Run { disk: node.disk.clone(), seen: Vec::new(), first: 0 };
    let mut script = Script { setting, next: Vec::new(), dice: Dice::new(6) };
    script.next = vec![0; script.setting.cheats.len()];
    for commit in 0..COMMITS_BEFORE + COMMITS {
        if commit == COMMITS_BEFORE {
            run.first = run.disk.operations();
            if let Some(point) = crash_at {
                run.disk.crash_at(point);
            }
        }
        for datagram in script.datagrams(commit) {
            let worker = usize::from(datagram[meshpay_wire::Header::ACCOUNT_OFFSET]);
            node.deliver(worker, datagram, peer());
        }
        if step(&mut node, &mut run, commit).is_err() {
            break;
        }
        if commit % 5 == 3 && commit > COMMITS_BEFORE && node.checkpoint(&mut Dice::new(commit)).is_err() {
            break;
        }
    }
    Ok(run)
}

fn peer() -> Peer {
    address_of(1, 0)
}

fn step(node: &mut Node, run: &mut Run, commit: u64) -> Result<()> {
    let now_us = commit * 100_000 + 1;
    let turns = |node: &mut Node, run: &mut Run| -> Result<()> {
        for _ in 0..3 {
            for worker in 0..2 {
                node.turn(worker, now_us)?;
                let (appended, sent) = node.take_output();
                run.seen.extend(appended.into_iter().map(Seen::Appended));
                run.seen.extend(sent.into_iter().map(|(_, datagram)| Seen::Sent(datagram)));
            }
        }
        Ok(())
    };
    turns(node, run)?;
    node.begin()?;
    node.finish()?;
    node.maintain(now_us)?;
    turns(node, run)
}

struct Script {
    setting: Rc<Setting>,
    next: Vec<u64>,
    dice: Dice,
}

impl Script {
    /// What arrives before one commit.
    fn datagrams(&mut self, commit: u64) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        for _ in 0..1 + commit % 3 {
            let sender = self.dice.index(self.next.len());
            let order = self.order(sender);
            datagrams.push(self.order_request(&order));
            if self.dice.chance(700_000) {
                self.next[sender] += 1;
                datagrams.push(self.certificate_request(&order));
            }
            datagrams.push(self.account_request(&order));
        }
        datagrams
    }

    fn order(&mut self, sender: usize) -> SignedOrder {
        let recipient = self.dice.index(self.setting.wallets.len());
        let body = OrderBody {
            sender: self.setting.cheats[sender].key(),
            sequence: self.next[sender].into(),
            expiry_ms: 0.into(),
            token: 1.into(),
            epoch: 0.into(),
            operation: OPERATION_TRANSFER,
            reserved: [0; 7],
            recipient: self.setting.wallets[recipient].key(),
            amount: self.dice.between(10, 30).into(),
            memo: [0; 32],
        };
        let digest = order_digest(&self.setting.rules.genesis, &body);
        SignedOrder { body, signature: self.setting.cheats[sender].sign(&digest.0) }
    }

    fn envelope(&mut self) -> Envelope {
        let rules = &self.setting.rules;
        Envelope { network: rules.network, epoch: rules.epoch, request_id: self.dice.bytes(), return_token: [0; 8] }
    }

    fn order_request(&mut self, order: &SignedOrder) -> Vec<u8> {
        let digest = order_digest(&self.setting.rules.genesis, &order.body);
        let mut buffer = vec![0; 1400];
        let length = transfer_request(&mut buffer, &self.envelope(), order, &digest);
        buffer.truncate(length);
        buffer
    }

    fn account_request(&mut self, order: &SignedOrder) -> Vec<u8> {
        let mut buffer = vec![0; 1400];
        let length = account_query(&mut buffer, &self.envelope(), &order.body.sender, 1);
        buffer.truncate(length);
        buffer
    }

    /// The certificate of all others, so that it never shows the authority a vote of its own.
    fn certificate_request(&mut self, order: &SignedOrder) -> Vec<u8> {
        let rules = &self.setting.rules;
        let digest = order_digest(&rules.genesis, &order.body);
        let message = vote_digest(&rules.genesis, rules.epoch, &digest);
        let others = ((1u32 << self.setting.members()) - 1) & !(1 << PLACE);
        let signers = rules.committee.minimal_quorum_of(others).unwrap_or(others);
        let places = (0..self.setting.members()).filter(|place| signers >> place & 1 == 1);
        let signatures: Vec<_> = places.map(|place| self.setting.authorities[place].sign(&message)).collect();
        let head = CertificateHead { order: *order, signers: signers.into(), reserved: 0.into() };
        let bytes = [head.as_bytes(), signatures.as_bytes()].concat();
        let Some((view, _)) = CertificateView::parse(&bytes) else { return Vec::new() };
        let mut buffer = vec![0; 1400];
        let length = confirmation_request(&mut buffer, &self.envelope(), &view, &digest);
        buffer.truncate(length);
        buffer
    }
}
