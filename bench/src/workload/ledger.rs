//! The bench's own books: what sequence each account comes to next, and, after a run, what each must hold. Kept apart from the
//! authority's code, so that one can check the other.

use super::{Batch, Transfer};

/// Sequences and balances of all accounts, by account number.
#[derive(Clone, Debug)]
pub struct Ledger {
    next_sequence: Vec<u64>,
    blocked: Vec<bool>,
    balance: Vec<i128>,
    executed: Vec<u64>,
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
            executed: vec![0; count],
            uncertain: 0,
        }
    }

    /// The sequence for a sender's next order, or nothing where an earlier payment of this sender was left unfinished.
    pub fn take_sequence(&mut self, sender: u32) -> Option<u64> {
        if self.blocked[sender as usize] {
            return None;
        }
        let next = &mut self.next_sequence[sender as usize];
        *next += 1;
        Some(*next - 1)
    }

    /// Books a payment that every authority of the run has acknowledged.
    pub fn book(&mut self, transfer: Transfer, sequence: u64) {
        self.balance[transfer.sender as usize] -= i128::from(transfer.amount);
        self.balance[transfer.recipient as usize] += i128::from(transfer.amount);
        let executed = &mut self.executed[transfer.sender as usize];
        *executed = (*executed).max(sequence + 1);
    }

    /// Notes a payment that was sent and not acknowledged by all: it may or may not have been executed. Its sender pays no more.
    pub fn leave_open(&mut self, transfer: Transfer) {
        self.blocked[transfer.sender as usize] = true;
        self.uncertain += 1;
    }

    /// Payments whose outcome is not known. While there are none, balances are exact.
    pub fn uncertain(&self) -> u64 {
        self.uncertain
    }

    /// What an account must hold, where all outcomes are known.
    pub fn balance(&self, account: u32) -> i128 {
        self.balance[account as usize]
    }

    /// The least next sequence that an account must have: one above its highest payment that all have acknowledged.
    pub fn acknowledged(&self, account: u32) -> u64 {
        self.executed[account as usize]
    }

    /// Books a whole batch after it was run: `complete` says of each payment whether all have acknowledged it.
    pub fn book_batch(&mut self, batch: &Batch, complete: impl Fn(usize) -> bool) {
        for (at, payment) in batch.payments().iter().enumerate() {
            if complete(at) {
                self.book(payment.transfer, payment.order.body.sequence.get());
            } else {
                self.leave_open(payment.transfer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_and_blocks() {
        let mut ledger = Ledger::new([100, 50].into_iter());
        let transfer = Transfer { sender: 0, recipient: 1, amount: 30 };
        assert_eq!((ledger.take_sequence(0), ledger.take_sequence(0)), (Some(0), Some(1)));
        ledger.book(transfer, 0);
        assert_eq!((ledger.balance(0), ledger.balance(1), ledger.acknowledged(0)), (70, 80, 1));
        ledger.leave_open(transfer);
        assert_eq!((ledger.take_sequence(0), ledger.uncertain()), (None, 1));
        assert_eq!(ledger.take_sequence(1), Some(0));
    }
}
