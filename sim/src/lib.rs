//! A whole committee in one process, with seeded time, network, disks and faults, and an auditor that tries to catch it.
//!
//! What always holds: one thread, one seed, no real time, socket or disk; the same seed gives the same trace. The authorities run the daemon's own
//! worker loop, journal and recovery, the honest clients the wallet's own machines. What is simulated is what lies around them.
//!
//! | file | what |
//! |---|---|
//! | `world` | the queue of events, and what each does: packets, processes, clients, faults, healing |
//! | `setting`, `dice` | what a seed decides |
//! | `node` | an honest authority: real code over simulated ports |
//! | `wallet` | an honest client: real machines over simulated packets |
//! | `liar`, `coalition` | authorities and clients that cheat |
//! | `air`, `faults` | what goes wrong |
//! | `checker` | what must never happen, written apart from the code it checks |
//! | `canary` | builds with a fault, which the checker must find |
//! | `mesh` | a thousand phones that walk, and what a payment costs there |
//! | `matrix` | the power goes at every operation of a fixed workload, and again in recovery |
//! | `campaign`, `shrink` | many seeds; a failing one made smaller |

pub mod air;
pub mod campaign;
mod canary;
pub mod checker;
mod coalition;
pub mod dice;
pub mod faults;
mod liar;
mod matrix;
pub mod mesh;
pub mod node;
pub mod setting;
mod shrink;
pub mod signing;
mod trace;
mod wallet;
mod world;

pub use canary::Canary;
pub use checker::Violation;
pub use matrix::{Counts, crash_matrix};
pub use setting::Request;
pub use world::{LIVENESS_BOUND_US, Outcome, Totals, run};
