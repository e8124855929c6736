//! The wallet: a library for whoever pays, and the `meshpay` command.

mod amount;
mod certificate;
mod exchange;
mod order;
mod random;
mod request;
mod verifier;

pub use amount::{AmountError, format_amount, format_minor, parse_amount, parse_minor_units};
pub use certificate::{Certificate, VoteCollector};
pub use exchange::{
    Answer, Answered, Exchange, ExchangeCounters, REQUEST_IDS_KEPT, REQUESTS_MAX, RETRY_LATER_MAX, RequestKey,
    RetryPolicy, Transmission,
};
pub use order::{Transfer, sign_order};
pub use random::Randomness;
pub use request::Request;
pub use verifier::{CertificateError, Verifier, VoteError};
