//! The file of the account image, in memory. It bypasses the storage port, so after a crash it holds whatever chance gives it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::dice::Dice;

const PAGE_BYTES: u64 = 4096;

/// A file without a name.
pub struct ImageFile {
    file: File,
    /// The first page as a clean stop left it: what a lost erasure would bring back.
    stamped: Option<Vec<u8>>,
}

impl ImageFile {
    /// An empty file.
    ///
    /// # Errors
    /// If the kernel gives none.
    pub fn new() -> Result<Self> {
        let file = memfd_create("meshpay-image", MemfdFlags::CLOEXEC).context("the kernel gives no file in memory")?;
        Ok(Self { file: File::from(file), stamped: None })
    }

    /// Where the authority finds it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Remembers the header of a clean stop.
    pub fn remember_stamp(&mut self) {
        let mut page = vec![0; PAGE_BYTES as usize];
        if self.file.read_exact_at(&mut page, 0).is_ok() {
            self.stamped = Some(page);
        }
    }

    /// The power went: what is in the file now is a matter of chance.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scramble(&self, dice: &mut Dice) -> Result<()> {
        let length = self.file.metadata()?.len();
        if length == 0 {
            return Ok(());
        }
        match dice.below(6) {
            0 => {}
            1 => self.file.set_len(dice.below(length))?,
            2 => self.file.write_all_at(&dice.bytes::<512>(), 0)?,
            3 => {
                // The erasure of the stamp was lost, the slots were not.
                if let Some(page) = &self.stamped {
                    self.file.write_all_at(page, 0)?;
                }
            }
            _ => {
                for _ in 0..dice.between(1, 40) {
                    let page = dice.below(length / PAGE_BYTES) * PAGE_BYTES;
                    let bytes: [u8; PAGE_BYTES as usize] = dice.bytes();
                    self.file.write_all_at(&bytes, page)?;
                }
            }
        }
        Ok(())
    }

    /// One bit rots.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn rot(&self, dice: &mut Dice) -> Result<()> {
        let length = self.file.metadata()?.len();
        if length > 0 {
            let at = dice.below(length);
            let mut byte = [0];
            self.file.read_exact_at(&mut byte, at)?;
            self.file.write_all_at(&[byte[0] ^ 1 << dice.below(8)], at)?;
        }
        Ok(())
    }
}
