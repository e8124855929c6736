//! The XDP program: asks `meshpay_wire::filter` and does what it says. Everything that is decided is decided there.
//!
//! What always holds here: a frame that is not ours is returned as it came; where a table or a socket is missing, the frame goes to
//! the network stack, which loses nothing.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod packet;
mod tables;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use meshpay_wire::TRANSFER_REQUEST_LENGTH;
use meshpay_wire::filter::evidence::Record;
use meshpay_wire::filter::frame::Flow;
use meshpay_wire::filter::{Action, Arrival, Verdict, decide};

/// Judges one frame.
#[xdp]
pub fn meshpay_filter(context: XdpContext) -> u32 {
    let packet = packet::KernelPacket::of(&context);
    let verdict = decide(&packet, &tables::KernelTables, arrival(&context));
    count(&verdict);
    if let Some(flow) = verdict.evidence() {
        show(&context, flow);
    }
    #[cfg(feature = "trace")]
    aya_log_ebpf::debug!(&context, "outcome {}", verdict.outcome as u8);
    report(&verdict);
    match verdict.outcome.action() {
        Action::Drop => XDP_DROP,
        Action::Pass => XDP_PASS,
        Action::Deliver => match verdict.socket() {
            // Where the table has no socket at this place, the frame passes to the stack.
            Some(place) => tables::SOCKETS.redirect(place, XDP_PASS.into()).unwrap_or_else(|action| action),
            None => XDP_PASS,
        },
    }
}

#[inline(always)]
fn count(verdict: &Verdict) {
    if let Some(counter) = tables::COUNTERS.get_ptr_mut(verdict.outcome as u32) {
        // SAFETY: the kernel gave us this CPU's own value, and an XDP program is not interrupted by another on its CPU.
        unsafe { *counter = (*counter).wrapping_add(1) };
    }
}

/// Puts a conflicting order into the ring buffer. Where that is full it is lost: there will be others.
#[inline(always)]
fn show(context: &XdpContext, flow: &Flow) {
    let Some(mut entry) = tables::EVIDENCE.reserve::<[u64; size_of::<Record>() / 8]>(0) else { return };
    let words = entry.as_mut_ptr().cast::<u64>();
    // SAFETY: the reserved record has as many words as a `Record` has, and the copy ends with it.
    let copied = unsafe {
        words.write(flow.source[0]);
        words.add(1).write(flow.source[1]);
        words.add(2).write(u64::from(flow.port()));
        bpf_xdp_load_bytes(context.ctx, flow.payload_at as u32, words.add(3).cast(), TRANSFER_REQUEST_LENGTH as u32)
    };
    if copied == 0 { entry.submit(0) } else { entry.discard(0) }
}

#[cfg(not(feature = "test-run"))]
#[inline(always)]
fn arrival(context: &XdpContext) -> Arrival {
    // SAFETY: the context is the kernel's, and the helper reads a clock.
    let (now_ns, receive_queue) =
        unsafe { (aya_ebpf::helpers::generated::bpf_ktime_get_ns(), (*context.ctx).rx_queue_index) };
    Arrival { now_ns, receive_queue }
}

#[cfg(not(feature = "test-run"))]
#[inline(always)]
fn report(_verdict: &Verdict) {}

#[cfg(feature = "test-run")]
#[inline(always)]
fn arrival(_context: &XdpContext) -> Arrival {
    use meshpay_wire::filter::Words as _;
    let Some(words) = tables::test_run() else { return Arrival { now_ns: 0, receive_queue: 0 } };
    Arrival { now_ns: words.load(0), receive_queue: words.load(1) as u32 }
}

/// Word 2: outcome + 1; word 3: place of the socket + 1; word 4: payload offset of evidence + 1.
#[cfg(feature = "test-run")]
#[inline(always)]
fn report(verdict: &Verdict) {
    use meshpay_wire::filter::Words as _;
    let Some(words) = tables::test_run() else { return };
    words.store(2, verdict.outcome as u64 + 1);
    words.store(3, verdict.socket().map_or(0, |place| u64::from(place) + 1));
    words.store(4, verdict.evidence().map_or(0, |flow| flow.payload_at as u64 + 1));
}

/// The verifier proves that it is never reached.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// Parts of the kernel's interface that are GPL only are not used, but loaders look for the name of a licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
