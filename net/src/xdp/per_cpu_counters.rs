//! [`PerCpuCounters`]: counters that a program adds to without contention, one for every processor (`BPF_MAP_TYPE_PERCPU_ARRAY`).
//!
//! What always holds: counters are read, never written here, so they only grow; a sum is of values that were read at about the same time.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::{MapData, MapError, PerCpuArray};

use super::XdpError;
use super::map::{Map, MapType};

/// Counters of 8 bytes. Reading needs no right beside the descriptor (kernel 5.19 and newer).
pub struct PerCpuCounters {
    map: Map,
    array: PerCpuArray<MapData, u64>,
}

impl PerCpuCounters {
    /// The map of this descriptor.
    ///
    /// # Errors
    /// If it is of another type or its values are not of 8 bytes.
    pub fn from_descriptor(name: &str, descriptor: OwnedFd) -> Result<Self, XdpError> {
        let map = Map::open(name, descriptor, MapType::PerCpuArray)?;
        if map.info().value_bytes != 8 {
            return Err(map.wrong(format!("has values of {} bytes, not 8", map.info().value_bytes)));
        }
        let copy = map.as_fd().try_clone_to_owned().map_err(map.failed("copy the descriptor of"))?;
        let array = MapData::from_fd(copy)
            .and_then(aya::maps::Map::from_map_data)
            .and_then(PerCpuArray::try_from)
            .map_err(|error| map.wrong(error.to_string()))?;
        Ok(Self { map, array })
    }

    /// How many counters there are.
    pub fn count(&self) -> u32 {
        self.map.info().entries_max
    }

    /// One counter, over all processors.
    ///
    /// # Errors
    /// If there is no such counter, or the kernel refuses.
    pub fn read(&self, index: u32) -> Result<u64, XdpError> {
        let values = self.array.get(&index, 0).map_err(|error| match error {
            MapError::SyscallError(error) => self.map.failed("read a counter of")(error.io_error),
            other => self.map.failed("read a counter of")(io::Error::other(other)),
        })?;
        Ok(values.iter().fold(0, |sum: u64, value| sum.wrapping_add(*value)))
    }

    /// All counters, each over all processors.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn read_all(&self) -> Result<Vec<u64>, XdpError> {
        (0..self.count()).map(|index| self.read(index)).collect()
    }
}

impl AsFd for PerCpuCounters {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl fmt::Debug for PerCpuCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerCpuCounters").field("map", &self.map).finish_non_exhaustive()
    }
}
