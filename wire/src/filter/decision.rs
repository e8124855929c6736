//! The decision, rule by rule, in the one order in which they are asked.

use super::accounts::{self, standing};
use super::config::{flag, word};
use super::frame::{self, Flow};
use super::rates::{self, Over};
use super::tables::{Tables, Words};
use super::{Action, Outcome, Packet, SlicePacket, allowances, echoes, message, shedding};
use crate::{Header, Kind};
use core::mem::offset_of;
use core::net::SocketAddr;

/// What is known of a packet besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Time on the monotonic clock.
    pub now_ns: u64,
    /// Receive queue that it came on.
    pub receive_queue: u32,
}

/// What becomes of a packet. Every field always has a value: the kernel's verifier accepts no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why.
    pub outcome: Outcome,
    is_evidence: bool,
    socket: u32,
    flow: Flow,
}

const NO_SOCKET: u32 = u32::MAX;
const NO_FLOW: Flow = Flow { source: [0; 2], sender: 0, payload_at: 0, payload_length: 0 };

impl Verdict {
    #[inline(always)]
    fn of(outcome: Outcome) -> Self {
        Self { outcome, is_evidence: false, socket: NO_SOCKET, flow: NO_FLOW }
    }

    /// What the kernel does.
    #[inline(always)]
    pub fn action(&self) -> Action {
        self.outcome.action()
    }

    /// Place in the table of AF_XDP sockets, where the packet is delivered and messages take that way.
    #[inline(always)]
    pub fn socket(&self) -> Option<u32> {
        if self.socket == NO_SOCKET { None } else { Some(self.socket) }
    }

    /// A conflicting order that is dropped and is to be shown to userspace: its datagram.
    #[inline(always)]
    pub fn evidence(&self) -> Option<&Flow> {
        if self.is_evidence { Some(&self.flow) } else { None }
    }
}

/// Judges an Ethernet frame, as the XDP program does.
#[inline(always)]
pub fn decide<P: Packet, T: Tables>(packet: &P, tables: &T, arrival: Arrival) -> Verdict {
    let (Some(config), Some(own)) = (tables.config(), tables.own_addresses()) else {
        return Verdict::of(Outcome::Off);
    };
    if config.load(word::FLAGS) & flag::ON == 0 {
        return Verdict::of(Outcome::Off);
    }
    let mut verdict = Verdict::of(Outcome::Off);
    let flow = &mut verdict.flow;
    match frame::parse(packet, config, own, flow) {
        Ok(()) => {
            flow.source = flow.source.map(|word| config.opaque(word, u64::MAX));
            // Links, IP and six extension headers end within 16 KiB.
            flow.payload_at = config.opaque(flow.payload_at as u64, 0x3fff) as usize;
            flow.payload_length = config.opaque(flow.payload_length as u64, 0xffff) as usize;
            judge(packet, tables, arrival, &mut verdict);
        }
        Err(outcome) => {
            let sheds = matches!(outcome.action(), Action::Pass) && shedding::sheds(packet, config);
            verdict.outcome = if sheds { Outcome::ShedForeign } else { outcome };
        }
    }
    verdict
}

/// Judges the payload of a UDP datagram for our port, as it comes from a socket: the same rules, without link and IP.
pub fn judge_datagram<T: Tables>(datagram: &[u8], source: &SocketAddr, tables: &T, arrival: Arrival) -> Verdict {
    let mut verdict = Verdict::of(Outcome::Off);
    if tables.config().is_none_or(|config| config.load(word::FLAGS) & flag::ON == 0) {
        return verdict;
    }
    verdict.flow = flow_of(datagram, source, 0);
    judge(&SlicePacket(datagram), tables, arrival, &mut verdict);
    verdict
}

/// The flow of a datagram that came from a socket.
pub(super) fn flow_of(datagram: &[u8], source: &SocketAddr, neighbour: u64) -> Flow {
    Flow {
        source: address_words(&crate::token::source_address(source)),
        sender: neighbour | u64::from(source.port()) << 48,
        payload_at: 0,
        payload_length: datagram.len(),
    }
}

/// An address in the form of [`Flow::source`].
pub(super) fn address_words(address: &crate::SourceAddress) -> [u64; 2] {
    let value = u128::from_le_bytes(*address);
    [value as u64, (value >> 64) as u64]
}

