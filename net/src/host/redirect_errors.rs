//! Packets that XDP redirected and the kernel then lost: [`RedirectErrors`] counts them, since no socket does (a frame for a socket of
//! another queue is lost without a trace elsewhere).
//!
//! Counted at the tracepoint `xdp:xdp_redirect_err` by a program of some twenty instructions and an array in shared memory, not by
//! perf_event_open(2): that one needs the tracepoint's number from tracefs, which only root can read, and counts every interface and
//! namespace of the host together; the program needs CAP_BPF and CAP_PERFMON only and looks at the map's number. It runs when a redirect
//! fails and costs nothing otherwise.
//!
//! What always holds: once open it needs no right and no system call; counters only grow; closing it leaves nothing in the kernel.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::bpf;
use super::kernel::{Kernel, Version};
use crate::bpf::assembly::{Instruction, ProgramType, load};

/// Since 5.13 (commit ee75aef23afe) the tracepoint's arguments are device, program, target, error, map type, map number, index.
const ARGUMENTS_SINCE: Version = Version::new(5, 13);
const ERROR_OFFSET: i16 = 3 * 8;
const MAP_NUMBER_OFFSET: i16 = 5 * 8;

/// Counters and the errors that they count; what is none of these is counted at 0. From xsk_rcv_check and __xsk_rcv in
/// net/xdp/xsk.c.
const ERRORS: [libc::c_int; 5] = [libc::EINVAL, libc::ENXIO, libc::ENOBUFS, libc::ENOMEM, libc::ENOSPC];
const COUNTERS: usize = ERRORS.len() + 1;

/// Length of the mapping: one page, of which the counters are the beginning.
const MAPPED_BYTES: usize = 4096;

/// Whose failed redirects are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Those through the map of this number (`bpftool map`, `bpf_map_info.id`): exactly ours. Kernel 5.13 or newer.
    Map(u32),
    /// Those of every interface, program and namespace of this host.
    Everything,
}

/// Why nothing is counted.
#[derive(Debug, thiserror::Error)]
pub enum RedirectErrorsError {
    /// The kernel cannot tell one map from another.
    #[error(
        "redirect errors are not counted: the kernel is {0}, and only 5.13 and newer say which map a redirect went through"
    )]
    Kernel(String),
    /// A right is missing.
    #[error("redirect errors are not counted: {0} was refused; it needs CAP_BPF and CAP_PERFMON")]
    NotPermitted(&'static str),
    /// Something else.
    #[error("redirect errors are not counted: cannot {what}: {source}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Failed redirects since the opening, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedirectErrorCounts {
    /// The socket is bound to another queue or interface (EINVAL); counted nowhere else.
    pub wrong_queue: u64,
    /// The socket is not bound (ENXIO); counted nowhere else.
    pub not_bound: u64,
    /// The receive ring was full (ENOBUFS); the socket counts it too.
    pub ring_full: u64,
    /// The fill ring was empty (ENOMEM); the socket counts it too.
    pub no_frame: u64,
    /// The packet is longer than a frame (ENOSPC); the socket counts it too.
    pub too_long: u64,
    /// Any other reason.
    pub other: u64,
}

