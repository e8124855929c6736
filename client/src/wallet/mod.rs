//! The wallet on a disk and on a network: files that survive a power cut, a UDP socket, and what the commands do with both.

mod client;
mod driver;
mod durable;
mod file_format;
mod key_file;
mod store;

pub use client::{PaymentDone, PaymentRequest, Received, Resumed, Wallet, WalletError};
pub use driver::{Driver, DriverCounters, DriverError, authority_addresses};
pub use durable::write_durably;
pub use file_format::{
    FileError, FileKind, certificate_file, evidence_file, order_file, read_certificate, read_evidence, read_order,
};
pub use key_file::{KeyError, KeyFile, SCRYPT_LOG_N_MAX, Secret};
pub use store::{PendingPayment, Store, StoreError};
