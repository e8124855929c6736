//! A frame in the kernel's memory, between two pointers that the verifier knows.

use aya_ebpf::programs::XdpContext;
use meshpay_wire::filter::Packet;

/// `data..data_end` of an XDP context.
#[derive(Clone, Copy)]
pub struct KernelPacket {
    data: usize,
    data_end: usize,
}

impl KernelPacket {
    /// The frame of a context, for as long as the program runs.
    #[inline(always)]
    pub fn of(context: &XdpContext) -> Self {
        Self { data: context.data(), data_end: context.data_end() }
    }

    /// The address of `bytes` bytes at an offset, if they lie before the frame's end.
    #[inline(always)]
    fn checked(&self, at: usize, bytes: usize) -> Option<usize> {
        let start = self.data + at;
        if start + bytes > self.data_end { None } else { Some(start) }
    }
}

/// Loads a value from any address by one instruction. The processors that have a JIT for such programs can do that, but the compiler
/// would put the value together from bytes.
macro_rules! load {
    ($type:ident, $register:ident, $start:expr, $offset:literal) => {{
        let value: $type;
        // SAFETY: the bytes lie before the frame's end, as the caller has checked; the verifier checks it again.
        unsafe {
            core::arch::asm!(
                concat!("{value} = *(", stringify!($type), " *)({start} + ", $offset, ")"),
                value = out($register) value,
                start = in(reg) $start,
                options(readonly, nostack, preserves_flags),
            );
        }
        value
    }};
}

impl Packet for KernelPacket {
    #[inline(always)]
    fn length(&self) -> usize {
        self.data_end - self.data
    }

    #[inline(always)]
    fn u8(&self, at: usize) -> Option<u8> {
        let start = self.checked(at, 1)?;
        Some(load!(u8, reg, start, 0))
    }

    #[inline(always)]
    fn be16(&self, at: usize) -> Option<u16> {
        let start = self.checked(at, 2)?;
        Some(u16::from_be(load!(u16, reg, start, 0)))
    }

    #[inline(always)]
    fn u32(&self, at: usize) -> Option<u32> {
        let start = self.checked(at, 4)?;
        Some(load!(u32, reg, start, 0))
    }

    #[inline(always)]
    fn u64(&self, at: usize) -> Option<u64> {
        let start = self.checked(at, 8)?;
        Some(load!(u64, reg, start, 0))
    }

    #[inline(always)]
    fn four_u64(&self, at: usize) -> Option<[u64; 4]> {
        let start = self.checked(at, 32)?;
        Some([
            load!(u64, reg, start, 0),
            load!(u64, reg, start, 8),
            load!(u64, reg, start, 16),
            load!(u64, reg, start, 24),
        ])
    }
}
