//! Typed refusals: each says what the client needs to recover. Unsigned, so they are hints (DESIGN 5.10).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Body of a refusal. With [`RefusalCode::Conflict`] the locked [`crate::SignedOrder`] follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RefusalBody {
    /// A [`RefusalCode`].
    pub code: U16,
    /// Zero.
    pub reserved: U16,
    /// Bytes that the request must have, for [`RefusalCode::RequestTooShort`]; epoch that is current, for
    /// [`RefusalCode::WrongEpoch`]; milliseconds to wait, for [`RefusalCode::RetryLater`]; else 0.
    pub value: U32,
    /// The account's next sequence at this authority, where it is known: the missing one of a gap, the expected one of an order.
    pub sequence: U64,
    /// Balance at this authority, cut to 0..2^64-1, for [`RefusalCode::InsufficientBalance`]; the token's supply for
    /// [`RefusalCode::AmountAboveSupply`]; the genesis minimum for [`RefusalCode::BelowFirstCredit`]; else 0.
    pub amount: U64,
}

const _: () = assert!(size_of::<RefusalBody>() == 24);

macro_rules! refusal_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// Why a request was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum RefusalCode { $($(#[$doc])* $name = $value,)* }

        impl RefusalCode {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [RefusalCode] = &[$(RefusalCode::$name,)*];

            /// The code of a number, if this version has it.
            pub fn from_number(number: u16) -> Option<RefusalCode> {
                match number { $($value => Some(RefusalCode::$name),)* _ => None }
            }

            /// Its name in metrics and logs.
            pub fn name(self) -> &'static str {
                match self { $(RefusalCode::$name => $text,)* }
            }
        }
    };
}

refusal_codes! {
    /// The header names another network.
    WrongNetwork = 1, "wrong_network";
    /// The order or certificate is of an epoch that this authority does not serve; `value` is the current one.
    WrongEpoch = 2, "wrong_epoch";
    /// The header disagrees with the body, or the order tag with the digest.
    HeaderMismatch = 3, "header_mismatch";
    /// The request is shorter than its answer; `value` bytes are needed.
    RequestTooShort = 4, "request_too_short";
    /// The sender has no account here.
    UnknownSender = 5, "unknown_sender";
    /// The order's sequence is above the next one; `sequence` is the next one.
    SequenceTooHigh = 6, "sequence_too_high";
    /// A certificate came before the one at `sequence`, which is missing here.
    MissingCertificate = 7, "missing_certificate";
    /// The order expired before this authority locked it.
    Expired = 8, "expired";
    /// The amount is zero.
    ZeroAmount = 9, "zero_amount";
    /// The amount is above the token's supply, which `amount` gives.
    AmountAboveSupply = 10, "amount_above_supply";
    /// The genesis has no such token.
    UnknownToken = 11, "unknown_token";
    /// The operation is not known to this version.
    UnknownOperation = 12, "unknown_operation";
    /// The balance here, in `amount`, is too low. Present the certificates of what was received.
    InsufficientBalance = 13, "insufficient_balance";
    /// Another order is locked at this sequence; it follows.
    Conflict = 14, "conflict";
    /// The sender's signature does not verify.
    BadSignature = 15, "bad_signature";
    /// The recipient has no account here and the amount is below the least first credit, which `amount` gives.
    BelowFirstCredit = 16, "below_first_credit";
    /// The certificate's signers do not reach the quorum.
    BelowQuorum = 17, "below_quorum";
    /// The certificate names a signer that is no member of the committee.
    NotAMember = 18, "not_a_member";
    /// A vote in the certificate does not verify.
    BadVote = 19, "bad_vote";
    /// The certificate has more votes than a minimal quorum needs.
    NotMinimal = 20, "not_minimal";
    /// Nothing is known at that account, sequence or locator.
    NotFound = 21, "not_found";
    /// This authority has no room or no time now; repeat after `value` milliseconds. Nothing was executed.
    RetryLater = 22, "retry_later";
    /// This authority has stopped voting for good; it still executes certificates.
    NotVoting = 23, "not_voting";
    /// The sender is penalised for proven equivocation, for a while; certificates still execute.
    Penalised = 24, "penalised";
    /// The certificate was archived by the operator and is no longer served from here.
    Archived = 25, "archived";
}
