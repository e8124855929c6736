//! The simulation: one queue of events, one thread, one clock that jumps from event to event.
//!
//! What always holds: events of one time happen in the order in which they were made; nothing here reads a clock, a socket, a file or an entropy
//! source. Whatever an honest authority appends or sends goes past the checker first.

mod authorities;
mod clients;
mod healing;
mod packets;
mod plane;
mod trouble;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use meshpay_authority::journal::CrashFault;
use meshpay_wire::PublicKey;

use crate::air::{AirCounters, Network, Party};
use crate::checker::{Checker, Violation};
use crate::coalition::Coalition;
use crate::dice::Dice;
use crate::faults::{CHEATS, Planned, plan};
use crate::liar::Liar;
use crate::mesh::{MOVE_US, Mesh, MeshReport};
use crate::node::Node;
use crate::setting::{Request, Setting};
use crate::trace::Trace;
use crate::wallet::Wallet;

/// Within this simulated time after the last fault healed everything must have settled, microseconds.
pub const LIVENESS_BOUND_US: u64 = 120_000_000;
/// How often it is looked whether it has, microseconds.
const LOOK_US: u64 = 250_000;
/// Simulated time after which a run ends whose operations never come, microseconds.
const RUN_MAX_US: u64 = 3_600_000_000;
/// Addresses of the cheats.
const CHEAT_PARTIES: usize = 3;
/// Time between two actions of the cheats, microseconds.
const CHEAT_US: u64 = 30_000;
/// Time between two calls of the journal's keeper, microseconds.
const MAINTAIN_US: u64 = 300_000;

enum Event {
    /// `place` is where the client is, or was: its half of the way.
    Deliver {
        from: Party,
        to: Party,
        place: u32,
        datagram: Vec<u8>,
    },
    /// A certificate handed from a payer to a recipient.
    Hand {
        wallet: usize,
        certificate: Vec<u8>,
    },
    Turn {
        node: usize,
        incarnation: u64,
        worker: usize,
    },
    Begin {
        node: usize,
        incarnation: u64,
    },
    Finish {
        node: usize,
        incarnation: u64,
    },
    Maintain {
        node: usize,
        incarnation: u64,
    },
    Start {
        node: usize,
    },
    WakeWallet {
        wallet: usize,
    },
    BeginPayment {
        wallet: usize,
    },
    Cheat,
    Fault(Box<Planned>),
    DiskHasRoom {
        node: usize,
    },
    Look,
    /// Phones of a mesh have moved.
    Move,
    /// An authority of a mesh is lost, or comes back.
    Lose {
        comes_back: bool,
    },
}

/// What an authority is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Up,
    Down,
    /// It refuses to start, as it must.
    Dead,
}

struct Place {
    node: Option<Node>,
    liar: Option<Liar>,
    life: Life,
    paused_until_us: u64,
    slow: u64,
    turn_is_due: Vec<bool>,
    begin_is_due: bool,
    /// What becomes of unsynced writes when the power goes at the operation that was chosen.
    armed: Option<CrashFault>,
    /// After so many operations of the next recovery the power goes again.
    again: Option<u64>,
    /// A start was ended by the power, and none has come through since.
    start_failed: bool,
    dice: Dice,
}

/// Totals of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Orders and certificates that reached an honest authority.
    pub operations: u64,
    /// Payments of honest wallets that became final.
    pub certified: u64,
    /// Certificates that the cheats made.
    pub cheats_certified: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Starts.
    pub starts: u64,
    /// Faults of all kinds.
    pub faults: u64,
    /// Authorities that refused to start on a damaged disk, as they must.
    pub refused_damaged: u64,
    /// Requests that were put off for want of room, in a journal or in a table.
    pub put_off: u64,
    /// Simulated microseconds until everything had settled after the last fault.
    pub settled_us: u64,
    /// Simulated microseconds in all.
    pub simulated_us: u64,
    /// The network.
    pub air: AirCounters,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Totals.
    pub totals: Totals,
    /// Hash of everything that happened.
    pub trace_hash: String,
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// Numbers of the faults that happened.
    pub faults: Vec<u64>,
    /// What happened, where asked for.
    pub lines: Vec<String>,
    /// What a mesh came to.
    pub mesh: Option<MeshReport>,
}

