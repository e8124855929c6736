//! What is left of secrets in memory after work with them.
//!
//! The work runs on a stack of our own, which can be read when its thread has ended, word by word: no word of the seed, of scalar and prefix or of any nonce may be there, in the
//! forms in which the implementations hold them.

use super::{secrets_of, seed_and_messages};
use crate::eight_lanes::{EightLanes, model::Model, scalar_limbs};
use crate::{Signature, SigningKey, portable, stack};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use sha2::{Digest, Sha512};
use std::alloc::Layout;
use std::mem::MaybeUninit;

const STACK_BYTES: usize = 1 << 20;
const PAGE_BYTES: usize = 4096;

/// Runs `work` in a thread whose stack is ours, and gives all of its words, the deepest first. Deeper than the work has reached they are zero.
fn stack_after(work: impl FnOnce()) -> Vec<u64> {
    extern "C" fn start<F: FnOnce()>(argument: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: `stack_after` passes its own `Option<F>` and waits for this thread.
        let work = unsafe { &mut *argument.cast::<Option<F>>() };
        if let Some(work) = work.take() {
            work();
        }
        std::ptr::null_mut()
    }
    fn run<F: FnOnce()>(mut work: Option<F>, stack: *mut u8) {
        let mut attributes = MaybeUninit::uninit();
        let mut thread = MaybeUninit::uninit();
        let argument = std::ptr::from_mut(&mut work).cast();
        // SAFETY: attributes are made before they are used, the stack is as long as is said and ours until the thread has ended, and so is the argument.
        let results = unsafe {
            [
                libc::pthread_attr_init(attributes.as_mut_ptr()),
                libc::pthread_attr_setstack(attributes.as_mut_ptr(), stack.cast(), STACK_BYTES),
                libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), start::<F>, argument),
                libc::pthread_join(thread.assume_init(), std::ptr::null_mut()),
            ]
        };
        assert_eq!(results, [0; 4], "a thread with a stack of our own");
    }
    let layout = Layout::from_size_align(STACK_BYTES, PAGE_BYTES).expect("a layout");
    // SAFETY: the layout is not empty; the memory is zero at first, read when nobody else writes it, and freed once with its own layout.
    unsafe {
        let memory = std::alloc::alloc_zeroed(layout);
        assert!(!memory.is_null(), "a megabyte of memory");
        run(Some(work), memory);
        let words = std::slice::from_raw_parts(memory.cast::<u64>(), STACK_BYTES / 8).to_vec();
        std::alloc::dealloc(memory, layout);
        words
    }
}

/// Words by which a secret would be recognised.
fn words_of(seed: &[u8; 32], messages: &[&[u8]]) -> Vec<u64> {
    let key = SigningKey::from_seed(seed);
    let mut words = Vec::new();
    let mut note_bytes = |bytes: &[u8]| {
        for word in bytes.as_chunks::<8>().0 {
            // Hashing turns words around.
            words.extend([u64::from_le_bytes(*word), u64::from_be_bytes(*word)]);
        }
    };
    note_bytes(seed);
    note_bytes(&Sha512::digest(seed));
    let [scalar, prefix] = secrets_of(&key);
    note_bytes(scalar);
    note_bytes(prefix);
    let mut scalars = vec![*scalar];
    for message in messages {
        let wide = <[u8; 64]>::from(Sha512::new().chain_update(prefix).chain_update(message).finalize());
        note_bytes(&wide);
        scalars.push(Scalar::from_bytes_mod_order_wide(&wide).to_bytes());
        note_bytes(&scalars[scalars.len() - 1]);
    }
    words.extend(scalars.iter().flat_map(scalar_limbs));
    // Small words could be anything.
    words.retain(|word| *word >> 40 != 0);
    words
}

/// How many words of a stack are secret, and how many bytes of it the work has used.
fn inspect(stack: &[u64], secrets: &[u64]) -> (usize, usize) {
    let found = stack.iter().filter(|word| secrets.contains(word)).count();
    let untouched = stack.iter().take_while(|word| **word == 0).count();
    (found, STACK_BYTES - 8 * untouched)
}

