//! [`XdpError`]: what can go wrong with a program, its maps and its attachment. Every message says what to do next.

use std::io;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XdpError {
    /// The object file is damaged, or not of the kind that is read here.
    #[error("the object file cannot be used: {0}; rebuild it with `cargo xtask build-ebpf`")]
    Object(String),
    /// The object file has no XDP program of this name.
    #[error("the object file has no XDP program `{name}`; it has: {present}")]
    NoProgram {
        /// What was asked for.
        name: String,
        /// What there is.
        present: String,
    },
    /// The kernel's verifier refuses the program.
    #[error("the kernel refuses the program `{name}` ({source}); the verifier's last words:\n{log}")]
    Rejected {
        /// The program.
        name: String,
        /// What the kernel said.
        source: io::Error,
        /// The end of the verifier's log; empty where it said nothing.
        log: String,
    },
    /// A right is missing (EPERM, EACCES).
    #[error("cannot {what}: it was refused; it needs {needs}")]
    NotPermitted {
        /// What was tried.
        what: String,
        /// Which rights it needs.
        needs: &'static str,
    },
    /// Locked memory or the kernel's memory is exhausted (ENOMEM; before kernel 5.11 also EPERM).
    #[error(
        "cannot {what}: no memory; raise the limit of locked memory (LimitMEMLOCK=infinity in the unit, `ulimit -l`) or ask for smaller tables"
    )]
    NoMemory {
        /// What was tried.
        what: String,
    },
    /// There is no such map in the program, or none that was asked for is there.
    #[error("the program has no map `{0}`; object and daemon are of different versions")]
    NoMap(String),
    /// A map is not what its user expects.
    #[error("the map `{name}` {what}; object and daemon are of different versions")]
    WrongMap {
        /// The map.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// Another program is attached (EBUSY, EEXIST), and is left alone.
    #[error(
        "{interface} has an XDP program already ({program}); see `ip link show {interface}` and `bpftool net`, and take it off if it is not needed"
    )]
    Occupied {
        /// The interface.
        interface: String,
        /// The other program, as far as it is known: mode and number.
        program: String,
    },
    /// Packets may be longer than one buffer of the driver (ERANGE, and EINVAL of some drivers).
    #[error(
        "{interface} (MTU {mtu}) cannot run a native program: packets of it, or of the peer of a veth, do not fit the driver's buffer; lower the MTU of both ends to {fits} or less, or use generic mode"
    )]
    MtuTooLarge {
        /// The interface.
        interface: String,
        /// Its own MTU, where it is known.
        mtu: String,
        /// The largest MTU that fits a page.
        fits: u32,
    },
    /// The driver cannot run programs (EOPNOTSUPP).
    #[error("the driver of {interface} has no native XDP; use generic mode")]
    NoNativeMode {
        /// The interface.
        interface: String,
    },
    /// The driver has too few queues (ENOSPC of veth: fewer receive queues than its peer sends on).
    #[error(
        "{interface} has too few queues for a native program; give it as many receive queues as its peer has transmit queues (`ethtool -L`)"
    )]
    TooFewQueues {
        /// The interface.
        interface: String,
    },
    /// The interface is gone (ENODEV), or is in another network namespace.
    #[error("there is no interface with number {index} in this network namespace; see `ip link`")]
    NoInterface {
        /// The number.
        index: u32,
    },
    /// Something else.
    #[error("cannot {what}: {source}")]
    Failed {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Rights to load programs and to make maps.
pub(super) const TO_LOAD: &str =
    "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and before kernel 5.11 an unlimited LimitMEMLOCK";
/// What an old kernel (before 5.19) needs to use maps, where kernel.unprivileged_bpf_disabled is set.
pub(super) const TO_USE_MAPS: &str = "CAP_BPF on kernels before 5.19, unless kernel.unprivileged_bpf_disabled is 0";

impl XdpError {
    /// For `map_err`: `what` completes 'cannot ...'.
    pub(super) fn because(what: impl Into<String>, needs: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let what = what.into();
            match source.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { what, needs },
                Some(libc::ENOMEM) => Self::NoMemory { what },
                _ => Self::Failed { what, source },
            }
        }
    }
}
