//! Received messages wait here for their turn, each source in a queue of its own, so that one source's flood delays itself.
//!
//! Whoever wants to waste our verifications needs only name a funded account (DESIGN 3). So holders of a return token, who have shown
//! that they receive at their address, are queued by address; all others share one queue. Queues are served in turns, each for as many
//! messages as its weight. Verified messages raise the weight, bad signatures halve it; it never reaches zero, so nobody is blocked
//! outright, and it belongs to the source, never to the account that is named.
//!
//! Bounds: [`FairQueue::new`] sets how many messages there can be in all; a source's queue holds at most [`SOURCE_MAX`], and takes no more
//! once it is as long as there are buffers left free (dynamic thresholds; Choudhury and Hahne, 1998). So k sources that flood together leave
//! about a (k+1)th of the buffers to one that did not send yet; only many that come one after another can fill them to the last.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::net::IpAddr;

use meshpay_net::{Peer, prefetch};
use meshpay_wire::{DATAGRAM_MAX, Header, Kind};
use siphasher::sip::SipHasher13;
use zerocopy::FromBytes as _;

/// Sources are told apart up to this many at once; beyond, some share a queue.
const SOURCES: usize = 1024;
/// The queue that sources without a token share.
const SHARED: usize = SOURCES;
/// Most messages of one source that wait.
const SOURCE_MAX: u32 = 1024;
const WEIGHT_START: u8 = 8;
const WEIGHT_MAX: u8 = 64;
const NONE: u32 = u32::MAX;
/// Of a message that is taken, so much is fetched into the cache: all of an order, and of a certificate the part with most of its signatures.
const FETCHED_BYTES: usize = 512;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Its source has too many waiting.
    SourceFull,
    /// All buffers are in use.
    NoBuffer,
}

struct Slot {
    peer: Peer,
    bundled: bool,
    source: u16,
    length: u16,
    bytes: [u8; DATAGRAM_MAX],
}

#[derive(Clone, Copy)]
struct Source {
    head: u32,
    tail: u32,
    length: u32,
    weight: u8,
    /// Messages that this source may still give in the current round.
    credit: u8,
}

/// The queues and their buffers, all made at start.
pub struct FairQueue {
    slots: Vec<Slot>,
    /// Behind each message, the next of its source. Apart from the slots, so that walking a queue does not wait for them.
    next: Vec<u32>,
    free: Vec<u32>,
    sources: Vec<Source>,
    /// Sources with waiting messages, in the order of their turns.
    turns: VecDeque<u16>,
    waiting: usize,
    hash_key: [u8; 16],
}

impl FairQueue {
    /// Room for `capacity` messages. `hash_key` is secret and random, so that nobody can choose whom to share a queue with.
    pub fn new(capacity: usize, hash_key: [u8; 16]) -> Self {
        let peer = Peer::new(std::net::SocketAddr::from(([0, 0, 0, 0], 0)));
        let slot = || Slot { peer, bundled: false, source: 0, length: 0, bytes: [0; DATAGRAM_MAX] };
        let source = Source { head: NONE, tail: NONE, length: 0, weight: WEIGHT_START, credit: 0 };
        Self {
            slots: (0..capacity).map(|_| slot()).collect(),
            next: vec![NONE; capacity],
            free: (0..capacity as u32).rev().collect(),
            sources: vec![source; SOURCES + 1],
            turns: VecDeque::with_capacity(SOURCES + 1),
            waiting: 0,
            hash_key,
        }
    }

    /// Messages that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Copies a message into its source's queue, if that is shorter than its bounds. `bundled` says that it shared its datagram with others.
    pub fn offer(&mut self, peer: &Peer, has_token: bool, bundled: bool, message: &[u8]) -> Result<(), Dropped> {
        let source_at = if has_token { self.source_of(peer.address.ip()) } else { SHARED };
        let source = &mut self.sources[source_at];
        if self.free.is_empty() {
            return Err(Dropped::NoBuffer);
        }
        if source.length >= SOURCE_MAX || source.length as usize >= self.free.len() {
            return Err(Dropped::SourceFull);
        }
        let Some(at) = self.free.pop() else {
            return Err(Dropped::NoBuffer);
        };
        let slot = &mut self.slots[at as usize];
        slot.peer = *peer;
        slot.bundled = bundled;
        slot.source = source_at as u16;
        slot.length = message.len() as u16;
        slot.bytes[..message.len()].copy_from_slice(message);
        self.next[at as usize] = NONE;
        if source.head == NONE {
            source.head = at;
            source.credit = source.weight;
            self.turns.push_back(source_at as u16);
        } else {
            self.next[source.tail as usize] = at;
        }
        source.tail = at;
        source.length += 1;
        self.waiting += 1;
        Ok(())
    }

    /// Takes up to `limit` messages in fair order; their places are put into `taken`. Each must be given back by [`FairQueue::release`].
    pub fn take(&mut self, limit: usize, taken: &mut Vec<u32>) {
        for _ in 0..limit {
            let Some(source_at) = self.turns.front().copied() else { return };
            let source = &mut self.sources[source_at as usize];
            let at = source.head;
            source.head = self.next[at as usize];
            source.length -= 1;
            source.credit = source.credit.saturating_sub(1);
            if source.head == NONE {
                source.tail = NONE;
                self.turns.pop_front();
            } else if source.credit == 0 {
                source.credit = source.weight;
                self.turns.rotate_left(1);
            }
            self.waiting -= 1;
            let slot = &self.slots[at as usize];
            prefetch(&slot.bytes[..FETCHED_BYTES]);
            prefetch(&slot.length);
            taken.push(at);
        }
    }

