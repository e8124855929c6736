//! The smallest XDP program: it passes everything. It is there because veth receives by NAPI only if one is attached.
//!
//! Loaded by bpf(2) itself: two instructions need no toolchain and no loader. Attached by a bpf_link, which the kernel
//! removes when its last descriptor closes, so a killed process leaves the interface clean.

use anyhow::{Context as _, Result};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

// From linux/bpf.h and linux/if_link.h.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_PASS: u64 = 2;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// The start of `union bpf_attr` for BPF_PROG_LOAD, up to `expected_attach_type`.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

/// The start of `union bpf_attr` for BPF_LINK_CREATE.
#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// The pass program, attached to one interface in native mode for as long as this value lives.
#[derive(Debug)]
pub(super) struct PassProgram {
    _link: OwnedFd,
}

impl PassProgram {
    /// Attaches to `interface` of the calling thread's namespace.
    pub(super) fn attach(interface: &str) -> Result<Self> {
        let index = rustix::net::netdevice::name_to_index(
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
                .context("cannot open a socket")?,
            interface,
        )
        .with_context(|| format!("there is no interface {interface}"))?;
        let program = load().context("cannot load an XDP program (needs CAP_BPF and CAP_NET_ADMIN)")?;
        let request = LinkCreate {
            program: program.as_raw_fd() as u32,
            interface: index,
            attach_type: BPF_XDP,
            flags: XDP_FLAGS_DRV_MODE,
        };
        let link = bpf(BPF_LINK_CREATE, &request)
            .with_context(|| format!("cannot attach an XDP program to {interface} in native mode"))?;
        Ok(Self { _link: link })
    }
}

fn load() -> io::Result<OwnedFd> {
    // r0 = XDP_PASS; exit. An instruction is: opcode, registers, offset (16 bits), constant (32 bits).
    let instructions: [u64; 2] = [0xb7 | XDP_PASS << 32, 0x95];
    let license = c"GPL";
    let request = ProgramLoad {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr().expose_provenance() as u64,
        license: license.as_ptr().expose_provenance() as u64,
        log_level: 0,
        log_bytes: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"meshpay_pass\0\0\0\0",
        interface: 0,
        expected_attach_type: BPF_XDP,
    };
    bpf(BPF_PROG_LOAD, &request)
}

/// bpf(2) for commands that return a descriptor.
fn bpf<T>(command: libc::c_long, request: &T) -> io::Result<OwnedFd> {
    // SAFETY: the pointer and the size describe `request`, which the kernel only reads, as it does with the memory that
    // a `ProgramLoad` points to and that `load` keeps alive.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(request), size_of::<T>()) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(outcome as libc::c_int) })
}
