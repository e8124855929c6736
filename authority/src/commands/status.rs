//! `status`: asks a running daemon.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::directory::Directory;
use crate::settings::Settings;

/// Longest answer that is read.
const ANSWER_MAX: u64 = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Flags of `status`.
#[derive(clap::Args)]
pub struct Status {
    /// Where the daemon serves metrics and status.
    #[arg(long)]
    metrics: Option<SocketAddr>,
    /// The authority's directory, whose settings say where.
    #[arg(long, conflicts_with = "metrics")]
    directory: Option<PathBuf>,
    /// Print the daemon's JSON as it is.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub fn run(self) -> Result<ExitCode> {
        let address = match (self.metrics, self.directory) {
            (Some(address), _) => address,
            (None, Some(directory)) => Settings::read(&Directory::new(&directory).settings())?.metrics,
            (None, None) => Settings::default().metrics,
        };
        let body = get(address, "/status")?;
        if self.json {
            println!("{}", body.trim_end());
            return Ok(ExitCode::SUCCESS);
        }
        let status: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&body).with_context(|| format!("{address} answered something that is no status"))?;
        for (name, value) in status {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            println!("{name:<22} {value}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One HTTP request to a loopback service; a client library would be a hundred times this.
fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).with_context(|| {
        format!("no daemon answers at {address}; is it running, and is this its metrics address (--metrics)?")
    })?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer).with_context(|| format!("{address} did not answer in time"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    if !head.starts_with("HTTP/1.") || !head.contains(" 200 ") {
        bail!("{address} answered: {}", head.lines().next().unwrap_or_default());
    }
    Ok(body.to_owned())
}
