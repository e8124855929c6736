//! [`HostError`]: what could not be learnt about this host.

use std::io;

/// What could not be learnt about this host, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub struct HostError {
    what: String,
    source: io::Error,
}

impl HostError {
    /// For `map_err`: `what` completes 'cannot ...'.
    pub(super) fn because(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { what: what.into(), source }
    }

    /// The system's error.
    pub fn cause(&self) -> &io::Error {
        &self.source
    }

    /// Whether there is no such interface.
    pub fn is_absent(&self) -> bool {
        // ERANGE: the name is longer than an interface's name can be.
        matches!(self.source.raw_os_error(), Some(libc::ENODEV | libc::ENXIO | libc::ERANGE | libc::EINVAL))
    }
}
