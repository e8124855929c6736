//! When a worker asks the journal for a commit.
//!
//! What always holds: a worker that has nothing else to do asks at once, so no answer waits for others that may never come; one that has asks within
//! [`SPACING_NS`] of turns. On a core that all threads share a commit costs the same, whatever it makes durable, and while there is more to do it would only
//! take the core from that: what is settled meanwhile leaves with the next one.

/// Longest time between two commits that a worker asks for while it has more to do.
pub const SPACING_NS: u64 = 1_000_000;

/// When the last commit was asked for.
#[derive(Debug, Default)]
pub struct CommitPacing {
    asked_ns: u64,
}

impl CommitPacing {
    /// Whether to ask now, at `now_ns` of a clock that never goes back, where something waits to be made durable. `is_idle`: nothing else can be done.
    pub fn is_due(&mut self, now_ns: u64, is_idle: bool) -> bool {
        let is_due = is_idle || now_ns.saturating_sub(self.asked_ns) >= SPACING_NS;
        if is_due {
            self.asked_ns = now_ns;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_worker_asks_at_once_and_a_busy_one_now_and_then() {
        let mut pacing = CommitPacing::default();
        let start = 7 * SPACING_NS;
        assert!(pacing.is_due(start, false), "the first");
        assert!(!pacing.is_due(start + 1, false));
        assert!(pacing.is_due(start + 2, true), "idle");
        assert!(!pacing.is_due(start + 1 + SPACING_NS, false), "counted from the last");
        assert!(pacing.is_due(start + 2 + SPACING_NS, false));
        // However long the turns, each is asked for at the latest by the next.
        let asked = (1..=1_000).filter(|turn| pacing.is_due(start + (2 + turn) * SPACING_NS, false)).count();
        assert_eq!(asked, 1_000);
    }
}
