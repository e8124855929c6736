//! What the journal counts. Counters only grow; their owner turns them into metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that many threads may raise.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        #[derive(Default)]
        pub(super) struct Counters { $(pub $name: Counter),+ }

        impl Counters {
            pub fn snapshot(&self) -> JournalCounters {
                JournalCounters { $($name: self.$name.get()),+ }
            }
        }

        /// Counters of a journal since its start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct JournalCounters { $($(#[doc = $doc])+ pub $name: u64),+ }

        impl JournalCounters {
            /// Names and values, for a metrics page.
            pub fn entries(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }
    };
}

counters! {
    /// Frames that became durable, each by one write and one sync.
    commits,
    /// Records in them.
    records,
    /// Bytes of them, headers and padding included.
    bytes,
    /// Time spent in writes, in microseconds (thread driver only).
    write_us,
    /// Time spent in syncs, in microseconds (thread driver only).
    sync_us,
    /// Appends refused because the frame being filled was full.
    refused_full,
    /// Appends refused because the disk was full.
    refused_no_room,
    /// Segments allocated ahead.
    segments_allocated,
    /// Allocations that failed because the disk was full.
    allocations_failed,
    /// Marks written.
    marks,
}
