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
//! *Honest* means: runs this code with its key and its disk to itself. W is the sum of the weights, f = floor((W-1)/3) the faulty weight that is
//! tolerated, a quorum weighs at least floor(2W/3)+1.
//!
//! 1. *Two quorums share an honest authority.* Together they weigh at least 2 floor(2W/3) + 2, so they share more than f
//!    ([`Committee::quorum`], [`Committee::tolerated`]). A quorum is counted over distinct members whose signatures verify, never claimed
//!    ([`check_signers`], [`verify_certificates`]); signers are bits of one word, so none counts twice.
//! 2. *An honest authority votes for one order per (account, sequence), ever.* [`decide_order`] says [`OrderDecision::Lock`] only where nothing is
//!    locked at the next sequence; the lock is in the journal, durably, before the vote leaves (DESIGN 5.1), and replay brings it back
//!    ([`apply::replay`]). A lock is dropped by an execution alone, and that moves the sequence on ([`apply::debit`]), so no second order is ever
//!    looked at there.
//! 3. *Hence one certificate per (account, sequence).* Two would need two quorums (1), and the honest authority in both would have voted twice (2).
//! 4. *All honest authorities execute the same.* A certificate is executed where its sequence is next and at no other place
//!    ([`decide_certificate`]); nothing else stops it: not a lock, not a balance, not a penalty (DESIGN 5.7). So an account's executions are a prefix of
//!    one list (3), and whoever has the same certificates has the same balances, since sums do not depend on their order ([`StateDigest`]).
//! 5. *Money is conserved.* [`apply::debit`] and [`apply::credit`] move the same amount and both come from one recorded execution, live and in
//!    replay, so a credit is neither lost nor doubled (DESIGN 3). Balances are 128 bits wide and amounts 64, so nothing wraps.
//! 6. *Nobody spends what is not there.* A quorum votes, of which the honest part has seen a sufficient balance: [`screen_order`] refuses above it. A
//!    balance may stand below zero only where certificates are missing that a quorum has seen (DESIGN 5.13).
//! 7. *Nobody is blocked for another's fault.* An order that no other order of its account contradicts can be voted for by every honest authority,
//!    which weigh a quorum, again at any time ([`OrderDecision::VoteAgain`]); a certificate is final whoever brings it.
//!
//! | lemma | checked by |
//! |---|---|
//! | 1 | `protocol/tests/rules/committee.rs` (`two_quorums_share_more_than_f`, `every_two_minimal_quorums_share_more_than_f`); `sim/tests/canaries.rs` (`a_build_that_counts_a_signer_twice`) |
//! | 2 | `sim/tests/crash_matrix.rs` (`the_power_goes_at_every_operation_and_again_in_recovery`); `sim/tests/canaries.rs` (`a_build_that_forgets_locks_at_a_restart`, `a_build_that_answers_before_the_sync_loses_what_it_acknowledged`) |
//! | 3 | `sim/tests/replay.rs` (`ordinary_seeds_break_no_promise`); `sim/tests/canaries.rs` (`liars_above_the_tolerated_weight_make_two_certificates`) |
//! | 4 | `protocol/tests/rules/properties.rs` (`generated_traffic_keeps_every_promise`); `sim/tests/canaries.rs` (`a_build_that_lets_a_lock_stop_a_certificate`, `a_build_that_trusts_the_image_after_a_crash`) |
//! | 5 | `protocol/tests/rules/properties.rs` (`generated_traffic_keeps_every_promise`); `sim/tests/canaries.rs` (`a_build_that_applies_a_credit_twice`) |
//! | 6 | `protocol/tests/rules/orders.rs` (`balance_exceeded`); `sim/tests/canaries.rs` (`a_build_that_saturates_instead_of_refusing`) |
//! | 7 | `protocol/tests/rules/orders.rs` (`identical_replay`, `expired_but_locked`); `sim/tests/replay.rs` (`ordinary_seeds_break_no_promise`) |

pub mod account;
pub mod apply;
mod authority;
mod certificate;
mod committee;
mod digests;
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
pub use digests::{order_digests, vote_digests};
pub use evidence::{Equivocation, EvidenceError};
pub use genesis::{Allocation, Genesis, GenesisError};
pub use order::{OrderDecision, PendingOrder, SEQUENCE_MAX, VerifiedOrder, decide_order, screen_order, verify_orders};
pub use refusal::Refusal;
pub use rules::{Rules, Token};
pub use signatures::{Ed25519Signatures, SenderCheck, Signatures, VoteCheck};
pub use state_digest::StateDigest;
