//! The open-loop load generator: one thread, a few packet ports, bursts in and out.
//!
//! Each pass of the loop ([`run`]): what is due joins the queue of requests to send; what has arrived is checked and may add
//! certificates to that queue; timers that ran out add repetitions; the queue is sent, at most [`SEND_BURST`] at a time; then,
//! with nothing to do, the thread sleeps or offers its core to the kernel thread that receives for its interface ([`Idle`]).
//!
//! Every answer is checked against bytes computed beforehand: kind, header and vote of an order; digest, sequence and status of an
//! execution. Nothing is allocated per packet but the growth of queues, which hold at most what is under way.
//!
//! | file | what |
//! |---|---|
//! | `schedule` | when payments are meant to be sent |
//! | `payments`, `state` | the state machine of a batch |
//! | `answer` | what an answer must be |
//! | `request_id`, `retries` | naming requests, and repeating lost ones |
//! | `clients` | many sources on few ports |
//! | `port` | rings past the network stack, or sockets |
//! | `driver` | the loop |
//! | `outcome` | the figures |

mod answer;
mod clients;
mod driver;
mod outcome;
mod payments;
mod port;
mod request_id;
mod retries;
mod schedule;
mod state;

pub use clients::{ADDRESSES, Clients, PORTS, RELAYS};
pub use driver::{SEND_BURST, run};
pub use outcome::{HISTOGRAM_MAX_US, Outcome, histogram};
pub use port::{GeneratorPort, Ports, Rings, SendingRoom, open, open_sockets};
pub use request_id::{RequestId, Step};
pub use retries::{FIRST_TIMEOUT_MS, TIMEOUT_MAX_MS};
pub use schedule::Schedule;
pub use state::{Phase, Progress};

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use meshpay_protocol::Rules;

use crate::workload::Batch;

/// An authority to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its place in the committee.
    pub place: u8,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What settles a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// The one target's answers; certificates have the signers chosen in the batch.
    OneOfMany,
    /// A quorum of the committee's weight, all of whose members are targets.
    Committee,
}

/// How strictly answers are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerCheck {
    /// Byte for byte.
    Exact,
    /// Kind, size and header: for the null server, which knows no keys. All comparisons are made and their outcome is disregarded.
    SizeOnly,
}

/// How payments are let go.
#[derive(Clone, Debug)]
pub enum Pacing {
    /// At intended times, whatever happens: all figures are taken this way. Payments beyond the last time are not sent.
    Open(Schedule),
    /// So many under way at a time, until the batch is used up: only a first estimate of what an authority can do. All of it is
    /// measured, and there are no edges to call back at.
    Closed {
        /// Payments under way.
        in_flight: usize,
    },
}

/// What the generator does with nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Sleeps until something is due or a packet arrives: for a core that others use too.
    Sleep,
    /// Offers its core to whoever else wants it, and looks again: for a core of its own, shared only with the kernel thread that
    /// receives for it. No wake-up delays an answer, and the sender of a packet need not wake an idle core, which costs several
    /// microseconds of *its* time, most of all in a virtual machine. Sleeps while others take too much of the core.
    Yield,
}

/// Most requests that a relay puts into one datagram: more never fit.
pub const BUNDLE_REQUESTS_MAX: usize = 6;

/// An edge of the measured part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowEdge {
    /// It begins.
    Begin,
    /// It ends.
    End,
}

/// All that a run needs but the ports and the clients.
pub struct Plan<'a> {
    /// The network's rules.
    pub rules: &'a Rules,
    /// Who is asked, at least one.
    pub targets: &'a [Target],
    /// What settles a payment.
    pub quorum: Quorum,
    /// How strictly answers are looked at.
    pub check: AnswerCheck,
    /// The payments.
    pub batch: &'a Batch,
    /// A number that no other batch sent to the same authorities has had.
    pub batch_number: u16,
    /// How payments are let go.
    pub pacing: Pacing,
    /// Most requests of one client that share a datagram, 1 to [`BUNDLE_REQUESTS_MAX`]. Above 1 the clients are relays, which gather for a moment.
    pub bundle: usize,
    /// What to do with nothing to do.
    pub idle: Idle,
    /// How long to wait for the last answers after the last payment was due.
    pub drain: Duration,
    /// Set when the user wants to stop.
    pub stop: &'a AtomicBool,
    /// Told how many payments are settled, ten times a second.
    pub on_settled: &'a (dyn Fn(u64) + Sync),
}

/// The run was interrupted by the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}
