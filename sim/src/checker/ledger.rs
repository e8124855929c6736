//! What one honest authority should hold: a ledger of its own, in the order of that authority's journal, that can be cut where a crash cut it.
//!
//! What always holds: entries stand in the order of their positions; undoing them from the end leads back through every earlier state.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use meshpay_protocol::account::slot_kind;
use meshpay_protocol::{Account, Allocation};
use meshpay_wire::{Digest, OrderBody, PublicKey};

/// An execution, with what it replaced.
#[derive(Clone, Debug)]
pub struct Execution {
    /// The order.
    pub digest: Digest,
    sender: PublicKey,
    sequence: u64,
    recipient: PublicKey,
    token: u32,
    amount: u64,
    before: Holder,
}

#[derive(Clone, Debug)]
enum Act {
    Lock { account: PublicKey, sequence: u64, digest: Digest },
    Execution(Box<Execution>),
    Other,
}

struct Entry {
    position: u64,
    act: Act,
    /// Hash of the record.
    content: Content,
    /// Somebody outside was told of it.
    shown: bool,
}

/// Hash of a record's kind and payload.
pub type Content = [u8; 16];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Holder {
    next: u64,
    last: Digest,
    /// Digest of the locked order.
    lock: Option<Digest>,
}

/// One authority's books.
pub struct Ledger {
    holders: BTreeMap<PublicKey, Holder>,
    balances: BTreeMap<(PublicKey, u32), i128>,
    entries: Vec<Entry>,
    locks: HashMap<(PublicKey, u64, Digest), usize>,
    executions: HashMap<(PublicKey, u64), usize>,
    /// Executions that moved an account's money, in order.
    moves: HashMap<PublicKey, Vec<usize>>,
    /// Per account, below which sequence everything was shown.
    shown_below: HashMap<PublicKey, u64>,
    executed_set: [u8; 32],
}

impl Ledger {
    /// The books at the genesis.
    pub fn new(allocations: &[Allocation]) -> Self {
        let mut balances = BTreeMap::new();
        for allocation in allocations {
            *balances.entry((allocation.account, allocation.token)).or_default() += i128::from(allocation.amount);
        }
        Self {
            holders: BTreeMap::new(),
            balances,
            entries: Vec::new(),
            locks: HashMap::new(),
            executions: HashMap::new(),
            moves: HashMap::new(),
            shown_below: HashMap::new(),
            executed_set: [0; 32],
        }
    }

    /// The next sequence of an account.
    pub fn next(&self, account: &PublicKey) -> u64 {
        self.holders.get(account).map_or(0, |holder| holder.next)
    }

    /// The balance of an account.
    pub fn balance(&self, account: &PublicKey, token: u32) -> i128 {
        self.balances.get(&(*account, token)).copied().unwrap_or(0)
    }

    /// What is locked at an account's next sequence.
    pub fn locked(&self, account: &PublicKey) -> Option<Digest> {
        self.holders.get(account).and_then(|holder| holder.lock)
    }

    /// Names the set of everything executed, whatever its order.
    pub fn executed_set(&self) -> [u8; 32] {
        self.executed_set
    }

    /// The execution at a sequence.
    pub fn execution(&self, account: &PublicKey, sequence: u64) -> Option<&Execution> {
        let at = *self.executions.get(&(*account, sequence))?;
        match &self.entries[at].act {
            Act::Execution(execution) => Some(execution),
            _ => None,
        }
    }

    fn push(&mut self, position: u64, act: Act) -> usize {
        self.entries.push(Entry { position, act, content: Content::default(), shown: false });
        self.entries.len() - 1
    }

    /// What the record entered last holds, if it stands at this position.
    pub fn note_content(&mut self, position: u64, content: Content) {
        if let Some(entry) = self.entries.last_mut().filter(|entry| entry.position == position) {
            entry.content = content;
        }
    }

    /// Where a journal that holds these records parts from these books; its `head` if it does not. A start that the power ended may have cut
    /// the journal and written on from there, so not all that lies below the head is what was there before.
    pub fn parts_from(&self, held: &BTreeMap<u64, Content>, head: u64) -> u64 {
        let foreign = self.entries.iter().find(|entry| held.get(&entry.position) != Some(&entry.content));
        foreign.map_or(head, |entry| entry.position.min(head))
    }

    /// A record that moves nothing.
    pub fn other(&mut self, position: u64) {
        self.push(position, Act::Other);
    }

