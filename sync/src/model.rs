//! The types under loom, and faults that a test asks for by name, to show that it would find them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::PoisonError;

pub use loom::sync::{Condvar, Mutex, MutexGuard, RwLock};

/// Something wrong with the build, that a check must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every atomic access is relaxed.
    RelaxedOrderings,
    /// No fence is there.
    NoFences,
    /// A lock that is only tried is never got.
    TriedLocksFail,
    /// Nobody is ever woken.
    LostWakes,
    /// What was seen of the wake-ups is never cleared.
    WakesStay,
}

thread_local! {
    /// Loom runs all threads of a model on the thread of its test.
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
    static SCHEDULES: Cell<u64> = const { Cell::new(0) };
}

fn has(fault: Fault) -> bool {
    FAULT.get() == Some(fault)
}

/// Tries every schedule of `scene` with at most so many preemptions (none: all there are), and returns how many that were. A promise
/// is broken where `scene` panics, or where a thread waits for ever.
pub fn explore(preemptions_max: Option<usize>, scene: impl Fn() + Sync + Send + 'static) -> u64 {
    SCHEDULES.set(0);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions_max;
    builder.max_branches = 50_000;
    let scene = std::sync::Arc::new(scene);
    builder.check(move || {
        SCHEDULES.set(SCHEDULES.get() + 1);
        // Loom gives its first thread a small stack and no way to ask for another.
        let scene = std::sync::Arc::clone(&scene);
        if let Err(panic) = thread::spawn(move || scene()).join() {
            std::panic::resume_unwind(panic);
        }
    });
    SCHEDULES.get()
}

/// As [`explore`] with a fault in the build; panics where the fault is not found.
pub fn must_find(fault: Fault, preemptions_max: Option<usize>, scene: impl Fn() + Sync + Send + 'static) {
    FAULT.set(Some(fault));
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| explore(preemptions_max, scene)));
    FAULT.set(None);
    if let Ok(schedules) = found {
        panic!("{fault:?} was not found in {schedules} schedules");
    }
}

/// Atomic numbers and fences.
pub mod atomic {
    use super::{Fault, has};
    pub use std::sync::atomic::Ordering;

    fn weakened(order: Ordering) -> Ordering {
        if has(Fault::RelaxedOrderings) { Ordering::Relaxed } else { order }
    }

    /// As `std::sync::atomic::fence`.
    pub fn fence(order: Ordering) {
        if !has(Fault::NoFences) {
            loom::sync::atomic::fence(order);
        }
    }

    macro_rules! atomics {
        ($($name:ident of $value:ty;)*) => {$(
            /// As in `std::sync::atomic`.
            #[derive(Debug)]
            pub struct $name(loom::sync::atomic::$name);

            impl $name {
                /// As in `std`, but not constant.
                pub fn new(value: $value) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }
                /// As in `std`.
                #[track_caller]
                pub fn load(&self, order: Ordering) -> $value {
                    self.0.load(weakened(order))
                }
                /// As in `std`.
                #[track_caller]
                pub fn store(&self, value: $value, order: Ordering) {
                    self.0.store(value, weakened(order));
                }
                /// As in `std`.
                #[track_caller]
                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.0.swap(value, weakened(order))
                }
                /// As in `std`.
                #[track_caller]
                pub fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.0.compare_exchange(current, new, weakened(success), weakened(failure))
                }
            }
        )*};
    }

    macro_rules! sums {
        ($($name:ident of $value:ty;)*) => {$(
            impl $name {
                /// As in `std`.
                #[track_caller]
                pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                    self.0.fetch_add(value, weakened(order))
                }
                /// As in `std`.
                #[track_caller]
                pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                    self.0.fetch_sub(value, weakened(order))
                }
            }
        )*};
    }

    atomics! { AtomicBool of bool; AtomicU32 of u32; AtomicU64 of u64; }
    sums! { AtomicU32 of u32; AtomicU64 of u64; }
}

