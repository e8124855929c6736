//! The smallest program that redirects into AF_XDP sockets, assembled by hand, so that these tests need no loader.
//!
//! It passes ARP, ICMPv6 (neighbours must be found) and what is sent to a group, and redirects all else to XSKMAP[queue * workers + worker], where the worker
//! is byte 35 of the frame, the lower byte of an IPv4 datagram's source port, modulo the number of workers.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

// From linux/bpf.h and linux/if_link.h.
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_PASS: i32 = 2;
const REDIRECT_MAP: i32 = 51;
/// In a 64-bit load: the constant is a map's descriptor.
const BPF_PSEUDO_MAP_FD: u64 = 1;

#[repr(C)]
struct MapCreate {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
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
    attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// The program, attached for as long as this value lives, and its map.
pub struct Redirect {
    map: OwnedFd,
    link: Option<OwnedFd>,
}

impl Redirect {
    /// Attaches natively to `interface` of the calling thread's namespace.
    pub fn attach(interface: u32, queues: u32, workers: u32) -> io::Result<Self> {
        Self::attach_with(interface, queues, workers, XDP_FLAGS_DRV_MODE)
    }

    /// Attaches as every interface can have it, mac80211's too: behind the driver, on socket buffers.
    pub fn attach_generic(interface: u32, queues: u32, workers: u32) -> io::Result<Self> {
        Self::attach_with(interface, queues, workers, XDP_FLAGS_SKB_MODE)
    }

    fn attach_with(interface: u32, queues: u32, workers: u32, flags: u32) -> io::Result<Self> {
        let entries = queues * workers;
        let map = MapCreate { kind: BPF_MAP_TYPE_XSKMAP, key_bytes: 4, value_bytes: 4, entries, flags: 0 };
        let map = bpf(BPF_MAP_CREATE, &map).map(descriptor)?;
        let instructions = assemble(map.as_raw_fd(), workers);
        let license = c"GPL";
        let mut log = vec![0u8; 1 << 16];
        let load = ProgramLoad {
            kind: BPF_PROG_TYPE_XDP,
            instruction_count: instructions.len() as u32,
            instructions: instructions.as_ptr().expose_provenance() as u64,
            license: license.as_ptr().expose_provenance() as u64,
            log_level: 1,
            log_bytes: log.len() as u32,
            log: log.as_mut_ptr().expose_provenance() as u64,
            kernel_version: 0,
            flags: 0,
            name: *b"meshpay_test\0\0\0\0",
            interface: 0,
            attach_type: BPF_XDP,
        };
        let program = bpf(BPF_PROG_LOAD, &load).map(descriptor).map_err(|error| {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
            io::Error::other(format!("{error}: {}", String::from_utf8_lossy(&log[..end])))
        })?;
        let link = LinkCreate { program: program.as_raw_fd() as u32, interface, attach_type: BPF_XDP, flags };
        Ok(Self { map, link: Some(bpf(BPF_LINK_CREATE, &link).map(descriptor)?) })
    }

    /// Takes the program off the interface.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// Puts a socket into the map.
    pub fn set(&self, index: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let value = socket.as_raw_fd() as u32;
        let update = MapUpdate {
            map: self.map.as_raw_fd() as u32,
            padding: 0,
            key: (&raw const index).expose_provenance() as u64,
            value: (&raw const value).expose_provenance() as u64,
            flags: 0,
        };
        bpf(BPF_MAP_UPDATE_ELEM, &update).map(drop)
    }
}

/// One instruction: opcode, destination and source register, offset, constant.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, constant: i32) -> u64 {
    u64::from(code)
        | u64::from(destination | source << 4) << 8
        | u64::from(offset as u16) << 16
        | u64::from(constant as u32) << 32
}

fn assemble(map: i32, workers: u32) -> Vec<u64> {
    let load = |bytes: u8, destination, source, offset| {
        let size = match bytes {
            1 => 0x10,
            2 => 0x08,
            _ => 0x00,
        };
        instruction(0x61 | size, destination, source, offset, 0)
    };
    let copy = |destination, source| instruction(0xbf, destination, source, 0, 0);
    let set = |destination, constant| instruction(0xb7, destination, 0, 0, constant);
    let add = |destination, constant| instruction(0x07, destination, 0, 0, constant);
    let jump_greater = |left, right, over| instruction(0x2d, left, right, over, 0);
    let jump_equal = |left, constant, over| instruction(0x15, left, 0, over, constant);
    let jump_other = |left, constant, over| instruction(0x55, left, 0, over, constant);
    vec![
        copy(6, 1),
        load(4, 2, 1, 0), // r2 = data
        load(4, 3, 1, 4), // r3 = data_end
        set(7, 0),        // r7 = worker
        copy(4, 2),
        add(4, 14),
        jump_greater(4, 3, 23), // shorter than an Ethernet header: pass
        load(1, 5, 2, 0),
        instruction(0x45, 5, 0, 21, 1), // to a group: pass
        load(2, 5, 2, 12),
        jump_equal(5, 0x0608, 19), // ARP: pass
        jump_other(5, 0xdd86, 5),  // not IPv6
        copy(4, 2),
        add(4, 21),
        jump_greater(4, 3, 7), // redirect to worker 0
        load(1, 5, 2, 20),
        jump_equal(5, 58, 13), // ICMPv6: pass
        copy(4, 2),
        add(4, 36),
        jump_greater(4, 3, 2), // redirect to worker 0
        load(1, 7, 2, 35),
        instruction(0x97, 7, 0, 0, workers as i32), // r7 %= workers
        load(4, 2, 6, 16),                          // redirect: r2 = rx_queue_index
        instruction(0x27, 2, 0, 0, workers as i32), // r2 *= workers
        instruction(0x0f, 2, 7, 0, 0),              // r2 += r7
        0x18 | 1 << 8 | BPF_PSEUDO_MAP_FD << 12 | (map as u64) << 32,
        0,
        set(3, XDP_PASS),
        instruction(0x85, 0, 0, 0, REDIRECT_MAP),
        instruction(0x95, 0, 0, 0, 0),
        set(0, XDP_PASS), // pass
        instruction(0x95, 0, 0, 0, 0),
    ]
}

fn bpf<T>(command: libc::c_long, request: &T) -> io::Result<libc::c_long> {
    // SAFETY: the pointer and the size describe `request`; what it points to lives in the callers through the call.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(request), size_of::<T>()) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome) }
}

fn descriptor(number: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(number as libc::c_int) }
}
