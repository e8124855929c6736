//! What the tests of the journal share: a place for one, and payloads that say which record they are.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "test support; a failure here is a failed test")]

use meshpay_authority::journal::*;
use rustix::event::{PollFd, PollFlags, poll};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

pub const IDENTITY: Identity = Identity { journal: [0x11; 32], network: [0x22; 32] };
pub const KIND: Kind = 3;
pub const KINDS: Kinds = Kinds::of(&[KIND]);
pub const SEGMENT_BYTES: u64 = JournalConfig::SEGMENT_BYTES_MIN;

pub struct Place {
    open: Box<dyn Fn() -> Arc<dyn Disk>>,
    pub config: JournalConfig,
}

impl Place {
    pub fn in_memory(disk: FaultDisk) -> Self {
        Self { open: Box::new(move || Arc::new(disk.clone())), config: config() }
    }

    pub fn real(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self {
            open: Box::new(move || Arc::new(RealDisk::open_for(&directory, Durability::PowerLoss).unwrap())),
            config: config(),
        }
    }

    pub fn disk(&self) -> Arc<dyn Disk> {
        (self.open)()
    }

    pub fn mark(&self) -> MarkPlace {
        MarkPlace { disk: self.disk(), name: "journal.mark".into() }
    }

    pub fn create(&self) {
        let disk = self.disk();
        let mark = MarkPlace { disk: Arc::clone(&disk), name: "journal.mark".into() };
        create(&disk, &mark, &IDENTITY, &self.config).unwrap();
    }

    pub fn recover_from(&self, from: Position, apply: &mut Apply<'_>) -> Result<(Journal, Recovered), JournalError> {
        let disk = self.disk();
        let mark = MarkPlace { disk: Arc::clone(&disk), name: "journal.mark".into() };
        recover(&disk, &mark, &IDENTITY, &self.config, from, apply)
    }

    pub fn recover(&self) -> Result<(Journal, Recovered), JournalError> {
        self.recover_from(Position::START, &mut |_, _, _| Ok(()))
    }

    pub fn recover_with(
        &self,
        mut see: impl FnMut(Position, Kind, &[u8]),
    ) -> Result<(Journal, Recovered), JournalError> {
        self.recover_from(Position::START, &mut |position, kind, payload| {
            see(position, kind, payload);
            Ok(())
        })
    }
}

pub fn config() -> JournalConfig {
    JournalConfig { segment_bytes: SEGMENT_BYTES, frame_bytes: 64 * 1024, ..JournalConfig::new(KINDS) }
}

/// The payload of record `i`: its number, and as many more bytes as orders and certificates have.
pub fn payload(i: u32) -> Vec<u8> {
    let mut bytes = i.to_le_bytes().to_vec();
    bytes.resize(4 + (i as usize * 37) % 600, i as u8);
    bytes
}

/// Appends record `i`, committing and maintaining when there is no room in the frame.
pub fn append_or_commit(journal: &mut Journal, handle: &Handle, i: u32) -> Position {
    loop {
        match handle.append(KIND, &[&payload(i)]) {
            Ok(position) => return position,
            Err(AppendError::Full) => {
                journal.commit().unwrap();
                journal.maintain(0).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Sleeps on the waiter until all that was appended is durable.
pub fn wait_until_durable(handle: &Handle, waiter: &Waiter) {
    let until = handle.appended();
    handle.submit();
    while !waiter.announce(until) {
        poll(&mut [PollFd::from_borrowed_fd(waiter.as_fd(), PollFlags::IN)], None).unwrap();
        waiter.clear();
    }
    assert!(handle.durable() >= until || handle.failure().is_some());
}
