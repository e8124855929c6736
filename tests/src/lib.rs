//! What the end-to-end tests share: real daemons in directories of their own, and a client that may send anything.
//!
//! | file | what |
//! |---|---|
//! | `binaries` | finds the programs under test, builds them where nobody has |
//! | `process` | starts a program so that it never outlives its test |
//! | `daemon` | one authority: start, kill, stop, ask, audit |
//! | `committee` | a network of daemons and of *puppets*, members whose keys the test holds |
//! | `network` | genesis, keys, orders, votes and certificates of such a network |
//! | `client` | datagrams out, answers in; retries as `docs/wire.md` says |
//! | `ledger` | what balances must be: a model that shares no code with the daemon's |
//! | `wallet` | the `meshpay` command, with a wallet of its own |
//! | `liar` | an authority that answers, and lies |
//! | `full_disk` | a small file system of its own |
//! | `service_manager` | keeps descriptors while one daemon takes the place of another |
//! | `link` | a gateway and its mesh: namespaces and a wire between them |
//! | `frames` | whole frames from the mesh, with any sender |
//! | `attacker` | floods of frames from a namespace of their own |
//!
//! What always holds: a program that was started here is killed and reaped when its owner is dropped, also by a panic, and by
//! the kernel when the whole test process dies. No test waits for a time to pass and then expects something to have happened: it waits for
//! the thing itself, for at most [`DEADLINE`].

pub mod attacker;
pub mod binaries;
pub mod client;
pub mod committee;
pub mod daemon;
pub mod frames;
pub mod full_disk;
pub mod ledger;
pub mod liar;
pub mod link;
pub mod network;
pub mod process;
pub mod random;
pub mod scratch;
pub mod service_manager;
pub mod skip;
pub mod wallet;

use std::time::Duration;

/// How long anything may take before a test gives up on it. Far above what is ever needed, so that no slow machine fails a test.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// How many times longer than in an ordinary run the slow suites shall be: `MESHPAY_TEST_SCALE`, 1 where it is not set.
pub fn scale() -> usize {
    std::env::var("MESHPAY_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}
