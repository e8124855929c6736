//! What a run is held against: the least that the project would show, and what it wants. Reported, never a reason for a run to fail.

/// A figure's two marks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Marks {
    /// The least that is shown to anybody.
    pub floor: f64,
    /// What is wanted.
    pub goal: f64,
}

/// Payments settled a second by one authority on one core, one request per datagram.
pub const SETTLED_PER_SECOND: Marks = Marks { floor: 45_000.0, goal: 80_000.0 };

/// The same with bundles, as merchants' relays send them.
pub const SETTLED_PER_SECOND_BUNDLED: Marks = Marks { floor: 60_000.0, goal: 100_000.0 };

/// Microseconds of a core per signature in groups of 64: verify.
pub const VERIFY_US: Marks = Marks { floor: 3.9, goal: 3.5 };

/// Verify by a known key.
pub const KNOWN_KEY_US: Marks = Marks { floor: 1.6, goal: 1.4 };

/// Sign.
pub const SIGN_US: Marks = Marks { floor: 1.1, goal: 0.9 };

impl Marks {
    /// The marks of a core's time per payment that belong to these payments a second.
    pub fn per_payment_us(self) -> Self {
        Self { floor: 1e6 / self.floor, goal: 1e6 / self.goal }
    }

    /// Whether less is better.
    pub fn is_cost(&self) -> bool {
        self.goal < self.floor
    }

    /// Whether `value` reaches one of the marks.
    pub fn reaches(&self, value: f64, mark: f64) -> bool {
        if self.is_cost() { value <= mark } else { value >= mark }
    }
}

/// The marks of a run in payments a second; a committee has none.
pub fn of_run(scenario: &str, bundle: usize) -> Option<Marks> {
    match (scenario, bundle) {
        ("single", 1) => Some(SETTLED_PER_SECOND),
        ("single", _) => Some(SETTLED_PER_SECOND_BUNDLED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_should_be_high_and_a_cost_low() {
        let cost = SETTLED_PER_SECOND.per_payment_us();
        assert!(cost.is_cost() && !SETTLED_PER_SECOND.is_cost() && VERIFY_US.is_cost());
        assert_eq!(cost.goal, 12.5);
        assert!(cost.reaches(20.0, cost.floor) && !cost.reaches(20.0, cost.goal));
        assert!(SETTLED_PER_SECOND.reaches(46_000.0, 45_000.0) && !SETTLED_PER_SECOND.reaches(46_000.0, 80_000.0));
    }
}
