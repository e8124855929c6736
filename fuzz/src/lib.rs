//! Fuzz targets: for everything that reads bytes from elsewhere, one plain function of bytes that panics where a promise is broken.
//!
//! libFuzzer drives them through `main.rs`; `tests/corpus.rs` replays every committed input through them in the ordinary test run. A
//! target that finds nothing wrong returns, whatever the bytes are; each module says what it promises.
//!
//! What always holds: a target depends on its bytes alone (no clock, no randomness, no state from one run to the next), so an input that once
//! failed fails again.

mod chance;
mod checkpoint;
mod filter;
mod genesis;
mod journal;
mod key_file;
mod network;
mod payments;
mod records;
pub mod seeds;
mod settings;
mod wallet_answers;
mod wallet_files;
mod wire;
mod worker;

/// One target.
pub struct Target {
    /// Its name: of its folder in `corpus/` and `crashes/`, and on the command line.
    pub name: &'static str,
    /// What it does with the bytes; panics where a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs from which a corpus begins.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: [Target; 14] = [
    Target { name: "wire", run: wire::datagram, seeds: seeds::datagrams },
    Target { name: "filter_frames", run: filter::frames, seeds: seeds::frames },
    Target { name: "filter_traffic", run: filter::traffic, seeds: seeds::operations },
    Target { name: "journal", run: journal::life, seeds: seeds::operations },
    Target { name: "journal_files", run: journal::files, seeds: seeds::journal_files },
    Target { name: "records", run: records::replay, seeds: seeds::records },
    Target { name: "checkpoint", run: checkpoint::load, seeds: seeds::checkpoints },
    Target { name: "settings", run: settings::files, seeds: seeds::settings },
    Target { name: "genesis", run: genesis::files, seeds: seeds::genesis },
    Target { name: "wallet_files", run: wallet_files::read, seeds: seeds::wallet_files },
    Target { name: "wallet_answers", run: wallet_answers::hostile, seeds: seeds::operations },
    Target { name: "key_file", run: key_file::open, seeds: seeds::key_files },
    Target { name: "payments", run: payments::operations, seeds: seeds::operations },
    Target { name: "worker", run: worker::datagrams, seeds: seeds::life_of_a_worker },
];

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
