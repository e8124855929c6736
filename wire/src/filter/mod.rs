//! The filter: what becomes of a frame before the network stack sees it, as one pure function.
//!
//! The same code is compiled into the kernel's XDP program (`xdp-ebpf/`) and into userspace, and a test demands the same
//! verdict of both over millions of packets. Frame, tables, time and random key are arguments; nothing else is looked at.
//!
//! What always holds here:
//! - rules are asked in one order, and each outcome has a counter ([`Outcome`]);
//! - the kernel reads facts that userspace has verified, and what a table does not know passes (DESIGN 5.11);
//! - a certificate is never dropped for a lock or a penalty, alone or in a bundle (DESIGN 5.7);
//! - every loop has a constant bound, no byte is read without a check, and nothing here panics: the verifier insists.
//!
//! Where the rules are: [`frame`] whose frame it is, [`message`] what is in it, [`rates`] who has sent too much,
//! [`accounts`] what is known of the account, [`allowances`] what passes in spite of it, [`echoes`] exact copies.

pub mod accounts;
pub mod allowances;
pub mod config;
pub mod decision;
pub mod echoes;
pub mod evidence;
pub mod frame;
pub mod message;
mod outcome;
mod packet;
pub mod rates;
pub mod shedding;
pub mod sip;
pub mod tables;
#[cfg(not(target_arch = "bpf"))]
mod writer;

pub use config::{Rate, Settings};
pub use decision::{Arrival, Verdict, decide, judge_datagram};
pub use outcome::{Action, Outcome};
pub use packet::{Packet, SlicePacket};
#[cfg(not(target_arch = "bpf"))]
pub use tables::FilterTables;
pub use tables::{TableSizes, Tables, Words, maps};
#[cfg(not(target_arch = "bpf"))]
pub use writer::{FilterWriter, TooManyAddresses};
