//! Descriptors that outlive the daemon: systemd's store, so that an upgrade leaves no gap ([`DescriptorStore`]).
//!
//! Protocol: sd_pid_notify_with_fds(3) and sd_listen_fds(3). A stored program, link or socket stays in the kernel while one binary takes the
//! place of another, and the new one is given it under the name that the old one chose.
//!
//! What always holds: without a store (no systemd, no `FileDescriptorStoreMax`) nothing fails, there is just nothing; what is given is taken
//! once, with close-on-exec set; a name that we did not give is closed by whoever takes all and drops the rest.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    sendmsg_addr, socket_with,
};

/// The first descriptor that systemd hands over (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;
/// Most descriptors that are taken, as `FileDescriptorStoreMax` in authority/dist.
const DESCRIPTORS_MAX: usize = 512;
/// Longest name that systemd takes, in bytes; without colons and control characters.
const NAME_MAX_BYTES: usize = 255;

/// The way to the service manager.
#[derive(Debug)]
pub struct DescriptorStore {
    socket: OwnedFd,
    address: SocketAddrUnix,
}

impl DescriptorStore {
    /// The store of the service manager that started this process; `None` where none did.
    ///
    /// # Errors
    /// If `NOTIFY_SOCKET` says something that is no address.
    pub fn from_environment() -> io::Result<Option<Self>> {
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(name) if !name.is_empty() => Self::at(&name).map(Some),
            _ => Ok(None),
        }
    }

    fn at(name: &OsStr) -> io::Result<Self> {
        let bytes = name.as_bytes();
        let address = match bytes.first() {
            // An abstract address is written with an @ in place of its first, zero, byte.
            Some(b'@') => SocketAddrUnix::new_abstract_name(&bytes[1..])?,
            _ => SocketAddrUnix::new(bytes)?,
        };
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, address })
    }

    /// Puts a descriptor into the store under a name; the same name may be used several times.
    ///
    /// # Errors
    /// If the name is none that systemd takes, or the manager cannot be told. Whether it kept the descriptor it does not say.
    pub fn put(&self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        self.tell(&format!("FDSTORE=1\nFDNAME={}\n", checked(name)?), &[descriptor])
    }

    /// Takes all descriptors of a name out of the store.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={}\n", checked(name)?), &[])
    }

    fn tell(&self, words: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let parts = [IoSlice::new(words.as_bytes())];
        sendmsg_addr(&self.socket, &self.address, &parts, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

fn checked(name: &str) -> io::Result<&str> {
    let good =
        (1..=NAME_MAX_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if good {
        Ok(name)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} cannot name a stored descriptor")))
    }
}

/// What the service manager handed to this process, by name; empty where there was nothing.
///
/// # Safety
/// To be called at most once in a process, before anything else opened or took descriptors by number: what is returned owns the
/// descriptors from 3 on that the environment announces.
pub unsafe fn handed_over() -> BTreeMap<String, Vec<OwnedFd>> {
    let text = |name: &str| std::env::var(name).unwrap_or_default();
    let own = std::process::id().to_string();
    let announced = announced(&text("LISTEN_PID"), &own, &text("LISTEN_FDS"), &text("LISTEN_FDNAMES"));
    let mut taken: BTreeMap<String, Vec<OwnedFd>> = BTreeMap::new();
    for (number, name) in announced {
        // SAFETY: `fcntl` with a number that may be none of ours answers EBADF and does nothing.
        let open = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == 0;
        if open {
            // SAFETY: it is open, the manager opened it for this process, and the caller vouches that nobody else owns it.
            taken.entry(name).or_default().push(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    taken
}

/// Numbers and names that the environment announces to this process; nothing if it speaks to another or makes no sense.
fn announced(for_process: &str, own: &str, count: &str, names: &str) -> Vec<(RawFd, String)> {
    let count = count.parse().unwrap_or(0usize);
    if for_process != own || count > DESCRIPTORS_MAX {
        return Vec::new();
    }
    let mut names = names.split(':');
    (FIRST..).take(count).map(|number| (number, names.next().unwrap_or_default().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    use std::io::{IoSliceMut, Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    #[test]
    fn a_stored_descriptor_reaches_the_manager_with_its_name() {
        let path = std::env::temp_dir().join(format!("meshpay-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let manager = UnixDatagram::bind(&path).unwrap();
        let store = DescriptorStore::at(path.as_os_str()).unwrap();
        let (mut ours, kept) = UnixStream::pair().unwrap();
        store.put("xdp-link", kept.as_fd()).unwrap();
        store.remove("xdp-link").unwrap();
        std::fs::remove_file(&path).unwrap();

        let mut bytes = [0; 256];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let read = recvmsg(&manager, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty()).unwrap();
        assert_eq!(&bytes[..read.bytes], b"FDSTORE=1\nFDNAME=xdp-link\n");
        let mut given = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                given.extend(descriptors);
            }
        }
        assert_eq!(given.len(), 1);
        UnixStream::from(given.remove(0)).write_all(b"same").unwrap();
        let mut four = [0; 4];
        ours.read_exact(&mut four).unwrap();
        assert_eq!(&four, b"same");
        let length = manager.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"FDSTOREREMOVE=1\nFDNAME=xdp-link\n");
    }

    #[test]
    fn names_that_systemd_refuses_are_refused() {
        for name in ["", "a:b", "a b", "a\nFDSTOREREMOVE=1", &"x".repeat(256)] {
            assert!(checked(name).is_err(), "{name:?}");
        }
        assert!(checked("xsk.eth0.0").is_ok());
    }

    #[test]
    fn only_what_is_announced_to_this_process_is_taken() {
        assert_eq!(announced("7", "7", "2", "link:map"), [(3, "link".to_owned()), (4, "map".to_owned())]);
        assert_eq!(announced("7", "7", "2", "link"), [(3, "link".to_owned()), (4, String::new())]);
        for (process, count) in
            [("8", "1"), ("", "1"), ("7", ""), ("7", "-1"), ("7", "513"), ("7", "99999999999999999999")]
        {
            assert_eq!(announced(process, "7", count, "link"), [], "{process} {count}");
        }
    }
}