/// Threads.
pub mod thread {
    pub use loom::thread::{Builder, JoinHandle};

    /// Bytes of a modelled thread's stack: what runs in production keeps a few blocks of a disk there.
    pub const STACK_BYTES: usize = 1 << 20;

    /// Starts a thread, as `std::thread::spawn`.
    ///
    /// # Panics
    /// If loom gives none.
    pub fn spawn<F: FnOnce() -> T + Send + 'static, T: Send + 'static>(body: F) -> JoinHandle<T> {
        Builder::new().stack_size(STACK_BYTES / size_of::<usize>()).spawn(body).expect("a thread in a model")
    }

    /// Time does not pass in a model: another thread may run.
    pub fn sleep(_duration: std::time::Duration) {
        loom::thread::yield_now();
    }
}

/// A value that is set once: the flag is loom's, so its ordering is explored; the value is `std`'s.
#[derive(Debug)]
pub struct OnceLock<T> {
    is_set: atomic::AtomicBool,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    /// Nothing yet.
    #[allow(clippy::new_without_default, reason = "as in std, minus what nobody uses")]
    pub fn new() -> Self {
        Self { is_set: atomic::AtomicBool::new(false), value: std::sync::OnceLock::new() }
    }

    /// The value, once it is set.
    pub fn get(&self) -> Option<&T> {
        if self.is_set.load(atomic::Ordering::Acquire) { self.value.get() } else { None }
    }

    /// Sets it, if nobody has.
    ///
    /// # Errors
    /// Gives the value back where one is set.
    pub fn set(&self, value: T) -> Result<(), T> {
        self.value.set(value)?;
        self.is_set.store(true, atomic::Ordering::Release);
        Ok(())
    }
}

/// A bounded queue behind a lock: crossbeam's own steps are not explored.
#[derive(Debug)]
pub struct ArrayQueue<T> {
    entries: Mutex<VecDeque<T>>,
    capacity: usize,
}

impl<T> ArrayQueue<T> {
    /// A queue with so many places.
    pub fn new(capacity: usize) -> Self {
        Self { entries: Mutex::new(VecDeque::new()), capacity }
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one at the end.
    ///
    /// # Errors
    /// Gives it back where there is no room.
    pub fn push(&self, value: T) -> Result<(), T> {
        let mut entries = self.entries();
        if entries.len() == self.capacity {
            return Err(value);
        }
        entries.push_back(value);
        Ok(())
    }

    /// Takes the first.
    pub fn pop(&self) -> Option<T> {
        self.entries().pop_front()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Places.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity
    }
}

/// Tries to get a lock, as [`Mutex::try_lock`] does.
pub fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    if has(Fault::TriedLocksFail) { None } else { mutex.try_lock().ok() }
}

/// The waker of an ordinary build, with a level that loom sees in place of the kernel's counter.
#[derive(Debug)]
pub struct Waker {
    is_woken: Mutex<bool>,
    changed: Condvar,
    descriptor: File,
}

impl Waker {
    /// A waker that nobody has woken yet.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self { is_woken: Mutex::new(false), changed: Condvar::new(), descriptor: File::open("/dev/null")? })
    }

    fn is_woken(&self) -> MutexGuard<'_, bool> {
        self.is_woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See the ordinary build's.
    pub fn wake(&self) {
        if !has(Fault::LostWakes) {
            *self.is_woken() = true;
            self.changed.notify_all();
        }
    }

    /// See the ordinary build's.
    pub fn clear(&self) -> bool {
        if has(Fault::WakesStay) { *self.is_woken() } else { std::mem::take(&mut *self.is_woken()) }
    }

    /// What `poll` would do with nothing else to wait for. The level stays.
    pub fn wait(&self) {
        let mut is_woken = self.is_woken();
        while !*is_woken {
            is_woken = self.changed.wait(is_woken).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether `poll` would return at once.
    pub fn is_readable(&self) -> bool {
        *self.is_woken()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
