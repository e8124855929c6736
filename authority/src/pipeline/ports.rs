//! What a worker is handed besides packets and signatures. Production and simulator implement these.

use std::net::IpAddr;

use meshpay_net::Peer;
use meshpay_protocol::Account;
use meshpay_wire::filter::Outcome;

/// Wall time and monotonic time.
pub trait Clock {
    /// Milliseconds since 1970 UTC. May jump; bounds first locks, penalties and return tokens, and never decides who owns money.
    fn now_ms(&self) -> u64;
    /// Nanoseconds since some start; never goes back. For histograms.
    fn monotonic_ns(&self) -> u64;
}

/// What the journal still takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Nothing.
    None,
    /// Only certificates: the reserve has begun (DESIGN 5.15).
    CertificatesOnly,
    /// Everything.
    Votes,
}

/// The journal took nothing; the request gets a typed 'retry later'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendRefused {
    /// Full for now.
    Busy,
    /// Stopped for good; the process will end.
    Stopped,
}

/// A record could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadRefused {
    /// The operator has archived it.
    Archived,
    /// No whole record stands there.
    NotFound,
}

/// Storage in submit-and-poll form: an append gives a position, answers wait until the journal is durable beyond it.
pub trait Journal {
    /// Appends a record of this kind whose payload is `parts` joined, and returns its position.
    ///
    /// # Errors
    /// Nothing was appended.
    fn append(&mut self, kind: u8, parts: &[&[u8]]) -> Result<u64, AppendRefused>;
    /// End of everything appended so far, by any worker.
    fn appended(&self) -> u64;
    /// Asks that what was appended be made durable; does not wait.
    fn submit(&mut self);
    /// Everything below this position is durable.
    fn durable(&self) -> u64;
    /// What may still be appended.
    fn room(&self) -> Room;
    /// Reads a durable record's payload into `buffer`; returns kind and length.
    ///
    /// # Errors
    /// There is no such record to be had.
    fn read(&mut self, position: u64, buffer: &mut [u8]) -> Result<(u8, usize), ReadRefused>;
}

/// The filter in front of the worker. It is told only what was verified or is the account's own state, never what a packet
/// claims (DESIGN 5.11), so that nobody can turn it against somebody else.
pub trait Filter {
    /// The state of an account: what its next sequence is, whether an order is locked there, and until when it is penalised.
    fn account(&mut self, account: &Account);
    /// How a message's signatures turned out, from a source that has shown that it receives at its address.
    fn source(&mut self, source: IpAddr, valid: bool);
    /// Judges a datagram that reached the worker unjudged: why it goes no further, or nothing.
    fn judge(&mut self, datagram: &[u8], peer: &Peer) -> Option<Outcome>;
}

/// For a worker without a filter in front.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFilter;

impl Filter for NoFilter {
    fn account(&mut self, _account: &Account) {}
    fn source(&mut self, _source: IpAddr, _valid: bool) {}
    fn judge(&mut self, _datagram: &[u8], _peer: &Peer) -> Option<Outcome> {
        None
    }
}
