//! How packets reach the workers: the filter in the kernel, AF_XDP rings where they can be had, sockets always.
//!
//! | file | what |
//! |---|---|
//! | `program.rs` | the compiled filter, loaded, with its maps |
//! | `filter.rs` | what workers tell the filter, once it is verified, and what they let it judge |
//! | `coverage.rs` | whose packets the kernel has judged |
//! | `ladder.rs` | climbs to the best rung of packet I/O that the interface and our rights allow |
//! | `keeper.rs` | follows addresses, links and load while the daemon runs; falls to sockets and climbs back |
//! | `upgrade.rs` | the filter's link outlives a restart in the service manager's hands |
//! | `view.rs`, `control.rs` | what the control plane shows of all this, and the operator's switch |
//!
//! What always holds: the socket of every worker is open whatever the filter does, so packets that pass it find their way; rights are used
//! before the first thread is started and never afterwards; nothing is pinned, so a daemon that dies leaves the interface as it was.

mod control;
mod coverage;
mod filter;
mod keeper;
mod ladder;
mod program;
mod upgrade;
mod view;

pub use control::{OFF_PATH, ON_PATH, STATUS_PATH, router};
pub use coverage::Coverage;
pub use filter::WorkerFilter;
pub use keeper::Keeper;
pub use ladder::{NetworkRequest, Prepared, prepare};
pub use program::{FilterProgram, Tables};
pub use upgrade::inherited_links;
pub use view::{FilterStatus, NetworkView};
