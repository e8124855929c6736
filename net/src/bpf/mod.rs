//! bpf(2), once, for those in this room that call it: a command with the beginning of its `union bpf_attr`. Programs of a few
//! instructions, which need no compiler and no loader, are in `assembly.rs`.
//!
//! What always holds: the kernel takes what is missing behind a request as zero, and refuses what it does not know (E2BIG), so a
//! request holds only what its command needs. Descriptors that the kernel makes here are close-on-exec.

pub(crate) mod assembly;

use std::io;
use std::mem::size_of;
use std::os::fd::{FromRawFd, OwnedFd};

/// Calls the kernel and gives what it returns, which is not negative.
///
/// # Safety
/// `request` must be the beginning of `union bpf_attr` for this command, and its pointers must be valid through the call, for as many
/// bytes as its lengths say or the map that it names implies.
pub(crate) unsafe fn call<T>(command: libc::c_int, request: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: pointer and length describe `request`, which nobody else reads or writes meanwhile. The caller vouches for the rest.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(request), size_of::<T>()) };
    match i32::try_from(outcome) {
        Ok(value) if value >= 0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Like [`call`], for a command that makes a descriptor.
///
/// # Safety
/// As for [`call`], and the command must be one that returns a new descriptor.
pub(crate) unsafe fn call_for_descriptor<T>(command: libc::c_int, request: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise is the same.
    let descriptor = unsafe { call(command, request) }?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
