//! Where workers leave copies of what they receive and send, for whoever is watching: AF_XDP traffic passes no tap of the kernel.
//!
//! What always holds: a worker never waits here, never allocates, and while nobody watches pays one relaxed load for a burst or packet; what does
//! not fit is lost and counted; only one watches at a time, and the ring is off again when that one is gone, whatever became of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arrayvec::ArrayVec;
use crossbeam::queue::ArrayQueue;
use meshpay_wire::DATAGRAM_MAX;

/// Datagrams that wait at most: four full bursts, 1.5 MiB.
const WAITING_MAX: usize = 1024;

/// A copy of a datagram.
#[derive(Clone, Debug)]
pub struct Copied {
    /// When a worker handled it, in nanoseconds since 1970 UTC.
    pub time_ns: u64,
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// This host sent it.
    pub outgoing: bool,
    /// UDP payload; what is longer than a datagram of ours is cut.
    pub payload: ArrayVec<u8, DATAGRAM_MAX>,
    /// Its length before it was cut.
    pub length: usize,
}

/// The ring between workers and one who watches.
#[derive(Debug)]
pub struct DumpRing {
    on: AtomicBool,
    taken: AtomicBool,
    waiting: ArrayQueue<Copied>,
    lost: AtomicU64,
}

impl Default for DumpRing {
    fn default() -> Self {
        Self {
            on: AtomicBool::new(false),
            taken: AtomicBool::new(false),
            waiting: ArrayQueue::new(WAITING_MAX),
            lost: AtomicU64::new(0),
        }
    }
}

impl DumpRing {
    /// Whether anybody watches: ask once for a burst, and offer only then.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Leaves a copy of a datagram made of `parts`, if anybody watches.
    #[inline]
    pub fn offer(&self, outgoing: bool, source: SocketAddr, destination: SocketAddr, parts: &[&[u8]]) {
        if self.is_on() {
            self.put(outgoing, source, destination, parts);
        }
    }

    #[cold]
    fn put(&self, outgoing: bool, source: SocketAddr, destination: SocketAddr, parts: &[&[u8]]) {
        if self.waiting.is_full() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let time_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let mut payload = ArrayVec::new();
        for part in parts {
            let room = payload.remaining_capacity().min(part.len());
            // There is room for it.
            let _ = payload.try_extend_from_slice(&part[..room]);
        }
        let length = parts.iter().map(|part| part.len()).sum();
        if self.waiting.push(Copied { time_ns, source, destination, outgoing, payload, length }).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Begins to watch; `None` while somebody else does.
    pub fn watch(self: &Arc<Self>) -> Option<Watching> {
        if self.taken.swap(true, Ordering::AcqRel) {
            return None;
        }
        while self.waiting.pop().is_some() {}
        let lost_before = self.lost.load(Ordering::Relaxed);
        self.on.store(true, Ordering::Relaxed);
        Some(Watching { ring: Arc::clone(self), lost_before })
    }

    /// Copies that were lost since the start because nobody took them in time.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Takes the copies; dropping it ends the watching.
#[derive(Debug)]
pub struct Watching {
    ring: Arc<DumpRing>,
    lost_before: u64,
}

impl Watching {
    /// The next copy, if one waits. Never blocks.
    pub fn take(&mut self) -> Option<Copied> {
        self.ring.waiting.pop()
    }

    /// Copies lost since this watching began.
    pub fn lost(&self) -> u64 {
        self.ring.lost() - self.lost_before
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.ring.on.store(false, Ordering::Relaxed);
        while self.ring.waiting.pop().is_some() {}
        self.ring.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (SocketAddr, SocketAddr) {
        ("192.0.2.7:4321".parse().unwrap(), "192.0.2.1:7450".parse().unwrap())
    }

    #[test]
    fn copies_reach_the_one_who_watches_and_nobody_else_is_let_in() {
        let ring = Arc::new(DumpRing::default());
        let (source, destination) = ends();
        ring.offer(false, source, destination, &[b"unseen"]);
        let mut watching = ring.watch().unwrap();
        assert!(ring.watch().is_none());
        ring.offer(true, source, destination, &[b"head", b"tail"]);
        let copied = watching.take().unwrap();
        assert_eq!((copied.payload.as_slice(), copied.length, copied.outgoing), (&b"headtail"[..], 8, true));
        assert!(watching.take().is_none());
        drop(watching);
        assert!(!ring.is_on());
        ring.offer(true, source, destination, &[b"unseen"]);
        assert!(ring.watch().unwrap().take().is_none(), "what came while nobody watched is not shown");
    }

    #[test]
    fn what_does_not_fit_is_lost_and_counted() {
        let ring = Arc::new(DumpRing::default());
        let (source, destination) = ends();
        let mut watching = ring.watch().unwrap();
        for _ in 0..WAITING_MAX + 5 {
            ring.offer(false, source, destination, &[&[7; 2000]]);
        }
        assert_eq!(watching.lost(), 5);
        let copied = watching.take().unwrap();
        assert_eq!((copied.payload.len(), copied.length), (DATAGRAM_MAX, 2000));
        assert_eq!(std::iter::from_fn(|| watching.take()).count(), WAITING_MAX - 1);
        drop(watching);
        assert_eq!(ring.watch().unwrap().lost(), 0, "each counts its own");
    }

    #[test]
    fn workers_and_watchers_at_once_lose_nothing_uncounted() {
        const EACH: u64 = 20_000;
        let ring = Arc::new(DumpRing::default());
        let (source, destination) = ends();
        let mut watching = ring.watch().unwrap();
        let mut seen = 0;
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for number in 0..EACH {
                            ring.offer(false, source, destination, &[&number.to_le_bytes()]);
                        }
                    })
                })
                .collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                seen += std::iter::from_fn(|| watching.take()).count() as u64;
            }
        });
        seen += std::iter::from_fn(|| watching.take()).count() as u64;
        assert_eq!(seen + watching.lost(), 2 * EACH);
    }
}
