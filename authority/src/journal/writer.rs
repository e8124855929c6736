//! The commit: closes the frame that workers filled, writes it, syncs it, tells that it is durable.
//!
//! What always holds: at most one frame is in flight. A frame is written only after the sync of the one before it returned, so a whole
//! frame behind a damaged one proves that the damaged one was durable once. After an error no further byte is written.

use super::blocks::BlockBuffer;
use super::disk::DiskFile;
use super::error::Failure;
use super::format::{Chain, FRAME_HEADER_BYTES, padded_frame_bytes, seal_frame, segment_name};
use super::handle::Shared;
use super::{Durability, Position};
use std::sync::Arc;

/// Writes frames, one after the other.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// The buffer that workers do not fill: it holds the frame in flight.
    spare: BlockBuffer,
    chain: Chain,
    /// End of what was synced.
    synced: Position,
    durability: Durability,
    segment: Option<(u64, Arc<dyn DiskFile>)>,
    in_flight: Option<InFlight>,
}

struct InFlight {
    base: Position,
    bytes: usize,
    records: u32,
    chain: Chain,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, head: Position, chain: Chain, durability: Durability) -> Self {
        let spare = BlockBuffer::zeroed(shared.frame_bytes);
        Self { shared, spare, chain, synced: head, durability, segment: None, in_flight: None }
    }

    /// Closes the frame that was filled and writes it. False if there is nothing to write. The frame is not durable yet: `finish` is next.
    pub fn begin(&mut self) -> Result<bool, Failure> {
        if let Some(failure) = self.shared.progress.failure() {
            return Err(failure.clone());
        }
        assert!(self.in_flight.is_none(), "the frame in flight must be finished before the next one begins");
        let mut filling = self.shared.filling();
        let (Some(place), true) = (filling.place, filling.count > 0) else {
            filling.submitted = false;
            return Ok(false);
        };
        std::mem::swap(&mut filling.buffer, &mut self.spare);
        let length = filling.used - FRAME_HEADER_BYTES;
        let records = filling.count;
        let end = place.base + padded_frame_bytes(length) as u64;
        filling.used = FRAME_HEADER_BYTES;
        filling.count = 0;
        filling.submitted = false;
        filling.last_end = end;
        filling.place = self.shared.place_after(end);
        drop(filling);

        let base = Position(place.base);
        let (bytes, chain) =
            seal_frame(&mut self.spare, &self.shared.identity, base, length, records, self.synced, &self.chain);
        let index = base.0 / self.shared.segment_bytes;
        let file = match &self.segment {
            Some((open, file)) if *open == index => file,
            _ => {
                let file = self
                    .shared
                    .segment_for_writing(index)
                    .expect("a frame is placed only in a segment that is allocated");
                self.shared.call_keeper();
                &self.segment.insert((index, file)).1
            }
        };
        if let Err(source) = file.write_at(&self.spare[..bytes], base.0 % self.shared.segment_bytes) {
            return Err(self.fail("writing", index, source));
        }
        self.in_flight = Some(InFlight { base, bytes, records, chain });
        Ok(true)
    }

    /// Syncs the frame in flight and tells everybody that it is durable. Returns the end of what is durable.
    pub fn finish(&mut self) -> Result<Position, Failure> {
        if let Some(failure) = self.shared.progress.failure() {
            return Err(failure.clone());
        }
        let Some(frame) = self.in_flight.take() else {
            return Ok(self.synced);
        };
        let end = Position(frame.base.0 + frame.bytes as u64);
        if self.durability == Durability::PowerLoss {
            let (index, file) = self.segment.as_ref().expect("a frame in flight is in an open segment");
            if let Err(source) = file.sync_data() {
                let index = *index;
                return Err(self.fail("syncing", index, source));
            }
            self.synced = end;
        }
        self.chain = frame.chain;
        let counters = &self.shared.counters;
        counters.commits.add(1);
        counters.records.add(u64::from(frame.records));
        counters.bytes.add(frame.bytes as u64);
        self.shared.publish(end, frame.chain);
        Ok(end)
    }

    fn fail(&self, what: &str, index: u64, source: std::io::Error) -> Failure {
        let what = format!("{what} {}/{}", self.shared.disk.describe(), segment_name(index));
        let failure = Failure { what, source: Arc::new(source) };
        self.shared.fail(failure.clone());
        failure
    }
}
