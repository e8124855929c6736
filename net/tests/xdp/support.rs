//! What the tests of XDP need around them: a namespace that goes away by itself, and programs and maps made by bpf(2), of a few
//! instructions, which need neither an object file nor a toolchain.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::Command;

use meshpay_net::host::Link;
use meshpay_net::xdp::Program;

pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;
pub const XDP_REDIRECT: u32 = 4;

pub const HASH: u32 = 1;
pub const ARRAY: u32 = 2;
pub const PER_CPU_ARRAY: u32 = 6;
pub const XSK_MAP: u32 = 17;
pub const RING_BUFFER: u32 = 27;
pub const MAPPABLE: u32 = 1 << 10;

/// A frame that no protocol claims (type 0x88b5, for experiments).
pub fn frame(bytes: usize) -> Vec<u8> {
    let mut frame = vec![0; bytes];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    frame
}

/// Whether this process may make namespaces and programs; if not, says 'skipped', and fails there in CI.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!ci, "in CI no test may be skipped, but this one needs CAP_SYS_ADMIN and CAP_BPF");
        eprintln!("skipped: needs CAP_SYS_ADMIN and CAP_BPF (run as root)");
    }
    root
}

/// Runs `scene` in a thread that is alone in a new network namespace, with a veth pair `left` and `right`; all of it goes with the thread,
/// also when `scene` panics.
pub fn with_veth(scene: impl FnOnce() + Send) {
    if !is_root() {
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: a network namespace is a thread's own; no memory or descriptor is affected.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
                .expect("a network namespace");
            ip("link add left type veth peer name right");
            ip("link set left up");
            ip("link set right up");
            scene();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs `ip` with these words in the calling thread's namespace.
pub fn ip(words: &str) {
    let done = Command::new("ip").args(words.split_whitespace()).output().expect("the command ip (package iproute2)");
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}

pub fn index(interface: &str) -> u32 {
    Link::named(interface).expect("the interface").index
}

/// Numbers of the programs that are attached.
pub fn attached(interface: &str) -> Vec<u32> {
    Link::named(interface).expect("the interface").programs.iter().map(|program| program.program_id).collect()
}

/// Waits until nothing is attached. A child that another test has just forked holds a copy of every descriptor until it becomes its program.
pub fn comes_off(interface: &str) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !attached(interface).is_empty() {
        assert!(std::time::Instant::now() < end, "something is still attached to {interface}");
        std::thread::yield_now();
    }
}

/// One instruction: code, destination, source, offset, immediate.
const fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    code as u64
        | ((source << 4 | destination) as u64) << 8
        | (offset as u16 as u64) << 16
        | (immediate as u32 as u64) << 32
}

const fn set(register: u8, value: i32) -> u64 {
    instruction(0xb7, register, 0, 0, value)
}

const fn copy(destination: u8, source: u8) -> u64 {
    instruction(0xbf, destination, source, 0, 0)
}

const fn add(register: u8, value: i32) -> u64 {
    instruction(0x07, register, 0, 0, value)
}

const fn helper(number: i32) -> u64 {
    instruction(0x85, 0, 0, 0, number)
}

const EXIT: u64 = instruction(0x95, 0, 0, 0, 0);
const STACK: u8 = 10;

fn map_in(register: u8, map: BorrowedFd<'_>) -> [u64; 2] {
    [instruction(0x18, register, 1, 0, map.as_raw_fd()), 0]
}

/// A program that returns this verdict.
pub fn verdict(verdict: u32) -> Program {
    load(&[set(0, verdict.cast_signed()), EXIT])
}

/// A program that adds 5 to counter 1 of an array for every processor, and passes.
pub fn counting(map: BorrowedFd<'_>) -> Program {
    let mut program = vec![instruction(0x62, STACK, 0, -4, 1)];
    program.extend(map_in(1, map));
    program.extend([copy(2, STACK), add(2, -4), helper(1)]);
    // If there is a value: 64 bits += 5.
    program.extend([instruction(0x15, 0, 0, 2, 0), set(1, 5), instruction(0xdb, 0, 1, 0, 0)]);
    program.extend([set(0, XDP_PASS.cast_signed()), EXIT]);
    load(&program)
}

/// A program that returns the lower half of word 1 of the first entry of an array, and writes 77 to word 2; 0 if there is no entry.
pub fn reading(map: BorrowedFd<'_>) -> Program {
    let mut program = vec![instruction(0x62, STACK, 0, -4, 0)];
    program.extend(map_in(1, map));
    program.extend([copy(2, STACK), add(2, -4), helper(1)]);
    // Without a value, register 0 is 0 already.
    program.extend([instruction(0x15, 0, 0, 4, 0), copy(1, 0), set(2, 77), instruction(0x7b, 1, 2, 16, 0)]);
    program.extend([instruction(0x61, 0, 1, 8, 0), EXIT]);
    load(&program)
}

/// A program that writes the eight bytes of 42 to a ring.
pub fn telling(map: BorrowedFd<'_>) -> Program {
    let mut program = vec![instruction(0x7a, STACK, 0, -8, 42)];
    program.extend(map_in(1, map));
    program.extend([copy(2, STACK), add(2, -8), set(3, 8), set(4, 0), helper(130)]);
    program.extend([set(0, XDP_PASS.cast_signed()), EXIT]);
    load(&program)
}

/// A program that redirects to socket 0 of a map, or passes if there is none.
pub fn redirecting(map: BorrowedFd<'_>) -> Program {
    let mut program = map_in(1, map).to_vec();
    program.extend([set(2, 0), set(3, XDP_PASS.cast_signed()), helper(51), EXIT]);
    load(&program)
}

fn load(instructions: &[u64]) -> Program {
    #[repr(C)]
    struct Load {
        program_type: u32,
        count: u32,
        instructions: u64,
        license: u64,
    }
    let license = c"Dual MIT/GPL".as_ptr().expose_provenance() as u64;
    let instructions_at = instructions.as_ptr().expose_provenance() as u64;
    let request = Load { program_type: 6, count: instructions.len() as u32, instructions: instructions_at, license };
    Program::from_descriptor(call(5, &request).expect("a program that the verifier accepts"))
}

/// A map without a name.
pub fn map(map_type: u32, key_bytes: u32, value_bytes: u32, entries: u32, flags: u32) -> OwnedFd {
    call(0, &[map_type, key_bytes, value_bytes, entries, flags]).expect("a map")
}

/// Whether the kernel still has a program of this number.
pub fn program_exists(id: u32) -> bool {
    // BPF_PROG_GET_FD_BY_ID.
    match call(13, &[id]) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
            false
        }
    }
}

/// bpf(2) for commands that make a descriptor.
fn call<T>(command: libc::c_int, request: &T) -> io::Result<OwnedFd> {
    // SAFETY: pointer and length describe `request`, which is what the command takes (see the callers) and which the kernel only reads.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(request), size_of::<T>()) };
    match i32::try_from(outcome) {
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}
