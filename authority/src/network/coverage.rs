//! Which interfaces the kernel's program judges the packets of; those of all others are judged in userspace.
//!
//! What always holds: where it is not sure that a packet was judged, it is judged, except that a daemon bound to one address, which does not
//! learn by which interface a packet came, trusts the program while one is attached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Interfaces that are remembered: the filter's own and its permitted VLANs. Packets of further ones are judged twice, which may make a
/// retry necessary.
const INTERFACES_MAX: usize = 16;

/// Shared by the workers and whoever looks after the interface.
#[derive(Clone, Default)]
pub struct Coverage(Arc<State>);

#[derive(Default)]
struct State {
    /// Indexes of interfaces, 0 for none.
    interfaces: [AtomicU32; INTERFACES_MAX],
    switched_off: AtomicBool,
}

impl Coverage {
    /// From now on the program judges packets of these interfaces.
    pub fn set(&self, interfaces: impl IntoIterator<Item = u32>) {
        let mut indexes = interfaces.into_iter();
        for place in &self.0.interfaces {
            place.store(indexes.next().unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// The operator wants no filter, or wants it again.
    pub fn switch_off(&self, off: bool) {
        self.0.switched_off.store(off, Ordering::Relaxed);
    }

    /// Whether a datagram that a socket took of this interface still has to be judged; 0 where the interface is not known.
    pub fn leaves(&self, interface: u32) -> bool {
        if self.0.switched_off.load(Ordering::Relaxed) {
            return false;
        }
        let mut covered = self.0.interfaces.iter().map(|place| place.load(Ordering::Relaxed)).take_while(|at| *at != 0);
        match interface {
            0 => covered.next().is_none(),
            interface => covered.all(|at| at != interface),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_program_has_judged_is_left_alone() {
        let coverage = Coverage::default();
        assert!(coverage.leaves(0) && coverage.leaves(1) && coverage.leaves(7));
        coverage.set([7, 9]);
        assert!(coverage.leaves(1) && !coverage.leaves(7) && !coverage.leaves(9));
        assert!(!coverage.leaves(0), "bound to one address, and the program stands");
        coverage.switch_off(true);
        assert!(!coverage.leaves(1));
        coverage.switch_off(false);
        coverage.set([]);
        assert!(coverage.leaves(7) && coverage.leaves(0));
    }
}
