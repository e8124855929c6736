//! What a seed decides before anything happens: the committee, who of it lies, the accounts, how bad the air is.
//!
//! What always holds: the liars weigh no more than the committee tolerates, unless a canary asks for more.

use std::sync::Arc;

use meshpay_client::Verifier;
use meshpay_protocol::genesis::MemberEntry;
use meshpay_protocol::{Allocation, Genesis, Rules};
use meshpay_wire::PublicKey;

use crate::Canary;
use crate::dice::Dice;
use crate::mesh::MeshRequest;
use crate::signing::{Scheme, Scribe, Signer, WalletSignatures};

/// What an account that pays holds of each token at first.
pub const FUNDS: u64 = 1_000_000;
/// Least first credit of a new account.
pub const MINIMUM_FIRST_CREDIT: u64 = 10;
/// One seed in so many signs with Ed25519.
pub const REAL_SIGNATURES_EVERY: u64 = 100;
/// Shards that a crowded run's accounts lie in.
const CROWDED_SHARDS: u64 = 2;

/// What is asked of a run, apart from its seed.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names everything that is random.
    pub seed: u64,
    /// Orders and certificates that reach honest authorities before the faults heal.
    pub operations: u64,
    /// A build with a fault in it, which must be found.
    pub canary: Option<Canary>,
    /// Which faults may happen, by number; nothing: all.
    pub keep: Option<Vec<u64>>,
    /// Writes down what happens.
    pub verbose: bool,
    /// A mesh in the plane instead of faults.
    pub mesh: Option<MeshRequest>,
}

impl Request {
    /// A run of this length with all faults.
    pub fn new(seed: u64, operations: u64) -> Self {
        Self { seed, operations, canary: None, keep: None, verbose: false, mesh: None }
    }
}

/// How bad the air is between two parties.
#[derive(Clone, Copy, Debug)]
pub struct Air {
    /// Datagrams lost, per million.
    pub loss: u64,
    /// Datagrams that come twice or more, per million.
    pub duplication: u64,
    /// Datagrams with flipped bits, per million.
    pub corruption: u64,
    /// Shortest way, microseconds.
    pub delay_least_us: u64,
    /// Added at most, microseconds: what reorders.
    pub jitter_us: u64,
    /// Datagrams that come much later, per million.
    pub straggling: u64,
}

/// A committee, accounts and conditions.
pub struct Setting {
    /// The seed.
    pub seed: u64,
    /// The canary, if any.
    pub canary: Option<Canary>,
    /// Signatures.
    pub scribe: Scribe,
    /// What all have agreed on.
    pub rules: Arc<Rules>,
    /// First balances.
    pub allocations: Arc<Vec<Allocation>>,
    /// The wallets' view of the network.
    pub verifier: Arc<Verifier>,
    /// Keys of the authorities, by place.
    pub authorities: Vec<Signer>,
    /// Places of those that lie, as bits.
    pub liars: u32,
    /// Keys of honest wallets.
    pub wallets: Vec<Signer>,
    /// Keys of accounts that belong to cheats.
    pub cheats: Vec<Signer>,
    /// The air.
    pub air: Air,
    /// Tables are so small and accounts so close together that the reserves are reached.
    pub crowded: bool,
    /// Average time between two faults, microseconds.
    pub fault_interval_us: u64,
    /// Longest sync of a disk that is not slowed by a fault, microseconds: an SSD or an SD card.
    pub sync_most_us: u64,
    /// Average time from the end of a payment to the next one of the same wallet, microseconds.
    pub idle_us: u64,
}

impl Setting {
    /// What a seed decides.
    ///
    /// # Panics
    /// Never: every genesis that is drawn here is a valid one.
    pub fn of(request: &Request) -> Self {
        if let Some(mesh) = request.mesh {
            return Self::of_mesh(request.seed, mesh);
        }
        let seed = request.seed;
        let mut dice = Dice::stream(seed, "setting", 0);
        let canary = request.canary;
        let real = seed % REAL_SIGNATURES_EVERY == REAL_SIGNATURES_EVERY - 1;
        let scheme = if real { Scheme::Ed25519 } else { Scheme::KeyedHash };
        let scribe = Scribe::new(scheme, seed);
        let members = if dice.chance(700_000) { 4 } else { 7 };
        let weighted = dice.chance(150_000);
        let weights: Vec<u32> = (0..members).map(|_| if weighted { dice.between(1, 3) as u32 } else { 1 }).collect();
        let total: u32 = weights.iter().sum();
        let tolerated = (total - 1) / 3;
        let liars = pick_liars(&weights, tolerated, canary, &mut dice);
        let crowded = canary.is_none() && !real && dice.chance(80_000);
        let crowd_base = dice.below(200);
        let shard = |dice: &mut Dice| crowded.then(|| (crowd_base + dice.below(CROWDED_SHARDS)) as u8);
        let authorities: Vec<Signer> = (0..members).map(|_| scribe.signer(dice.bytes())).collect();
        let count = if real { 12 } else { dice.between(8, 32) };
        let wallets: Vec<Signer> = (0..count).map(|_| scribe.client(dice.bytes(), shard(&mut dice))).collect();
        let cheats: Vec<Signer> =
            (0..if real { 24 } else { 48 }).map(|_| scribe.client(dice.bytes(), shard(&mut dice))).collect();
        let tokens = dice.between(1, 3) as u32;
        let allocations = allocate(&wallets, &cheats, tokens, &mut dice);
        let rules = rules_of(seed, &authorities, &weights, tokens, &allocations);
        let checks = Arc::new(WalletSignatures::new(&rules.committee, &scribe));
        let verifier = Arc::new(Verifier::with_signatures(rules.clone(), checks));
        let calm = dice.chance(200_000);
        let most = |bound: u64, dice: &mut Dice| if calm { 0 } else { dice.below(bound) };
        let air = Air {
            loss: most(200_000, &mut dice),
            duplication: most(150_000, &mut dice),
            corruption: most(20_000, &mut dice),
            delay_least_us: dice.between(200, 15_000),
            jitter_us: dice.between(100, 40_000),
            straggling: most(20_000, &mut dice),
        };
        Self {
            seed,
            canary,
            scribe,
            rules: Arc::new(rules),
            allocations: Arc::new(allocations),
            verifier,
            authorities,
            liars,
            wallets,
            cheats,
            air,
            crowded,
            fault_interval_us: dice.between(150_000, 1_500_000),
            // What runs ahead of a disk is seen where the disk is slow.
            sync_most_us: if canary == Some(Canary::QueriesAheadOfDisk) || dice.chance(250_000) {
                60_000
            } else {
                3_000
            },
            idle_us: dice.between(5_000, 200_000),
        }
    }

