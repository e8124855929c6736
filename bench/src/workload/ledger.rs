//! The bench's own books: what sequence each account comes to next, and, after a run, what each must hold. Kept apart from the
//! authority's code, so that one can check the other.

use std::collections::HashMap;

use super::{Batch, Transfer};

/// How a payment ended, as far as the bench saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Never sent: its sender's turn did not come.
    Unsent,
    /// All that were asked have acknowledged it.
    Complete,
    /// Sent, and acknowledged by the places of these bits only. It may have been executed by others too.
    Open(u32),
}

/// Sequences and balances of all accounts, by account number.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Sequence of the next order that is signed.
    next_sequence: Vec<u64>,
    /// Accounts that cannot pay any more, since an earlier payment of theirs was left open.
    blocked: Vec<bool>,
    /// What each holds after all complete payments.
    balance: Vec<i128>,
    /// One above the highest sequence that all authorities have acknowledged.
    acknowledged: Vec<u64>,
    /// One above the highest sequence that a place has acknowledged, where it is beyond `acknowledged`.
    acknowledged_by: HashMap<(u8, u32), u64>,
    uncertain: u64,
}

impl Ledger {
    /// Books with the first balances.
    pub fn new(first_balances: impl Iterator<Item = u64>) -> Self {
        let balance: Vec<i128> = first_balances.map(i128::from).collect();
        let count = balance.len();
        Self {
            next_sequence: vec![0; count],
            blocked: vec![false; count],
            balance,
            acknowledged: vec![0; count],
            acknowledged_by: HashMap::new(),
            uncertain: 0,
        }
    }

    /// The sequence for a sender's next order, or nothing where an earlier payment of this sender was left open.
    pub fn take_sequence(&mut self, sender: u32) -> Option<u64> {
        if self.blocked[sender as usize] {
            return None;
        }
        let next = &mut self.next_sequence[sender as usize];
        *next += 1;
        Some(*next - 1)
    }

    /// Books how one payment ended.
    pub fn book(&mut self, transfer: Transfer, sequence: u64, ending: Ending) {
        let sender = transfer.sender as usize;
        match ending {
            Ending::Complete => {
                self.balance[sender] -= i128::from(transfer.amount);
                self.balance[transfer.recipient as usize] += i128::from(transfer.amount);
                self.acknowledged[sender] = self.acknowledged[sender].max(sequence + 1);
            }
            // Payments of a sender are sent one after the other, so all that follow are unsent too: their sequences come again.
            Ending::Unsent => self.next_sequence[sender] = self.next_sequence[sender].min(sequence),
            Ending::Open(places) => {
                self.blocked[sender] = true;
                self.uncertain += 1;
                for place in (0..32).filter(|place| places >> place & 1 == 1) {
                    let known = self.acknowledged_by.entry((place, transfer.sender)).or_insert(0);
                    *known = (*known).max(sequence + 1);
                }
            }
        }
    }

    /// Books a whole batch after it was run.
    pub fn book_batch(&mut self, batch: &Batch, ending: impl Fn(usize) -> Ending) {
        for (at, payment) in batch.payments().iter().enumerate() {
            self.book(payment.transfer, payment.order.body.sequence.get(), ending(at));
        }
    }

    /// Payments whose outcome is not known. While there are none, balances are exact.
    pub fn uncertain(&self) -> u64 {
        self.uncertain
    }

    /// What an account must hold, where all outcomes are known.
    pub fn balance(&self, account: u32) -> i128 {
        self.balance[account as usize]
    }

    /// The least next sequence that an account must have at a place: one above its highest payment acknowledged there.
    pub fn acknowledged_by(&self, place: u8, account: u32) -> u64 {
        let alone = self.acknowledged_by.get(&(place, account)).copied().unwrap_or(0);
        self.acknowledged[account as usize].max(alone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_complete_open_and_unsent_payments() {
        let mut ledger = Ledger::new([100, 50].into_iter());
        let transfer = Transfer { sender: 0, recipient: 1, amount: 30 };
        assert_eq!([0, 0, 0, 0].map(|sender| ledger.take_sequence(sender)), [Some(0), Some(1), Some(2), Some(3)]);
        ledger.book(transfer, 0, Ending::Complete);
        ledger.book(transfer, 2, Ending::Unsent);
        ledger.book(transfer, 3, Ending::Unsent);
        assert_eq!((ledger.balance(0), ledger.balance(1), ledger.acknowledged_by(0, 0)), (70, 80, 1));
        assert_eq!(ledger.take_sequence(0), Some(2));
        ledger.book(transfer, 1, Ending::Open(0b10));
        assert_eq!((ledger.take_sequence(0), ledger.uncertain()), (None, 1));
        assert_eq!((ledger.acknowledged_by(0, 0), ledger.acknowledged_by(1, 0)), (1, 2));
        assert_eq!(ledger.take_sequence(1), Some(0));
    }
}
