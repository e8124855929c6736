//! Checkpoint files.
//!
//! Promised: no file panics or takes memory beyond its own size; a damaged one leaves the table as it was; of a whole one every slot arrives.
//!
//! Layout: `authority/src/state/checkpoint.rs`. A mutated file has a wrong hash, so the first byte says which hashes are put right again.

use meshpay_authority::journal::{Disk, FaultDisk, Identity};
use meshpay_authority::pace::Pace;
use meshpay_authority::state::{CheckpointError, load_checkpoint};
use meshpay_protocol::MemoryAccounts;
use meshpay_protocol::account::SLOT_LENGTH;

use crate::chance::Chance;

pub const HEADER_BYTES: usize = 4096;
/// Bytes of the header that mean anything.
pub const USED_BYTES: usize = 200;
const NETWORK_AT: usize = 16;
const OWNER_AT: usize = 48;
const SLOTS_AT: usize = 120;
const CREDITS_AT: usize = 128;
const CONTENT_AT: usize = 136;
const CHECK_AT: usize = 168;
const CREDIT_BYTES: usize = 40;
const NAME: &str = "checkpoint-0000000000001000";
const IDENTITY: Identity = Identity { journal: [0x11; 32], network: [0x22; 32] };

/// What the first byte asks to be put right.
pub mod repair {
    pub const OWNER: u8 = 1;
    pub const COUNTS: u8 = 2;
    pub const CONTENT: u8 = 4;
    pub const CHECK: u8 = 8;
}

pub fn load(bytes: &[u8]) {
    let mut chance = Chance::new(bytes);
    let repairs = chance.take::<u8>();
    let mut file = chance.bytes(USED_BYTES).to_vec();
    file.resize(USED_BYTES, 0);
    file.resize(HEADER_BYTES, 0);
    file.extend(chance.rest());
    put_right(&mut file, repairs);

    let disk = FaultDisk::new();
    let made = disk.create(NAME).expect("a file in memory");
    made.write_at(&file, 0).expect("memory has room");
    let mut accounts = MemoryAccounts::default();
    match load_checkpoint(&disk, NAME, &IDENTITY, &mut accounts, &Pace::hurried()) {
        Ok(_) => {
            let slots = read_u64(&file, SLOTS_AT) as usize;
            assert_eq!(accounts.slots().len(), slots);
            let content = &file[HEADER_BYTES..];
            for (slot, bytes) in accounts.slots().iter().zip(content.chunks_exact(SLOT_LENGTH)) {
                assert_eq!(zerocopy::IntoBytes::as_bytes(slot), bytes);
            }
        }
        Err(CheckpointError::Damaged(_)) => assert!(accounts.slots().is_empty(), "a damaged file left something"),
        Err(error) => panic!("a disk in memory: {error}"),
    }
}

fn put_right(file: &mut [u8], repairs: u8) {
    if repairs & repair::OWNER != 0 {
        file[NETWORK_AT..NETWORK_AT + 32].copy_from_slice(&IDENTITY.network);
        let name = blake3::derive_key("meshpay journal name", &IDENTITY.journal);
        file[OWNER_AT..OWNER_AT + 32].copy_from_slice(&name);
    }
    let content_bytes = file.len() - HEADER_BYTES;
    if repairs & repair::COUNTS != 0 {
        // As many credits as stand behind the last whole slots.
        let credits = (0..SLOT_LENGTH).find(|credits| {
            content_bytes.checked_sub(credits * CREDIT_BYTES).is_some_and(|slots| slots.is_multiple_of(SLOT_LENGTH))
        });
        if let Some(credits) = credits {
            let slots = (content_bytes - credits * CREDIT_BYTES) / SLOT_LENGTH;
            file[SLOTS_AT..SLOTS_AT + 8].copy_from_slice(&(slots as u64).to_le_bytes());
            file[CREDITS_AT..CREDITS_AT + 8].copy_from_slice(&(credits as u64).to_le_bytes());
        }
    }
    if repairs & repair::CONTENT != 0 {
        let hash = blake3::hash(&file[HEADER_BYTES..]);
        file[CONTENT_AT..CONTENT_AT + 32].copy_from_slice(hash.as_bytes());
    }
    if repairs & repair::CHECK != 0 {
        file[CHECK_AT..CHECK_AT + 32].fill(0);
        let hash = blake3::hash(&file[..HEADER_BYTES]);
        file[CHECK_AT..CHECK_AT + 32].copy_from_slice(hash.as_bytes());
    }
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
