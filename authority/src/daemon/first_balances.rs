//! The genesis' allocations, read while the state is recovered, which needs them only where there is no checkpoint.
//!
//! What always holds: no daemon gets beyond its start with allocations that are not those of its genesis.

use std::cell::LazyCell;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use meshpay_protocol::{Allocation, Genesis};

use crate::directory::Directory;

type Read = Result<Arc<Vec<Allocation>>>;

/// See the module.
pub struct FirstBalances(LazyCell<Read, Box<dyn FnOnce() -> Read>>);

impl FirstBalances {
    /// Begins to read them on a thread of their own: a million take most of a second.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn begin_reading(directory: &Directory, genesis: Genesis) -> Result<Self> {
        let directory = directory.clone();
        let reading = std::thread::Builder::new()
            .name("allocations".to_owned())
            .spawn(move || directory.read_allocations(&genesis).map(Arc::new))
            .context("cannot start a thread")?;
        let wait = || reading.join().unwrap_or_else(|_| bail!("reading the allocations panicked; see its message"));
        Ok(Self(LazyCell::new(Box::new(wait))))
    }

    /// Waits until they are read and checked.
    ///
    /// # Errors
    /// If they cannot be read, or are not those of the genesis.
    pub fn get(&self) -> Result<&Arc<Vec<Allocation>>> {
        self.0.as_ref().map_err(|error| anyhow!("{error:#}"))
    }
}