/// A run.
pub struct World {
    setting: Rc<Setting>,
    request: Request,
    now_us: u64,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    places: Vec<Place>,
    wallets: Vec<Wallet>,
    wallet_wakes: Vec<Option<u64>>,
    coalition: Coalition,
    network: Network,
    checker: Checker,
    trace: Trace,
    dice: Dice,
    totals: Totals,
    faults: Vec<u64>,
    fresh: Vec<PublicKey>,
    healed_us: Option<u64>,
    settled: bool,
    mesh: Option<MeshReport>,
    /// What the authority that was lost lacked when it came back.
    mesh_lacked: std::collections::BTreeSet<(PublicKey, u64)>,
}

/// Runs a seed from beginning to end.
///
/// # Errors
/// If the simulation itself lacks something, such as memory; never because of what it simulates.
pub fn run(request: &Request) -> Result<Outcome> {
    let mut world = World::new(request)?;
    world.live()?;
    world.totals.simulated_us = world.now_us;
    world.totals.air = world.network.counters;
    world.totals.put_off = world.checker.put_off;
    Ok(Outcome {
        seed: request.seed,
        totals: world.totals,
        trace_hash: world.trace.hash(),
        violation: world.checker.violation().cloned(),
        faults: world.faults,
        lines: world.trace.into_lines(),
        mesh: world.mesh,
    })
}

impl World {
    fn new(request: &Request) -> Result<Self> {
        let setting = Rc::new(Setting::of(request));
        let seed = request.seed;
        let mut dice = Dice::stream(seed, "world", 0);
        let mut places = Vec::new();
        for place in 0..setting.members() {
            let mut own = Dice::stream(seed, "place", place as u64);
            let liar = setting.lies(place).then(|| Liar::new(Rc::clone(&setting), place, Dice::new(own.word())));
            let node = match liar {
                Some(_) => None,
                None => Some(Node::new(Rc::clone(&setting), place, &mut own)?),
            };
            places.push(Place {
                node,
                liar,
                life: Life::Down,
                paused_until_us: 0,
                slow: 1,
                turn_is_due: Vec::new(),
                begin_is_due: false,
                armed: None,
                again: None,
                start_failed: false,
                dice: own,
            });
        }
        let mut wallets: Vec<Wallet> =
            setting.wallets.iter().map(|signer| Wallet::new(Rc::clone(&setting), signer.clone(), &mut dice)).collect();
        // The last one pays nobody: it offers everything that exists to everybody once the faults have healed.
        let courier = setting.scribe.client(dice.bytes(), None);
        wallets.push(Wallet::new(Rc::clone(&setting), courier, &mut dice));
        let mut fresh: Vec<PublicKey> = (0..200).map(|_| dice.bytes()).collect();
        if setting.crowded {
            let shard = setting.wallets[0].key()[0];
            fresh.iter_mut().for_each(|key| key[0] = shard);
        }
        let mut world = Self {
            request: request.clone(),
            now_us: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            wallet_wakes: vec![None; wallets.len()],
            wallets,
            coalition: Coalition::new(Rc::clone(&setting), Dice::stream(seed, "cheats", 0)),
            network: Network::new(setting.air, Dice::stream(seed, "air", 0)),
            checker: Checker::new(Rc::clone(&setting)),
            trace: Trace::new(request.verbose),
            dice,
            totals: Totals::default(),
            faults: Vec::new(),
            fresh,
            healed_us: None,
            settled: false,
            mesh: None,
            mesh_lacked: std::collections::BTreeSet::new(),
            places,
            setting,
        };
        for node in 0..world.places.len() {
            if world.places[node].node.is_some() {
                world.at(0, Event::Start { node });
            }
        }
        for wallet in 0..world.wallets.len() - 1 {
            let after = world.dice.below(world.setting.idle_us * 2);
            world.at(after, Event::BeginPayment { wallet });
        }
        if let Some(mesh) = request.mesh {
            let clients = world.wallets.len() + CHEAT_PARTIES;
            let layout = Mesh::new(mesh.authorities, clients, Dice::stream(seed, "plane", 0));
            world.network.mesh = Some(layout);
            world.mesh = Some(MeshReport::default());
            world.at(MOVE_US, Event::Move);
            world.at(mesh.lost_us, Event::Lose { comes_back: false });
            world.at(mesh.back_us, Event::Lose { comes_back: true });
            return Ok(world);
        }
        if world.keeps(CHEATS) {
            world.at(1_000, Event::Cheat);
        }
        let first = plan(&world.setting, 1, 0);
        world.at(first.at_us, Event::Fault(Box::new(first)));
        Ok(world)
    }

