//! The genesis: what all members of a network have agreed on before its first payment.
//!
//! A genesis is a TOML file that people read, plus a list of allocations. Its digest is taken over a canonical form (`docs/wire.md`)
//! that holds the digest of the allocations, so that a wallet can check certificates with the TOML file alone. Addresses of
//! authorities may change and are not covered.

use std::collections::HashSet;
use std::net::SocketAddr;

use meshpay_wire::{GenesisDigest, PublicKey, genesis_digest, truncate_sha512};
use serde::{Deserialize, Serialize};

use crate::{Accounts, Committee, CommitteeError, Member, Rules, TableFull, Token, apply};

/// Most tokens of a genesis: its canonical form counts them in one byte.
pub const TOKENS_MAX: usize = 255;

/// A genesis as its file says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Name of the network, for people.
    pub name: String,
    /// First epoch.
    pub epoch: u32,
    /// Least amount of an account's first credit, in minor units.
    pub minimum_first_credit: u64,
    /// Tokens.
    pub token: Vec<TokenEntry>,
    /// Authorities; their order gives their places.
    pub committee: Vec<MemberEntry>,
    /// What the accounts hold at first.
    pub allocations: AllocationsEntry,
}

/// A token in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// Number in orders.
    pub id: u32,
    /// Name for people, at most 16 bytes.
    pub symbol: String,
    /// Decimal places of the minor unit.
    pub decimals: u8,
    /// Sum of its allocations, in minor units.
    pub supply: u64,
}

/// An authority in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberEntry {
    /// Name for people, at most 64 bytes.
    pub name: String,
    /// Public key, 64 hex digits.
    pub key: String,
    /// Voting weight.
    pub weight: u32,
    /// Where it listens; not covered by the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
}

/// What is known of the allocations without their list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllocationsEntry {
    /// How many.
    pub count: u64,
    /// Digest of the list, 64 hex digits.
    pub digest: String,
}

/// One allocation: an account holds an amount of a token from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The account.
    pub account: PublicKey,
    /// The token.
    pub token: u32,
    /// The amount, in minor units, at least 1.
    pub amount: u64,
}

