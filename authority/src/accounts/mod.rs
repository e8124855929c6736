//! The account table: fixed slots in one memory-mapped file, each shard in a region of its own, each region written by one worker.
//!
//! The file is an image of the journal, never the truth: after anything but a clean stop it is rebuilt (DESIGN 5.1, 5.2).

mod image;
mod layout;
mod table;

pub use image::{Image, ImageError, Stamp};
pub use layout::Layout;
pub use table::{AccountTable, TableGauge, WorkerAccounts};
