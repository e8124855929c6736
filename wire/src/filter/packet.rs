//! Bytes that may end anywhere: every load says whether it is there. The kernel implements this over `data..data_end`.

/// A frame or datagram, read by checked loads.
pub trait Packet {
    /// Length in bytes.
    fn length(&self) -> usize;
    /// The byte at an offset.
    fn u8(&self, at: usize) -> Option<u8>;
    /// Two bytes at an offset, in network order.
    fn be16(&self, at: usize) -> Option<u16>;
    /// Four bytes at an offset, little-endian.
    fn u32(&self, at: usize) -> Option<u32>;
    /// Eight bytes at an offset, little-endian.
    fn u64(&self, at: usize) -> Option<u64>;
    /// Four times eight bytes at an offset, little-endian, for one check.
    fn four_u64(&self, at: usize) -> Option<[u64; 4]>;
}

/// A frame or datagram in memory.
#[derive(Clone, Copy, Debug)]
pub struct SlicePacket<'a>(pub &'a [u8]);

impl SlicePacket<'_> {
    #[inline(always)]
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk::<N>().copied()
    }
}

impl Packet for SlicePacket<'_> {
    #[inline(always)]
    fn length(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn u8(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    #[inline(always)]
    fn be16(&self, at: usize) -> Option<u16> {
        self.bytes(at).map(u16::from_be_bytes)
    }

    #[inline(always)]
    fn u32(&self, at: usize) -> Option<u32> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    #[inline(always)]
    fn u64(&self, at: usize) -> Option<u64> {
        self.bytes(at).map(u64::from_le_bytes)
    }

    #[inline(always)]
    fn four_u64(&self, at: usize) -> Option<[u64; 4]> {
        let bytes: [u8; 32] = self.bytes(at)?;
        let mut words = [0; 4];
        for (word, eight) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(eight.try_into().unwrap_or_default());
        }
        Some(words)
    }
}
