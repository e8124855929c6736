//! The runs: what is started, in which order, what is measured, and what makes a run a failed one.
//!
//! | file | what |
//! |---|---|
//! | `options` | what the user asked for |
//! | `cores` | who runs where |
//! | `session` | authorities running, accounts, books: everything a batch of payments needs |
//! | `capacity` | the search for the highest rate |
//! | `measure` | one measured batch, with the accounts of the cores |
//! | `generator_check` | the generator against the null server |
//! | `run` | a scenario from nothing to its report |

mod capacity;
mod cores;
mod generator_check;
mod measure;
mod options;
mod run;
mod session;

pub use capacity::{SUSTAINED_RETRY_SHARE_MAX, SUSTAINED_SETTLED_SHARE_MIN, Search, Trial, Verdict, next_rate};
pub use cores::Cores;
pub use generator_check::{CHECK_FACTOR, GeneratorCheck};
pub use measure::{CpuAccount, CpuShare};
pub use options::{Durability, LinkChoice, Options, Scenario};
pub use run::{Measured, run};