/// Why a genesis is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Not TOML, or not of this form.
    #[error("the genesis file cannot be read: {0}")]
    Syntax(String),
    /// A key or digest is not 64 hex digits.
    #[error("{0} must be 64 hex digits")]
    Hex(String),
    /// The committee is refused.
    #[error("{0}")]
    Committee(#[from] CommitteeError),
    /// A token is refused.
    #[error("token {0}: {1}")]
    Token(u32, &'static str),
    /// A name is too long.
    #[error("the name {0:?} is too long")]
    Name(String),
    /// A line of the allocations cannot be read.
    #[error("allocations, line {0}: expected `account-in-hex,token,amount` with amount at least 1")]
    AllocationLine(usize),
    /// One account and token occur twice.
    #[error("allocations, line {0}: this account already has an allocation of this token")]
    AllocationTwice(usize),
    /// The list is not the one that the genesis names.
    #[error("the allocations are not those of this genesis: {0}")]
    Allocations(String),
}

impl Genesis {
    /// Makes a genesis from its parts; supplies and the allocations' digest are computed.
    ///
    /// # Errors
    /// See [`GenesisError`].
    pub fn new(
        name: &str,
        epoch: u32,
        minimum_first_credit: u64,
        tokens: Vec<(u32, String, u8)>,
        committee: Vec<MemberEntry>,
        allocations: &[Allocation],
    ) -> Result<Self, GenesisError> {
        let token = tokens
            .into_iter()
            .map(|(id, symbol, decimals)| {
                let supply = supply_of(id, allocations)?;
                Ok(TokenEntry { id, symbol, decimals, supply })
            })
            .collect::<Result<Vec<_>, GenesisError>>()?;
        let genesis = Self {
            name: name.to_owned(),
            epoch,
            minimum_first_credit,
            token,
            committee,
            allocations: AllocationsEntry {
                count: allocations.len() as u64,
                digest: hex::encode(allocations_digest(allocations)),
            },
        };
        genesis.rules()?;
        genesis.check_allocations(allocations)?;
        Ok(genesis)
    }

    /// Reads a genesis file's text.
    ///
    /// # Errors
    /// See [`GenesisError`].
    pub fn parse(text: &str) -> Result<Self, GenesisError> {
        let genesis: Self = toml::from_str(text).map_err(|error| GenesisError::Syntax(error.to_string()))?;
        genesis.rules()?;
        Ok(genesis)
    }

    /// The text of its file.
    pub fn text(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    /// The rules that it sets.
    ///
    /// # Errors
    /// See [`GenesisError`].
    pub fn rules(&self) -> Result<Rules, GenesisError> {
        let members = self.members()?;
        if let Some(surplus) = self.token.get(TOKENS_MAX) {
            return Err(GenesisError::Token(surplus.id, "a genesis has at most 255 tokens"));
        }
        let mut ids = HashSet::new();
        for token in &self.token {
            if !ids.insert(token.id) {
                return Err(GenesisError::Token(token.id, "its number is used twice"));
            }
            if token.symbol.is_empty() || token.symbol.len() > 16 {
                return Err(GenesisError::Token(token.id, "its symbol must have 1 to 16 bytes"));
            }
            if token.supply == 0 {
                return Err(GenesisError::Token(token.id, "nobody holds any of it"));
            }
        }
        let canonical = self.canonical(&members)?;
        let tokens = self
            .token
            .iter()
            .map(|token| Token {
                id: token.id,
                symbol: token.symbol.clone(),
                decimals: token.decimals,
                supply: token.supply,
            })
            .collect();
        let committee = Committee::new(members)?;
        Ok(Rules::new(genesis_digest(&canonical), self.epoch, committee, tokens, self.minimum_first_credit))
    }

    fn members(&self) -> Result<Vec<Member>, GenesisError> {
        self.committee
            .iter()
            .map(|entry| {
                let key = parse_key(&entry.key)
                    .ok_or_else(|| GenesisError::Hex(format!("the key of committee member {}", entry.name)))?;
                Ok(Member { name: entry.name.clone(), key, weight: entry.weight })
            })
            .collect()
    }

    /// The digest that names the network.
    ///
    /// # Errors
    /// See [`GenesisError`].
    pub fn digest(&self) -> Result<GenesisDigest, GenesisError> {
        Ok(self.rules()?.genesis)
    }

    /// The bytes that the genesis digest is taken over: see `docs/wire.md`.
    ///
    /// # Errors
    /// See [`GenesisError`].
    pub fn canonical_bytes(&self) -> Result<Vec<u8>, GenesisError> {
        self.canonical(&self.members()?)
    }

    fn canonical(&self, members: &[Member]) -> Result<Vec<u8>, GenesisError> {
        let short = |name: &str, limit: usize| -> Result<Vec<u8>, GenesisError> {
            if name.len() > limit {
                return Err(GenesisError::Name(name.to_owned()));
            }
            Ok([&[name.len() as u8], name.as_bytes()].concat())
        };
        let mut out = short(&self.name, 64)?;
        out.extend(self.epoch.to_le_bytes());
        out.extend(self.minimum_first_credit.to_le_bytes());
        out.push(self.token.len() as u8);
        for token in &self.token {
            out.extend(token.id.to_le_bytes());
            out.extend(short(&token.symbol, 16)?);
            out.push(token.decimals);
            out.extend(token.supply.to_le_bytes());
        }
        out.push(members.len() as u8);
        for member in members {
            out.extend(short(&member.name, 64)?);
            out.extend(member.key);
            out.extend(member.weight.to_le_bytes());
        }
        out.extend(self.allocations.count.to_le_bytes());
        let digest = parse_key(&self.allocations.digest)
            .ok_or_else(|| GenesisError::Hex("the digest of the allocations".to_owned()))?;
        out.extend(digest);
        Ok(out)
    }

    /// Checks that a list of allocations is the one that this genesis names, and that it sums to the supplies.
    ///
    /// # Errors
    /// See [`GenesisError`].
    pub fn check_allocations(&self, allocations: &[Allocation]) -> Result<(), GenesisError> {
        if allocations.len() as u64 != self.allocations.count
            || hex::encode(allocations_digest(allocations)) != self.allocations.digest.to_lowercase()
        {
            return Err(GenesisError::Allocations("count or digest differ".to_owned()));
        }
        let mut seen = HashSet::with_capacity(allocations.len());
        for (at, allocation) in allocations.iter().enumerate() {
            if allocation.amount == 0 {
                return Err(GenesisError::AllocationLine(at + 1));
            }
            if !seen.insert((allocation.account, allocation.token)) {
                return Err(GenesisError::AllocationTwice(at + 1));
            }
            if !self.token.iter().any(|token| token.id == allocation.token) {
                return Err(GenesisError::Token(allocation.token, "it is allocated but not declared"));
            }
        }
        for token in &self.token {
            if supply_of(token.id, allocations)? != token.supply {
                return Err(GenesisError::Token(token.id, "its supply is not the sum of its allocations"));
            }
        }
        Ok(())
    }
}

/// Allocations between the look for where an account will lie and its making: in the time that these take, memory answers.
const EXPECTED_AHEAD: usize = 8;

/// Puts the first balances into an empty table.
///
/// # Errors
/// Where the table is too small.
pub fn allocate(accounts: &mut impl Accounts, allocations: &[Allocation]) -> Result<(), TableFull> {
    for (at, allocation) in allocations.iter().enumerate() {
        if let Some(soon) = allocations.get(at + EXPECTED_AHEAD) {
            accounts.expect(&soon.account);
        }
        apply::credit(accounts, &allocation.account, allocation.token, allocation.amount, None)?;
    }
    Ok(())
}

/// Digest of a list of allocations: each as account, token and amount, 44 bytes, one after the other.
pub fn allocations_digest(allocations: &[Allocation]) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(allocations.len() * 44);
    for allocation in allocations {
        bytes.extend(allocation.account);
        bytes.extend(allocation.token.to_le_bytes());
        bytes.extend(allocation.amount.to_le_bytes());
    }
    truncate_sha512(&bytes)
}

/// Reads a list of allocations: a line each, `account-in-hex,token,amount`; empty lines and lines that begin with # are passed over.
///
/// # Errors
/// Names the line.
pub fn parse_allocations(text: &str) -> Result<Vec<Allocation>, GenesisError> {
    let mut out = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut fields = line.split(',').map(str::trim);
        let entry = (|| {
            let account = parse_key(fields.next()?)?;
            let token = fields.next()?.parse().ok()?;
            let amount = fields.next()?.parse().ok()?;
            (fields.next().is_none() && amount > 0).then_some(Allocation { account, token, amount })
        })();
        out.push(entry.ok_or(GenesisError::AllocationLine(at + 1))?);
    }
    Ok(out)
}

/// The text that [`parse_allocations`] reads.
pub fn allocations_text(allocations: &[Allocation]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(allocations.len() * 80);
    for allocation in allocations {
        let _ = writeln!(out, "{},{},{}", hex::encode(allocation.account), allocation.token, allocation.amount);
    }
    out
}

fn supply_of(token: u32, allocations: &[Allocation]) -> Result<u64, GenesisError> {
    allocations
        .iter()
        .filter(|allocation| allocation.token == token)
        .try_fold(0u64, |sum, allocation| sum.checked_add(allocation.amount))
        .ok_or(GenesisError::Token(token, "its allocations sum to more than 64 bits hold"))
}

fn parse_key(text: &str) -> Option<PublicKey> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key).ok()?;
    Some(key)
}
