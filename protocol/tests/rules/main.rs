//! The rules of the protocol, each by name, over [`meshpay_protocol::Authority`] with accounts in memory and real Ed25519.
//!
//! | file | subject |
//! |---|---|
//! | `orders` | when an authority votes, and what it says where it does not |
//! | `certificates` | what is executed, and what no certificate can be |
//! | `committee` | quorum arithmetic |
//! | `genesis` | what no genesis may be, and that every field is in its digest |
//! | `evidence` | proofs of equivocation |
//! | `history` | the ladder by which old debits are found |
//! | `properties` | money, arrival order and replay, over generated traffic |
//! | `network` | a committee, wallets and their signatures, for all of these |

mod certificates;
mod committee;
mod evidence;
mod exhaustive;
mod genesis;
mod history;
mod network;
mod orders;
mod properties;
