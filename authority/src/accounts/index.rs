//! By what slots are found: for each slot a fingerprint of its name and its token, in memory beside the mapping, region by region.
//!
//! What always holds: only the owner of a region publishes in it, and every worker may look; who sees a fingerprint sees the token that was stored
//! before it; a fingerprint once published stays, so probing may stop at the first empty place.

use super::{Pages, pages};
use crate::pace::Pace;
use meshpay_net::prefetch;
use meshpay_protocol::SlotIndex;
use meshpay_sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// See the module's documentation.
pub(super) struct Index {
    region_slots: usize,
    /// 0 for an empty slot.
    fingerprints: Box<[AtomicU64]>,
    /// Token of each taken slot.
    tokens: Box<[AtomicU32]>,
    /// Slots taken or set aside, per region.
    used: Box<[AtomicU32]>,
}

/// Entries made between two rests.
const FILLED_AT_ONCE: usize = 8 << 10;

/// So many of the same.
fn filled<T>(count: usize, pages: Pages, pace: &Pace, make: impl Fn() -> T) -> Box<[T]> {
    let mut all = Vec::with_capacity(count);
    pages::ask_for(pages, all.spare_capacity_mut());
    while all.len() < count {
        let some = FILLED_AT_ONCE.min(count - all.len());
        all.extend((0..some).map(|_| make()));
        pace.rest_if_due();
    }
    all.into_boxed_slice()
}

/// Where a fingerprint stands, or would.
pub(super) enum Probe {
    Found(SlotIndex),
    Empty(SlotIndex),
}

impl Index {
    /// An empty index, made by a pace.
    pub fn new(regions: usize, region_slots: usize, pages: Pages, pace: &Pace) -> Self {
        let slots = regions * region_slots;
        Self {
            region_slots,
            fingerprints: filled(slots, pages, pace, || AtomicU64::new(0)),
            tokens: filled(slots, pages, pace, || AtomicU32::new(0)),
            used: (0..regions).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Where in its region the search for a fingerprint begins.
    fn start(&self, fingerprint: u64) -> usize {
        ((u128::from(fingerprint) * self.region_slots as u128) >> 64) as usize
    }

    /// Fetches into the cache what [`Index::probe`] will look at first.
    pub fn expect(&self, region: usize, fingerprint: u64) {
        let at = region * self.region_slots + self.start(fingerprint);
        prefetch(&self.fingerprints[at]);
        prefetch(&self.tokens[at]);
    }

    /// Finds the slot with this fingerprint, or the empty slot where it would go. Returns nothing in a region without either.
    pub fn probe(&self, region: usize, fingerprint: u64) -> Option<Probe> {
        let slots = self.region_slots;
        let places = &self.fingerprints[region * slots..(region + 1) * slots];
        let start = self.start(fingerprint);
        for step in 0..slots {
            let at = if start + step < slots { start + step } else { start + step - slots };
            match places[at].load(Ordering::Acquire) {
                0 => return Some(Probe::Empty(region * slots + at)),
                found if found == fingerprint => return Some(Probe::Found(region * slots + at)),
                _ => {}
            }
        }
        None
    }

    /// Token of a slot that [`Index::probe`] has found.
    pub fn token(&self, at: SlotIndex) -> u32 {
        // Stored before the fingerprint that `probe` has loaded.
        self.tokens[at].load(Ordering::Relaxed)
    }

    /// Shows a slot, whose contents stand in it already, to all workers. Only the region's owner does this.
    pub fn publish(&self, at: SlotIndex, token: u32, fingerprint: u64) {
        self.tokens[at].store(token, Ordering::Relaxed);
        self.used[at / self.region_slots].fetch_add(1, Ordering::Relaxed);
        self.fingerprints[at].store(fingerprint, Ordering::Release);
    }

    /// Slots taken or set aside in a region.
    pub fn used(&self, region: usize) -> usize {
        self.used[region].load(Ordering::Relaxed) as usize
    }

    /// Slots taken or set aside in all of them.
    pub fn used_slots(&self) -> u64 {
        self.used.iter().map(|used| u64::from(used.load(Ordering::Relaxed))).sum()
    }

    /// Sets a slot of a region aside while fewer than `limit` are used; any worker may. Returns whether it did.
    pub fn reserve(&self, region: usize, limit: usize) -> bool {
        if self.used[region].fetch_add(1, Ordering::Relaxed) as usize >= limit {
            self.release(region);
            return false;
        }
        true
    }

    /// Gives back what was set aside.
    pub fn release(&self, region: usize) {
        self.used[region].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, feature = "loom"))]
mod under_loom {
    use super::{Index, Pace, Pages, Probe};
    use meshpay_sync::{Fault, explore, must_find, thread};
    use std::sync::Arc;

    /// Names whose probing begins at one place, so that the second comes to stand behind the first.
    const NAMES: [(u64, u32); 2] = [(5, 7), (6, 8)];

    /// The owner makes two accounts while another worker asks for both.
    fn publishing() {
        let index = Arc::new(Index::new(1, 4, Pages::Large, &Pace::hurried()));
        let owner = thread::spawn({
            let index = Arc::clone(&index);
            move || {
                for (fingerprint, token) in NAMES {
                    let Some(Probe::Empty(at)) = index.probe(0, fingerprint) else { panic!("there is room") };
                    index.publish(at, token, fingerprint);
                }
            }
        });
        let other = thread::spawn({
            let index = Arc::clone(&index);
            move || {
                let mut second_seen = false;
                for (fingerprint, token) in NAMES.into_iter().rev() {
                    match index.probe(0, fingerprint) {
                        Some(Probe::Found(at)) => {
                            assert_eq!(index.token(at), token, "found before its token");
                            second_seen |= token == NAMES[1].1;
                        }
                        Some(Probe::Empty(_)) => assert!(!second_seen, "the first was there before the second"),
                        None => panic!("the region is not full"),
                    }
                }
            }
        });
        other.join().expect("no panic");
        owner.join().expect("no panic");
        assert_eq!(index.used(0), 2);
    }

    #[test]
    fn who_sees_an_account_sees_its_token() {
        println!("{} schedules, all there are", explore(None, publishing));
        must_find(Fault::RelaxedOrderings, None, publishing);
    }

    /// Three workers want the last two slots.
    fn reserving() {
        let index = Arc::new(Index::new(1, 4, Pages::Large, &Pace::hurried()));
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let index = Arc::clone(&index);
                thread::spawn(move || index.reserve(0, 2))
            })
            .collect();
        let mut reserved = u32::from(index.reserve(0, 2));
        for worker in workers {
            reserved += u32::from(worker.join().expect("no panic"));
        }
        assert!((1..=2).contains(&reserved), "{reserved} of 2 were set aside");
        assert_eq!(index.used(0), reserved as usize);
    }

    #[test]
    fn no_more_is_set_aside_than_there_is() {
        println!("{} schedules, all there are", explore(None, reserving));
    }
}
