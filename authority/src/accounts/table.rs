//! The live table: slots in the image's mapping, and a fingerprint per slot by which they are found.
//!
//! What always holds:
//! - a slot is read and written through the one [`WorkerAccounts`] that owns its shard; [`AccountTable::split`] makes each
//!   shard the property of exactly one;
//! - other workers see fingerprints and first tokens only, which are atomic: enough to know whether an account exists, whether a
//!   credit would take a slot, and to set room aside;
//! - a slot once taken is never given up, so probing may stop at the first empty fingerprint.

use std::hash::Hasher;
use std::ops::Range;
use std::sync::Arc;

use meshpay_protocol::account::{SLOT_LENGTH, shard_of, slot_kind};
use meshpay_protocol::{Account, Accounts, SlotIndex, SlotName, TableFull};
use meshpay_wire::{PublicKey, SHARDS};
use siphasher::sip::SipHasher13;
use zerocopy::FromBytes;

use super::index::{Index, Probe};
use super::{Image, ImageError, Layout};
use crate::pace::Pace;
use meshpay_net::prefetch;

/// The whole table, before it is split among workers and after they have stopped.
pub struct AccountTable {
    shared: Arc<Shared>,
}

struct Shared {
    image: Image,
    layout: Layout,
    /// What workers see of each other's slots without touching them.
    index: Index,
    /// Key of the fingerprints. It is secret, so nobody can grind keys that collide.
    hash_key: [u8; 16],
}

impl AccountTable {
    /// Takes the image of a clean stop, with the key of its stamp, and finds what is in it.
    pub fn stamped(image: Image, hash_key: [u8; 16]) -> Self {
        let table = Self::over(image, hash_key, &Pace::hurried());
        let shared = &table.shared;
        for at in 0..shared.layout.slots() {
            let slot = table.slot_at(at);
            if slot.kind != slot_kind::EMPTY {
                shared.index.publish(at, slot.token.get(), shared.fingerprint(name_of(slot)));
            }
        }
        table
    }

    /// Empties an image, whatever it holds, and takes it. `hash_key` is 16 random bytes.
    ///
    /// # Errors
    /// Where memory is lacking.
    pub fn empty(mut image: Image, hash_key: [u8; 16], pace: &Pace) -> Result<Self, ImageError> {
        image.clear()?;
        Ok(Self::over(image, hash_key, pace))
    }

    fn over(image: Image, hash_key: [u8; 16], pace: &Pace) -> Self {
        let layout = image.layout();
        let index = Index::new(SHARDS, layout.region_slots, image.pages(), pace);
        Self { shared: Arc::new(Shared { image, layout, index, hash_key }) }
    }

    /// Divides the table among workers: shard s goes to worker s modulo `workers`. Returns nothing if views made earlier still live.
    pub fn split(&mut self, workers: usize) -> Option<Vec<WorkerAccounts>> {
        if Arc::strong_count(&self.shared) != 1 || workers == 0 {
            return None;
        }
        Some((0..workers).map(|worker| WorkerAccounts { shared: Arc::clone(&self.shared), worker, workers }).collect())
    }

    /// The one view that owns every shard, for recovery. Returns nothing if views made earlier still live.
    pub fn whole(&mut self) -> Option<WorkerAccounts> {
        self.split(1).and_then(|mut views| views.pop())
    }

    /// All taken slots. Returns nothing while views live.
    pub fn slots(&mut self) -> Option<impl Iterator<Item = &Account> + '_> {
        let all = 0..self.shared.layout.slots();
        self.slots_between(all)
    }

    /// Those taken of the slots `places`, which end at [`Layout::slots`] at the latest. Returns nothing while views live.
    pub fn slots_between(&mut self, places: Range<usize>) -> Option<impl Iterator<Item = &Account> + '_> {
        if Arc::strong_count(&self.shared) != 1 {
            return None;
        }
        Some(places.map(|at| self.slot_at(at)).filter(|slot| slot.kind != slot_kind::EMPTY))
    }

    /// The image, for stamping. Returns nothing while views live.
    pub fn image_mut(&mut self) -> Option<&mut Image> {
        Arc::get_mut(&mut self.shared).map(|shared| &mut shared.image)
    }

    /// Key of the hash by which slots are placed, for the image's stamp.
    pub fn hash_key(&self) -> [u8; 16] {
        self.shared.hash_key
    }

    /// Slots taken in all shards.
    pub fn used(&self) -> u64 {
        self.shared.index.used_slots()
    }

    /// Counts for metrics that may be read while workers run.
    pub fn gauge(&self) -> TableGauge {
        TableGauge { shared: Arc::clone(&self.shared) }
    }

    fn slot_at(&self, at: SlotIndex) -> &Account {
        // SAFETY: only called with no view alive (checked by strong_count in the callers that hand out slots, and in `new` because
        // none was made yet), so nobody writes to the mapping.
        let bytes = unsafe { self.shared.image.slot_bytes(at) };
        account(bytes)
    }
}

