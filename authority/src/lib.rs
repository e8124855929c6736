//! authority

pub mod journal;
