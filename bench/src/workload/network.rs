//! A benchmark's network: committee keys, accounts, allocations and the genesis that binds them.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use meshpay_crypto::SigningKey;
use meshpay_protocol::genesis::{Allocation, MemberEntry};
use meshpay_protocol::{Genesis, Rules};

use super::wallets::derive;
use super::{TOKEN, Trace, Wallets};

/// What an account that no trace names holds at first, in minor units: more than it can spend in any run, and small enough that a
/// token's supply holds four thousand million such accounts.
pub const FIRST_BALANCE: u64 = 1_000_000_000;

/// What to make a network of.
pub struct NetworkRequest<'a> {
    /// The committee's keys by place.
    pub committee: Vec<SigningKey>,
    /// Where the members listen, as far as they do.
    pub addresses: Vec<Option<SocketAddr>>,
    /// The accounts.
    pub wallets: &'a Wallets,
    /// The trace that will be replayed, if any.
    pub trace: Option<&'a Trace>,
}

/// A network, with all its secrets.
pub struct Network {
    /// The genesis.
    pub genesis: Genesis,
    /// Its rules.
    pub rules: Rules,
    /// What each account holds at first, by account number.
    pub allocations: Vec<Allocation>,
    /// The committee's keys by place.
    pub committee: Vec<SigningKey>,
}

impl Network {
    /// Binds the parts together.
    ///
    /// # Errors
    /// Where the committee cannot be one, or the supply does not fit.
    pub fn new(request: NetworkRequest<'_>) -> Result<Self> {
        let weights = vec![1; request.committee.len()];
        Self::with_weights(request, &weights)
    }

    /// As [`Network::new`], with the members' voting weights by place.
    ///
    /// # Errors
    /// As [`Network::new`], and where there is not one weight for each member.
    pub fn with_weights(request: NetworkRequest<'_>, weights: &[u32]) -> Result<Self> {
        let NetworkRequest { committee, addresses, wallets, trace } = request;
        ensure!(
            weights.len() == committee.len(),
            "there are {} weights for {} authorities; give one for each",
            weights.len(),
            committee.len()
        );
        let spent = trace.map_or_else(Vec::new, Trace::spent_by);
        let allocations: Vec<Allocation> = wallets
            .public_keys()
            .iter()
            .enumerate()
            .map(|(number, account)| {
                let amount = spent.get(number).map_or(FIRST_BALANCE, |spent| spent.saturating_add(1));
                Allocation { account: *account, token: TOKEN, amount }
            })
            .collect();
        let members = committee
            .iter()
            .zip(addresses)
            .enumerate()
            .map(|(place, (key, address))| MemberEntry {
                name: format!("authority-{place}"),
                key: hex::encode(key.public_key()),
                weight: weights[place],
                address,
            })
            .collect();
        let tokens = vec![(TOKEN, "EUR".to_owned(), 2)];
        let genesis = Genesis::new("meshpay-bench", 0, 1, tokens, members, &allocations)
            .context("cannot make the benchmark's genesis")?;
        let rules = genesis.rules().context("cannot make the benchmark's rules")?;
        Ok(Self { genesis, rules, allocations, committee })
    }

    /// A committee key that comes from a seed, for members that do not run.
    pub fn seeded_authority_key(seed: u64, place: usize) -> SigningKey {
        SigningKey::from_seed(&derive(b"authority", seed, place as u64))
    }
}