    /// Honest authorities and wallets, and air that does nothing: the mesh does.
    fn of_mesh(seed: u64, mesh: MeshRequest) -> Self {
        let mut dice = Dice::stream(seed, "mesh", 0);
        let scribe = Scribe::new(Scheme::KeyedHash, seed);
        let authorities: Vec<Signer> = (0..mesh.authorities).map(|_| scribe.signer(dice.bytes())).collect();
        let wallets: Vec<Signer> = (0..mesh.clients).map(|_| scribe.client(dice.bytes(), None)).collect();
        let allocations: Vec<Allocation> =
            wallets.iter().map(|wallet| Allocation { account: wallet.key(), token: 1, amount: FUNDS }).collect();
        let weights = vec![1; mesh.authorities];
        let rules = rules_of(seed, &authorities, &weights, 1, &allocations);
        let checks = Arc::new(WalletSignatures::new(&rules.committee, &scribe));
        Self {
            seed,
            canary: None,
            rules: Arc::new(rules.clone()),
            allocations: Arc::new(allocations),
            verifier: Arc::new(Verifier::with_signatures(rules, checks)),
            authorities,
            liars: 0,
            wallets,
            cheats: vec![scribe.client(dice.bytes(), None)],
            scribe,
            air: Air { loss: 0, duplication: 0, corruption: 0, delay_least_us: 0, jitter_us: 0, straggling: 0 },
            crowded: false,
            fault_interval_us: u64::MAX / 4,
            sync_most_us: 3_000,
            idle_us: 30_000_000,
        }
    }

    /// How many authorities there are.
    pub fn members(&self) -> usize {
        self.authorities.len()
    }

    /// Whether an authority lies.
    pub fn lies(&self, place: usize) -> bool {
        self.liars >> place & 1 == 1
    }

    /// Public keys of the honest wallets.
    pub fn wallet_keys(&self) -> Vec<PublicKey> {
        self.wallets.iter().map(Signer::key).collect()
    }
}

/// The rules of a network, by way of a genesis as an operator would write it.
fn rules_of(seed: u64, authorities: &[Signer], weights: &[u32], tokens: u32, allocations: &[Allocation]) -> Rules {
    let entries = authorities
        .iter()
        .zip(weights)
        .enumerate()
        .map(|(place, (signer, weight))| MemberEntry {
            name: format!("authority-{place}"),
            key: hex::encode(signer.key()),
            weight: *weight,
            address: None,
        })
        .collect();
    let names = (1..=tokens).map(|id| (id, format!("T{id}"), 2)).collect();
    let genesis = Genesis::new("simulated", 0, MINIMUM_FIRST_CREDIT, names, entries, allocations)
        .unwrap_or_else(|error| panic!("seed {seed} draws an invalid genesis: {error}"));
    genesis.rules().unwrap_or_else(|error| panic!("seed {seed} draws invalid rules: {error}"))
}

fn allocate(wallets: &[Signer], cheats: &[Signer], tokens: u32, dice: &mut Dice) -> Vec<Allocation> {
    let mut allocations = Vec::new();
    for signer in wallets.iter().chain(cheats) {
        for token in 1..=tokens {
            // Some wallets begin with nothing, and some hold one token only.
            if token == 1 && dice.chance(900_000) || dice.chance(400_000) {
                let amount = if dice.chance(200_000) { dice.between(1, 500) } else { FUNDS };
                allocations.push(Allocation { account: signer.key(), token, amount });
            }
        }
    }
    for token in 1..=tokens {
        if !allocations.iter().any(|allocation| allocation.token == token) {
            allocations.push(Allocation { account: wallets[0].key(), token, amount: FUNDS });
        }
    }
    allocations
}

/// Liars up to the tolerated weight; for the canary of too many, just beyond it.
fn pick_liars(weights: &[u32], tolerated: u32, canary: Option<Canary>, dice: &mut Dice) -> u32 {
    let wanted = match canary {
        Some(Canary::TooManyLiars) => tolerated + 1,
        Some(Canary::DuplicateSigners) => 1,
        // Honest authorities alone show what their own build gets wrong.
        Some(_) => 0,
        None => dice.below(u64::from(tolerated) + 1) as u32,
    };
    let (mut liars, mut weight) = (0, 0);
    let mut places: Vec<usize> = (0..weights.len()).collect();
    while weight < wanted && !places.is_empty() {
        let place = places.swap_remove(dice.index(places.len()));
        if weight + weights[place] <= tolerated || canary == Some(Canary::TooManyLiars) {
            liars |= 1 << place;
            weight += weights[place];
        }
    }
    liars
}
