//! An account as it lies in the table, 256 bytes a slot, and the port through which the state machine reaches slots.
//!
//! An account's first token lives in its own slot; every further token has a slot of its own that holds the same key and that
//! token. A balance is an i128 sum of u64 amounts, so it cannot overflow (DESIGN 5.13).

use std::collections::HashMap;
use std::mem::offset_of;

use meshpay_wire::{Digest, PublicKey, SHARDS, Signature};
use zerocopy::little_endian::{I128, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Levels of the ladder by which an account's old debits are found, see [`crate::record::ExecutionHead::debit_links`].
pub const DEBIT_LEVELS: usize = 3;
/// Each level of that ladder strides over this many times the sequences of the one below.
pub const DEBIT_STRIDE: u64 = 64;

/// What a slot holds: [`Account::kind`].
pub mod slot_kind {
    /// Nothing.
    pub const EMPTY: u8 = 0;
    /// An account with its first token.
    pub const ACCOUNT: u8 = 1;
    /// A further token of an account.
    pub const BALANCE: u8 = 2;
}

/// One slot of the account table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Account {
    /// Public key.
    pub key: PublicKey,
    /// Sequence of the next order.
    pub next_sequence: U64,
    /// Journal position of the lock record at `next_sequence`; 0 where nothing is locked.
    pub lock_position: U64,
    /// Digest of the locked order.
    pub lock_digest: Digest,
    /// Sender's signature of the locked order: a certificate that carries the same bytes needs no second check of it.
    pub lock_signature: Signature,
    /// Journal positions of the newest debit whose sequence is a multiple of 1, 64 and 4,096; 0 where there is none.
    pub debit_heads: [U64; DEBIT_LEVELS],
    /// Journal position of the newest credit; 0 where there is none.
    pub credit_head: U64,
    /// Held for withdrawals, in minor units; none in this version.
    pub held: U64,
    /// Milliseconds since 1970 until which new orders are refused because of proven equivocation; 0 for none.
    pub penalised_until_ms: U64,
    /// Digest of the order executed at `next_sequence` - 1.
    pub last_executed: Digest,
    /// Balance of `token`, in minor units.
    pub balance: I128,
    /// The token of `balance`.
    pub token: U32,
    /// A [`slot_kind`].
    pub kind: u8,
    /// None defined.
    pub flags: u8,
    /// Merchant that serves the account; none in this version.
    pub owner: U16,
    /// Check of the slot in a checkpoint; unused in the live table.
    pub check: U64,
}

/// Bytes of a slot.
pub const SLOT_LENGTH: usize = 256;
const _: () = assert!(size_of::<Account>() == SLOT_LENGTH && align_of::<Account>() == 1);
const _: () = assert!(offset_of!(Account, balance) == 224 && offset_of!(Account, kind) == 244);

impl Account {
    /// A slot with key and token and nothing else.
    pub fn empty(name: SlotName<'_>, token: u32) -> Self {
        debug_assert!(name.further_token.is_none_or(|further| further == token));
        let mut account = Account::new_zeroed();
        account.key = *name.key;
        account.kind = if name.further_token.is_none() { slot_kind::ACCOUNT } else { slot_kind::BALANCE };
        account.token = U32::new(token);
        account
    }

    /// Whether this slot has that name.
    pub fn is(&self, name: SlotName<'_>) -> bool {
        self.key == *name.key
            && match name.further_token {
                None => self.kind == slot_kind::ACCOUNT,
                Some(token) => self.kind == slot_kind::BALANCE && self.token.get() == token,
            }
    }

    /// Whether an order is locked at `next_sequence`.
    pub fn is_locked(&self) -> bool {
        self.lock_position.get() != 0
    }

    /// Forgets the lock.
    pub fn unlock(&mut self) {
        self.lock_position = U64::new(0);
        self.lock_digest = Digest::default();
        self.lock_signature = [0; 64];
    }
}

/// Names a slot: an account, or a further token of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotName<'a> {
    /// The account.
    pub key: &'a PublicKey,
    /// The token, where it is not the account's first.
    pub further_token: Option<u32>,
}

impl<'a> SlotName<'a> {
    /// The account's own slot.
    pub fn account(key: &'a PublicKey) -> Self {
        Self { key, further_token: None }
    }

    /// The slot of a further token.
    pub fn further(key: &'a PublicKey, token: u32) -> Self {
        Self { key, further_token: Some(token) }
    }
}

/// Shard of an account: the first byte of its key. Fixed at genesis, the same everywhere, and cheap for a kernel to steer by.
pub fn shard_of(key: &PublicKey) -> usize {
    key[0] as usize % SHARDS
}

/// Place of a slot in its table.
pub type SlotIndex = usize;

/// The table has no room for another slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the account table is full; give `accounts.capacity` a larger value and restart")]
pub struct TableFull;

