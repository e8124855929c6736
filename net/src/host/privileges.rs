//! Giving up rights for good: [`drop_privileges`].
//!
//! In Linux user, groups, capabilities and no_new_privs belong to a thread, not to a process; what glibc does for setuid(2) by
//! signals, nobody does for capset(2). So this is done while the process has one thread, and refused otherwise: threads that are
//! started later inherit 'nothing'. A process-wide drop by signals was not chosen, because it interrupts whatever the other threads are in,
//! the journal's system calls too. [`threads_with_capabilities`] looks at all threads afterwards, and a daemon that finds any should end.
//!
//! What always holds: after `Ok`, this thread and all it ever starts have no capability in any set, cannot gain one by execve(2) of
//! whatever file, and where a user was given, are that user for good. On an error halfway nothing is taken back: the caller ends.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Gid, Uid, geteuid, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

/// Most supplementary groups that a user may have; the kernel's own bound (NGROUPS_MAX) is higher than anybody's need.
const GROUPS_MAX: usize = 1 << 10;
/// Room for the strings of one line of the user database.
const PASSWD_BYTES: usize = 16 << 10;

/// How long threads that are ending may take.
const ENDING_MAX: Duration = Duration::from_millis(200);

/// Why rights were not given up. The process may hold some of them still, so it must not go on.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// Others than the calling thread run.
    #[error("rights can only be given up before threads are started, and these run already: {0}")]
    OtherThreads(String),
    /// The user database does not have it.
    #[error("there is no user {0:?}; make one (`systemd-sysusers`, `useradd --system`) or name another with --user")]
    NoSuchUser(String),
    /// Only root can become another user.
    #[error(
        "only root can become the user {user:?}, and this process is user {uid}; start it as that user without --user"
    )]
    NotRoot {
        /// Who was asked for.
        user: String,
        /// Who the process is.
        uid: u32,
    },
    /// The user is root.
    #[error("the user {0:?} is root, so nothing would be given up; name an ordinary user")]
    IsRoot(String),
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It was all done, and still some right is there.
    #[error("the kernel still shows rights after they were given up: {0}")]
    StillThere(String),
}

/// An ordinary user of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: String,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// What was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Who the process is now.
    pub uid: u32,
    /// Whether it was root before and still has root's user number: it owns root's files, so an ordinary user is better.
    pub still_uid_root: bool,
}

