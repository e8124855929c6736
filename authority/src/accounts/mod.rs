//! The account table: fixed slots in memory, each shard in a region of its own, each region written by one worker.
//!
//! A clean stop leaves the slots in a file. That is an image of the journal, never the truth: after anything but a clean stop the table is rebuilt
//! (DESIGN 5.1, 5.2).

mod image;
mod index;
mod layout;
mod pages;
mod table;

pub use image::{Image, ImageError, Stamp};
pub use layout::Layout;
pub use pages::Pages;
pub use table::{AccountTable, TableGauge, WorkerAccounts};
