//! What threads share, in one place: in every ordinary build the types of `std` and `crossbeam` themselves, at no cost; with the feature
//! `loom` types that try every interleaving, and every reordering that the memory model allows, of the very code that runs in production.
//!
//! What always holds: code that hands something to another thread takes its types from here, so that a test named `under_loom` in its own room can
//! run it. What is not covered: crossbeam's queue (under loom it is a queue behind a lock), and the total order of sequentially consistent loads and
//! stores, which loom treats as acquire and release; who needs that order puts a sequentially consistent [`fence`](atomic::fence) instead.

#[cfg(feature = "loom")]
mod model;
#[cfg(not(feature = "loom"))]
mod system;

#[cfg(feature = "loom")]
pub use model::*;
#[cfg(not(feature = "loom"))]
pub use system::*;
