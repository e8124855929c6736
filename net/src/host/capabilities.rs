//! Which rights this process holds: [`Capabilities`]. See capabilities(7).

use std::io;

use rustix::thread::{CapabilitySet, capabilities};

/// A right that some rung of packet I/O needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Attach programs to interfaces, large socket buffers.
    NetAdmin,
    /// Open AF_XDP and AF_PACKET sockets.
    NetRaw,
    /// Load programs, make maps (kernel 5.8 and newer).
    Bpf,
    /// Load programs that do arithmetic with packet pointers; tracepoints (kernel 5.8 and newer).
    Perfmon,
    /// Lock memory beyond RLIMIT_MEMLOCK. Useful, never needed: raise the limit instead.
    IpcLock,
}

impl Capability {
    /// What the daemon asks for at its start.
    pub const NEEDED: [Self; 4] = [Self::NetAdmin, Self::NetRaw, Self::Bpf, Self::Perfmon];

    /// Its name in capabilities(7).
    pub fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::Bpf => "CAP_BPF",
            Self::Perfmon => "CAP_PERFMON",
            Self::IpcLock => "CAP_IPC_LOCK",
        }
    }

    /// The sets any of which the kernel takes for it: CAP_SYS_ADMIN stands for the two that were split off from it in kernel 5.8.
    fn any_of(self) -> CapabilitySet {
        match self {
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::NetRaw => CapabilitySet::NET_RAW,
            Self::Bpf => CapabilitySet::BPF | CapabilitySet::SYS_ADMIN,
            Self::Perfmon => CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN,
            Self::IpcLock => CapabilitySet::IPC_LOCK,
        }
    }
}

/// The rights that a thread holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    effective: CapabilitySet,
    permitted: CapabilitySet,
    in_user_namespace: bool,
}

impl Capabilities {
    /// Those of the calling thread.
    ///
    /// # Errors
    /// If the kernel refuses capget(2), which it does not.
    pub fn held() -> io::Result<Self> {
        let sets = capabilities(None)?;
        Ok(Self { effective: sets.effective, permitted: sets.permitted, in_user_namespace: in_user_namespace() })
    }

    /// A set of exactly these, for tests and what-if questions.
    pub fn of(held: &[Capability]) -> Self {
        let effective = held.iter().fold(CapabilitySet::empty(), |set, capability| {
            set | match capability {
                Capability::Bpf => CapabilitySet::BPF,
                Capability::Perfmon => CapabilitySet::PERFMON,
                other => other.any_of(),
            }
        });
        Self { effective, permitted: effective, in_user_namespace: false }
    }

    /// Whether what this right allows is allowed. BPF and PERFMON count only in the first user namespace (the kernel asks there), so in
    /// a container with a user namespace of its own they are never held.
    pub fn has(&self, capability: Capability) -> bool {
        let initial_only = matches!(capability, Capability::Bpf | Capability::Perfmon);
        self.effective.intersects(capability.any_of()) && !(initial_only && self.in_user_namespace)
    }

    /// Those of [`Capability::NEEDED`] that are missing.
    pub fn missing(&self) -> Vec<Capability> {
        Capability::NEEDED.into_iter().filter(|capability| !self.has(*capability)).collect()
    }

    /// Nothing is held, and nothing can be taken up again.
    pub fn is_empty(&self) -> bool {
        self.effective.is_empty() && self.permitted.is_empty()
    }

    /// This process is in a user namespace of its own, as in a rootless container.
    pub fn in_user_namespace(&self) -> bool {
        self.in_user_namespace
    }
}

/// The first user namespace maps all 2^32 - 1 users to themselves.
fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.split_whitespace().ne(["0", "0", "4294967295"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let held = Capabilities::of(&[Capability::NetRaw, Capability::Bpf]);
        assert_eq!(held.missing(), [Capability::NetAdmin, Capability::Perfmon]);
        assert!(!held.is_empty());
        assert!(Capabilities::of(&[]).is_empty());
        assert_eq!(Capabilities::of(&Capability::NEEDED).missing(), []);
    }

    #[test]
    fn sys_admin_stands_for_bpf_but_not_in_a_user_namespace() {
        let mut held = Capabilities { effective: CapabilitySet::SYS_ADMIN, ..Capabilities::of(&[]) };
        assert!(held.has(Capability::Bpf) && held.has(Capability::Perfmon) && !held.has(Capability::NetAdmin));
        held.in_user_namespace = true;
        assert!(!held.has(Capability::Bpf));
    }
}
