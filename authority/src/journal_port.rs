//! The journal behind the worker's port, in production and wherever the real journal is driven.

use crate::journal::{AppendError, Handle, Position, ReadError, Room as JournalRoom};
use crate::pipeline::{AppendRefused, Journal, ReadRefused, Room};

/// One worker's access to the shared journal.
pub struct JournalPort(pub Handle);

impl Journal for JournalPort {
    fn append(&mut self, kind: u8, parts: &[&[u8]]) -> Result<u64, AppendRefused> {
        match self.0.append(kind, parts) {
            Ok(position) => Ok(position.0),
            Err(AppendError::Full | AppendError::NoRoom) => Err(AppendRefused::Busy),
            Err(AppendError::Stopped) => Err(AppendRefused::Stopped),
        }
    }

    fn appended(&self) -> u64 {
        self.0.appended().0
    }

    fn submit(&mut self) {
        self.0.submit();
    }

    fn durable(&self) -> u64 {
        self.0.durable().0
    }

    fn room(&self) -> Room {
        match self.0.room() {
            JournalRoom::Votes => Room::Votes,
            JournalRoom::CertificatesOnly => Room::CertificatesOnly,
            JournalRoom::None => Room::None,
        }
    }

    fn read(&mut self, position: u64, buffer: &mut [u8]) -> Result<(u8, usize), ReadRefused> {
        match self.0.read(Position(position), buffer) {
            Ok(found) => Ok(found),
            Err(ReadError::Archived { .. }) => Err(ReadRefused::Archived),
            Err(_) => Err(ReadRefused::NotFound),
        }
    }
}
