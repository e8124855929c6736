//! What a wallet trusts: the rules of its genesis, and the committee's keys prepared for many checks.
//!
//! Nothing that an authority, a payer or a file says is believed here unless signatures prove it.

use std::fmt::Debug;
use std::sync::Arc;

use meshpay_crypto::{KnownCheck, KnownKey, verify, verify_many_known_keys};
use meshpay_protocol::{Genesis, GenesisError, Rules, SenderCheck, Token, VoteCheck};
use meshpay_wire::{
    CertificateView, Digest, OPERATION_TRANSFER, SIGNERS_MAX, SignedOrder, Vote, order_digest, vote_digest,
};

use crate::Certificate;

/// The rules of a network and its committee's prepared keys.
#[derive(Debug)]
pub struct Verifier {
    rules: Rules,
    signatures: Arc<dyn SignatureChecks>,
}

/// The wallet's signature port: real Ed25519 in every wallet, anything that keeps the contract in a simulator.
pub trait SignatureChecks: Debug + Send + Sync {
    /// Whether a sender's signature verifies.
    fn sender_is_valid(&self, check: &SenderCheck<'_>) -> bool;
    /// Checks votes, each by itself; `valid` has the length of `checks`. The caller has made sure that the places exist.
    fn check_votes(&self, checks: &[VoteCheck<'_>], valid: &mut [bool]);
}

/// Ed25519 under ZIP 215, with tables for the committee's keys.
#[derive(Debug)]
struct Ed25519Checks {
    keys: Vec<KnownKey>,
}

impl SignatureChecks for Ed25519Checks {
    fn sender_is_valid(&self, check: &SenderCheck<'_>) -> bool {
        verify(check.key, check.message, check.signature)
    }

    fn check_votes(&self, checks: &[VoteCheck<'_>], valid: &mut [bool]) {
        let checks: Vec<KnownCheck<'_>> = checks
            .iter()
            .map(|check| KnownCheck {
                key: &self.keys[check.place],
                message: check.message,
                signature: check.signature,
            })
            .collect();
        verify_many_known_keys(&checks, valid);
    }
}

/// Why a certificate proves no payment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The bytes are no certificate.
    #[error("the bytes are not a certificate; it was cut off or damaged on the way")]
    Malformed,
    /// For another committee.
    #[error("the certificate is of epoch {found}, the genesis here is of epoch {expected}")]
    Epoch {
        /// What the certificate says.
        found: u32,
        /// What the genesis says.
        expected: u32,
    },
    /// Not an operation of this version.
    #[error("the certified operation has number {0}, which this version does not know")]
    Operation(u8),
    /// No such token in the genesis.
    #[error("the certified token has number {0}, which the genesis does not have")]
    Token(u32),
    /// An amount that no authority may vote for.
    #[error("the certified amount is {0}, which is zero or above the token's supply")]
    Amount(u64),
    /// A signer that the committee does not have.
    #[error("the certificate names a signer that is no member of the committee")]
    NotAMember,
    /// Too little weight has signed.
    #[error("the signers weigh {found}, a quorum weighs {needed}")]
    BelowQuorum {
        /// Weight of the signers.
        found: u64,
        /// Weight of a quorum.
        needed: u64,
    },
    /// More signers than a minimal quorum has.
    #[error("the certificate has more signers than a minimal quorum")]
    NotMinimal,
    /// The sender's signature is wrong.
    #[error("the sender's signature does not verify in this network")]
    SenderSignature,
    /// An authority's signature is wrong.
    #[error("the vote of committee member {0} does not verify in this network")]
    VoteSignature(String),
}

/// Why an answer is no vote for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoteError {
    /// No such place in the committee.
    #[error("the vote names place {0}, which the committee does not have")]
    NotAMember(u8),
    /// For something else.
    #[error("the vote is for another order")]
    OtherOrder,
    /// The signature is wrong.
    #[error("the signature of the vote does not verify")]
    Signature,
}

impl Verifier {
    /// Prepares the tables for a genesis.
    ///
    /// # Errors
    /// Where the genesis is refused.
    pub fn new(genesis: &Genesis) -> Result<Self, GenesisError> {
        Self::from_rules(genesis.rules()?)
    }

    /// Prepares the tables for rules that were made otherwise, as in a simulator.
    ///
    /// # Errors
    /// Where a key of the committee is no canonical point.
    pub fn from_rules(rules: Rules) -> Result<Self, GenesisError> {
        let keys = rules
            .committee
            .members()
            .iter()
            .map(|member| {
                KnownKey::new(&member.key).map_err(|_| meshpay_protocol::CommitteeError::BadKey(member.name.clone()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self::with_signatures(rules, Arc::new(Ed25519Checks { keys })))
    }

    /// For a simulator: rules, and the port that checks signatures for them.
    pub fn with_signatures(rules: Rules, signatures: Arc<dyn SignatureChecks>) -> Self {
        Self { rules, signatures }
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// How many authorities the committee has.
    pub fn authorities(&self) -> usize {
        self.rules.committee.members().len()
    }

    /// Name of the authority at a place of the committee.
    pub fn authority_name(&self, place: usize) -> &str {
        self.rules.committee.members().get(place).map_or("?", |member| member.name.as_str())
    }

    /// Voting weight of the authority at a place of the committee.
    pub fn weight(&self, place: usize) -> u64 {
        self.rules.committee.members().get(place).map_or(0, |member| u64::from(member.weight))
    }

    /// Weight that surely includes an honest authority: more than what may be faulty.
    pub fn honest_weight(&self) -> u64 {
        self.rules.committee.tolerated() + 1
    }

    /// A token by number or by symbol.
    pub fn token(&self, name: &str) -> Option<&Token> {
        let by_number = name.parse().ok().and_then(|id| self.rules.token(id));
        by_number.or_else(|| self.rules.tokens.iter().find(|token| token.symbol.eq_ignore_ascii_case(name)))
    }

    /// Digest of an order in this network.
    pub fn order_digest(&self, order: &SignedOrder) -> Digest {
        order_digest(&self.rules.genesis, &order.body)
    }

    /// Whether the sender's signature of an order verifies in this network.
    pub fn order_is_signed(&self, order: &SignedOrder) -> bool {
        let message = self.order_digest(order).0;
        let check = SenderCheck { key: &order.body.sender, message: &message, signature: &order.signature };
        self.signatures.sender_is_valid(&check)
    }

    /// Checks a vote for the order with this digest and returns the voter's place.
    ///
    /// # Errors
    /// See [`VoteError`].
    pub fn check_vote(&self, vote: &Vote, order: &Digest) -> Result<usize, VoteError> {
        let place = usize::from(vote.authority);
        if place >= self.authorities() {
            return Err(VoteError::NotAMember(vote.authority));
        }
        if vote.order != *order {
            return Err(VoteError::OtherOrder);
        }
        let message = vote_digest(&self.rules.genesis, self.rules.epoch, order);
        let mut valid = [false];
        self.signatures.check_votes(&[VoteCheck { place, message: &message, signature: &vote.signature }], &mut valid);
        if valid[0] { Ok(place) } else { Err(VoteError::Signature) }
    }

    /// Checks everything about a certificate: its face, the sender's signature and every vote. What passes is final,
    /// whoever handed it over.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check_certificate(&self, certificate: &CertificateView<'_>) -> Result<Certificate, CertificateError> {
        let order = &certificate.head.order;
        let digest = self.order_digest(order);
        self.check_face(certificate)?;
        let sender = SenderCheck { key: &order.body.sender, message: &digest.0, signature: &order.signature };
        if !self.signatures.sender_is_valid(&sender) {
            return Err(CertificateError::SenderSignature);
        }
        let message = vote_digest(&self.rules.genesis, self.rules.epoch, &digest);
        let checks: Vec<VoteCheck<'_>> =
            certificate.votes().map(|(place, signature)| VoteCheck { place, message: &message, signature }).collect();
        let mut valid = [false; SIGNERS_MAX];
        self.signatures.check_votes(&checks, &mut valid[..checks.len()]);
        if let Some(((place, _), _)) = certificate.votes().zip(valid).find(|(_, valid)| !valid) {
            return Err(CertificateError::VoteSignature(self.authority_name(place).to_owned()));
        }
        Ok(Certificate::from_verified(certificate, digest))
    }

    /// What needs no signature: epoch, operation, token, amount, members, quorum, minimality.
    fn check_face(&self, certificate: &CertificateView<'_>) -> Result<(), CertificateError> {
        let body = &certificate.head.order.body;
        let committee = &self.rules.committee;
        let signers = certificate.head.signers.get();
        if body.epoch.get() != self.rules.epoch {
            return Err(CertificateError::Epoch { found: body.epoch.get(), expected: self.rules.epoch });
        }
        if body.operation != OPERATION_TRANSFER {
            return Err(CertificateError::Operation(body.operation));
        }
        let token = self.rules.token(body.token.get()).ok_or(CertificateError::Token(body.token.get()))?;
        let amount = body.amount.get();
        if amount == 0 || amount > token.supply {
            return Err(CertificateError::Amount(amount));
        }
        if !committee.all_members(signers) {
            return Err(CertificateError::NotAMember);
        }
        if !committee.is_quorum(signers) {
            return Err(CertificateError::BelowQuorum {
                found: committee.weight_of(signers),
                needed: committee.quorum(),
            });
        }
        if !committee.is_minimal_quorum(signers) {
            return Err(CertificateError::NotMinimal);
        }
        Ok(())
    }
}
