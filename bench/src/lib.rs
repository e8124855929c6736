//! The load generator, its reports, and the ground they stand on: a measured link and CPU accounting.

pub mod cpu;
pub mod link;