    /// A taken message, whom it came from, and whether it was bundled.
    pub fn message(&self, at: u32) -> (&[u8], &Peer, bool) {
        let slot = &self.slots[at as usize];
        (&slot.bytes[..usize::from(slot.length)], &slot.peer, slot.bundled)
    }

    /// What a taken message says that it is.
    pub fn kind(&self, at: u32) -> Option<Kind> {
        Header::ref_from_prefix(&self.slots[at as usize].bytes).ok().and_then(|(header, _)| header.kind())
    }

    /// Says how a taken message's signatures turned out. Returns its source's address, if that source has a queue of its own.
    pub fn verified(&mut self, at: u32, valid: bool) -> Option<IpAddr> {
        let slot = &self.slots[at as usize];
        let source = &mut self.sources[usize::from(slot.source)];
        source.weight = if valid { (source.weight + 1).min(WEIGHT_MAX) } else { (source.weight / 2).max(1) };
        (usize::from(slot.source) != SHARED).then(|| slot.peer.address.ip())
    }

    /// Gives a taken message's buffer back.
    pub fn release(&mut self, at: u32) {
        self.free.push(at);
    }

    fn source_of(&self, address: IpAddr) -> usize {
        let mut hasher = SipHasher13::new_with_key(&self.hash_key);
        match address {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        (hasher.finish() % SOURCES as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn peer(n: u8) -> Peer {
        Peer::new(SocketAddr::from(([10, 0, 0, n], 1000)))
    }

    fn take(queue: &mut FairQueue, limit: usize) -> Vec<u32> {
        let mut taken = Vec::new();
        queue.take(limit, &mut taken);
        taken
    }

    #[test]
    fn a_flood_without_token_leaves_half_the_turns_to_a_holder() {
        let mut queue = FairQueue::new(4096, [1; 16]);
        for _ in 0..1000 {
            queue.offer(&peer(1), false, false, b"flood").unwrap();
        }
        for _ in 0..100 {
            queue.offer(&peer(2), true, false, b"honest").unwrap();
        }
        let taken = take(&mut queue, 200);
        let honest = taken.iter().filter(|at| queue.message(**at).0 == b"honest").count();
        assert!((90..=100).contains(&honest), "{honest} of the first 200 were honest");
    }

    #[test]
    fn bad_signatures_lower_a_share_and_never_to_nothing() {
        let mut queue = FairQueue::new(4096, [1; 16]);
        for round in 0..20 {
            for _ in 0..64 {
                queue.offer(&peer(1), true, false, b"bad").unwrap();
                queue.offer(&peer(2), true, false, b"good").unwrap();
            }
            let taken = take(&mut queue, 64);
            let bad = taken.iter().filter(|at| queue.message(**at).0 == b"bad").count();
            assert!(bad > 0, "round {round}");
            if round > 5 {
                assert!(bad <= 4, "round {round}: {bad} of 64");
            }
            let rest = take(&mut queue, 10_000);
            for at in taken.into_iter().chain(rest) {
                let good = queue.message(at).0 == b"good";
                queue.verified(at, good);
                queue.release(at);
            }
        }
    }

    #[test]
    fn bounds_hold_and_buffers_come_back() {
        let mut queue = FairQueue::new(3000, [1; 16]);
        let fill =
            |queue: &mut FairQueue, n| (0..).take_while(|_| queue.offer(&peer(n), true, false, b"x").is_ok()).count();
        assert_eq!(fill(&mut queue, 1), SOURCE_MAX as usize, "one source alone");
        assert_eq!(queue.offer(&peer(1), true, false, b"x"), Err(Dropped::SourceFull));
        assert_eq!(fill(&mut queue, 2), (3000 - SOURCE_MAX as usize) / 2, "the second leaves as much as it takes");
        let mut waiting = queue.waiting();
        for n in 3..=255 {
            // Sources that share a queue with another find it as long as that one has made it.
            waiting += fill(&mut queue, n);
        }
        assert_eq!(queue.waiting(), waiting);
        let taken = take(&mut queue, 5000);
        assert_eq!((taken.len(), queue.waiting()), (waiting, 0));
        for at in taken {
            queue.release(at);
        }
        for _ in 0..500 {
            queue.offer(&peer(3), false, false, b"z").unwrap();
        }
        assert_eq!(queue.waiting(), 500);
    }

    #[test]
    fn order_within_a_source_is_kept() {
        let mut queue = FairQueue::new(64, [1; 16]);
        for n in 0..10u8 {
            queue.offer(&peer(1), true, true, &[n]).unwrap();
        }
        let taken = take(&mut queue, 64);
        let order: Vec<u8> = taken.iter().map(|at| queue.message(*at).0[0]).collect();
        assert_eq!(order, (0..10).collect::<Vec<_>>());
    }
}