    /// An order is locked.
    ///
    /// # Errors
    /// Why it may not be.
    pub fn lock(&mut self, position: u64, body: &OrderBody, digest: Digest) -> Result<(), String> {
        let (account, sequence) = (body.sender, body.sequence.get());
        let balance = self.balance(&account, body.token.get());
        let holder = *self.holders.entry(account).or_default();
        let amount = i128::from(body.amount.get());
        let why = if sequence != holder.next {
            Some(format!("the next sequence is {}", holder.next))
        } else if holder.lock.is_some() {
            Some("another order is locked there".to_owned())
        } else if amount == 0 {
            Some("it moves nothing".to_owned())
        } else if balance < amount {
            Some(format!("it moves {amount} of a balance of {balance}"))
        } else {
            None
        };
        self.holders.entry(account).or_default().lock = Some(digest);
        let at = self.push(position, Act::Lock { account, sequence, digest });
        self.locks.insert((account, sequence, digest), at);
        why.map_or(Ok(()), Err)
    }

    /// A certificate is executed: debit and credit.
    ///
    /// # Errors
    /// Why it may not be.
    pub fn execute(&mut self, position: u64, body: &OrderBody, digest: Digest) -> Result<(), String> {
        let (sender, sequence, token, amount) = (body.sender, body.sequence.get(), body.token.get(), body.amount.get());
        let before = *self.holders.entry(sender).or_default();
        if sequence != before.next {
            return Err(format!("executed sequence {sequence} where {} is next", before.next));
        }
        self.holders.insert(sender, Holder { next: sequence + 1, last: digest, lock: None });
        *self.balances.entry((sender, token)).or_default() -= i128::from(amount);
        *self.balances.entry((body.recipient, token)).or_default() += i128::from(amount);
        let execution = Execution { digest, sender, sequence, recipient: body.recipient, token, amount, before };
        let at = self.push(position, Act::Execution(Box::new(execution)));
        self.executions.insert((sender, sequence), at);
        self.moves.entry(sender).or_default().push(at);
        if body.recipient != sender {
            self.moves.entry(body.recipient).or_default().push(at);
        }
        self.toggle(&digest);
        Ok(())
    }

    fn toggle(&mut self, digest: &Digest) {
        for (set, byte) in self.executed_set.iter_mut().zip(blake3::hash(&digest.0).as_bytes()) {
            *set ^= byte;
        }
    }

    /// Somebody is told of a lock.
    ///
    /// # Errors
    /// If there is none.
    pub fn show_lock(&mut self, account: &PublicKey, sequence: u64, digest: &Digest) -> Result<(), String> {
        match self.locks.get(&(*account, sequence, *digest)) {
            Some(at) => {
                self.entries[*at].shown = true;
                Ok(())
            }
            None => Err(format!("it told of a lock at sequence {sequence} that it never recorded")),
        }
    }

    /// Somebody is told what was executed at a sequence.
    ///
    /// # Errors
    /// If that is not so.
    pub fn show_execution(&mut self, account: &PublicKey, sequence: u64, digest: &Digest) -> Result<(), String> {
        match self.executions.get(&(*account, sequence)) {
            Some(at) => {
                let at = *at;
                self.entries[at].shown = true;
                let same = self.execution(account, sequence).is_some_and(|execution| execution.digest == *digest);
                if same {
                    Ok(())
                } else {
                    Err(format!("it told of another order at sequence {sequence} than it executed"))
                }
            }
            None => Err(format!("it told of an execution at sequence {sequence} that it never recorded")),
        }
    }

    /// Somebody is told that everything below `next` was executed.
    ///
    /// # Errors
    /// If that is not so.
    pub fn show_executions(&mut self, account: &PublicKey, next: u64) -> Result<(), String> {
        let from = self.shown_below.get(account).copied().unwrap_or(0);
        for sequence in from..next {
            match self.executions.get(&(*account, sequence)) {
                Some(at) => self.entries[*at].shown = true,
                None => return Err(format!("it told of next sequence {next} and has not executed {sequence}")),
            }
        }
        self.shown_below.insert(*account, from.max(next));
        Ok(())
    }

