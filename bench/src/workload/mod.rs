//! Who pays whom: accounts with their keys, a source of transfers, and batches of them signed beforehand.

mod batch;
mod ledger;
mod network;
mod trace;
mod uniform;
mod wallets;

pub use batch::{Batch, Certificates, NONE, Payment, SigningParty};
pub use ledger::{Ending, Ledger};
pub use network::{Network, NetworkRequest};
pub use trace::{Trace, TraceEntry, TraceError};
pub use uniform::UniformMix;
pub use wallets::Wallets;

/// The one token of a benchmark's network.
pub const TOKEN: u32 = 1;

/// One payment to be made; accounts are numbers of [`Wallets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Who pays.
    pub sender: u32,
    /// Who is paid.
    pub recipient: u32,
    /// How much, in minor units, at least 1.
    pub amount: u64,
}

/// Where transfers come from.
pub trait TransferSource {
    /// Writes the next transfer, or says that there is none left.
    fn next_transfer(&mut self) -> Option<Transfer>;
}