type SignMany<'a> = dyn Fn(&SigningKey, &[&[u8]], &mut [Signature]) + 'a;

/// Every implementation that this CPU can execute, each with what it does before it wipes the stack.
fn check(name: &str, sign_many: &SignMany<'_>) {
    for count in [1, 8, 40] {
        let (seed, messages) = seed_and_messages(count, 11);
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let secrets = words_of(&seed, &messages);
        let key = SigningKey::from_seed(&seed);
        let mut signatures = vec![[0; 64]; count];
        let (found, used) = inspect(&stack_after(|| sign_many(&key, &messages, &mut signatures)), &secrets);
        println!("{name}, {count} messages: {found} secret words, {used} bytes of stack used");
        assert_eq!(found, 0, "{name}, {count} messages: secret words are left on the stack");
        let mut expected = vec![[0; 64]; count];
        portable::sign_many(&key, &messages, &mut expected);
        assert_eq!(signatures, expected);
    }
}

#[test]
fn signing_leaves_nothing_on_the_stack() {
    check("portable", &|key, messages, signatures| portable::sign_many(key, messages, signatures));
    let model = EightLanes::<Model>::model();
    check("model", &|key, messages, signatures| model.sign_many(key, messages, signatures));
    match EightLanes::of_this_cpu() {
        Some(lanes) => check("vectors", &|key, messages, signatures| lanes.sign_many(key, messages, signatures)),
        None => println!("skipped: this CPU has no AVX-512 IFMA"),
    }
}

#[test]
fn making_and_moving_a_key_leaves_nothing_on_the_stack() {
    let (seed, _) = seed_and_messages(0, 12);
    let secrets = words_of(&seed, &[]);
    let mut moved = None;
    let (found, used) = inspect(&stack_after(|| moved = Some(vec![SigningKey::from_seed(&seed)])), &secrets);
    println!("{used} bytes of stack used");
    assert_eq!(found, 0);
    assert!(moved.is_some());
}

/// The canary: without wiping, the same search finds a good many words.
#[test]
fn the_search_finds_what_is_not_wiped() {
    let (seed, messages) = seed_and_messages(8, 13);
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let secrets = words_of(&seed, &messages);
    let key = SigningKey::from_seed(&seed);
    let groups = [std::array::from_fn(|lane| messages[lane])];
    let search = |name: &str, work: &mut dyn FnMut()| {
        let (found, used) = inspect(&stack_after(work), &secrets);
        println!("{name}: {found} secret words, {used} bytes of stack used");
        assert!(found > 0, "{name}: the search found nothing, so it shows nothing");
    };
    search("model", &mut || EightLanes::<Model>::model().sign_without_wiping(&key, &groups));
    if let Some(lanes) = EightLanes::of_this_cpu() {
        search("vectors", &mut || lanes.sign_without_wiping(&key, &groups));
    }
}

#[test]
fn a_dropped_key_is_erased() {
    let (seed, _) = seed_and_messages(0, 14);
    let bytes = <[u8; 64]>::from(Sha512::digest(seed));
    let mut place = MaybeUninit::new(ExpandedSecretKey::from_bytes(&bytes));
    // SAFETY: the value is there, is dropped once and not used as a key again; its bytes stay ours, and a key has no padding.
    let left = unsafe {
        assert_eq!(place.assume_init_ref().hash_prefix, bytes[32..]);
        std::ptr::drop_in_place(place.as_mut_ptr());
        *place.as_ptr().cast::<[u8; 64]>()
    };
    assert_eq!(left, [0; 64]);
    // The type that a `SigningKey` holds is that one, and nothing else of it is secret.
    let _: fn(SigningKey) -> Box<ExpandedSecretKey> = |key| key.secret;
    const { assert!(stack::WIPED_BYTES < STACK_BYTES / 2) };
}
