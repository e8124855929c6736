//! The payment state machine: Byzantine Consistent Broadcast over accounts, as in FastPay (Baudet, Danezis, Sonnino 2020).
//!
//! No I/O, no clock, no threads, no randomness. Time is an argument, storage is the [`Accounts`] port, signatures are the
//! [`Signatures`] port. What a payment goes through, and where:
//!
//! | step | here |
//! |---|---|
//! | screen an order by what costs nanoseconds | [`screen_order`] |
//! | verify signatures, many at once | [`verify_orders`], [`verify_certificates`]: the only makers of [`VerifiedOrder`] and [`VerifiedCertificate`] |
//! | decide | [`decide_order`], [`decide_certificate`] |
//! | record, then apply | [`record`] says the bytes; [`apply`] changes accounts, live and in replay alike |
//!
//! The four operations of the customer's specification, one message at a time, are [`Authority::verify_transfer`],
//! [`Authority::sign_vote`], [`Authority::verify_certificate`] and [`Authority::apply_certificate`].
//!
//! # Why it is safe
//!
//! *Quorum intersection.* With total weight W, a quorum weighs at least floor(2W/3)+1, so two quorums share more than
//! floor((W-1)/3) = f, thus at least one honest authority ([`Committee::quorum`]). An honest authority votes for one order per
//! (account, sequence), ever: [`decide_order`] answers `Lock` only where nothing is locked at `next_sequence`, and the lock is
//! durable before the vote leaves (DESIGN 5.1). Hence no two certificates exist for one (account, sequence).
//!
//! *Conservation.* [`apply::debit`] and [`apply::credit`] move the same amount and both come from one recorded execution; replay applies
//! both from that one record, so a credit is neither lost nor doubled (DESIGN 3).

pub mod account;
pub mod apply;
mod authority;
mod certificate;
mod committee;
mod evidence;
pub mod genesis;
mod order;
pub mod record;
mod refusal;
mod rules;
mod signatures;
mod state_digest;

pub use account::{Account, Accounts, MemoryAccounts, SlotIndex, SlotName, TableFull};
pub use authority::{Applied, Authority};
pub use certificate::{
    CertificateDecision, CertificateScreen, PendingCertificate, VerifiedCertificate, check_signers, decide_certificate,
    screen_certificate, verify_certificates,
};
pub use committee::{Committee, CommitteeError, Member};
pub use evidence::{Equivocation, EvidenceError};
pub use genesis::{Allocation, Genesis, GenesisError};
pub use order::{OrderDecision, PendingOrder, VerifiedOrder, decide_order, screen_order, verify_orders};
pub use refusal::Refusal;
pub use rules::{Rules, Token};
pub use signatures::{Ed25519Signatures, SenderCheck, Signatures, VoteCheck};
pub use state_digest::StateDigest;
