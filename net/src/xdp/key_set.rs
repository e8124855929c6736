//! [`KeySet`]: a hash table of keys with small values (`BPF_MAP_TYPE_HASH`), of which a program asks whether a key is in it.
//!
//! What always holds: a key that was inserted before the program ran is seen by it; a change is one element at a time, so a set that is
//! replaced is never empty in between if the new keys go in before the old ones go out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::XdpError;
use super::map::{Map, MapType};

/// Keys of `N` bytes with values of 1 or 4 bytes. Needs no right beside the descriptor (kernel 5.19 and newer).
#[derive(Debug)]
pub struct KeySet<const N: usize> {
    map: Map,
}

impl<const N: usize> KeySet<N> {
    /// The map of this descriptor.
    ///
    /// # Errors
    /// If it is of another type, or its keys or values are of other lengths.
    pub fn from_descriptor(name: &str, descriptor: OwnedFd) -> Result<Self, XdpError> {
        let map = Map::open(name, descriptor, MapType::Hash)?;
        let info = map.info();
        if info.key_bytes as usize != N {
            return Err(map.wrong(format!("has keys of {} bytes, not {N}", info.key_bytes)));
        }
        if !matches!(info.value_bytes, 1 | 4) {
            return Err(map.wrong(format!("has values of {} bytes, not 1 or 4", info.value_bytes)));
        }
        Ok(Self { map })
    }

    /// How many keys it can hold.
    pub fn capacity(&self) -> u32 {
        self.map.info().entries_max
    }

    /// Inserts a key with the value 1, or sets its value to that.
    ///
    /// # Errors
    /// If the table is full (E2BIG).
    pub fn insert(&self, key: &[u8; N]) -> Result<(), XdpError> {
        self.insert_with(key, 1)
    }

    /// Inserts a key with a value, or sets its value.
    ///
    /// # Errors
    /// If the table is full (E2BIG), or the value needs more bytes than the table's values have.
    pub fn insert_with(&self, key: &[u8; N], value: u32) -> Result<(), XdpError> {
        let bytes = value.to_ne_bytes();
        let outcome = if self.map.info().value_bytes == 1 {
            let small = u8::try_from(value).map_err(|_| self.map.wrong(format!("cannot hold the value {value}")))?;
            self.map.update(key, &[small])
        } else {
            self.map.update(key, &bytes)
        };
        outcome.map_err(self.map.failed("insert a key into"))
    }

    /// Removes a key; whether it was there.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove(&self, key: &[u8; N]) -> Result<bool, XdpError> {
        self.map.delete(key).map_err(self.map.failed("remove a key from"))
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn contains(&self, key: &[u8; N]) -> Result<bool, XdpError> {
        self.get(key).map(|value| value.is_some())
    }

    /// The value of a key.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn get(&self, key: &[u8; N]) -> Result<Option<u32>, XdpError> {
        let mut bytes = [0; 4];
        let value_bytes = self.map.info().value_bytes as usize;
        let there = self.map.lookup(key, &mut bytes[..value_bytes]).map_err(self.map.failed("read a key of"))?;
        Ok(there.then(|| if value_bytes == 1 { u32::from(bytes[0]) } else { u32::from_ne_bytes(bytes) }))
    }

    /// All keys, in no particular order. Keys that come or go meanwhile may be missing, or be there twice; at most as many as the table
    /// can hold.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn keys(&self) -> Result<Vec<[u8; N]>, XdpError> {
        let mut keys: Vec<[u8; N]> = Vec::new();
        // The kernel begins again when the last key has gone meanwhile: hence the bound.
        while keys.len() < self.capacity() as usize {
            let mut next = [0; N];
            let last = keys.last().map(<[u8; N]>::as_slice);
            if !self.map.next_key(last, &mut next).map_err(self.map.failed("list the keys of"))? {
                break;
            }
            keys.push(next);
        }
        Ok(keys)
    }

    /// How many keys there are: walks the table, so not for the data path.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn len(&self) -> Result<usize, XdpError> {
        self.keys().map(|keys| keys.len())
    }

    /// Whether there is no key.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn is_empty(&self) -> Result<bool, XdpError> {
        let there = self.map.next_key(None, &mut [0; N]).map_err(self.map.failed("list the keys of"))?;
        Ok(!there)
    }

    /// Removes all keys.
    ///
    /// # Errors
    /// If the kernel refuses; some keys are gone then.
    pub fn clear(&self) -> Result<(), XdpError> {
        for key in self.keys()? {
            self.remove(&key)?;
        }
        Ok(())
    }
}

impl<const N: usize> AsFd for KeySet<N> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}
