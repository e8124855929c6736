//! What a wallet does, without socket, clock and disk: state machines into which answers and time go, and from which datagrams,
//! timers and events come. A thread with a UDP socket drives them in production, a simulator drives the very same code.
//!
//! | machine | does |
//! |---|---|
//! | [`Survey`] | asks all authorities for an account, and says what can be relied on |
//! | [`Payment`] | carries an order to a certificate, and the certificate to all authorities |
//! | [`Settlement`] | carries certificates that exist to all authorities |
//! | [`HistoryWalk`] | collects an account's debits and credits, each proven by its certificate |
//!
//! All stand on [`Exchange`] (requests and answers) and, where certificates must reach authorities that lag, on [`Courier`].

mod courier;
mod exchange;
mod fetcher;
mod history;
mod payment;
mod settlement;
mod survey;

use std::time::Duration;

pub use courier::{
    CATCH_UP_MAX, CHAIN_REGRESSIONS_MAX, CHAIN_WINDOW, CREDIT_CHAINS_MAX, CREDITS_MAX, Courier, CourierEvent,
    WALK_STEPS_MAX,
};
pub use exchange::{
    Answer, Answered, Exchange, ExchangeCounters, REQUEST_IDS_KEPT, REQUESTS_MAX, RETRY_LATER_MAX, RequestKey,
    RetryPolicy, Transmission,
};
pub use fetcher::{ASK_AGAIN_AFTER, FETCH_WAVE_INTERVAL, FETCHES_MAX};
pub use history::{HISTORY_MAX, History, HistoryWalk};
pub use payment::{
    AuthorityProgress, CANDIDATES_MAX, Outcome, Payment, PaymentEvent, PaymentReport, PersistedOrder, RefusalHint,
};
pub use settlement::{Settlement, SettlementReport};
pub use survey::{AccountView, Survey, SurveyReport};

/// When a machine repeats and when it ends. Times are counted from any fixed moment, the same for all calls.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// When requests are repeated.
    pub retry: RetryPolicy,
    /// When the machine ends, whatever it has reached.
    pub deadline: Duration,
    /// Once a quorum has answered, the slower authorities get [`LINGER_FACTOR`] times as long as that took, but not less than this,
    pub linger_least: Duration,
    /// and not more than this.
    pub linger_most: Duration,
}

/// See [`Pace::linger_least`].
pub const LINGER_FACTOR: u32 = 4;

impl Pace {
    /// The usual pace until a deadline.
    pub fn until(deadline: Duration) -> Self {
        let (linger_least, linger_most) = (Duration::from_millis(50), Duration::from_millis(300));
        Self { retry: RetryPolicy::default(), deadline, linger_least, linger_most }
    }

    /// When waiting for the slower ones ends, where a quorum took from `started` to `quorum_at`.
    pub fn linger_until(&self, started: Duration, quorum_at: Duration) -> Duration {
        let patience = quorum_at.saturating_sub(started) * LINGER_FACTOR;
        quorum_at + patience.clamp(self.linger_least, self.linger_most.max(self.linger_least))
    }
}

/// What a driver needs to know of a machine.
pub trait Machine {
    /// A datagram came from an authority's address.
    fn receive(&mut self, authority: usize, datagram: &[u8], now: Duration);
    /// Time has passed.
    fn advance(&mut self, now: Duration);
    /// When [`Machine::advance`] has something to do at the latest; nothing once the machine is done.
    fn next_timer(&self) -> Option<Duration>;
    /// The next datagram to send; called until there is none.
    fn transmit(&mut self) -> Option<Transmission>;
    /// Whether it has ended.
    fn is_done(&self) -> bool;
}
