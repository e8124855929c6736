//! The authority daemon: pipeline, shards, journal, account table, control plane.
//!
//! What always holds: no answer runs ahead of the journal; the account table is an image of the journal; the data path (`pipeline`)
//! touches neither clock, thread nor file except through its ports, and `tokio` serves the control plane only.
//!
//! | folder | what |
//! |---|---|
//! | `pipeline` | the data path: a worker carries bursts from packet to reply |
//! | `journal` | the append-only log: the truth |
//! | `accounts` | the memory-mapped account table: an image of the truth |
//! | `state` | from journal and checkpoints to accounts: recovery, checkpoints, audit |
//! | `daemon` | the threads that drive all of it |
//! | `control` | metrics, health and status over HTTP |
//! | `commands` | what the operator types |

pub mod accounts;
pub mod commands;
mod control;
mod daemon;
mod directory;
mod fault;
pub mod journal;
mod journal_port;
mod key;
pub mod pipeline;
mod settings;
pub mod state;

pub use journal_port::JournalPort;
