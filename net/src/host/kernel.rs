//! What the kernel is and allows: [`Kernel`]. Everything is read from /proc and /sys; what cannot be read is `None`.

use std::fmt;
use std::fs;

use rustix::process::{Resource, getrlimit, setrlimit};

/// A kernel's version, compared by its first two numbers and the third.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 6 of 6.18.4.
    pub major: u32,
    /// 18 of 6.18.4.
    pub minor: u32,
    /// 4 of 6.18.4; 0 where none is given.
    pub patch: u32,
}

impl Version {
    /// A version without a patch number.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor, patch: 0 }
    }

    /// Reads a release such as "6.1.0-18-amd64".
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse);
        Some(Self {
            major: numbers.next()?.ok()?,
            minor: numbers.next()?.ok()?,
            patch: numbers.next().and_then(Result::ok).unwrap_or(0),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A resource limit in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// At most so many bytes.
    Bytes(u64),
    /// No limit.
    Unlimited,
}

impl Limit {
    /// Whether this many bytes fit.
    pub fn allows(self, bytes: u64) -> bool {
        match self {
            Self::Bytes(limit) => bytes <= limit,
            Self::Unlimited => true,
        }
    }
}

/// Facts of the running kernel and of the limits of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The release as `uname -r` prints it.
    pub release: String,
    /// Its version, if the release begins with one.
    pub version: Option<Version>,
    /// The machine, such as "x86_64".
    pub machine: String,
    /// /sys/kernel/btf/vmlinux is there: type information that tools and portable programs need.
    pub btf: bool,
    /// net.core.bpf_jit_enable: 0 interpreted (slow), 1 compiled, 2 compiled and traced. Readable by root only on many kernels.
    pub bpf_jit: Option<u32>,
    /// kernel.unprivileged_bpf_disabled: 0 everyone may load some programs, 1 nobody without rights until reboot, 2 likewise, changeable.
    pub unprivileged_bpf_disabled: Option<u32>,
    /// Kernel lockdown: "none", "integrity" or "confidentiality"; `None` where the kernel has none or securityfs is not mounted.
    pub lockdown: Option<String>,
    /// The kernel has AF_XDP sockets (CONFIG_XDP_SOCKETS).
    pub af_xdp: bool,
    /// RLIMIT_MEMLOCK as it counts now (the soft limit).
    pub memlock: Limit,
    /// What the soft limit may be raised to without a right (the hard limit).
    pub memlock_max: Limit,
    /// kernel.perf_event_paranoid.
    pub perf_event_paranoid: Option<i32>,
}

impl Kernel {
    /// Reads it all.
    pub fn read() -> Self {
        let name = rustix::system::uname();
        let release = name.release().to_string_lossy().into_owned();
        let limit = getrlimit(Resource::Memlock);
        let as_limit = |bytes: Option<u64>| bytes.map_or(Limit::Unlimited, Limit::Bytes);
        Self {
            version: Version::parse(&release),
            release,
            machine: name.machine().to_string_lossy().into_owned(),
            btf: fs::metadata("/sys/kernel/btf/vmlinux").is_ok(),
            bpf_jit: number("/proc/sys/net/core/bpf_jit_enable"),
            unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
            lockdown: fs::read_to_string("/sys/kernel/security/lockdown").ok().and_then(|text| chosen(&text)),
            af_xdp: has_af_xdp(),
            memlock: as_limit(limit.current),
            memlock_max: as_limit(limit.maximum),
            perf_event_paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
        }
    }

    /// Raises RLIMIT_MEMLOCK of this process as far as it may be raised without a right, and returns what it became.
    ///
    /// # Errors
    /// If the kernel refuses, which it does not.
    pub fn raise_memlock() -> std::io::Result<Limit> {
        let mut limit = getrlimit(Resource::Memlock);
        limit.current = limit.maximum;
        setrlimit(Resource::Memlock, limit)?;
        Ok(limit.current.map_or(Limit::Unlimited, Limit::Bytes))
    }

    /// Whether the kernel is at least of this version; an unreadable version is taken as old.
    pub fn at_least(&self, version: Version) -> bool {
        self.version.is_some_and(|own| own >= version)
    }

    /// Whether maps can be changed through descriptors after CAP_BPF was given up. Before 5.19, with unprivileged BPF disabled, every
    /// bpf(2) call wanted the right (commit c8644cd0efe7), so sockets could not be put into the map again.
    pub fn maps_writable_without_rights(&self) -> bool {
        self.at_least(Version::new(5, 19)) || self.unprivileged_bpf_disabled == Some(0)
    }
}

fn number<T: std::str::FromStr>(path: &str) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Of "none [integrity] confidentiality" the word in brackets.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

/// Opens one to see. Without CAP_NET_RAW the kernel answers EPERM where it has them, and EAFNOSUPPORT where not.
fn has_af_xdp() -> bool {
    let opened = rustix::net::socket_with(
        rustix::net::AddressFamily::XDP,
        rustix::net::SocketType::RAW,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    );
    !matches!(opened, Err(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_and_compared() {
        let version = |text| Version::parse(text).unwrap();
        assert_eq!(version("6.1.0-18-amd64"), Version::new(6, 1));
        assert_eq!(version("6.18.44-fc-v669"), Version { major: 6, minor: 18, patch: 44 });
        assert_eq!(version("5.10-rc3"), Version { major: 5, minor: 10, patch: 0 });
        assert!(version("6.1.9") < version("6.2"));
        for nonsense in ["", "linux", "6", "x.1", "99999999999.1"] {
            assert_eq!(Version::parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn the_chosen_lockdown_is_read() {
        assert_eq!(chosen("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
        assert_eq!(chosen("none"), None);
    }

    #[test]
    fn this_kernel_says_what_it_is() {
        let kernel = Kernel::read();
        assert!(kernel.version.is_some(), "{kernel:?}");
        assert_eq!(Kernel::raise_memlock().unwrap(), kernel.memlock_max);
        assert_eq!(Kernel::read().memlock, kernel.memlock_max);
        assert!(Limit::Unlimited.allows(u64::MAX) && !Limit::Bytes(7).allows(8));
    }
}
