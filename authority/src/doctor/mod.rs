//! What an interface of this host can do for an authority, and what stands in the way: facts first ([`Facts`]), then a pure decision
//! ([`verdicts`]), then words ([`report`]).
//!
//! What always holds: looking changes nothing and needs no right; what could not be seen is said, never guessed. The same decision
//! explains the daemon's falls, so that both say the same.

mod facts;
pub mod report;
mod verdict;

pub use facts::Facts;
pub use verdict::{Verdict, best, verdicts};