/// How full the table is; holds no claim on slots, but keeps the table alive.
#[derive(Clone)]
pub struct TableGauge {
    shared: Arc<Shared>,
}

impl TableGauge {
    /// Slots taken or set aside.
    pub fn used(&self) -> u64 {
        self.shared.index.used_slots()
    }

    /// Slots that there are.
    pub fn slots(&self) -> u64 {
        self.shared.layout.slots() as u64
    }
}

impl Shared {
    fn fingerprint(&self, name: SlotName<'_>) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.hash_key);
        hasher.write(name.key);
        if let Some(token) = name.further_token {
            hasher.write_u32(token);
        }
        hasher.finish().max(1)
    }

    fn probe(&self, shard: usize, name: SlotName<'_>) -> Option<Probe> {
        self.index.probe(shard, self.fingerprint(name))
    }
}

/// One worker's view of the table.
pub struct WorkerAccounts {
    shared: Arc<Shared>,
    worker: usize,
    workers: usize,
}

impl WorkerAccounts {
    fn check_owned(&self, at: SlotIndex) {
        let shard = at / self.shared.layout.region_slots;
        assert!(shard < SHARDS && shard % self.workers == self.worker, "slot {at} belongs to another worker");
    }
}

impl Accounts for WorkerAccounts {
    fn owns(&self, key: &PublicKey) -> bool {
        shard_of(key) % self.workers == self.worker
    }

    fn exists(&self, key: &PublicKey) -> bool {
        matches!(self.shared.probe(shard_of(key), SlotName::account(key)), Some(Probe::Found(_)))
    }

    fn credit_takes_slot(&self, key: &PublicKey, token: u32) -> bool {
        let shared = &self.shared;
        let find = |name| shared.probe(shard_of(key), name);
        match find(SlotName::account(key)) {
            Some(Probe::Found(at)) if shared.index.token(at) == token => false,
            Some(Probe::Found(_)) => !matches!(find(SlotName::further(key, token)), Some(Probe::Found(_))),
            _ => true,
        }
    }

    fn expect(&self, key: &PublicKey) {
        self.shared.index.expect(shard_of(key), self.shared.fingerprint(SlotName::account(key)));
    }

    fn expect_slot(&self, key: &PublicKey) {
        if !self.owns(key) {
            return;
        }
        let found = self.shared.probe(shard_of(key), SlotName::account(key));
        if let Some(Probe::Found(at)) = found {
            prefetch(self.slot(at));
        }
    }

    fn find(&self, name: SlotName<'_>) -> Option<SlotIndex> {
        debug_assert!(self.owns(name.key));
        let Some(Probe::Found(at)) = self.shared.probe(shard_of(name.key), name) else {
            return None;
        };
        // Two names with one 64-bit fingerprint under a secret key do not happen in a table of 2^24; if they did, the second
        // account would not be found, never confused with the first.
        self.slot(at).is(name).then_some(at)
    }

    fn slot(&self, at: SlotIndex) -> &Account {
        self.check_owned(at);
        // SAFETY: this view alone reaches the slots of its shards, `split` sees to that, and `&self` excludes its own writes.
        account(unsafe { self.shared.image.slot_bytes(at) })
    }

    fn slot_mut(&mut self, at: SlotIndex) -> &mut Account {
        self.check_owned(at);
        // SAFETY: as for `slot`, and `&mut self` excludes this view's own reads.
        account_mut(unsafe { self.shared.image.slot_bytes_mut(at) })
    }

    fn insert(&mut self, name: SlotName<'_>, token: u32) -> Result<SlotIndex, TableFull> {
        let shard = shard_of(name.key);
        let fingerprint = self.shared.fingerprint(name);
        if self.shared.index.used(shard) >= self.shared.layout.region_slots - 1 {
            return Err(TableFull);
        }
        let Some(Probe::Empty(at)) = self.shared.index.probe(shard, fingerprint) else {
            return Err(TableFull);
        };
        *self.slot_mut(at) = Account::empty(name, token);
        self.shared.index.publish(at, token, fingerprint);
        Ok(at)
    }

    fn room_for_vote(&self, recipient: &PublicKey) -> bool {
        self.shared.index.used(shard_of(recipient)) < self.shared.layout.vote_limit()
    }

    fn reserve(&mut self, recipient: &PublicKey) -> Result<(), TableFull> {
        let layout = self.shared.layout;
        let limit = if self.exists(recipient) { layout.existing_limit() } else { layout.certificate_limit() };
        if self.shared.index.reserve(shard_of(recipient), limit) { Ok(()) } else { Err(TableFull) }
    }

