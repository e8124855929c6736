//! The control plane: metrics, health and status over HTTP, and the signals that end the daemon. Never on the data path.
//!
//! What anybody on the host may read is served on a TCP address; what shows or changes more (who pays whom, the filter) on a socket in the
//! authority's directory, which only its user and root can open.

mod latency;
mod metrics;
mod server;
mod socket;
mod status;

pub use server::serve;
pub use socket::{ControlSocket, SOCKET_NAME, ask};
pub use status::{ControlState, StageHistograms};
