//! The bulk calls never allocate: an allocator that counts is watching.

mod support;

use meshpay_crypto::{Check, KnownCheck, KnownKey, Message, Signature, SigningKey};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::paths;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, which is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn bulk_calls_do_not_allocate() {
    const MOST: usize = 130;
    let signer = SigningKey::from_seed(&[1; 32]);
    let public = signer.public_key();
    let known = KnownKey::new(&public).expect("an honest key");
    let messages: Vec<Message> = (0..MOST).map(|i| [i as u8; 32]).collect();
    let slices: Vec<&[u8]> = messages.iter().map(|message| message.as_slice()).collect();
    let mut signatures: Vec<Signature> = vec![[0; 64]; MOST];
    meshpay_crypto::sign_many(&signer, &messages, &mut signatures);
    signatures[3][0] ^= 1; // a bad one takes the longer way

    assert!(allocations(|| drop(std::hint::black_box(vec![0_u8; 100]))) > 0, "the counter counts");
    for path in paths().iter().filter(|path| path.name != "model") {
        for size in [1, 8, 9, 64, MOST] {
            let checks: Vec<Check<'_>> =
                (0..size).map(|i| Check { key: &public, message: &messages[i], signature: &signatures[i] }).collect();
            let known_checks: Vec<KnownCheck<'_>> = (0..size)
                .map(|i| KnownCheck { key: &known, message: &messages[i], signature: &signatures[i] })
                .collect();
            let mut valid = vec![false; size];
            let mut signed = vec![[0; 64]; size];
            let mut digests = vec![[0; 32]; size];
            let count = allocations(|| {
                (path.verify_many)(&checks, &mut valid);
                (path.verify_many_known_keys)(&known_checks, &mut valid);
                (path.sign_many)(&signer, &slices[..size], &mut signed);
                (path.digest_many)(&slices[..size], &mut digests);
            });
            assert_eq!(count, 0, "{}, size {size}", path.name);
        }
    }
}
