//! The stack after work with secrets.
//!
//! Scalars, prefixes and nonces are spilled wherever the compiler likes, by us and by the libraries below us, so no variable that we could erase is all of them. What is
//! erased is the stack itself, deeper than any of that work reaches; a test in `secrets` looks for what is left.

/// More than the deepest frames take: about 19 KiB for signing in vector lanes and 4 KiB below it.
pub(crate) const WIPED_BYTES: usize = 32 * 1024;

/// Overwrites the stack that the caller's calls have just used. Registers keep what they last held until other work overwrites them.
#[inline(never)]
pub(crate) fn wipe() {
    let zeros = [0_u8; WIPED_BYTES];
    std::hint::black_box(&zeros);
}
