//! What a program can ask of valgrind's memcheck while it runs in it: a sequence of instructions that does nothing elsewhere (`valgrind.h` and `memcheck.h`, version 3.22).
//!
//! The crate `crabgrind` wraps the same, but needs valgrind's headers and a C compiler wherever the tests are built.

/// `VG_USERREQ__RUNNING_ON_VALGRIND`.
const RUNNING_ON_VALGRIND: usize = 0x1001;
/// `VG_USERREQ__COUNT_ERRORS`.
const COUNT_ERRORS: usize = 0x1201;
/// The first of memcheck's own requests.
const MEMCHECK: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16;
const MAKE_MEM_UNDEFINED: usize = MEMCHECK + 1;
const MAKE_MEM_DEFINED: usize = MEMCHECK + 2;
const GET_VBITS: usize = MEMCHECK + 8;

/// Asks valgrind; zero outside of it.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn request(request: [usize; 4]) -> usize {
    let arguments = [request[0], request[1], request[2], request[3], 0, 0];
    let answer;
    // SAFETY: rotations by 128 bits in all and an exchange of a register with itself change nothing; inside valgrind they are a call that reads `arguments` and
    // answers in rdx. Requests write through a pointer only where a caller here has passed one to memory that it owns.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") 0_usize => answer,
            options(nostack),
        );
    }
    answer
}

/// Elsewhere there is nobody to ask, so what needs valgrind fails and says so.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn request(_request: [usize; 4]) -> usize {
    0
}

/// Whether this process runs in valgrind.
pub(super) fn is_running() -> bool {
    request([RUNNING_ON_VALGRIND, 0, 0, 0]) > 0
}

/// Errors that memcheck has reported so far.
pub(super) fn errors() -> usize {
    request([COUNT_ERRORS, 0, 0, 0])
}

/// From here on memcheck reports whatever branches on these bytes, or on what is computed from them, or addresses memory by it.
pub(super) fn make_undefined(bytes: &[u8]) {
    request([MAKE_MEM_UNDEFINED, bytes.as_ptr() as usize, bytes.len(), 0]);
}

/// These bytes are public.
pub(super) fn make_defined(bytes: &[u8]) {
    request([MAKE_MEM_DEFINED, bytes.as_ptr() as usize, bytes.len(), 0]);
}

/// How many of these bytes depend on what was made undefined.
pub(super) fn count_undefined(bytes: &[u8]) -> usize {
    let mut bits = vec![0_u8; bytes.len()];
    request([GET_VBITS, bytes.as_ptr() as usize, bits.as_mut_ptr() as usize, bytes.len()]);
    std::hint::black_box(&bits).iter().filter(|bits| **bits != 0).count()
}
