//! How large the table's regions are, and where a shard's reserve begins.

use meshpay_protocol::account::SLOT_LENGTH;
use meshpay_wire::SHARDS;

/// Least slots of a region, so that the reserve is never empty.
const REGION_SLOTS_MIN: usize = 128;

/// Sizes of a table for a given capacity.
///
/// Keys are spread over the shards by their first byte, so a shard's share varies; a region has half as much again as its even
/// share, and 64 slots more, which for 1,000 accounts and above is more than eight standard deviations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Slots of each region.
    pub region_slots: usize,
}

impl Layout {
    /// The layout for so many accounts (with one token each; every further token of an account counts like an account).
    pub fn for_capacity(capacity: u64) -> Self {
        let even = usize::try_from(capacity).unwrap_or(usize::MAX / 4).div_ceil(SHARDS);
        Self { region_slots: (even + even / 2 + 64).max(REGION_SLOTS_MIN) }
    }

    /// Slots of the whole table.
    pub fn slots(&self) -> usize {
        self.region_slots * SHARDS
    }

    /// Bytes of the whole table.
    pub fn bytes(&self) -> usize {
        self.slots() * SLOT_LENGTH
    }

    /// A vote promises a new slot only below this many used ones: the sixteenth above is kept for certificates (DESIGN 5.15).
    pub fn vote_limit(&self) -> usize {
        self.region_slots - self.region_slots / 8
    }

    /// A certificate takes a slot for a new account only below this many: the rest keeps probing short and absorbs what workers race for.
    pub fn certificate_limit(&self) -> usize {
        self.region_slots - self.region_slots / 16
    }

    /// A certificate takes a slot for a further token of an account that exists below this many: a region full of others' accounts shall not
    /// keep anybody from being paid. Two more stay free, so that two workers that race for the last one leave it and probing ends.
    pub fn existing_limit(&self) -> usize {
        self.region_slots - 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_keeps_a_reserve_and_free_slots() {
        for capacity in [0, 1, 1_000, 100_000, 10_000_000] {
            let layout = Layout::for_capacity(capacity);
            assert!(layout.slots() as u64 >= capacity);
            assert!(layout.vote_limit() < layout.certificate_limit());
            assert!(layout.certificate_limit() < layout.existing_limit());
            assert!(layout.existing_limit() < layout.region_slots - 1);
        }
    }
}