    /// Somebody is told of a balance. A credit between workers reaches an account later than the journal, and perhaps behind a later one; so
    /// this looks for the earliest state that the balance fits, beyond which the true one cannot lie.
    pub fn show_balance(&mut self, account: &PublicKey, token: u32, next: u64, balance: i128) {
        let moves = self.moves.get(account).cloned().unwrap_or_default();
        let (mut then, mut sequence) = (self.balance(account, token), self.next(account));
        let mut fits = None;
        for (before, at) in moves.iter().enumerate().rev() {
            if sequence == next && then == balance {
                fits = Some(before + 1);
            }
            let Act::Execution(execution) = &self.entries[*at].act else { continue };
            if execution.sender == *account {
                sequence = execution.sequence;
                then += if execution.token == token { i128::from(execution.amount) } else { 0 };
            }
            if execution.recipient == *account && execution.token == token {
                then -= i128::from(execution.amount);
            }
        }
        if sequence == next && then == balance {
            fits = Some(0);
        }
        for at in &moves[..fits.unwrap_or(0)] {
            self.entries[*at].shown = true;
        }
    }

    /// A crash has left only what lies below `head`. Says what of that somebody had been told of.
    pub fn cut(&mut self, head: u64) -> Option<String> {
        let mut lost = None;
        while self.entries.last().is_some_and(|entry| entry.position >= head) {
            let Some(entry) = self.entries.pop() else { break };
            match entry.act {
                Act::Lock { account, sequence, digest } => {
                    if entry.shown {
                        lost = Some(format!(
                            "a lock it had told of, at sequence {sequence} of {}",
                            super::short(&account)
                        ));
                    }
                    self.locks.remove(&(account, sequence, digest));
                    self.holders.entry(account).or_default().lock = None;
                }
                Act::Execution(execution) => {
                    let Execution { digest, sender, sequence, recipient, token, amount, before } = *execution;
                    if entry.shown {
                        lost = Some(format!(
                            "an execution it had told of, at sequence {sequence} of {}",
                            super::short(&sender)
                        ));
                    }
                    self.executions.remove(&(sender, sequence));
                    for account in [sender, recipient] {
                        let moves = self.moves.entry(account).or_default();
                        moves.truncate(moves.partition_point(|at| *at < self.entries.len()));
                    }
                    self.holders.insert(sender, before);
                    *self.balances.entry((sender, token)).or_default() += i128::from(amount);
                    *self.balances.entry((recipient, token)).or_default() -= i128::from(amount);
                    let shown = self.shown_below.entry(sender).or_default();
                    *shown = (*shown).min(sequence);
                    self.toggle(&digest);
                }
                Act::Other => {}
            }
        }
        lost
    }

    /// Compares a table with these books.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&self, slots: &[Account]) -> Result<(), String> {
        let mut balances: BTreeMap<(PublicKey, u32), i128> = BTreeMap::new();
        for slot in slots {
            let name = (slot.key, slot.token.get());
            if balances.insert(name, slot.balance.get()).is_some() {
                return Err(format!("{} has two balances of token {}", super::short(&slot.key), slot.token));
            }
            if slot.kind == slot_kind::ACCOUNT {
                let lock = slot.is_locked().then_some(slot.lock_digest);
                let found = Holder { next: slot.next_sequence.get(), last: slot.last_executed, lock };
                let expected = self.holders.get(&slot.key).copied().unwrap_or_default();
                if found != expected {
                    return Err(format!(
                        "{} stands at sequence {} {}, expected {} {}",
                        super::short(&slot.key),
                        found.next,
                        if found.lock.is_some() { "with a lock" } else { "without a lock" },
                        expected.next,
                        if expected.lock.is_some() { "with a lock" } else { "without a lock" },
                    ));
                }
            }
        }
        for ((account, token), expected) in &self.balances {
            let found = balances.remove(&(*account, *token)).unwrap_or(0);
            if found != *expected {
                return Err(format!("{} has {found} of token {token}, expected {expected}", super::short(account)));
            }
        }
        let stray = balances.iter().find(|(_, balance)| **balance != 0);
        if let Some(((account, token), balance)) = stray {
            return Err(format!("{} has {balance} of token {token} from nowhere", super::short(account)));
        }
        let accounts: BTreeSet<&PublicKey> =
            slots.iter().filter(|slot| slot.kind == slot_kind::ACCOUNT).map(|slot| &slot.key).collect();
        let absent = self.holders.iter().find(|(key, holder)| **holder != Holder::default() && !accounts.contains(key));
        absent.map_or(Ok(()), |(key, _)| Err(format!("{} has no account", super::short(key))))
    }
}
