//! The background of a running journal: allocates segments ahead and writes the mark, so that a commit never does either.
//!
//! What always holds: a segment is offered to the writer only when its file and its name are durable; a full disk lowers the room and is
//! tried again each second; any other error stops the journal.

use super::disk::is_full;
use super::error::Failure;
use super::format::segment_name;
use super::handle::Shared;
use super::mark::Mark;
use super::segments::{Haste, Zeros, make_segment};
use super::{Chain, Position};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Longest time that the mark stays behind the journal, and time between two tries to allocate on a full disk.
pub const KEEP_INTERVAL_MS: u64 = 1000;

/// Longest time that one segment's zeros are written with rests between them, on a disk that gives no more than is asked of it.
const PATIENCE_MAX: Duration = Duration::from_millis(KEEP_INTERVAL_MS / 2);

/// Allocates and marks.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    mark: Mark,
    marked: Position,
    segments_ahead: u64,
    mark_due_ms: Option<u64>,
    allocate_due_ms: u64,
}

impl Keeper {
    pub fn new(shared: Arc<Shared>, mark: Mark, marked: Position, segments_ahead: u64) -> Self {
        Self { shared, mark, marked, segments_ahead, mark_due_ms: None, allocate_due_ms: 0 }
    }

    /// Does what is due at `now_ms`, on any clock that never goes back, and returns when to come again at the latest.
    pub fn step(&mut self, now_ms: u64) -> Result<u64, Failure> {
        if let Some(failure) = self.shared.progress.failure() {
            return Err(failure.clone());
        }
        if now_ms >= self.allocate_due_ms {
            while self.wants_segment() {
                if !self.allocate(true)? {
                    self.allocate_due_ms = now_ms + KEEP_INTERVAL_MS;
                    break;
                }
            }
        }
        let due = *self.mark_due_ms.get_or_insert(now_ms + KEEP_INTERVAL_MS);
        if now_ms >= due {
            let (durable, chain) = self.durable();
            if durable != self.marked {
                self.write_mark(durable, chain, false, false)?;
            }
            self.mark_due_ms = Some(now_ms + KEEP_INTERVAL_MS);
        }
        Ok(now_ms + KEEP_INTERVAL_MS)
    }

    /// Allocates until there is room beyond the reserve, or the disk is full.
    pub fn prepare(&mut self, has_room: impl Fn() -> bool) -> Result<(), Failure> {
        while !has_room() && self.wants_segment() && self.allocate(false)? {}
        Ok(())
    }

    /// Writes the last mark of a journal that stops cleanly.
    pub fn mark_clean(&mut self) -> Result<(), Failure> {
        let (durable, chain) = self.durable();
        self.write_mark(durable, chain, true, true)
    }

    fn write_mark(&mut self, durable: Position, chain: Chain, clean: bool, must_sync: bool) -> Result<(), Failure> {
        match self.mark.write(durable, chain, clean, must_sync) {
            Ok(()) => {
                self.marked = durable;
                self.shared.counters.marks.add(1);
                Ok(())
            }
            Err(source) => Err(self.fail(format!("writing {}", self.mark.place()), source)),
        }
    }

    fn durable(&self) -> (Position, Chain) {
        *self.shared.durable_chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants_segment(&self) -> bool {
        let current = self.shared.appended.load(Ordering::Acquire) / self.shared.segment_bytes;
        let allocated = self.shared.allocated_end.load(Ordering::Acquire) / self.shared.segment_bytes;
        allocated < current + 1 + self.segments_ahead
    }

    /// Allocates the next segment, `beside_commits` or when there are none yet. False if the disk is full.
    fn allocate(&mut self, beside_commits: bool) -> Result<bool, Failure> {
        let shared = Arc::clone(&self.shared);
        let index = shared.allocated_end.load(Ordering::Acquire) / shared.segment_bytes;
        // No time is left for rests half a segment before votes would be refused for want of room, and when the mark, which this thread writes too,
        // would be late by them, or a clean stop, which waits for this thread.
        let begun = Instant::now();
        let haste = || {
            let left = shared.usable_end().saturating_sub(shared.appended.load(Ordering::Acquire));
            if left <= shared.reserve_bytes + shared.segment_bytes / 2 {
                Haste::Great
            } else if begun.elapsed() >= PATIENCE_MAX {
                Haste::Some
            } else {
                Haste::No
            }
        };
        let zeros = if beside_commits { Zeros::BesideCommits(&haste) } else { Zeros::AtOnce };
        let made = make_segment(&*shared.disk, &shared.identity, index, shared.segment_bytes, &[], &zeros)
            .and_then(|file| shared.disk.sync_directory().map(|()| file));
        match made {
            Ok(file) => {
                shared.segments.lock().unwrap_or_else(PoisonError::into_inner).insert(index, Arc::from(file));
                shared.allocated_end.store((index + 1) * shared.segment_bytes, Ordering::Release);
                shared.disk_full.store(false, Ordering::Relaxed);
                shared.counters.segments_allocated.add(1);
                shared.place_if_waiting();
                Ok(true)
            }
            Err(source) if is_full(&source) => {
                shared.disk_full.store(true, Ordering::Relaxed);
                shared.counters.allocations_failed.add(1);
                Ok(false)
            }
            Err(source) => {
                Err(self.fail(format!("allocating {}/{}", shared.disk.describe(), segment_name(index)), source))
            }
        }
    }

    fn fail(&self, what: String, source: io::Error) -> Failure {
        let failure = Failure { what, source: Arc::new(source) };
        self.shared.fail(failure.clone());
        failure
    }
}
