//! A program run by hand (`BPF_PROG_TEST_RUN`): on one packet to learn its verdict, or on a flood of live frames.
//!
//! What always holds: an ordinary run touches no interface; what the program writes to its maps stays. A run of live frames does for each
//! copy of the packet what the verdict says, so it is for interfaces that were made for it.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use super::error::TO_LOAD;
use super::{Program, XdpError};
use crate::bpf::call;

const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// Most frames of one batch of a live run (`TEST_XDP_MAX_BATCH` in net/bpf/test_run.c).
pub const LIVE_BATCH_MAX: u32 = 256;

/// How much longer a packet may become: room for what a program puts in front of it and behind it.
const GROWTH_MAX_BYTES: usize = 512;

/// What is run on what.
#[derive(Clone, Copy, Debug, Default)]
pub struct TestRun<'a> {
    /// The frame from its Ethernet header on, at least 14 bytes (the kernel takes no shorter one).
    pub packet: &'a [u8],
    /// How often; 0 is taken as 1. Every run sees the packet as the run before left it, except that live frames are always fresh.
    pub repeat: u32,
    /// The interface and its receive queue that the program is told of; without it, the loopback and queue 0. The kernel knows a queue only
    /// where the interface is up (EINVAL otherwise).
    pub arrived_at: Option<(u32, u32)>,
    /// Frames are real ones, made in batches of this many (at most [`LIVE_BATCH_MAX`]), and the verdicts are carried out: passed up at
    /// `arrived_at`, sent back, redirected. Kernel 5.18.
    pub live_batch: Option<u32>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// The last verdict, `XDP_*` of linux/bpf.h; 0 (aborted) for live frames, whose verdicts are not told.
    pub verdict: u32,
    /// Mean time of one run in nanoseconds.
    pub duration_ns: u32,
    /// The packet as the last run left it; empty for live frames.
    pub packet_out: Vec<u8>,
}

/// The part of `union bpf_attr` for this command.
#[repr(C)]
struct Request {
    program: u32,
    verdict: u32,
    packet_bytes: u32,
    out_bytes: u32,
    packet: u64,
    out: u64,
    repeat: u32,
    duration_ns: u32,
    context_bytes: u32,
    context_out_bytes: u32,
    context: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    reserved: u32,
}
const _: () = assert!(size_of::<Request>() == 80);

/// `struct xdp_md`, of which only these are taken; offsets count from the packet's first byte.
#[repr(C)]
struct Context {
    data: u32,
    data_end: u32,
    data_meta: u32,
    interface: u32,
    queue: u32,
    egress: u32,
}
const _: () = assert!(size_of::<Context>() == 24);

impl Program {
    /// Runs the program. An ordinary run needs only the program; a run of live frames too.
    ///
    /// With a repeat above 1 the kernel rewrites its dispatcher before and after the run and waits for a grace period of RCU each time:
    /// tens of milliseconds on a busy machine. Not so while the program is attached to some interface (kernel/bpf/dispatcher.c); so whoever
    /// runs it often attaches it, were it to a loopback of a namespace that nobody uses.
    ///
    /// # Errors
    /// If the packet is shorter than 14 bytes or longer than a page allows (EINVAL), the interface or queue is not there, or the kernel is
    /// too old for live frames.
    pub fn test_run(&self, run: &TestRun<'_>) -> Result<Ran, XdpError> {
        let failed = |source| XdpError::because("run the program by hand", TO_LOAD)(source);
        let packet_bytes = u32::try_from(run.packet.len()).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        let live = run.live_batch.is_some();
        let mut out = if live { Vec::new() } else { vec![0; run.packet.len() + GROWTH_MAX_BYTES] };
        let (interface, queue) = run.arrived_at.unwrap_or_default();
        let context = Context { data: 0, data_end: packet_bytes, data_meta: 0, interface, queue, egress: 0 };
        let mut request = Request {
            program: self.as_fd().as_raw_fd().cast_unsigned(),
            verdict: 0,
            packet_bytes,
            out_bytes: out.len() as u32,
            packet: run.packet.as_ptr().expose_provenance() as u64,
            out: if live { 0 } else { out.as_mut_ptr().expose_provenance() as u64 },
            repeat: run.repeat.max(1),
            duration_ns: 0,
            context_bytes: size_of::<Context>() as u32,
            context_out_bytes: 0,
            context: std::ptr::from_ref(&context).expose_provenance() as u64,
            context_out: 0,
            flags: if live { BPF_F_TEST_XDP_LIVE_FRAMES } else { 0 },
            cpu: 0,
            batch: run.live_batch.unwrap_or(0),
            reserved: 0,
        };
        loop {
            // SAFETY: the structure is that of the command. Packet, context and `out` live through the call and are as long as it says; the
            // kernel writes at most `out_bytes` bytes to `out`.
            match unsafe { call(BPF_PROG_TEST_RUN, &mut request) } {
                Ok(_) => break,
                // A signal; the counters of the run so far stay. Live frames must not be sent twice as often, so that is for the caller.
                Err(error) if error.kind() == io::ErrorKind::Interrupted && !live => {}
                Err(error) => return Err(failed(error)),
            }
        }
        out.truncate(request.out_bytes as usize);
        Ok(Ran { verdict: request.verdict, duration_ns: request.duration_ns, packet_out: out })
    }
}
