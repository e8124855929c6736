//! The default mix: every account pays in turn, in a shuffled order, to a random other account.
//!
//! In turn, because a wallet can have one order under way at a time: a sender drawn at random would now and then be
//! drawn twice within a payment's lifetime, and then it is the wallet that waits, not the authority that is slow.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::{Transfer, TransferSource};

/// Largest amount of one payment, in minor units; the smallest is 1.
pub const AMOUNT_MAX: u64 = 1_000;

/// An endless source of transfers.
#[derive(Clone, Debug)]
pub struct UniformMix {
    order: Vec<u32>,
    next: usize,
    accounts: u32,
    random: ChaCha8Rng,
}

impl UniformMix {
    /// A mix over `accounts` accounts, at least 2.
    pub fn new(seed: u64, accounts: u32) -> Self {
        Self::with_payers(seed, accounts, accounts)
    }

    /// As [`UniformMix::new`], where only the first `payers` accounts pay; all are paid.
    pub fn with_payers(seed: u64, payers: u32, accounts: u32) -> Self {
        assert!(accounts >= 2, "one account cannot pay another");
        assert!((1..=accounts).contains(&payers), "somebody must pay");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut order: Vec<u32> = (0..payers).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, below(&mut random, at as u64 + 1) as usize);
        }
        Self { order, next: 0, accounts, random }
    }
}

impl TransferSource for UniformMix {
    fn next_transfer(&mut self) -> Option<Transfer> {
        let sender = self.order[self.next];
        self.next = (self.next + 1) % self.order.len();
        let count = u64::from(self.accounts);
        // Any account but the sender.
        let recipient = (u64::from(sender) + 1 + below(&mut self.random, count - 1)) % count;
        let amount = 1 + below(&mut self.random, AMOUNT_MAX);
        Some(Transfer { sender, recipient: recipient as u32, amount })
    }
}

/// A number below `bound`; the bias of the multiplication is below `bound` / 2^64.
pub(crate) fn below(random: &mut ChaCha8Rng, bound: u64) -> u64 {
    ((u128::from(random.next_u64()) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_account_pays_once_a_round_and_never_itself() {
        let mut mix = UniformMix::new(7, 100);
        for _ in 0..3 {
            let mut paid = [false; 100];
            for _ in 0..100 {
                let transfer = mix.next_transfer().expect("endless");
                assert_ne!(transfer.sender, transfer.recipient);
                assert!((1..=AMOUNT_MAX).contains(&transfer.amount));
                assert!(!std::mem::replace(&mut paid[transfer.sender as usize], true));
            }
        }
    }

    #[test]
    fn a_seed_repeats() {
        let take = |seed| {
            let mut mix = UniformMix::new(seed, 50);
            (0..200).map(|_| mix.next_transfer()).collect::<Vec<_>>()
        };
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
    }
}
