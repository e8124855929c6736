//! What a network has agreed on in its genesis and every decision refers to.

use meshpay_wire::{GenesisDigest, Header, Network};

use crate::Committee;

/// A token of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Number in orders.
    pub id: u32,
    /// Name for people.
    pub symbol: String,
    /// Decimal places of the minor unit.
    pub decimals: u8,
    /// All that exists of it, in minor units: the sum of the genesis allocations.
    pub supply: u64,
}

/// The rules of one network in one epoch.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Digest of the genesis.
    pub genesis: GenesisDigest,
    /// First bytes of the genesis digest, as in headers.
    pub network: Network,
    /// Current epoch.
    pub epoch: u32,
    /// Who votes.
    pub committee: Committee,
    /// Tokens, by rising number.
    pub tokens: Vec<Token>,
    /// Least amount of an account's first credit, so that dust cannot fill the table (DESIGN 5.15).
    pub minimum_first_credit: u64,
}

impl Rules {
    /// Puts rules together; tokens are sorted here.
    pub fn new(
        genesis: GenesisDigest,
        epoch: u32,
        committee: Committee,
        mut tokens: Vec<Token>,
        minimum_first_credit: u64,
    ) -> Self {
        tokens.sort_by_key(|token| token.id);
        Self { genesis, network: Header::network_of(&genesis), epoch, committee, tokens, minimum_first_credit }
    }

    /// A token by number.
    pub fn token(&self, id: u32) -> Option<&Token> {
        self.tokens.binary_search_by_key(&id, |token| token.id).ok().map(|at| &self.tokens[at])
    }
}
