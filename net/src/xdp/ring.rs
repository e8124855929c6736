//! [`Ring`]: messages from a program, in the order in which they were written (`BPF_MAP_TYPE_RINGBUF`, kernel 5.8).
//!
//! What always holds: a message is gone once it was looked at; when the ring is full the program finds no room, and counts that itself.
//! There must be one reader at a time: two handles of one map would both move its position.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::{MapData, RingBuf};

use super::XdpError;
use super::map::{Map, MapType};

/// The reader's end of a ring. Ready for reading (poll(2)) when there is a message. Needs no right beside the descriptor.
pub struct Ring {
    ring: RingBuf<MapData>,
}

impl Ring {
    /// The ring of this descriptor. A new reader goes on where the one before stopped.
    ///
    /// # Errors
    /// If it is a map of another type, or cannot be mapped into memory.
    pub fn from_descriptor(name: &str, descriptor: OwnedFd) -> Result<Self, XdpError> {
        let map = Map::open(name, descriptor, MapType::RingBuffer)?;
        let failed = |error: aya::maps::MapError| XdpError::Failed {
            what: format!("read the ring `{name}`"),
            source: std::io::Error::other(error),
        };
        let data = MapData::from_fd(map.into_descriptor()).map_err(failed)?;
        let ring = aya::maps::Map::from_map_data(data).and_then(RingBuf::try_from).map_err(failed)?;
        Ok(Self { ring })
    }

    /// Shows the oldest message to `read` and takes it out; nothing if there is none. No system call, never waits.
    pub fn next<R>(&mut self, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.ring.next().map(|message| read(&message))
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}