impl RedirectErrorCounts {
    /// Name and value of each, for metrics.
    pub fn entries(&self) -> [(&'static str, u64); COUNTERS] {
        [
            ("wrong_queue", self.wrong_queue),
            ("not_bound", self.not_bound),
            ("ring_full", self.ring_full),
            ("no_frame", self.no_frame),
            ("too_long", self.too_long),
            ("other", self.other),
        ]
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.entries().iter().map(|(_, value)| value).sum()
    }
}

/// Counts until it is dropped.
#[derive(Debug)]
pub struct RedirectErrors {
    counters: NonNull<AtomicU64>,
    _link: OwnedFd,
}

// SAFETY: the mapping is shared memory of atomics, which any thread may read.
unsafe impl Send for RedirectErrors {}
// SAFETY: likewise; nothing is ever written through it.
unsafe impl Sync for RedirectErrors {}

impl RedirectErrors {
    /// Starts to count. Needs CAP_BPF and CAP_PERFMON now, and nothing later.
    ///
    /// # Errors
    /// If a right is missing or the kernel is too old; packets flow all the same.
    pub fn open(watched: Watched) -> Result<Self, RedirectErrorsError> {
        let kernel = Kernel::read();
        if matches!(watched, Watched::Map(_)) && !kernel.at_least(ARGUMENTS_SINCE) {
            return Err(RedirectErrorsError::Kernel(kernel.release));
        }
        let map = bpf::mappable_value((COUNTERS * size_of::<u64>()) as u32).map_err(failed("make a map"))?;
        let program = load(ProgramType::RawTracepoint, &program(map.as_fd(), watched))
            .map_err(failed("load a program for a tracepoint"))?;
        // SAFETY: a new mapping at an address that the kernel chooses touches nothing that exists.
        let counters = unsafe { mmap(std::ptr::null_mut(), MAPPED_BYTES, ProtFlags::READ, MapFlags::SHARED, &map, 0) }
            .map_err(|error| failed("map the counters")(error.into()))?;
        let Some(counters) = NonNull::new(counters.cast::<AtomicU64>()) else {
            return Err(failed("map the counters")(io::ErrorKind::OutOfMemory.into()));
        };
        match bpf::open_raw_tracepoint(c"xdp_redirect_err", program.as_fd()) {
            Ok(link) => Ok(Self { counters, _link: link }),
            Err(error) => {
                // SAFETY: the mapping was made above and nothing refers to it.
                let _ = unsafe { munmap(counters.as_ptr().cast(), MAPPED_BYTES) };
                Err(failed("open the tracepoint xdp_redirect_err")(error))
            }
        }
    }

    /// The counts now. No system call.
    pub fn counts(&self) -> RedirectErrorCounts {
        let at = |index: usize| {
            debug_assert!(index < COUNTERS);
            // SAFETY: the mapping holds `COUNTERS` aligned numbers, lives as long as `self`, and is only changed by atomic additions.
            unsafe { self.counters.add(index).as_ref() }.load(Ordering::Relaxed)
        };
        RedirectErrorCounts {
            other: at(0),
            wrong_queue: at(1),
            not_bound: at(2),
            ring_full: at(3),
            no_frame: at(4),
            too_long: at(5),
        }
    }
}

impl Drop for RedirectErrors {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `open`, and references to it live no longer than a call of `counts`.
        let _ = unsafe { munmap(self.counters.as_ptr().cast(), MAPPED_BYTES) };
    }
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> RedirectErrorsError {
    move |source| match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => RedirectErrorsError::NotPermitted(what),
        _ => RedirectErrorsError::Failed { what, source },
    }
}

/// Register 1 holds the tracepoint's arguments. Counter n + 1 counts `ERRORS[n]`, counter 0 the rest.
fn program(map: std::os::fd::BorrowedFd<'_>, watched: Watched) -> Vec<Instruction> {
    // One test and a branch per error, then two instructions per counter, then the end.
    let mut body = Vec::new();
    body.extend(Instruction::map_value(0, map));
    body.push(Instruction::set(2, 1));
    // The error is at the same place in older kernels, back to 4.15, which have a pointer to the map behind it.
    body.push(Instruction::load(3, 1, ERROR_OFFSET));
    for (at, error) in ERRORS.iter().enumerate() {
        // The remaining tests, counter 0 with its end, and the counters before.
        let skip = (ERRORS.len() - 1 - at) + 3 + at * 3;
        body.push(Instruction::skip_if_equal(3, -error, skip as i16));
    }
    for counter in 0..COUNTERS {
        body.push(Instruction::atomic_add(0, 2, (counter * size_of::<u64>()) as i16));
        body.push(Instruction::set(0, 0));
        body.push(Instruction::exit());
    }
    let mut program = Vec::new();
    if let Watched::Map(number) = watched {
        program.push(Instruction::load(2, 1, MAP_NUMBER_OFFSET));
        // Jumps over the two instructions that end the program.
        program.push(Instruction::skip_if_equal(2, number.cast_signed(), 2));
        program.push(Instruction::set(0, 0));
        program.push(Instruction::exit());
    }
    program.extend(body);
    program
}
