//! [`SocketMap`]: the AF_XDP sockets that a program can redirect to, by index (`BPF_MAP_TYPE_XSKMAP`).
//!
//! What always holds: the kernel takes a socket out by itself when its last descriptor closes; the map does not keep it open.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::XdpError;
use super::map::{Map, MapType};

/// A map of sockets. Setting and clearing need no right beside the descriptor (kernel 5.19 and newer), so sockets can be reopened after
/// [`drop_privileges`](crate::host::drop_privileges).
#[derive(Debug)]
pub struct SocketMap {
    map: Map,
}

impl SocketMap {
    /// The map of this descriptor.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn from_descriptor(name: &str, descriptor: OwnedFd) -> Result<Self, XdpError> {
        Map::open(name, descriptor, MapType::XskMap).map(|map| Self { map })
    }

    /// How many sockets it can hold.
    pub fn capacity(&self) -> u32 {
        self.map.info().entries_max
    }

    /// The kernel's number of the map, as [`Watched::Map`](crate::host::Watched) takes it.
    pub fn id(&self) -> u32 {
        self.map.info().id
    }

    /// Puts a socket at an index, in the place of another if there is one. The socket may be bound later; until then its packets are
    /// lost.
    ///
    /// # Errors
    /// If the index is not below the capacity, or the descriptor is no AF_XDP socket (EOPNOTSUPP).
    pub fn set(&self, index: u32, socket: BorrowedFd<'_>) -> Result<(), XdpError> {
        self.map
            .update(&index.to_ne_bytes(), &socket.as_raw_fd().to_ne_bytes())
            .map_err(self.map.failed(&format!("put a socket at {index} of")))
    }

    /// Takes out what is at an index, if anything. The program then does what its redirect's flags say.
    ///
    /// # Errors
    /// If the index is not below the capacity.
    pub fn clear(&self, index: u32) -> Result<(), XdpError> {
        self.map
            .delete(&index.to_ne_bytes())
            .map(drop)
            .map_err(self.map.failed(&format!("take out the socket at {index} of")))
    }
}

impl AsFd for SocketMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}
