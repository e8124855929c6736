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
//! | `filter` | the kernel's rules in userspace, for what no program of the kernel has judged |
//! | `network` | the filter in the kernel, AF_XDP, sockets: the best of them that can be had |
//! | `doctor` | what an interface can do, and what stands in the way |
//! | `dump` | packets as people look at them: text and pcapng |
//! | `control` | metrics, health and status over HTTP |
//! | `commands` | what the operator types |

pub mod accounts;
pub mod commands;
pub mod control;
mod daemon;
mod directory;
pub mod doctor;
pub mod dump;
mod fault;
pub mod filter;
pub mod journal;
mod journal_port;
mod key;
mod network;
pub mod pace;
pub mod pipeline;
mod settings;
pub mod state;

pub use journal_port::JournalPort;
pub use key::KeyFile;
pub use network::FilterProgram;
pub use settings::{
    AccountSettings, DurabilitySetting, FilterSettings, JournalSettings, LogFormat, RungChoice, RungName, Settings,
};
