//! The committee: members, weights, and what a quorum is. A quorum is counted, never claimed (DESIGN 5.6).

use meshpay_crypto::KnownKey;
use meshpay_wire::{COMMITTEE_MAX, PublicKey, SIGNERS_MAX};

/// One authority of the committee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name for people; covered by the genesis digest.
    pub name: String,
    /// Ed25519 public key.
    pub key: PublicKey,
    /// Voting weight, at least 1.
    pub weight: u32,
}

/// Why a list of members is no committee.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitteeError {
    /// None, or more than [`COMMITTEE_MAX`].
    #[error("a committee has 1 to {COMMITTEE_MAX} members, this one has {0}")]
    Size(usize),
    /// A weight of zero.
    #[error("member {0} has weight 0; give it at least 1 or leave it out")]
    ZeroWeight(String),
    /// The same key twice.
    #[error("members {0} and {1} have the same key; each authority needs its own")]
    RepeatedKey(String, String),
    /// Not the canonical encoding of a point in the prime-order group.
    #[error("the key of member {0} is not a canonical point of the prime-order group; make a new key")]
    BadKey(String),
    /// Some minimal quorum has more signers than fit a datagram.
    #[error(
        "a minimal quorum of this committee can have {0} signers, but a certificate holds {SIGNERS_MAX}; make the weights more equal or the committee smaller"
    )]
    QuorumTooLarge(usize),
}

/// Members with their weights, and the quorum they make.
#[derive(Clone, Debug)]
pub struct Committee {
    members: Vec<Member>,
    total_weight: u64,
    quorum_weight: u64,
    largest_minimal_quorum: usize,
}

impl Committee {
    /// Checks and takes a list of members, whose order gives their places.
    ///
    /// # Errors
    /// See [`CommitteeError`].
    pub fn new(members: Vec<Member>) -> Result<Self, CommitteeError> {
        if members.is_empty() || members.len() > COMMITTEE_MAX {
            return Err(CommitteeError::Size(members.len()));
        }
        for (place, member) in members.iter().enumerate() {
            if member.weight == 0 {
                return Err(CommitteeError::ZeroWeight(member.name.clone()));
            }
            if let Some(twin) = members[..place].iter().find(|other| other.key == member.key) {
                return Err(CommitteeError::RepeatedKey(twin.name.clone(), member.name.clone()));
            }
            if KnownKey::new(&member.key).is_err() {
                return Err(CommitteeError::BadKey(member.name.clone()));
            }
        }
        let total_weight: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
        let quorum_weight = 2 * total_weight / 3 + 1;
        let weights: Vec<u64> = members.iter().map(|member| u64::from(member.weight)).collect();
        let largest_minimal_quorum = largest_minimal_quorum(&weights, quorum_weight);
        if largest_minimal_quorum > SIGNERS_MAX {
            return Err(CommitteeError::QuorumTooLarge(largest_minimal_quorum));
        }
        Ok(Self { members, total_weight, quorum_weight, largest_minimal_quorum })
    }

    /// The members, by place.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Sum of the weights.
    pub fn total_weight(&self) -> u64 {
        self.total_weight
    }

    /// Weight that makes a quorum: floor(2W/3)+1.
    pub fn quorum(&self) -> u64 {
        self.quorum_weight
    }

    /// Faulty weight that is tolerated: floor((W-1)/3).
    pub fn tolerated(&self) -> u64 {
        (self.total_weight - 1) / 3
    }

    /// Signers of the largest minimal quorum: what certificate queries must be padded for.
    pub fn largest_minimal_quorum(&self) -> usize {
        self.largest_minimal_quorum
    }

    /// Place of a key in the committee.
    pub fn place_of(&self, key: &PublicKey) -> Option<usize> {
        self.members.iter().position(|member| member.key == *key)
    }

    /// Whether every bit names a member.
    pub fn all_members(&self, signers: u32) -> bool {
        (u64::from(signers) >> self.members.len()) == 0
    }

    /// Weight of the members named by the bits; other bits weigh nothing.
    pub fn weight_of(&self, signers: u32) -> u64 {
        self.named(signers).sum()
    }

    /// Whether the members named by the bits are a quorum.
    pub fn is_quorum(&self, signers: u32) -> bool {
        self.weight_of(signers) >= self.quorum_weight
    }

    /// Whether they are a quorum of which nobody can be left out.
    pub fn is_minimal_quorum(&self, signers: u32) -> bool {
        let weight = self.weight_of(signers);
        let lightest = self.named(signers).min().unwrap_or(0);
        weight >= self.quorum_weight && weight - lightest < self.quorum_weight
    }

    /// Reduces a quorum to a minimal one by leaving out the lightest first; returns nothing where it is no quorum.
    pub fn minimal_quorum_of(&self, signers: u32) -> Option<u32> {
        if !self.is_quorum(signers) {
            return None;
        }
        let mut places: Vec<usize> = (0..self.members.len()).filter(|place| signers >> place & 1 == 1).collect();
        places.sort_by_key(|place| self.members[*place].weight);
        let mut kept = signers;
        for place in places {
            if self.is_quorum(kept & !(1 << place)) {
                kept &= !(1 << place);
            }
        }
        Some(kept & ((1u64 << self.members.len()) - 1) as u32)
    }

    fn named(&self, signers: u32) -> impl Iterator<Item = u64> + '_ {
        self.members
            .iter()
            .enumerate()
            .filter(move |(place, _)| signers >> place & 1 == 1)
            .map(|(_, member)| u64::from(member.weight))
    }
}

/// Tries every subset, at most 2^20 of them, once per genesis.
fn largest_minimal_quorum(weights: &[u64], quorum: u64) -> usize {
    if weights.iter().all(|weight| *weight == weights[0]) {
        return quorum.div_ceil(weights[0]) as usize;
    }
    let mut largest = 0;
    for subset in 1u32..1 << weights.len() {
        if subset.count_ones() as usize <= largest {
            continue;
        }
        let (mut sum, mut lightest, mut bits) = (0, u64::MAX, subset);
        while bits != 0 {
            let weight = weights[bits.trailing_zeros() as usize];
            sum += weight;
            lightest = lightest.min(weight);
            bits &= bits - 1;
        }
        if sum >= quorum && sum - lightest < quorum {
            largest = subset.count_ones() as usize;
        }
    }
    largest
}
