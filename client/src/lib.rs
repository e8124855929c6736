//! The wallet: a library for whoever pays, and the `meshpay` command.

mod amount;
mod book;
mod certificate;
mod fault;
pub mod machine;
mod order;
mod random;
mod request;
mod verifier;
pub mod wallet;

pub use amount::{AmountError, format_amount, format_minor, parse_amount, parse_minor_units};
pub use book::{CertificateBook, MEMORY_BOOK_MAX, MemoryBook};
pub use certificate::{Certificate, VoteCollector};
pub use order::{Transfer, sign_order};
pub use random::Randomness;
pub use request::Request;
pub use verifier::{CertificateError, Verifier, VoteError};
