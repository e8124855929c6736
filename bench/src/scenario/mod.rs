//! The runs: what is started, in which order, what is measured, and what makes a run a failed one.
//!
//! | file | what |
//! |---|---|
//! | `options` | what the user asked for |
//! | `cores` | who runs where |
//! | `stage` | what a session stands on: folder, cores, link |
//! | `session` | authorities running, accounts, books: everything a batch of payments needs |
//! | `capacity` | the search for the highest rate |
//! | `measure` | one measured batch, with the accounts of the cores |
//! | `loads` | latency at shares of the capacity, beside the journal's own syncs |
//! | `promise` | what is promised of latency, and whether it is kept |
//! | `generator_check` | the generator against the null server |
//! | `run` | a scenario from nothing to its report |

mod capacity;
mod cores;
mod generator_check;
mod loads;
mod measure;
mod options;
mod promise;
mod run;
mod session;
mod stage;

pub use capacity::{SUSTAINED_RETRY_SHARE_MAX, SUSTAINED_SETTLED_SHARE_MIN, Search, Trial, Verdict, next_rate};
pub(crate) use capacity::{closed_loop, seconds_ns};
pub use cores::Cores;
pub use generator_check::{CHECK_FACTOR, GeneratorCheck};
pub use loads::Load;
pub(crate) use measure::measure;
pub use measure::{CpuAccount, CpuShare};
pub use options::{Durability, LinkChoice, Loads, Options, Scenario};
pub use promise::{P50_OVER_SYNC_MAX_US, P99_OVER_SYNC_MAX_US, PROMISED_LOAD_PERCENT, Promise};
pub use run::{Measured, run};
pub(crate) use session::Session;
pub(crate) use stage::Stage;
