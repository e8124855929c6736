//! Programs of a few instructions, written down by hand and loaded: they need no toolchain, no object file and no relocation.
//!
//! Layouts: `struct bpf_insn` and `union bpf_attr` of linux/bpf.h. What always holds: the kernel's verifier reads every program before it
//! runs, so a mistake here is a refusal, not a fault. The filter, which is compiled, is loaded elsewhere.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::call_for_descriptor;

const BPF_PROG_LOAD: libc::c_int = 5;

/// What kind of program is loaded: `BPF_PROG_TYPE_*`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum ProgramType {
    Xdp = 6,
    RawTracepoint = 17,
}

/// One instruction, as `struct bpf_insn`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    /// Destination in the low four bits, source in the high ones.
    registers: u8,
    offset: i16,
    immediate: i32,
}
const _: () = assert!(size_of::<Instruction>() == 8);

impl Instruction {
    const fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Self {
        // On a big-endian machine the two halves of the byte are the other way round.
        let registers =
            if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source };
        Self { code, registers, offset, immediate }
    }

    /// destination = immediate
    pub(crate) const fn set(destination: u8, immediate: i32) -> Self {
        Self::new(0xb7, destination, 0, 0, immediate)
    }

    /// destination = 64 bits at source + offset
    pub(crate) const fn load(destination: u8, source: u8, offset: i16) -> Self {
        Self::new(0x79, destination, source, offset, 0)
    }

    /// destination = source
    pub(crate) const fn copy(destination: u8, source: u8) -> Self {
        Self::new(0xbf, destination, source, 0, 0)
    }

    /// destination += immediate
    pub(crate) const fn add(destination: u8, immediate: i32) -> Self {
        Self::new(0x07, destination, 0, 0, immediate)
    }

    /// destination %= immediate, both without sign and of 32 bits
    pub(crate) const fn modulo(destination: u8, immediate: i32) -> Self {
        Self::new(0x94, destination, 0, 0, immediate)
    }

    /// destination ^= immediate
    pub(crate) const fn xor(destination: u8, immediate: i32) -> Self {
        Self::new(0xa7, destination, 0, 0, immediate)
    }

    /// destination = its lower 16 bits in network order
    pub(crate) const fn to_network16(destination: u8) -> Self {
        Self::new(0xdc, destination, 0, 0, 16)
    }

    /// destination = 32 bits at source + offset
    pub(crate) const fn load32(destination: u8, source: u8, offset: i16) -> Self {
        Self::new(0x61, destination, source, offset, 0)
    }

    /// 32 bits at destination + offset = source
    pub(crate) const fn store32(destination: u8, source: u8, offset: i16) -> Self {
        Self::new(0x63, destination, source, offset, 0)
    }

    /// 16 bits at destination + offset = source
    pub(crate) const fn store16(destination: u8, source: u8, offset: i16) -> Self {
        Self::new(0x6b, destination, source, offset, 0)
    }

    /// Goes `skip` instructions further if a register is above another.
    pub(crate) const fn skip_if_above(left: u8, right: u8, skip: i16) -> Self {
        Self::new(0x2d, left, right, skip, 0)
    }

    /// destination = 16 bits at source + offset
    pub(crate) const fn load16(destination: u8, source: u8, offset: i16) -> Self {
        Self::new(0x69, destination, source, offset, 0)
    }

    /// destination = 8 bits at source + offset
    pub(crate) const fn load8(destination: u8, source: u8, offset: i16) -> Self {
        Self::new(0x71, destination, source, offset, 0)
    }

    /// Goes `skip` instructions further unless a register is the immediate.
    pub(crate) const fn skip_unless_equal(register: u8, immediate: i32, skip: i16) -> Self {
        Self::new(0x55, register, 0, skip, immediate)
    }

    /// Goes `skip` instructions further if the lower 32 bits of a register are the immediate.
    pub(crate) const fn skip_if_equal(register: u8, immediate: i32, skip: i16) -> Self {
        Self::new(0x16, register, 0, skip, immediate)
    }

    /// 64 bits at destination + offset += source, as one atomic step
    pub(crate) const fn atomic_add(destination: u8, source: u8, offset: i16) -> Self {
        Self::new(0xdb, destination, source, offset, 0)
    }

    /// destination = address of the first value of an array map; two instructions (BPF_PSEUDO_MAP_VALUE)
    pub(crate) fn map_value(destination: u8, map: BorrowedFd<'_>) -> [Self; 2] {
        [Self::new(0x18, destination, 2, 0, map.as_raw_fd()), Self::new(0, 0, 0, 0, 0)]
    }

    /// destination = a map, for helpers; two instructions (BPF_PSEUDO_MAP_FD)
    pub(crate) fn map(destination: u8, map: BorrowedFd<'_>) -> [Self; 2] {
        [Self::new(0x18, destination, 1, 0, map.as_raw_fd()), Self::new(0, 0, 0, 0, 0)]
    }

    /// register 0 = what a helper returns, `BPF_FUNC_*`; registers 1 to 5 are lost.
    pub(crate) const fn call(helper: i32) -> Self {
        Self::new(0x85, 0, 0, 0, helper)
    }

    /// Returns register 0.
    pub(crate) const fn exit() -> Self {
        Self::new(0x95, 0, 0, 0, 0)
    }
}

#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
}
const _: () = assert!(size_of::<ProgramLoad>() == 40);

/// Loads a program.
pub(crate) fn load(program_type: ProgramType, program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut request = ProgramLoad {
        program_type: program_type as u32,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_bytes: 0,
        log: 0,
    };
    // SAFETY: the structure is that of the command; `program` and the license live through the call, and the count is the program's.
    unsafe { call_for_descriptor(BPF_PROG_LOAD, &mut request) }
}
