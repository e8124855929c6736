//! Timers of requests under way. Timeouts double from one attempt to the next up to a maximum, and all requests of one attempt have
//! the same, so each attempt's timers are a queue: the oldest is always in front. Setting and firing cost a few nanoseconds.

use std::collections::VecDeque;

use super::request_id::{ATTEMPTS_MAX, RequestId};

/// How long the first attempt waits for its answer, in milliseconds. Far above the 60 ms that `docs/wire.md` sets as the least: here
/// clients are many and patient, so that a repeated request means a lost packet, and an overloaded authority is not buried under
/// repetitions of what it is about to answer.
pub const FIRST_TIMEOUT_MS: u64 = 500;

/// Longest wait, in milliseconds.
pub const TIMEOUT_MAX_MS: u64 = 8_000;

/// Attempts that have a queue of their own; all later ones wait [`TIMEOUT_MAX_MS`] and share the last.
const LEVELS: usize = 5;

/// Timers by attempt.
#[derive(Debug, Default)]
pub struct Retries {
    queues: [VecDeque<(u64, RequestId)>; LEVELS],
}

/// How long an attempt waits, in nanoseconds.
pub fn timeout_ns(attempt: u8) -> u64 {
    (FIRST_TIMEOUT_MS << u32::from(attempt).min(LEVELS as u32 - 1)).min(TIMEOUT_MAX_MS) * 1_000_000
}

impl Retries {
    /// Starts the timer of a request sent at `now_ns`. Times passed in must not fall from call to call.
    pub fn start(&mut self, now_ns: u64, request: RequestId) {
        let level = usize::from(request.attempt).min(LEVELS - 1);
        self.queues[level].push_back((now_ns + timeout_ns(request.attempt), request));
    }

    /// Takes a timer that has run out. The request may have been answered since; then the caller drops it.
    /// A request that was sent [`ATTEMPTS_MAX`] times has run out for good and is not returned.
    pub fn expired(&mut self, now_ns: u64) -> Option<RequestId> {
        for queue in &mut self.queues {
            while let Some((deadline_ns, request)) = queue.front().copied() {
                if deadline_ns > now_ns {
                    break;
                }
                queue.pop_front();
                if request.attempt < ATTEMPTS_MAX {
                    return Some(request);
                }
            }
        }
        None
    }

    /// When the next timer runs out.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.queues.iter().filter_map(|queue| queue.front()).map(|(deadline_ns, _)| *deadline_ns).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::request_id::Step;

    fn request(payment: u32, attempt: u8) -> RequestId {
        RequestId { payment, place: 0, step: Step::Vote, attempt, batch: 1 }
    }

    #[test]
    fn each_attempt_waits_twice_as_long_up_to_the_maximum() {
        let ms: Vec<u64> = [0, 1, 2, 3, 4, 100].iter().map(|attempt| timeout_ns(*attempt) / 1_000_000).collect();
        assert_eq!(ms, [500, 1000, 2000, 4000, 8000, 8000]);
        const { assert!(FIRST_TIMEOUT_MS >= meshpay_wire::FIRST_RETRY_MS) };
    }

    #[test]
    fn timers_fire_once_and_in_time() {
        let mut retries = Retries::default();
        retries.start(0, request(1, 1));
        retries.start(10, request(2, 0));
        assert_eq!(retries.next_deadline_ns(), Some(500_000_010));
        assert_eq!(retries.expired(500_000_009), None);
        assert_eq!(retries.expired(500_000_010), Some(request(2, 0)));
        assert_eq!(retries.expired(999_999_999), None);
        assert_eq!(retries.expired(1_000_000_000), Some(request(1, 1)));
        assert_eq!(retries.next_deadline_ns(), None);
        retries.start(2_000_000_000, request(3, ATTEMPTS_MAX));
        assert_eq!(retries.expired(u64::MAX), None);
    }
}
