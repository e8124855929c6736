//! Where each payment of a batch stands. Moves forward only: waiting, held, voting, executing, settled, complete.

/// Where a payment stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not due yet.
    #[default]
    Waiting,
    /// Due, but the same sender's payment before it is not settled.
    Held,
    /// Its order was sent.
    Voting,
    /// It is final, and its certificate was sent.
    Executing,
    /// A quorum has acknowledged its execution.
    Settled,
    /// Everybody asked has acknowledged it.
    Complete,
}

/// One payment under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Where it stands.
    pub phase: Phase,
    /// Whether it was held, so that its order left late through no fault of the generator.
    pub was_held: bool,
    /// Places that have voted.
    pub voted: u32,
    /// Places that have acknowledged the execution.
    pub acknowledged: u32,
    /// Signers of its certificate, once it has one.
    pub signers: u32,
    /// When it was meant to be sent, in nanoseconds after the start.
    pub intended_ns: u64,
}
