//! Failures on command, for end-to-end tests. Without the feature `fault-injection` every function here is empty.
//!
//! `MESHPAY_FAULT` holds a comma-separated list:
//! `fail-sync:N` (the Nth sync of the journal's files reports an error), `kill-after-debit:N` (the process aborts between the debit and the
//! credit of the Nth execution across workers), `skip-lock-replay` (recovery forgets locks: the canary that must be found).

#[cfg(feature = "fault-injection")]
mod injected {
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::journal::{Disk, DiskFile, Medium};

    fn argument(name: &str) -> Option<u64> {
        let faults = std::env::var("MESHPAY_FAULT").ok()?;
        faults.split(',').find_map(|fault| {
            let (fault, argument) = fault.split_once(':').unwrap_or((fault, "0"));
            if fault == name { argument.parse().ok() } else { None }
        })
    }

    pub fn between_debit_and_credit() {
        static CROSSINGS: AtomicU64 = AtomicU64::new(0);
        let Some(fatal) = argument("kill-after-debit") else { return };
        if CROSSINGS.fetch_add(1, Ordering::SeqCst) + 1 == fatal {
            // The record may or may not be durable by then; a moment makes both happen in tests.
            std::thread::sleep(std::time::Duration::from_millis(5));
            std::process::abort();
        }
    }

    pub fn forget_lock() -> bool {
        argument("skip-lock-replay").is_some()
    }

    pub fn journal_disk(disk: std::sync::Arc<dyn Disk>) -> std::sync::Arc<dyn Disk> {
        match argument("fail-sync") {
            None => disk,
            Some(fatal) => std::sync::Arc::new(FailingDisk { disk, left: std::sync::Arc::new(AtomicU64::new(fatal)) }),
        }
    }

    struct FailingDisk {
        disk: std::sync::Arc<dyn Disk>,
        left: std::sync::Arc<AtomicU64>,
    }

    struct FailingFile {
        file: Box<dyn DiskFile>,
        left: std::sync::Arc<AtomicU64>,
    }

    impl Disk for FailingDisk {
        fn list(&self) -> io::Result<Vec<String>> {
            self.disk.list()
        }
        fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
            Ok(Box::new(FailingFile { file: self.disk.create(name)?, left: self.left.clone() }))
        }
        fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
            Ok(Box::new(FailingFile { file: self.disk.open(name)?, left: self.left.clone() }))
        }
        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.disk.rename(from, to)
        }
        fn remove(&self, name: &str) -> io::Result<()> {
            self.disk.remove(name)
        }
        fn sync_directory(&self) -> io::Result<()> {
            self.disk.sync_directory()
        }
        fn free_bytes(&self) -> io::Result<u64> {
            self.disk.free_bytes()
        }
        fn medium(&self) -> io::Result<Medium> {
            self.disk.medium()
        }
        fn home(&self) -> io::Result<[u8; 32]> {
            self.disk.home()
        }
        fn boot(&self) -> io::Result<[u8; 16]> {
            self.disk.boot()
        }
        fn describe(&self) -> String {
            self.disk.describe()
        }
    }

    impl DiskFile for FailingFile {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.file.read_at(buffer, offset)
        }
        fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            self.file.write_at(bytes, offset)
        }
        fn write_zeros_patiently(&self, zeros: &[u8], offset: u64) -> io::Result<()> {
            self.file.write_zeros_patiently(zeros, offset)
        }
        fn read_no_further_than_asked(&self) {
            self.file.read_no_further_than_asked();
        }
        fn sync_data(&self) -> io::Result<()> {
            if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
                return Err(io::Error::other("injected failure of a sync"));
            }
            self.file.sync_data()
        }
        fn reserve(&self, bytes: u64) -> io::Result<()> {
            self.file.reserve(bytes)
        }
        fn len(&self) -> io::Result<u64> {
            self.file.len()
        }
    }
}

#[cfg(feature = "fault-injection")]
pub use injected::{between_debit_and_credit, forget_lock, journal_disk};

/// Between the two halves of an execution across workers.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub fn between_debit_and_credit() {}

/// Whether recovery shall forget locks.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub fn forget_lock() -> bool {
    false
}

/// The disk that the journal uses.
#[cfg(not(feature = "fault-injection"))]
pub fn journal_disk(disk: std::sync::Arc<dyn crate::journal::Disk>) -> std::sync::Arc<dyn crate::journal::Disk> {
    disk
}
