//! Packets as people look at them: a line of text for each message, and pcapng files.
//!
//! What always holds: bytes come from anybody and are never trusted with a length; a dump never slows a worker down (what does not fit is
//! lost and counted); memos and signatures are not shown, a file holds packets as they passed.
//!
//! | file | what |
//! |---|---|
//! | `packet.rs` | from a frame to a datagram, and from a datagram to a packet that other tools read |
//! | `text.rs` | a datagram in words |
//! | `pcapng.rs` | the file format |
//! | `stream.rs` | those copies as an answer over HTTP |
//! | `port.rs` | a worker's port that leaves copies |
//! | `ring.rs` | where workers leave copies for whoever is watching |

mod packet;
mod pcapng;
mod port;
mod ring;
mod stream;
mod text;

pub use packet::{Datagram, packet_of};
pub use pcapng::{LinkType, PcapngReader, PcapngWriter, Record};
pub use port::WatchedPort;
pub use ring::{Copied, DumpRing, Watching};
pub use stream::{PATH, router};
pub use text::{describe, lines};
