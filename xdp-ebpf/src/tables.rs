//! The program's maps, and how `wire` reaches them. Sizes above 1 are set when the object is loaded.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf, XskMap};
use meshpay_wire::filter::config::word;
use meshpay_wire::filter::tables::{
    ACCOUNT_WORDS, ALLOWANCE_WORDS, CONFIG_WORDS, ECHO_WORDS, OWN_WORDS, SHARED_WORDS, SOURCE_WORDS,
};
use meshpay_wire::filter::{Outcome, Tables, Words};

#[map]
static CONFIG: Array<[u64; CONFIG_WORDS]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static OWN_ADDRESSES: Array<[u64; OWN_WORDS]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static SHARED: Array<[u64; SHARED_WORDS]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static ACCOUNTS: Array<[u64; ACCOUNT_WORDS]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static SOURCES: Array<[u64; SOURCE_WORDS]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static ALLOWANCES: Array<[u64; ALLOWANCE_WORDS]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static ECHOES: Array<[u64; ECHO_WORDS]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Outcomes, per CPU.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Outcome::COUNT as u32, 0);
/// AF_XDP sockets.
#[map]
pub static SOCKETS: XskMap = XskMap::with_max_entries(1, 0);
/// Conflicting orders for userspace.
#[map]
pub static EVIDENCE: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

#[cfg(feature = "test-run")]
#[map]
static TEST_RUN: Array<[u64; meshpay_wire::filter::tables::TEST_RUN_WORDS]> =
    Array::with_max_entries(1, BPF_F_MMAPABLE);

/// One entry of a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Entry(*mut u64);

impl Words for Entry {
    #[inline(always)]
    fn load(self, word: usize) -> u64 {
        // SAFETY: the kernel gave us the entry, and its verifier refuses a program that could read beyond one. Userspace may
        // write at the same time, hence volatile: each word is read once.
        unsafe { self.0.add(word).read_volatile() }
    }

    #[inline(always)]
    fn store(self, word: usize, value: u64) {
        // SAFETY: as above.
        unsafe { self.0.add(word).write_volatile(value) };
    }

    #[inline(always)]
    fn opaque(self, value: u64, mask: u64) -> u64 {
        (value ^ self.load(word::ZERO)) & mask
    }
}

/// All maps.
pub struct KernelTables;

macro_rules! entry {
    ($map:ident, $place:expr) => {
        $map.get_ptr_mut($place).map(|entry| Entry(entry.cast::<u64>()))
    };
}

impl Tables for KernelTables {
    type Entry = Entry;

    #[inline(always)]
    fn config(&self) -> Option<Entry> {
        entry!(CONFIG, 0)
    }

    #[inline(always)]
    fn own_addresses(&self) -> Option<Entry> {
        entry!(OWN_ADDRESSES, 0)
    }

    #[inline(always)]
    fn shared(&self) -> Option<Entry> {
        entry!(SHARED, 0)
    }

    #[inline(always)]
    fn account(&self, place: u32) -> Option<Entry> {
        entry!(ACCOUNTS, place)
    }

    #[inline(always)]
    fn source(&self, place: u32) -> Option<Entry> {
        entry!(SOURCES, place)
    }

    #[inline(always)]
    fn allowance(&self, place: u32) -> Option<Entry> {
        entry!(ALLOWANCES, place)
    }

    #[inline(always)]
    fn echo(&self, place: u32) -> Option<Entry> {
        entry!(ECHOES, place)
    }
}

/// What the test reads and writes.
#[cfg(feature = "test-run")]
#[inline(always)]
pub fn test_run() -> Option<Entry> {
    entry!(TEST_RUN, 0)
}
