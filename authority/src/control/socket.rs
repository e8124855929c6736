//! The control socket: HTTP on a Unix socket in the authority's directory, for what is not for everybody on the host.
//!
//! What always holds: only the daemon's user and root can connect (the directory has mode 0700, the socket 0600); a socket that a killed
//! daemon left behind is replaced, that of a running one never; the file goes with the daemon.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;

/// Its name in the authority's directory.
pub const SOCKET_NAME: &str = "control.sock";
/// How long the daemon may take to begin an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest line of an answer's head that is read.
const HEAD_MAX_BYTES: u64 = 16 << 10;

/// A bound control socket.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds the control socket of an authority's directory.
    ///
    /// # Errors
    /// If a daemon serves there already, or the file cannot be made.
    pub fn bind(directory: &Path) -> Result<Self> {
        let path = directory.join(SOCKET_NAME);
        if UnixStream::connect(&path).is_ok() {
            bail!("a daemon serves at {} already", path.display());
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace {}", path.display()));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&path).with_context(|| {
            format!("cannot make the control socket {}; such a path has at most 107 bytes", path.display())
        })?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// Serves until the future is dropped. Within a tokio runtime with I/O.
    ///
    /// # Errors
    /// If the socket fails.
    pub async fn serve(self, router: Router) -> Result<()> {
        let listener = tokio::net::UnixListener::from_std(self.listener.try_clone()?)?;
        axum::serve(listener, router).await.context("the control socket failed")
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A file that is gone already is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Asks the daemon of a directory with `GET path`, and returns what the answer's body is read from, until its end or until the daemon's.
///
/// # Errors
/// If no daemon answers, or it refuses, with its words.
pub fn ask(directory: &Path, path: &str) -> Result<BufReader<UnixStream>> {
    let socket = directory.join(SOCKET_NAME);
    let mut stream = UnixStream::connect(&socket).with_context(|| {
        format!("no daemon answers at {}; is it running, and are you its user or root?", socket.display())
    })?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    // 1.0, so that the body is not cut into chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = BufReader::new(stream);
    let mut status = None;
    let mut read = 0;
    loop {
        let mut line = String::new();
        let length = answer.read_line(&mut line).context("the daemon did not answer in time")?;
        read += length as u64;
        if length == 0 || read > HEAD_MAX_BYTES {
            bail!("the daemon's answer is not HTTP");
        }
        if line.trim_end().is_empty() {
            break;
        }
        status.get_or_insert(line);
    }
    let status = status.unwrap_or_default();
    if !status.starts_with("HTTP/1.") || !status.contains(" 200") {
        let mut words = String::new();
        let _ = answer.read_line(&mut words);
        bail!("the daemon answered {}: {}", status.trim_end(), words.trim_end());
    }
    answer.get_ref().set_read_timeout(None)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::{self, DumpRing, PcapngReader};
    use std::sync::Arc;
    use std::time::Instant;

    /// Serves `ring` on a control socket in `directory` while `scene` runs.
    fn serving(directory: &Path, ring: &Arc<DumpRing>, scene: impl FnOnce()) {
        let socket = ControlSocket::bind(directory).unwrap();
        let router = dump::router(Arc::clone(ring));
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    tokio::select! {
                        served = socket.serve(router) => served.unwrap(),
                        _ = ended => {}
                    }
                });
            });
            // Dropped when the scene ends or panics, which ends the server.
            let _end = end;
            scene();
        });
    }

    fn wait_until(what: &str, is: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn packets_are_streamed_while_somebody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let ring = Arc::new(DumpRing::default());
        serving(folder.path(), &ring, || {
            assert!(!ring.is_on());
            let mut reader = PcapngReader::new(ask(folder.path(), dump::PATH).unwrap());
            wait_until("the ring is on", || ring.is_on());
            let second = ask(folder.path(), dump::PATH).unwrap_err().to_string();
            assert!(second.contains("409") && second.contains("somebody else"), "{second}");
            let ends = ("192.0.2.7:4321".parse().unwrap(), "192.0.2.1:7450".parse().unwrap());
            for number in 0..3u8 {
                ring.offer(number == 2, ends.0, ends.1, &[&[number; 40]]);
            }
            let mut told = Vec::new();
            while told.len() < 3 {
                let (_, comment) = reader.next_block().unwrap().expect("the stream goes on");
                told.extend(comment.map(str::to_owned));
            }
            assert!(told[0].contains(" in 192.0.2.7:4321 > 192.0.2.1:7450 malformed"), "{}", told[0]);
            assert!(told[2].contains(" out "), "{}", told[2]);
            drop(reader);
            wait_until("the ring is off when the listener is gone", || !ring.is_on());
            drop(ask(folder.path(), dump::PATH).unwrap());
        });
        assert!(!folder.path().join(SOCKET_NAME).exists(), "the file goes with the daemon");
        assert!(ask(folder.path(), dump::PATH).unwrap_err().to_string().contains("no daemon answers"));
    }

    #[test]
    fn a_left_over_socket_is_replaced_and_a_served_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET_NAME);
        // What kill -9 leaves: a file that nobody listens at.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = ControlSocket::bind(folder.path()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = ControlSocket::bind(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("already"), "{refused}");
        drop(socket);
        assert!(!path.exists());
    }
}
