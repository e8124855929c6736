//! XDP programs: loaded from an object file, attached to an interface, and the maps through which they and we speak.
//!
//! What always holds here: nothing knows what a program is for; an attachment is a bpf_link and nothing else, so a process that is
//! killed leaves the interface clean; nothing is ever pinned; everything that is made is a descriptor in this process, and works by it
//! alone: rights are needed to load, not to attach, replace, read, write or poll (see each function for the kernel that this holds for).
//!
//! | file | what |
//! |---|---|
//! | `program.rs` | an object file becomes a [`Program`] with its maps; its descriptors leave and come back across an upgrade |
//! | `bare.rs` | programs of a few instructions, which need no object file |
//! | `attachment.rs` | a program on an interface |
//! | `test_run.rs` | a program run on a packet by hand, or on a flood of them |
//! | `map.rs` | the four calls that every map knows |
//! | `mapped_array.rs` | an array in shared memory, written without system calls |
//! | `sockets.rs` | AF_XDP sockets by index, which a program redirects to |
//! | `key_set.rs` | a hash table of keys with small values |
//! | `per_cpu_counters.rs` | counters, one for every processor |
//! | `ring.rs` | messages from a program |
//! | `error.rs` | what can go wrong, and what to do then |

mod attachment;
mod bare;
mod error;
mod key_set;
mod map;
mod mapped_array;
mod per_cpu_counters;
mod program;
mod ring;
mod sockets;
mod steer;
mod test_run;

pub use attachment::{AttachMode, Attachment, AttachmentState};
pub use bare::{Bare, Variation};
pub use error::XdpError;
pub use key_set::KeySet;
pub use mapped_array::MappedArray;
pub use per_cpu_counters::PerCpuCounters;
pub use program::{LoadRequest, Program};
pub use ring::Ring;
pub use sockets::SocketMap;
pub use test_run::{LIVE_BATCH_MAX, Ran, TestRun};