/// Judges the verdict's flow.
#[inline(always)]
fn judge<P: Packet, T: Tables>(packet: &P, tables: &T, arrival: Arrival, verdict: &mut Verdict) {
    verdict.outcome = match rules(packet, tables, arrival.now_ns, arrival.receive_queue, verdict) {
        Ok(outcome) | Err(outcome) => outcome,
    };
}

#[cfg_attr(target_arch = "bpf", inline(never))]
fn rules<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    now_ns: u64,
    receive_queue: u32,
    verdict: &mut Verdict,
) -> Result<Outcome, Outcome> {
    let flow = &verdict.flow;
    let config = tables.config().ok_or(Outcome::Off)?;
    let shared = tables.shared().ok_or(Outcome::Off)?;
    let frozen = config.load(word::FLAGS) & flag::FROZEN != 0;
    let datagram = message::read(packet, flow.payload_at, flow.payload_length, config)?;
    let kind = datagram.first.kind;

    let account = packet.four_u64(flow.payload_at + Header::ACCOUNT_OFFSET).ok_or(Outcome::MalformedMessage)?;
    // Sequence, order tag, request id, return token.
    let rest = packet.four_u64(flow.payload_at + offset_of!(Header, sequence)).ok_or(Outcome::MalformedMessage)?;
    let (sequence, order_tag, token) = (rest[0], rest[1], rest[3]);

    let has_token = config.opaque(u64::from(rates::holds_token(config, flow, token, now_ns)), 1) != 0;
    let payer = rates::payer(tables, config, flow, has_token, now_ns);
    if let Err(over) = rates::check(&payer, config, shared, now_ns) {
        if !frozen {
            rates::note_dropped(&payer);
        }
        return Err(match over {
            Over::Shared => Outcome::OverSharedRate,
            Over::Own => Outcome::OverRate,
            Over::Newcomers => Outcome::OverNewcomerRate,
        });
    }

    let mut reason = standing::CLEAN;
    let mut allowance = 0;
    let is_order = matches!(kind, Kind::TransferRequest);
    let is_certificate = matches!(kind, Kind::ConfirmationRequest);
    if (is_order || is_certificate) && datagram.is_single(flow.payload_length) {
        let fingerprint = accounts::account_hash(config, account);
        if let Some(entry) = tables.account(accounts::place::<T>(config, fingerprint)) {
            reason = accounts::standing(entry, fingerprint, sequence, order_tag, now_ns);
        }
        if reason == standing::STALE {
            allowance = allowances::stale_hash(config, account, kind, flow, has_token);
            if !allowances::is_open(tables, config, allowance, now_ns) {
                return Err(Outcome::Stale);
            }
            if !allowances::budget_allows(config, shared, has_token, now_ns) {
                return Err(Outcome::StaleOverBudget);
            }
        } else if is_certificate {
            // Neither lock nor penalty stops one (DESIGN 5.7).
            reason = standing::CLEAN;
        } else if reason == standing::PENALISED {
            return Err(Outcome::Penalised);
        } else if reason == standing::CONFLICT {
            allowance = allowances::conflict_hash(config, flow, has_token);
            if !allowances::is_open(tables, config, allowance, now_ns) {
                verdict.is_evidence = allowances::takes_evidence(config, shared, now_ns, frozen);
                return Err(Outcome::Conflict);
            }
        }
    }

    let reason = config.opaque(reason, 3);
    echoes::check(packet, tables, config, flow, now_ns, frozen)?;

    if !frozen {
        rates::charge(&payer, config, shared, flow.source, now_ns, datagram.messages);
        if reason != standing::CLEAN {
            allowances::spend(tables, config, allowance, now_ns);
        }
        if reason == standing::STALE {
            allowances::charge_budget(config, shared, now_ns);
        }
    }
    let outcome = match reason {
        standing::STALE => Outcome::DeliveredStale,
        standing::CONFLICT => Outcome::DeliveredConflict,
        _ => Outcome::Delivered,
    };
    let workers = config.load(word::WORKERS) as u32;
    let shard = account[0] as u32 & 0xff;
    if workers != 0 {
        verdict.socket = receive_queue.wrapping_mul(workers).wrapping_add(shard % workers);
    }
    Ok(outcome)
}