impl User {
    /// The user of this name, with all groups, from the host's user database.
    ///
    /// # Errors
    /// If there is none, if it is root, or if the database cannot be read.
    pub fn named(name: &str) -> Result<Self, PrivilegeError> {
        let no_such = || PrivilegeError::NoSuchUser(name.to_owned());
        let c_name = CString::new(name).map_err(|_| no_such())?;
        // SAFETY: all zero bytes are a passwd (null pointers).
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut strings = vec![0 as libc::c_char; PASSWD_BYTES];
        let mut found = std::ptr::null_mut();
        // SAFETY: all pointers are to values that live through the call, and the length is that of `strings`.
        let error = unsafe {
            libc::getpwnam_r(c_name.as_ptr(), &raw mut entry, strings.as_mut_ptr(), strings.len(), &raw mut found)
        };
        if error != 0 {
            let source = io::Error::from_raw_os_error(error);
            return Err(PrivilegeError::Refused { what: "read the user database", source });
        }
        if found.is_null() {
            return Err(no_such());
        }
        let (uid, gid) = (entry.pw_uid, entry.pw_gid);
        if uid == 0 {
            return Err(PrivilegeError::IsRoot(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), uid, gid, groups: groups_of(&c_name, gid)? })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    pub fn uid(&self) -> u32 {
        self.uid
    }
}

fn groups_of(name: &CStr, gid: u32) -> Result<Vec<u32>, PrivilegeError> {
    let mut groups = vec![0; GROUPS_MAX];
    let mut count = GROUPS_MAX as libc::c_int;
    // SAFETY: `count` says how many groups there is room for, and both live through the call.
    let outcome = unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
    if outcome < 0 {
        let source = io::Error::from_raw_os_error(libc::E2BIG);
        return Err(PrivilegeError::Refused { what: "read the user's groups", source });
    }
    groups.truncate(usize::try_from(count).unwrap_or(0));
    Ok(groups)
}

/// Gives up every right for good; with a user, becomes that user. To be called when everything that needs a right is open, and before
/// the first thread is started.
///
/// # Errors
/// If other threads run, if the user cannot be become, or if the kernel refuses. The process must end then.
pub fn drop_privileges(user: Option<&User>) -> Result<Dropped, PrivilegeError> {
    let others = threads_that_stay().map_err(refused("list this process's threads"))?;
    if !others.is_empty() {
        return Err(PrivilegeError::OtherThreads(others.join(", ")));
    }
    let refused_os = |what| move |error: rustix::io::Errno| PrivilegeError::Refused { what, source: error.into() };
    // First, so that no execve from here on can add anything, whatever else fails.
    set_no_new_privs(true).map_err(refused_os("set no_new_privs"))?;
    empty_bounding_set().map_err(refused("empty the bounding set"))?;
    if let Some(user) = user {
        become_user(user)?;
    }
    clear_ambient_capability_set().map_err(refused_os("clear the ambient capabilities"))?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(refused_os("give up the capabilities"))?;
    let left = threads_with_capabilities().map_err(refused("look at this process's rights"))?;
    if !left.is_empty() {
        return Err(PrivilegeError::StillThere(left.join(", ")));
    }
    Ok(Dropped { uid: getuid().as_raw(), still_uid_root: getuid().is_root() || geteuid().is_root() })
}

fn refused(what: &'static str) -> impl FnOnce(io::Error) -> PrivilegeError {
    move |source| PrivilegeError::Refused { what, source }
}

fn become_user(user: &User) -> Result<(), PrivilegeError> {
    let failed = |what| move |error: rustix::io::Errno| PrivilegeError::Refused { what, source: error.into() };
    if getuid().as_raw() == user.uid && geteuid().as_raw() == user.uid {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(PrivilegeError::NotRoot { user: user.name.clone(), uid: getuid().as_raw() });
    }
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    // Groups first: without root's number they could not be set any more.
    set_thread_groups(&groups).map_err(failed("set the user's groups"))?;
    set_thread_res_gid(gid, gid, gid).map_err(failed("become the user's group"))?;
    set_thread_res_uid(uid, uid, uid).map_err(failed("become the user"))?;
    Ok(())
}

/// Takes everything out of the bounding set where that is allowed (CAP_SETPCAP, so as root). An ordinary user cannot and need not:
/// no_new_privs keeps execve(2) from drawing on it.
fn empty_bounding_set() -> io::Result<()> {
    if !capabilities(None)?.effective.contains(CapabilitySet::SETPCAP) {
        return Ok(());
    }
    for bit in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(one) {
            Ok(true) => remove_capability_from_bounding_set(one)?,
            Ok(false) => {}
            // The kernel knows no capability of this number and none above.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Names of this process's other threads, after those that are ending were given a moment: a joined thread may still be listed.
fn threads_that_stay() -> io::Result<Vec<String>> {
    let deadline = Instant::now() + ENDING_MAX;
    loop {
        let others = other_threads()?;
        if others.is_empty() || Instant::now() >= deadline {
            return Ok(others);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Names of this process's other threads.
fn other_threads() -> io::Result<Vec<String>> {
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    let mut names = Vec::new();
    for entry in fs::read_dir("/proc/self/task")? {
        let entry = entry?;
        if entry.file_name().to_str() != Some(own.as_str()) {
            // A thread may end meanwhile.
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            names.push(name.trim().to_owned());
        }
    }
    Ok(names)
}

/// Threads of this process that hold or could take up a capability, by name. Empty after [`drop_privileges`], and to be looked at again
/// when all threads run.
///
/// # Errors
/// If /proc cannot be read.
pub fn threads_with_capabilities() -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/task")? {
        let path = entry?.path();
        let status = match fs::read_to_string(path.join("status")) {
            Ok(status) => status,
            // It has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        if holds_any(&status) {
            found.push(fs::read_to_string(path.join("comm")).unwrap_or_default().trim().to_owned());
        }
    }
    Ok(found)
}

/// Whether a /proc/PID/status shows a capability in a set that one can act by or pass on. The bounding set only limits.
fn holds_any(status: &str) -> bool {
    status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| ["CapInh", "CapPrm", "CapEff", "CapAmb"].contains(name))
        .any(|(_, value)| value.trim().bytes().any(|digit| digit != b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_from_a_status() {
        let status = |effective: &str, bounding: &str| {
            format!(
                "Name:\tx\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t{effective}\nCapBnd:\t{bounding}\nCapAmb:\t0000000000000000\n"
            )
        };
        assert!(!holds_any(&status("0000000000000000", "000001ffffffffff")));
        assert!(holds_any(&status("0000000000003000", "0000000000000000")));
    }

    #[test]
    fn with_other_threads_nothing_is_given_up() {
        // The test runner has threads of its own besides this one.
        let before = capabilities(None).unwrap();
        let refused = drop_privileges(None).unwrap_err();
        assert!(matches!(refused, PrivilegeError::OtherThreads(_)), "{refused}");
        assert_eq!(capabilities(None).unwrap(), before);
    }

    #[test]
    fn users_are_found_and_root_is_refused() {
        assert!(matches!(User::named("root"), Err(PrivilegeError::IsRoot(_))));
        assert!(matches!(User::named("no-such-user-7450"), Err(PrivilegeError::NoSuchUser(_))));
        assert!(matches!(User::named("a\0b"), Err(PrivilegeError::NoSuchUser(_))));
        let nobody = User::named("nobody").unwrap();
        assert!(nobody.uid() > 0 && nobody.groups.contains(&nobody.gid));
    }
}
