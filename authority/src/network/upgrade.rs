//! Restarts without a gap in the filter: the service manager keeps the filter's link while one process takes the place of another.
//!
//! The program goes on dropping with the tables of the old process; the new one puts its own program into the link's place, so each packet
//! meets the one or the other. Sockets and rings are the process's own: what passes the filter meanwhile is answered on retry.
//!
//! What always holds: only a link of our own that the manager handed back is taken over; one that is not for this interface is taken off;
//! when the operator takes the filter off, the manager's copy goes with it.

use std::os::fd::{AsFd, OwnedFd};

use meshpay_net::host::{DescriptorStore, handed_over};
use meshpay_net::xdp::Attachment;

/// Name of the link among the descriptors that the manager keeps.
const LINK: &str = "filter-link";

/// Links that an earlier process of this service left with the manager. To be called once, first of all.
pub fn inherited_links() -> Vec<OwnedFd> {
    // SAFETY: called once, at the beginning of `run`, by the only thread, before anything took a descriptor by its number.
    let mut handed = unsafe { handed_over() };
    handed.remove(LINK).unwrap_or_default()
}

/// The inherited link on this interface, if there is one; all others are taken off.
pub(super) fn take_over(links: Vec<OwnedFd>, index: u32) -> Option<Attachment> {
    let mut found = None;
    let any = !links.is_empty();
    for link in links {
        let attachment = match Attachment::from_fd(link) {
            Ok(attachment) => attachment,
            Err(error) => {
                tracing::warn!("what the service manager kept under the name {LINK} is let go: {error}");
                continue;
            }
        };
        let here = attachment.state().is_ok_and(|state| state.interface == Some(index));
        if here && found.is_none() {
            found = Some(attachment);
        } else if let Err(error) = attachment.detach() {
            tracing::warn!("a link that an earlier process left is not taken off: {error}");
        }
    }
    if any && found.is_none() {
        // The manager's copy would be handed to every later process, and is of no use to any.
        with_manager("give up what was left", |store| store.remove(LINK));
    }
    found
}

/// Leaves the link with the manager, if one started us.
pub(super) fn leave_with_manager(attachment: &Attachment) {
    with_manager("keep the filter's link", |store| {
        // The one of before, of a process or an interface that has gone, is of no more use.
        store.remove(LINK)?;
        store.put(LINK, attachment.as_fd())
    });
}

/// Takes the program off and the link back from the manager.
pub(super) fn take_off(attachment: Attachment) {
    with_manager("give up the filter's link", |store| store.remove(LINK));
    if let Err(error) = attachment.detach() {
        tracing::warn!("the filter is not taken off: {error}");
    }
}

fn with_manager(what: &str, work: impl FnOnce(&DescriptorStore) -> std::io::Result<()>) {
    match DescriptorStore::from_environment() {
        Ok(None) => {}
        Ok(Some(store)) => {
            if let Err(error) = work(&store) {
                tracing::warn!("the service manager does not {what}: {error}; a restart has a gap");
            }
        }
        Err(error) => tracing::warn!("the service manager cannot be reached: {error}; a restart has a gap"),
    }
}
