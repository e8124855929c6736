//! Ctrl-C and SIGTERM as a flag, so that whoever started daemons stops them and cleans up.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

/// A flag that the first SIGINT or SIGTERM sets. The second one ends the process at once; the link's janitor still cleans up.
///
/// # Errors
/// If the kernel refuses.
pub fn flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the flag is still unset when the first signal asks whether to end.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .context("cannot catch signals")?;
    }
    Ok(flag)
}
