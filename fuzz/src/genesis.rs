//! The genesis and its list of allocations, as people hand them around.
//!
//! Promised: no text panics; what is accepted has a digest that survives being written and read; its committee keeps the arithmetic of
//! quorums; allocations that fit it sum to its supplies.

use meshpay_protocol::genesis::{allocate, allocations_text, parse_allocations};
use meshpay_protocol::{Accounts, Genesis, MemoryAccounts};

/// The two files stand one behind the other, apart by this line.
pub const BETWEEN: &str = "\n%%\n";

pub fn files(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (genesis, allocations) = text.split_once(BETWEEN).unwrap_or((text, ""));
    // A committee of unequal weights is searched subset by subset, at most 2^20 of them, once in a daemon's life: too slow here.
    let genesis = if genesis.matches("[[committee]]").count() > 10 { "" } else { genesis };
    let allocations = parse_allocations(allocations);
    if let Ok(list) = &allocations {
        assert_eq!(parse_allocations(&allocations_text(list)).as_ref(), Ok(list));
    }
    let Ok(genesis) = Genesis::parse(genesis) else { return };
    let rules = genesis.rules().expect("it was parsed, so its rules hold");
    let again = Genesis::parse(&genesis.text()).expect("what was written is read");
    assert_eq!(again, genesis);
    assert_eq!(again.digest(), Ok(rules.genesis));
    let committee = &rules.committee;
    let (total, quorum, tolerated) = (committee.total_weight(), committee.quorum(), committee.tolerated());
    assert!(quorum <= total && 2 * quorum > total + tolerated, "two quorums of {quorum} in {total} share too little");
    assert!(total - tolerated >= quorum, "the honest alone make no quorum");
    if let Ok(list) = allocations
        && genesis.check_allocations(&list).is_ok()
    {
        let mut accounts = MemoryAccounts::default();
        allocate(&mut accounts, &list).expect("memory has room");
        for token in &rules.tokens {
            let held = list.iter().filter(|entry| entry.token == token.id);
            let sum: i128 = held.map(|entry| accounts.balance(&entry.account, token.id)).sum();
            assert_eq!(sum, i128::from(token.supply));
        }
    }
}
