//! Network namespaces of our own: made, entered, and removed again, come what may.

use super::run;
use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where iproute2 keeps the names of namespaces.
const FOLDER: &str = "/run/netns";

/// Every name begins with this.
const PREFIX: &str = "meshpay-";

/// The name of one side's namespace: whose it is can be read from it.
pub(super) fn name(pid: u32, link: u32, side: char) -> String {
    format!("{PREFIX}{pid}-{link}-{side}")
}

/// The process that made the namespace of this name; `None` if it is not one of ours.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

/// Removes namespaces whose makers are gone. What cannot be removed is left; it does not stand in our way.
pub(super) fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(FOLDER) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if maker(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = run("ip", &["netns", "delete", name]);
        }
    }
}

/// A network namespace with a name.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    path: PathBuf,
    file: File,
}

impl Namespace {
    pub(super) fn create(name: &str) -> Result<Self> {
        run("ip", &["netns", "add", name])?;
        let path = Path::new(FOLDER).join(name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { name: name.to_owned(), path, file })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        let enter_and_work = || {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        };
        // A namespace is a property of a thread, so the thread ends with the work.
        std::thread::scope(|scope| match scope.spawn(enter_and_work).join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    pub(super) fn start_here(&self, command: &mut Command) -> io::Result<()> {
        let file = self.file.try_clone()?;
        let enter = move || {
            // SAFETY: setns takes a descriptor, which `file` keeps open, and a number.
            match unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: between fork and exec `enter` makes one system call and allocates nothing.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }
}

/// Removes a link's namespaces when this process lets go of it, however that comes about.
///
/// A shell waits at the far end of a pipe; the pipe closes when this value is dropped and when the process dies, be it of
/// Ctrl-C, a panic or SIGKILL. The shell has a process group of its own and ignores what a terminal sends.
#[derive(Debug)]
pub(super) struct Janitor {
    shell: Child,
}

/// Arguments: an interface and the namespaces, the first of them the interface's. With one end of the pair the other goes too; the
/// namespaces themselves last as long as a process runs in them.
const SCRIPT: &str = r#"trap '' HUP INT TERM QUIT
cat
ip -n "$2" link delete "$1"
shift
for namespace; do ip netns delete "$namespace"; done"#;

impl Janitor {
    /// Removes these namespaces, and before them an interface in the first of them.
    pub(super) fn start(namespaces: &[String], device: &str) -> Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "meshpay-janitor", device])
            .args(namespaces)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start the shell that removes the link's namespaces")?;
        Ok(Self { shell })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_have_a_maker() {
        assert_eq!(maker(&name(123, 4, 'a')), Some(123));
        for other in ["meshpay-", "meshpay-x-0-a", "blue", "123-0-a"] {
            assert_eq!(maker(other), None, "{other}");
        }
    }
}
