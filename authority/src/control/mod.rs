//! The control plane: metrics, health and status over HTTP, and the signals that end the daemon. Never on the data path.

mod metrics;
mod server;
mod status;

pub use server::serve;
pub use status::{ControlState, StageHistograms};
