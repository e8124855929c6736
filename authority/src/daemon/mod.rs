//! The running daemon: recovers, opens sockets, starts one thread per worker, and stops cleanly.

mod clock;
mod first_balances;
mod run;
mod worker_thread;

pub(crate) use run::journal_config;
pub use run::run;
pub use worker_thread::ThreadShared;
