//! The filter in userspace (DESIGN 6): the kernel's decision once more, for what comes by a way on which no program stood.
//!
//! Packets of other interfaces, of loopback, and all of them where XDP cannot run reach the worker by a socket. They meet the same rules
//! over the same kind of tables: the kernel's own tables, mapped, where a program is loaded, else [`PlainTables`].
//!
//! What always holds: facts are written only after verification (DESIGN 5.11); a conflicting order that the rules would show as evidence goes on
//! to the worker, who can check it.

mod plain;

use std::net::IpAddr;

use meshpay_net::Peer;
use meshpay_protocol::Account;
use meshpay_wire::filter::{Action, Arrival, FilterTables, FilterWriter, Outcome, judge_datagram};

pub use plain::PlainTables;

/// Tells the filter what stands of an account. The times are now: of the filter's clock, and of the date by which penalties end.
pub fn note_account(writer: &FilterWriter<'_>, account: &Account, now_ns: u64, now_ms: u64) {
    let next = account.next_sequence.get();
    if account.is_locked() {
        let [a, b, c, d, e, f, g, h, ..] = account.lock_digest.0;
        writer.locked(&account.key, next, [a, b, c, d, e, f, g, h]);
    } else {
        writer.executed(&account.key, next);
    }
    let until_ms = account.penalised_until_ms.get();
    if until_ms > 0 {
        // The filter has no date, so the penalty is carried over to its clock. If the date is set meanwhile the two differ by that,
        // and the worker, which sees what the filter lets pass, goes by the date.
        let left_ms = until_ms.saturating_sub(now_ms);
        let until_ns = if left_ms == 0 { 0 } else { now_ns.saturating_add(left_ms.saturating_mul(1_000_000)) };
        writer.penalised(&account.key, until_ns);
    }
}

/// Tells the filter how a message's signatures turned out.
pub fn note_source(writer: &FilterWriter<'_>, source: &IpAddr, valid: bool) {
    if valid { writer.verified(source, 1) } else { writer.bad(source) }
}

/// Judges a datagram: why it goes no further, or nothing.
pub fn judge(tables: &FilterTables<'_>, datagram: &[u8], peer: &Peer, now_ns: u64) -> Option<Outcome> {
    let verdict = judge_datagram(datagram, &peer.address, tables, Arrival { now_ns, receive_queue: 0 });
    let dropped = verdict.action() == Action::Drop && verdict.evidence().is_none();
    dropped.then_some(verdict.outcome)
}
