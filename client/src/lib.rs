//! The wallet: a library for whoever pays, and the `meshpay` command. `README.md` of this folder shows both.
//!
//! [`machine`] decides and knows neither socket, clock nor disk; [`wallet`] has them; everything else is what both are made of.
//! Nothing that anybody says is believed here unless a [`Verifier`] has checked the signatures that prove it.

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
pub use verifier::{CertificateError, SignatureChecks, Verifier, VoteError};
