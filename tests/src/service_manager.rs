//! What a service manager does for a daemon that is to be replaced without a gap: it keeps descriptors and hands them to the next process.
//!
//! The protocol is systemd's, sd_pid_notify_with_fds(3) and sd_listen_fds(3), over a socket and an environment of the test's own.
//!
//! What always holds: descriptors are kept until the daemon takes them back or this value is dropped, whatever becomes of the daemon.

use crate::daemon::Daemon;
use crate::scratch::Scratch;
use anyhow::{Context, Result, ensure};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The first descriptor that a process is given (SD_LISTEN_FDS_START).
const FIRST: i32 = 3;
/// Descriptors from here on are not those that a process is given.
const BEYOND: i32 = 64;
/// Only the process itself knows its number before it becomes the daemon.
const SCRIPT: &str = r#"LISTEN_PID=$$; export LISTEN_PID; exec "$0" "$@""#;

/// A service manager with a store of descriptors.
pub struct ServiceManager {
    socket: UnixDatagram,
    address: String,
    stored: Vec<(String, OwnedFd)>,
    // After the socket in it.
    _scratch: Scratch,
}

impl ServiceManager {
    /// One whose store is empty.
    ///
    /// # Errors
    /// If its socket cannot be made.
    pub fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let path = scratch.path().join("notify");
        let socket = UnixDatagram::bind(&path).with_context(|| format!("binding {}", path.display()))?;
        socket.set_nonblocking(true)?;
        let address = path.to_str().context("a scratch directory has a readable name")?.to_owned();
        Ok(Self { socket, address, stored: Vec::new(), _scratch: scratch })
    }

    /// Where daemons find it: the value of `NOTIFY_SOCKET`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Does what daemons have asked for so far, and returns what is stored then: names and descriptors, the oldest first.
    ///
    /// # Errors
    /// If a daemon has sent what systemd would not understand.
    pub fn stored(&mut self) -> Result<&[(String, OwnedFd)]> {
        while let Some((text, descriptors)) = self.receive()? {
            let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            let name = value("FDNAME").with_context(|| format!("a descriptor without a name: {text:?}"))?;
            if value("FDSTORE") == Some("1") {
                ensure!(!descriptors.is_empty(), "nothing came with {text:?}");
                self.stored.extend(descriptors.into_iter().map(|descriptor| (name.to_owned(), descriptor)));
            } else {
                ensure!(value("FDSTOREREMOVE") == Some("1"), "systemd knows no such message: {text:?}");
                self.stored.retain(|(stored, _)| stored != name);
            }
        }
        Ok(&self.stored)
    }

    /// Stores a descriptor of the test's own.
    pub fn store(&mut self, name: &str, descriptor: OwnedFd) {
        self.stored.push((name.to_owned(), descriptor));
    }

    /// The next message with its descriptors.
    fn receive(&self) -> Result<Option<(String, Vec<OwnedFd>)>> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let read = match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            read => read?,
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sent) = message {
                descriptors.extend(sent);
            }
        }
        Ok(Some((String::from_utf8(bytes[..read.bytes].to_vec())?, descriptors)))
    }

    /// The command by which it starts a daemon: with its address, and with copies of all that is stored.
    ///
    /// # Errors
    /// If no further descriptor can be had.
    pub fn start_command(&mut self, daemon: &Daemon) -> Result<Command> {
        self.stored()?;
        let handed = &self.stored;
        let names: Vec<&str> = handed.iter().map(|(name, _)| name.as_str()).collect();
        let run = daemon.run_command()?;
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).arg(run.get_program()).args(run.get_args());
        command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("NOTIFY_SOCKET", &self.address);
        command.env("LISTEN_FDS", handed.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        if let Some(link) = &daemon.link {
            link.gateway.enter(&mut command)?;
        }
        // Out of the way of the numbers that they are to get.
        let copies = handed.iter().map(|(_, descriptor)| rustix::io::fcntl_dupfd_cloexec(descriptor, BEYOND));
        let copies: Vec<OwnedFd> = copies.collect::<rustix::io::Result<_>>()?;
        let hand_over = move || {
            for (copy, number) in copies.iter().zip(FIRST..BEYOND) {
                // SAFETY: dup2 takes two numbers. The process becomes another program next, so no owner of the second one is left.
                if unsafe { libc::dup2(copy.as_raw_fd(), number) } < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: between fork and exec only system calls are made, all async-signal-safe; nothing is allocated.
        unsafe { command.pre_exec(hand_over) };
        Ok(command)
    }
}
