//! `XskPort` against the real kernel: namespaces, a veth pair, native XDP, AF_XDP in copy mode. Needs root; says so if it is skipped.
//!
//! What a peer receives goes through an ordinary UDP socket, which verifies checksums. Every test waits until what it expects is
//! there, with a generous limit that fails loudly.

mod combined;
mod contract;
mod frames;
mod life_cycle;
mod program;
mod scene;
mod workers;
