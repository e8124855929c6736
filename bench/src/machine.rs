//! What the figures were taken on: processor, kernel, memory, file system, disk, and which code.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cpu;

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Whether it is a virtual machine, as far as the processor tells.
    pub is_virtual: bool,
    /// Kernel release.
    pub kernel: String,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl Machine {
    /// This machine; what cannot be found out is called unknown.
    pub fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.split(':').next().map(str::trim) == Some(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let family =
            format!("family {} model {}", field("cpu family").unwrap_or_default(), field("model").unwrap_or_default());
        let processor = field("model name").map_or_else(|| "unknown".to_owned(), |name| format!("{name} ({family})"));
        let flags = field("flags").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".to_owned());
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory_kib: u64 = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok())
            .unwrap_or(0);
        Self {
            processor,
            cores: cpu::core_count(),
            is_virtual: flags.split(' ').any(|flag| flag == "hypervisor"),
            kernel: kernel.trim().to_owned(),
            memory_mib: memory_kib / 1024,
        }
    }
}

/// The state of the source tree that this was built from: `git describe --always --dirty`, as it is now.
pub fn commit() -> String {
    let output = Command::new("git")
        // The tree may belong to somebody else than who measures.
        .args(["-c", "safe.directory=*", "-C", env!("CARGO_MANIFEST_DIR")])
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its type, such as ext4.
    pub kind: String,
    /// What is mounted, such as /dev/vda.
    pub source: String,
}

impl FileSystem {
    /// The file system that holds an existing path.
    ///
    /// # Errors
    /// If the kernel's list of mounts cannot be read.
    pub fn of(path: &Path) -> Result<Self> {
        let path = path.canonicalize().with_context(|| format!("there is no {}", path.display()))?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the list of mounts")?;
        Self::find(&mounts, &path).with_context(|| format!("no mount holds {}", path.display()))
    }

    /// proc_pid_mountinfo(5): the mount point is the fifth field; type and source are the first two after a lone hyphen. Of mounts
    /// at one point the last is on top.
    fn find(mounts: &str, path: &Path) -> Option<Self> {
        let mut best: Option<(usize, Self)> = None;
        for line in mounts.lines() {
            let Some((head, tail)) = line.split_once(" - ") else { continue };
            let Some(point) = head.split(' ').nth(4) else { continue };
            let point = PathBuf::from(unescape(point));
            let mut tail = tail.split(' ');
            let (Some(kind), Some(source)) = (tail.next(), tail.next()) else { continue };
            let depth = point.components().count();
            if path.starts_with(&point) && best.as_ref().is_none_or(|(known, _)| depth >= *known) {
                best = Some((depth, Self { kind: kind.to_owned(), source: unescape(source) }));
            }
        }
        best.map(|(_, found)| found)
    }

    /// Whether it forgets all at a power cut.
    pub fn is_memory(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs" | "devtmpfs")
    }
}

impl std::fmt::Display for FileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}", self.kind, self.source)
    }
}

/// Undoes the octal escapes of spaces, tabs, line ends and backslashes.
fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// How long this disk takes to make a burst durable, in microseconds: the ground that finality stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncTime {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
}

/// Appends 64 KiB and syncs, 200 times, in a file of its own that it removes.
///
/// # Errors
/// If the disk refuses.
pub fn measure_sync(folder: &Path) -> Result<SyncTime> {
    const BLOCK: usize = 64 << 10;
    const TIMES: usize = 200;
    let path = folder.join("sync-probe");
    let measure = || -> std::io::Result<Vec<u64>> {
        let mut file = File::create(&path)?;
        // As the journal does: room is allocated beforehand, so that a sync writes data and not the file's size.
        file.write_all(&vec![0; BLOCK * TIMES])?;
        file.sync_all()?;
        let mut file = File::options().write(true).open(&path)?;
        let block = vec![0x5a; BLOCK];
        (0..TIMES)
            .map(|_| {
                let start = Instant::now();
                file.write_all(&block)?;
                file.sync_data()?;
                Ok(start.elapsed().as_micros() as u64)
            })
            .collect()
    };
    let times = measure();
    let _ = fs::remove_file(&path);
    let mut times = times.with_context(|| format!("cannot write and sync in {}", folder.display()))?;
    times.sort_unstable();
    if times.is_empty() {
        bail!("nothing was measured");
    }
    Ok(SyncTime { p50: times[times.len() / 2], p99: times[times.len() * 99 / 100] })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /tmp rw,nosuid - tmpfs tmpfs rw
31 22 0:26 / /mnt/my\\040disk rw master:3 - xfs /dev/sd\\040b rw
32 31 0:27 / /mnt/my\\040disk rw - btrfs /dev/sdc rw
garbage
";

    #[test]
    fn finds_the_deepest_and_topmost_mount() {
        let find = |path: &str| FileSystem::find(MOUNTS, Path::new(path)).expect("the root at least").to_string();
        assert_eq!(find("/home/x"), "ext4 on /dev/vda");
        assert_eq!(find("/tmpfoo"), "ext4 on /dev/vda");
        assert_eq!(find("/tmp/a/b"), "tmpfs on tmpfs");
        assert_eq!(find("/mnt/my disk/x"), "btrfs on /dev/sdc");
        assert!(FileSystem::find(MOUNTS, Path::new("/tmp/a")).expect("found").is_memory());
        assert_eq!(FileSystem::find("", Path::new("/")), None);
    }

    #[test]
    fn this_machine_is_known() {
        let machine = Machine::this();
        assert!(machine.cores >= 1 && machine.memory_mib > 0 && !machine.kernel.is_empty());
        let folder = tempfile::tempdir().expect("a folder");
        assert!(FileSystem::of(folder.path()).is_ok());
        let time = measure_sync(folder.path()).expect("a disk");
        assert!(time.p50 <= time.p99);
        assert_eq!(fs::read_dir(folder.path()).expect("it exists").count(), 0);
    }
}
