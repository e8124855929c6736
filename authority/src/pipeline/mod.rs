//! The data path: one worker carries bursts from packet to reply.
//!
//! ```text
//! receive -> decode -> fair queue -> certificates -> orders -> queries -> journal (submit) -> sign votes -> [durable] -> reply
//! ```
//!
//! [`Worker::turn`] is one pass through all of it. It gets packets, clock, storage and signatures handed in, so that a thread drives it
//! in production and a simulator drives the same code in a test. Nothing in it sleeps, spawns, reads a clock or allocates.
//!
//! | file | stage |
//! |---|---|
//! | `ports` | what the worker is handed: clock, journal, and what it tells the filter in front of it |
//! | `commit_pacing` | when the journal is asked for a commit |
//! | `fair_queue` | received messages wait here, each source in its own queue |
//! | `worker` | one turn: receive, and the order of the stages |
//! | `certificates`, `orders`, `queries` | screen, verify, decide, record, apply |
//! | `crossing` | what passes between workers: messages for another's accounts, credits |
//! | `own_votes` | votes made lately, to recognise them in certificates |
//! | `replies` | answers wait here until the journal is durable |
//! | `history` | finds executed certificates in the journal |
//! | `counters` | everything that is counted |

mod certificates;
mod commit_pacing;
pub mod counters;
mod crossing;
mod fair_queue;
mod history;
mod orders;
mod own_votes;
mod ports;
mod queries;
mod replies;
mod worker;

pub use crossing::{Crossing, CrossingPorts, crossings, crossings_between};
pub use ports::{AppendRefused, Clock, Filter, Journal, NoFilter, ReadRefused, Room};
pub use worker::{Fatal, Turn, Voting, Worker, WorkerParts};
