//! The data path as one function: workers over ports of vectors, a hand clock, and the real journal on a disk that can crash. Nothing
//! becomes durable before a test says so, and every run is the same.
//!
//! | file | subject |
//! |---|---|
//! | `durability` | no answer of any kind leaves ahead of the disk |
//! | `answers` | votes, repeats, conflicts, bundles, and what gets no answer |
//! | `history` | old sequences and walks through debits and credits |
//! | `crossing` | credits between workers, with a crash at each point |
//! | `limits` | table full, journal full, too many requests |
//! | `voting` | when an authority stops voting, and that it stays stopped |
//! | `hostile` | random and mutated datagrams; no answer is longer than its request |
//! | `filter_facts`, `judged` | what the filter in front is told, and what it ends |
//! | `restart` | image, checkpoints and recovery over a real directory |
//! | `audit` | what the audit accepts, and what it names |
//! | `network` | a committee, wallets and their signatures, for all of these |
//! | `scene` | an authority in process, for all of these |

#![allow(clippy::unwrap_used, missing_docs, reason = "tests: a failure here is a failed test")]

mod answers;
mod audit;
mod crossing;
mod durability;
mod filter_facts;
mod history;
mod hostile;
mod judged;
mod limits;
mod network;
mod restart;
mod scene;
mod voting;
