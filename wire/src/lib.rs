//! Every byte that crosses the air: packet layouts, domain tags, digests and return tokens.
//!
//! This room has no I/O, no clock and no allocation, and is `no_std`, so that the kernel's filter, the authority, the
//! wallet and the load generator all read the same definitions. `docs/wire.md` says the same in prose, with examples.
//!
//! What always holds here:
//! - all integers are little-endian, all structs are unaligned, without padding, and their sizes and offsets are checked
//!   when this crate is compiled;
//! - decoding never panics and never trusts a length, a count or a bitmap before it was checked against the bytes at hand;
//! - a decoded message is well formed and its header agrees with its body, except for the order tag, which needs a hash
//!   and is checked by whoever computes the digest ([`Header::tag_matches`]).

#![no_std]

#[cfg(test)]
extern crate std;

mod certificate;
mod decode;
mod digest;
mod encode;
pub mod filter;
mod header;
mod limits;
mod order;
mod query;
mod refusal;
mod token;

pub use certificate::{CERTIFICATE_FIXED_LENGTH, CertificateHead, CertificateView, Executed, ExecutionStatus, Vote};
pub use decode::{Malformed, Message, Messages, messages};
pub use digest::{
    DOMAIN_TAG_LENGTH, Digest, GENESIS_DOMAIN, GenesisDigest, ORDER_DOMAIN, ORDER_PREIMAGE_LENGTH, VOTE_DOMAIN,
    VOTE_PREIMAGE_LENGTH, genesis_digest, order_digest, order_preimage, truncate_sha512, vote_digest, vote_preimage,
};
pub use encode::{
    Envelope, account_answer, account_query, certificate_answer, certificate_answer_length, certificate_query,
    confirmation_request, confirmation_request_length, confirmation_response, refusal, transfer_request,
    transfer_response,
};
pub use header::{Class, HEADER_LENGTH, Header, Kind, MAGIC, Network, VERSION};
pub use limits::*;
pub use order::{OPERATION_TRANSFER, OrderBody, PublicKey, Signature, SignedOrder};
pub use query::{
    AccountAnswer, AccountQuery, CertificateLinks, CertificateQuery, DIRECTION_CREDIT, DIRECTION_DEBIT, account_flags,
};
pub use refusal::{RefusalBody, RefusalCode};
pub use token::{SourceAddress, TokenKey};
