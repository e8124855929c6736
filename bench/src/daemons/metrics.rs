//! The metrics page of a daemon: fetched from its namespace.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::ReadyLine;
use crate::link::Side;

/// Longest metrics page that is read.
const PAGE_MAX_BYTES: u64 = 4 << 20;

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The daemon's metrics, which are served in its namespace.
///
/// # Errors
/// If it serves none, or does not answer within five seconds.
pub(super) fn metrics_page(ready: &ReadyLine, side: &Side) -> Result<String> {
    let address: SocketAddr = ready.fact("metrics", "none").parse().context("it serves no metrics")?;
    side.inside(|| -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // 1.0, so that the body is not cut into chunks.
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut page = String::new();
        stream.take(PAGE_MAX_BYTES).read_to_string(&mut page)?;
        Ok(page)
    })?
}