/// The account table as one worker sees it: it may read and write the accounts of its own shards, and ask of any account
/// whether it exists and which tokens it has.
pub trait Accounts {
    /// Whether this worker owns the account's shard.
    fn owns(&self, key: &PublicKey) -> bool;
    /// Whether the account exists, in any shard.
    fn exists(&self, key: &PublicKey) -> bool;
    /// Whether a credit of this token would take a slot: the account, in any shard, does not exist or has other tokens only.
    fn credit_takes_slot(&self, key: &PublicKey, token: u32) -> bool;
    /// Finds a slot in an owned shard.
    fn find(&self, name: SlotName<'_>) -> Option<SlotIndex>;
    /// A slot that [`Accounts::find`] or [`Accounts::insert`] has named.
    fn slot(&self, at: SlotIndex) -> &Account;
    /// A slot that [`Accounts::find`] or [`Accounts::insert`] has named.
    fn slot_mut(&mut self, at: SlotIndex) -> &mut Account;
    /// Makes a slot for this token's balance in an owned shard, also from the reserve.
    ///
    /// # Errors
    /// Where even the reserve is used up.
    fn insert(&mut self, name: SlotName<'_>, token: u32) -> Result<SlotIndex, TableFull>;
    /// Whether a *vote* may promise the recipient a new slot: there is room beyond the reserve of its shard (DESIGN 5.15).
    fn room_for_vote(&self, recipient: &PublicKey) -> bool;
    /// Sets aside a slot in the recipient's shard, whoever owns it, so that a recorded credit always finds room. The credit
    /// that follows gives it back by [`Accounts::release_reserved`].
    ///
    /// # Errors
    /// Where even the reserve is used up.
    fn reserve(&mut self, recipient: &PublicKey) -> Result<(), TableFull>;
    /// Gives back what [`Accounts::reserve`] has set aside.
    fn release_reserved(&mut self, recipient: &PublicKey);

    /// Says that the account will be looked up soon, so that where it stands can be fetched into the cache meanwhile. Changes nothing.
    fn expect(&self, _key: &PublicKey) {}
    /// The same, when what [`Accounts::expect`] began has arrived: fetches the account itself, if this worker owns it.
    fn expect_slot(&self, _key: &PublicKey) {}

    /// The account, if it exists in an owned shard.
    fn account(&self, key: &PublicKey) -> Option<&Account> {
        self.find(SlotName::account(key)).map(|at| self.slot(at))
    }

    /// The slot that holds the balance of a token: the account's own or a further one.
    fn balance_slot(&self, key: &PublicKey, token: u32) -> Option<SlotIndex> {
        let at = self.find(SlotName::account(key))?;
        if self.slot(at).token.get() == token { Some(at) } else { self.find(SlotName::further(key, token)) }
    }

    /// Balance of a token; 0 where the account has never had it.
    fn balance(&self, key: &PublicKey, token: u32) -> i128 {
        self.balance_slot(key, token).map_or(0, |at| self.slot(at).balance.get())
    }

    /// The account's slot, made with this token as its first where there is none.
    ///
    /// # Errors
    /// Where the table is full.
    fn account_or_insert(&mut self, key: &PublicKey, token: u32) -> Result<SlotIndex, TableFull> {
        match self.find(SlotName::account(key)) {
            Some(at) => Ok(at),
            None => self.insert(SlotName::account(key), token),
        }
    }

    /// The slot of a token's balance, made where there is none.
    ///
    /// # Errors
    /// Where the table is full.
    fn balance_slot_or_insert(&mut self, key: &PublicKey, token: u32) -> Result<SlotIndex, TableFull> {
        let at = self.account_or_insert(key, token)?;
        if self.slot(at).token.get() == token {
            return Ok(at);
        }
        match self.find(SlotName::further(key, token)) {
            Some(at) => Ok(at),
            None => self.insert(SlotName::further(key, token), token),
        }
    }
}

/// A table in ordinary memory that owns all shards and grows: for audit, tests and tools.
#[derive(Clone, Debug, Default)]
pub struct MemoryAccounts {
    slots: Vec<Account>,
    index: HashMap<(PublicKey, Option<u32>), SlotIndex>,
}

impl MemoryAccounts {
    /// All slots, in the order in which they were made.
    pub fn slots(&self) -> &[Account] {
        &self.slots
    }
}

impl Accounts for MemoryAccounts {
    fn owns(&self, _key: &PublicKey) -> bool {
        true
    }
    fn exists(&self, key: &PublicKey) -> bool {
        self.index.contains_key(&(*key, None))
    }
    fn credit_takes_slot(&self, key: &PublicKey, token: u32) -> bool {
        self.balance_slot(key, token).is_none()
    }
    fn find(&self, name: SlotName<'_>) -> Option<SlotIndex> {
        self.index.get(&(*name.key, name.further_token)).copied()
    }
    fn slot(&self, at: SlotIndex) -> &Account {
        &self.slots[at]
    }
    fn slot_mut(&mut self, at: SlotIndex) -> &mut Account {
        &mut self.slots[at]
    }
    fn insert(&mut self, name: SlotName<'_>, token: u32) -> Result<SlotIndex, TableFull> {
        let at = self.slots.len();
        self.slots.push(Account::empty(name, token));
        self.index.insert((*name.key, name.further_token), at);
        Ok(at)
    }
    fn room_for_vote(&self, _recipient: &PublicKey) -> bool {
        true
    }
    fn reserve(&mut self, _recipient: &PublicKey) -> Result<(), TableFull> {
        Ok(())
    }
    fn release_reserved(&mut self, _recipient: &PublicKey) {}
}
