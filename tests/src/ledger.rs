//! What balances and sequences must be, told from the genesis and the certificates alone.
//!
//! Written apart from the daemon's state machine, so that the same mistake cannot be in both.

use meshpay_protocol::Allocation;
use meshpay_wire::{PublicKey, SignedOrder};
use std::collections::BTreeMap;

/// Balances by account and token, and next sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    balances: BTreeMap<(PublicKey, u32), i128>,
    sequences: BTreeMap<PublicKey, u64>,
}

impl Ledger {
    /// As the genesis begins.
    pub fn new(allocations: &[Allocation]) -> Self {
        let mut ledger = Self::default();
        for allocation in allocations {
            *ledger.balances.entry((allocation.account, allocation.token)).or_default() +=
                i128::from(allocation.amount);
        }
        ledger
    }

    /// Executes an order that was certified, which must be its sender's next.
    ///
    /// # Panics
    /// If it is not: then the test has made a mistake.
    pub fn execute(&mut self, order: &SignedOrder) {
        let body = &order.body;
        let sequence = self.sequences.entry(body.sender).or_default();
        assert_eq!(*sequence, body.sequence.get(), "the test executes out of order");
        *sequence += 1;
        let amount = i128::from(body.amount.get());
        *self.balances.entry((body.sender, body.token.get())).or_default() -= amount;
        *self.balances.entry((body.recipient, body.token.get())).or_default() += amount;
    }

    /// Balance of an account.
    pub fn balance(&self, account: &PublicKey, token: u32) -> i128 {
        self.balances.get(&(*account, token)).copied().unwrap_or(0)
    }

    /// Sequence of an account's next order.
    pub fn next_sequence(&self, account: &PublicKey) -> u64 {
        self.sequences.get(account).copied().unwrap_or(0)
    }

    /// Sum of all balances of a token.
    pub fn total(&self, token: u32) -> i128 {
        self.balances.iter().filter(|((_, of), _)| *of == token).map(|(_, balance)| balance).sum()
    }

    /// Every account that was ever named, with its tokens and balances.
    pub fn balances(&self) -> impl Iterator<Item = (&PublicKey, u32, i128)> {
        self.balances.iter().map(|((account, token), balance)| (account, *token, *balance))
    }
}