    fn release_reserved(&mut self, recipient: &PublicKey) {
        self.shared.index.release(shard_of(recipient));
    }
}

fn name_of(slot: &Account) -> SlotName<'_> {
    match slot.kind {
        slot_kind::BALANCE => SlotName::further(&slot.key, slot.token.get()),
        _ => SlotName::account(&slot.key),
    }
}

fn account(bytes: &[u8; SLOT_LENGTH]) -> &Account {
    zerocopy::transmute_ref!(bytes)
}

fn account_mut(bytes: &mut [u8; SLOT_LENGTH]) -> &mut Account {
    match Account::mut_from_bytes(bytes) {
        Ok(account) => account,
        Err(_) => unreachable!("an account is {SLOT_LENGTH} bytes without alignment"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Pages;

    fn table(capacity: u64) -> AccountTable {
        AccountTable::empty(
            Image::in_memory(Layout::for_capacity(capacity), Pages::Large).unwrap(),
            [7; 16],
            &Pace::hurried(),
        )
        .unwrap()
    }

    fn key(n: u32) -> PublicKey {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_le_bytes());
        key
    }

    #[test]
    fn finds_what_was_inserted_and_nothing_else() {
        let mut table = table(10_000);
        let mut view = table.whole().unwrap();
        for n in 0..10_000 {
            let at = view.account_or_insert(&key(n), n % 3).unwrap();
            view.slot_mut(at).balance = i128::from(n).into();
        }
        for n in 0..10_000 {
            assert_eq!(view.balance(&key(n), n % 3), i128::from(n));
            assert!(view.exists(&key(n)));
        }
        assert!(!view.exists(&key(10_000)) && view.account(&key(10_000)).is_none());
        assert!(table.slots().is_none(), "no slots are handed out while a view lives");
        drop(view);
        assert_eq!(table.slots().unwrap().count(), 10_000);
    }

    #[test]
    fn further_tokens_have_slots_of_their_own() {
        let mut table = table(1_000);
        let mut view = table.whole().unwrap();
        for token in 1..20 {
            let at = view.balance_slot_or_insert(&key(5), token).unwrap();
            view.slot_mut(at).balance = i128::from(token * 10).into();
        }
        for token in 1..20 {
            assert_eq!(view.balance(&key(5), token), i128::from(token * 10));
        }
        assert_eq!(view.balance(&key(5), 99), 0);
    }

    #[test]
    fn a_full_region_refuses_votes_first_then_certificates_and_never_loops() {
        let mut table = table(0);
        let mut view = table.whole().unwrap();
        let in_shard_0 = |n: u32| {
            let mut key = [0; 32];
            key[4..8].copy_from_slice(&n.to_le_bytes());
            key
        };
        let (mut n, mut votes_ended_at) = (0, None);
        while view.reserve(&in_shard_0(n)).is_ok() {
            view.release_reserved(&in_shard_0(n));
            if !view.room_for_vote(&in_shard_0(n)) {
                votes_ended_at.get_or_insert(n);
            }
            view.insert(SlotName::account(&in_shard_0(n)), 1).unwrap();
            n += 1;
        }
        let layout = Layout::for_capacity(0);
        assert_eq!(votes_ended_at, Some(layout.vote_limit() as u32));
        assert_eq!(n as usize, layout.certificate_limit());
        assert!(view.account(&in_shard_0(n)).is_none());
    }

    #[test]
    #[should_panic(expected = "belongs to another worker")]
    fn a_slot_of_another_worker_cannot_be_touched() {
        let mut table = table(1_000);
        let mut views = table.split(2).unwrap();
        let at = views[1].insert(SlotName::account(&key(1)), 1).unwrap();
        let _ = views[0].slot(at);
    }

    #[test]
    fn another_worker_sees_which_tokens_an_account_has() {
        let mut table = table(1_000);
        let mut views = table.split(2).unwrap();
        assert!(views[0].credit_takes_slot(&key(1), 7));
        views[1].balance_slot_or_insert(&key(1), 7).unwrap();
        views[1].balance_slot_or_insert(&key(1), 0).unwrap();
        for view in &views {
            assert!(!view.credit_takes_slot(&key(1), 7) && !view.credit_takes_slot(&key(1), 0));
            assert!(view.credit_takes_slot(&key(1), 8) && view.credit_takes_slot(&key(3), 7));
        }
    }

    #[test]
    fn another_worker_sees_that_an_account_exists() {
        let mut table = table(1_000);
        let mut views = table.split(2).unwrap();
        assert!(!views[0].exists(&key(1)));
        views[1].insert(SlotName::account(&key(1)), 1).unwrap();
        assert!(views[0].exists(&key(1)));
        assert!(table.split(2).is_none(), "a shard cannot be given out twice");
    }
}
