//! Finds executed certificates in the journal, by an account's ladder of debits or its chain of credits.
//!
//! What one search reads is bounded and counted. Positions come from the account table or, for credits, from a peer. A peer's position may point anywhere, so what stands there must be
//! a whole record that belongs to the account asked for; certificates prove themselves anyway.

use meshpay_protocol::account::{DEBIT_LEVELS, DEBIT_STRIDE};
use meshpay_protocol::record::{CreditLinkRecord, ExecutionHead, Record};
use meshpay_wire::{CertificateLinks, CertificateView, PublicKey, SignedOrder};

use super::ports::{Journal, ReadRefused};

/// Most records that one search reads; reaches back more than 16 million sequences.
const STEPS_MAX: usize = 4096 + 2 * DEBIT_STRIDE as usize;

/// Longest record payload that is read here: an execution with the largest certificate.
pub const RECORD_MAX: usize = 2048;

/// The journal, and how often it was read.
pub struct Reads<'a, J> {
    pub journal: &'a mut J,
    pub count: &'a mut usize,
}

/// An executed certificate as it stands in the journal.
pub struct Found<'a> {
    pub links: CertificateLinks,
    pub head: &'a ExecutionHead,
    pub certificate: CertificateView<'a>,
}

/// Finds the debit of an account at a sequence below `next_sequence`, starting from the account's heads.
pub fn find_debit<'a>(
    journal: &mut Reads<'_, impl Journal>,
    account: &PublicKey,
    sequence: u64,
    next_sequence: u64,
    mut links: [u64; DEBIT_LEVELS],
    buffer: &'a mut [u8; RECORD_MAX],
) -> Result<Found<'a>, ReadRefused> {
    if sequence >= next_sequence {
        return Err(ReadRefused::NotFound);
    }
    let mut at_sequence = next_sequence;
    for _ in 0..STEPS_MAX {
        let (position, reached) = rung(links, at_sequence, sequence);
        let head = read_debit(journal, position, account, reached, buffer)?;
        if reached == sequence {
            return found(journal, position, position, buffer);
        }
        links = head;
        at_sequence = reached;
    }
    Err(ReadRefused::NotFound)
}

/// The longest step down from `from` that does not pass `to`: its position and the sequence that stands there.
fn rung(links: [u64; DEBIT_LEVELS], from: u64, to: u64) -> (u64, u64) {
    let newest_below = from - 1;
    let mut best = (links[0], newest_below);
    let mut stride = 1;
    for link in links {
        let reached = newest_below / stride * stride;
        if reached >= to {
            best = (link, reached);
        }
        stride *= DEBIT_STRIDE;
    }
    best
}

/// Reads the debit at a position and returns its links.
fn read_debit(
    journal: &mut Reads<'_, impl Journal>,
    position: u64,
    account: &PublicKey,
    sequence: u64,
    buffer: &mut [u8; RECORD_MAX],
) -> Result<[u64; DEBIT_LEVELS], ReadRefused> {
    match read(journal, position, buffer)? {
        Record::Execution(head, certificate) => {
            let body = &certificate.head.order.body;
            if body.sender != *account || body.sequence.get() != sequence {
                return Err(ReadRefused::NotFound);
            }
            Ok(head.debit_links.map(|link| link.get()))
        }
        _ => Err(ReadRefused::NotFound),
    }
}

/// Reads the credit of an account at a locator: an execution, or a link to one.
pub fn find_credit<'a>(
    journal: &mut Reads<'_, impl Journal>,
    account: &PublicKey,
    locator: u64,
    buffer: &'a mut [u8; RECORD_MAX],
) -> Result<Found<'a>, ReadRefused> {
    let link = match read(journal, locator, buffer)? {
        Record::CreditLink(link) if link.recipient == *account => Some(*link),
        Record::Execution(_, certificate) if certificate.head.order.body.recipient == *account => None,
        _ => return Err(ReadRefused::NotFound),
    };
    match link {
        None => found(journal, locator, locator, buffer),
        Some(CreditLinkRecord { execution, previous_credit, .. }) => {
            let mut credit = found(journal, execution.get(), locator, buffer)?;
            // Bytes that a peer wrote into an order may pass for a link; they lead to nobody else's payment.
            if credit.certificate.head.order.body.recipient != *account {
                return Err(ReadRefused::NotFound);
            }
            credit.links.previous_credit = previous_credit;
            Ok(credit)
        }
    }
}

/// Reads the order of the lock record at a position.
pub fn find_lock(
    journal: &mut Reads<'_, impl Journal>,
    position: u64,
    buffer: &mut [u8; RECORD_MAX],
) -> Result<SignedOrder, ReadRefused> {
    match read(journal, position, buffer)? {
        Record::Lock(record) => Ok(record.order),
        _ => Err(ReadRefused::NotFound),
    }
}

fn found<'a>(
    journal: &mut Reads<'_, impl Journal>,
    position: u64,
    locator: u64,
    buffer: &'a mut [u8; RECORD_MAX],
) -> Result<Found<'a>, ReadRefused> {
    match read(journal, position, buffer)? {
        Record::Execution(head, certificate) => Ok(Found {
            links: CertificateLinks {
                locator: locator.into(),
                previous_debit: head.debit_links[0],
                previous_credit: head.previous_credit,
                reserved: 0.into(),
            },
            head,
            certificate,
        }),
        _ => Err(ReadRefused::NotFound),
    }
}

fn read<'a>(
    journal: &mut Reads<'_, impl Journal>,
    position: u64,
    buffer: &'a mut [u8; RECORD_MAX],
) -> Result<Record<'a>, ReadRefused> {
    if position == 0 {
        return Err(ReadRefused::NotFound);
    }
    *journal.count += 1;
    let (kind, length) = journal.journal.read(position, buffer)?;
    Record::parse(kind, &buffer[..length]).ok_or(ReadRefused::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_never_passes_its_goal_and_is_short() {
        for next in [1u64, 2, 63, 64, 65, 4095, 4096, 4097, 70_000] {
            for goal in [0, 1, 62, 63, 64, 65, 4095, 4096, 4097, 69_999].into_iter().filter(|goal| *goal < next) {
                let (mut at, mut steps) = (next, 0);
                while at != goal {
                    // A link's value is not needed to see where it leads.
                    at = rung([0; DEBIT_LEVELS], at, goal).1;
                    assert!(at >= goal);
                    steps += 1;
                }
                assert!(steps as u64 <= 2 * DEBIT_STRIDE + next / 4096 + 1, "{steps} steps from {next} to {goal}");
            }
        }
    }
}