    fn keeps(&self, fault: u64) -> bool {
        self.request.keep.as_ref().is_none_or(|keep| keep.contains(&fault))
    }

    fn at(&mut self, time_us: u64, event: Event) {
        self.queue.insert((time_us, self.next_event), event);
        self.next_event += 1;
    }

    fn after(&mut self, wait_us: u64, event: Event) {
        self.at(self.now_us + wait_us, event);
    }

    fn now(&self) -> Duration {
        Duration::from_micros(self.now_us)
    }

    fn courier(&self) -> usize {
        self.wallets.len() - 1
    }

    fn live(&mut self) -> Result<()> {
        while let Some(((time_us, _), event)) = self.queue.pop_first() {
            self.now_us = time_us;
            self.handle(event)?;
            if self.checker.violation().is_some() || self.settled {
                break;
            }
            if let Some(mesh) = self.request.mesh {
                if self.now_us >= mesh.for_us {
                    self.end_mesh();
                    break;
                }
                continue;
            }
            let enough = self.totals.operations >= self.request.operations || self.now_us > RUN_MAX_US;
            if enough && self.healed_us.is_none() {
                self.heal();
            }
        }
        if self.checker.violation().is_none() {
            self.look_inside();
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Deliver { from, to, place, datagram } => self.deliver(from, to, place, datagram),
            Event::Hand { wallet, certificate } => {
                self.trace.event(self.now_us, 2, wallet, &certificate);
                self.wallets[wallet].receive_certificate(&certificate);
            }
            Event::Turn { node, incarnation, worker } => {
                if self.is_current(node, incarnation) {
                    self.turn(node, worker)?;
                }
            }
            Event::Begin { node, incarnation } => {
                if self.is_current(node, incarnation) {
                    self.begin(node)?;
                }
            }
            Event::Finish { node, incarnation } => {
                if self.is_current(node, incarnation) {
                    self.finish(node)?;
                }
            }
            Event::Maintain { node, incarnation } => {
                if self.is_current(node, incarnation) {
                    let now_us = self.now_us;
                    let done = self.node(node).maintain(now_us);
                    self.survive(node, done)?;
                    self.schedule_all_turns(node);
                    self.after(MAINTAIN_US, Event::Maintain { node, incarnation });
                }
            }
            Event::Start { node } => self.start(node)?,
            Event::WakeWallet { wallet } => {
                if self.wallet_wakes[wallet].is_some_and(|at| at <= self.now_us) {
                    self.wallet_wakes[wallet] = None;
                }
                let now = self.now();
                self.wallets[wallet].advance(now);
                self.wallet_acts(wallet);
            }
            Event::BeginPayment { wallet } => self.begin_payment(wallet),
            Event::Cheat => self.cheat(),
            Event::Fault(planned) => self.fault(*planned)?,
            Event::DiskHasRoom { node } => {
                if let Some(node) = &self.places[node].node {
                    node.disk.set_capacity(None);
                }
            }
            Event::Look => self.look(),
            Event::Move => self.mesh_moves(),
            Event::Lose { comes_back } => self.lose(comes_back)?,
        }
        Ok(())
    }

    fn node(&mut self, node: usize) -> &mut Node {
        self.places[node].node.as_mut().unwrap_or_else(|| unreachable!("liars have no events of a process"))
    }

    fn is_current(&self, node: usize, incarnation: u64) -> bool {
        let place = &self.places[node];
        place.life == Life::Up && place.node.as_ref().is_some_and(|node| node.incarnation == incarnation)
    }
}
