//! A place for one order from another thread: a newer one takes the place of one that was not seen yet.
//!
//! What always holds: the newest order is taken, once; who sleeps on the waker is woken for it; and when nothing is left to do, the waker lets
//! him sleep, whenever the wake-up came.

use meshpay_sync::atomic::{AtomicBool, Ordering};
use meshpay_sync::{Mutex, Waker};
use std::io;
use std::sync::PoisonError;

/// See the module's documentation.
pub(crate) struct Mailbox<T> {
    newest: Mutex<Option<T>>,
    changed: AtomicBool,
    waker: Waker,
}

impl<T> Mailbox<T> {
    /// An empty one.
    ///
    /// # Errors
    /// When the process or the machine is out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { newest: Mutex::new(None), changed: AtomicBool::new(false), waker: Waker::new()? })
    }

    /// Leaves an order and wakes its taker. One that nobody took is dropped here.
    pub(crate) fn put(&self, order: T) {
        drop(self.newest.lock().unwrap_or_else(PoisonError::into_inner).replace(order));
        self.changed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// The newest order, if there is one that was not taken. While there is none this costs one load.
    pub(crate) fn take(&self) -> Option<T> {
        if !self.changed.load(Ordering::Relaxed) || !self.changed.swap(false, Ordering::Acquire) {
            return None;
        }
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What the taker sleeps on; whoever leaves it other work wakes it by this too.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// To be called when the taker was woken, before it looks for what to do. It must not be put off until there is something to do: the
    /// order may have been taken before its wake-up came, and then nobody would ever sleep again.
    pub(crate) fn woken(&self) {
        self.waker.clear();
    }
}

#[cfg(all(test, feature = "loom"))]
mod under_loom {
    use super::Mailbox;
    use meshpay_sync::{ArrayQueue, Fault, explore, must_find, thread};
    use std::sync::Arc;

    /// One thread leaves two orders, the other takes and sleeps as a worker does.
    fn orders() {
        let mailbox = Arc::new(Mailbox::new().expect("a descriptor"));
        let worker = thread::spawn({
            let mailbox = Arc::clone(&mailbox);
            move || {
                let mut last = 0;
                while last != 2 {
                    match mailbox.take() {
                        Some(order) => {
                            assert!(order > last, "order {order} after {last}");
                            last = order;
                        }
                        None => {
                            mailbox.waker().wait();
                            mailbox.woken();
                        }
                    }
                }
            }
        });
        mailbox.put(1);
        mailbox.put(2);
        worker.join().expect("no panic");
        sleeps_in_the_end(&mailbox);
    }

    /// With nothing left to do, a worker turns once or twice more and then sleeps.
    fn sleeps_in_the_end(mailbox: &Mailbox<u32>) {
        for _ in 0..2 {
            if !mailbox.waker().is_readable() {
                return;
            }
            mailbox.woken();
            assert_eq!(mailbox.take(), None);
        }
        assert!(!mailbox.waker().is_readable(), "the worker spins for ever");
    }

    #[test]
    fn the_newest_order_is_taken_and_then_the_worker_sleeps() {
        let schedules = explore(None, orders);
        println!("{schedules} schedules, all there are");
        must_find(Fault::LostWakes, None, orders);
        must_find(Fault::WakesStay, None, orders);
    }

    /// Other work beside orders, as what is injected: its queue is looked at only when nothing came by the port.
    fn other_work() {
        let mailbox = Arc::new(Mailbox::new().expect("a descriptor"));
        let queue = Arc::new(ArrayQueue::new(2));
        let worker = thread::spawn({
            let (mailbox, queue) = (Arc::clone(&mailbox), Arc::clone(&queue));
            move || {
                let (mut ordered, mut injected) = (false, false);
                while !(ordered && injected) {
                    let order = mailbox.take().is_some();
                    let packet = queue.pop().is_some();
                    (ordered, injected) = (ordered || order, injected || packet);
                    if !order && !packet {
                        mailbox.waker().wait();
                        mailbox.woken();
                    }
                }
            }
        });
        assert!(queue.push(()).is_ok());
        mailbox.waker().wake();
        mailbox.put(7);
        worker.join().expect("no panic");
        sleeps_in_the_end(&mailbox);
    }

    #[test]
    fn other_work_and_orders_share_a_waker() {
        let schedules = explore(Some(3), other_work);
        println!("{schedules} schedules, with up to 3 preemptions");
        must_find(Fault::LostWakes, Some(3), other_work);
    }
}
