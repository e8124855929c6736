//! The host: its interfaces, its own addresses as they change, its kernel, and the rights of this process.
//!
//! What always holds here: reading needs no right and changes nothing; what cannot be read is absent, never guessed; nothing here is on
//! the data path. What changes anything says so in its name: [`drop_privileges`], [`Kernel::raise_memlock`], [`DescriptorStore`].
//!
//! | file | what |
//! |---|---|
//! | `netlink.rs` | requests, dumps and notifications over netlink |
//! | `link.rs`, `address.rs` | what rtnetlink says of interfaces and addresses |
//! | `follower.rs` | addresses and links as they change |
//! | `ethtool.rs`, `families.rs` | driver, queues, XDP features, wireless |
//! | `interface.rs` | all of that for one interface |
//! | `kernel.rs` | version, BTF, limits |
//! | `capabilities.rs`, `privileges.rs` | what this process may do, and how it gives it up |
//! | `descriptor_store.rs` | what stays open while one binary takes the place of another |
//! | `redirect_errors.rs`, `bpf.rs` | packets that the kernel lost on their way to a socket |

mod address;
mod bpf;
mod capabilities;
mod descriptor_store;
mod error;
mod ethtool;
mod families;
mod follower;
mod interface;
mod kernel;
mod link;
#[cfg(test)]
pub(crate) mod namespace;
mod netlink;
mod privileges;
mod redirect_errors;
#[cfg(test)]
mod tests;

pub use address::{OwnAddress, Scope};
pub use capabilities::{Capabilities, Capability};
pub use descriptor_store::{DescriptorStore, handed_over};
pub use error::HostError;
pub use ethtool::{Driver, Queues};
pub use families::{WirelessMode, XdpFeatures};
pub use follower::{Change, Follower, HostState};
pub use interface::{Interface, VETH_PEER_MTU_MAX, VethPeer};
pub use kernel::{Kernel, Limit, Version};
pub use link::{AttachedProgram, Link, XdpMode};
pub use privileges::{Dropped, PrivilegeError, User, drop_privileges, threads_with_capabilities};
pub use redirect_errors::{RedirectErrorCounts, RedirectErrors, RedirectErrorsError, Watched};
