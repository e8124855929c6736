//! A stand-in for the daemon: the protocol's reference authority behind a UDP socket, on a thread of the test.
//!
//! It can forget answers and lie on purpose, so that the generator's checks are themselves checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use meshpay_crypto::SigningKey;
use meshpay_net::{PacketPort as _, UdpConfig, UdpPort, Waitable as _};
use meshpay_protocol::{Applied, Authority, Ed25519Signatures, MemoryAccounts, Refusal, Rules, genesis};
use meshpay_wire::{
    DATAGRAM_MAX, Digest, Executed, ExecutionStatus, Header, Message, TokenKey, confirmation_response, messages,
    refusal, transfer_response,
};

/// What the stand-in does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Leaves out every so manieth answer; 0: none.
    pub forget_every: u64,
    /// Flips a bit in every so manieth vote; 0: none.
    pub corrupt_vote_every: u64,
}

/// A running stand-in. Dropping it stops it.
pub struct StandIn {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Finished>>,
}

/// What it had at the end.
pub struct Finished {
    /// All accounts.
    pub accounts: MemoryAccounts,
    /// Requests whose return token was the one given to their source before.
    pub with_token: u64,
    /// Different sources seen.
    pub sources: usize,
}

impl StandIn {
    /// Starts one on loopback.
    pub fn start(
        rules: Rules,
        allocations: &[genesis::Allocation],
        key: SigningKey,
        place: u8,
        faults: Faults,
    ) -> Self {
        let config = UdpConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut port = UdpPort::open(&config).expect("a port on loopback");
        let address = port.local_address();
        let stop = Arc::new(AtomicBool::new(false));
        let signatures = Ed25519Signatures::new(&rules.committee, key).expect("a committee");
        let mut accounts = MemoryAccounts::default();
        genesis::allocate(&mut accounts, allocations).expect("room");
        let authority = Authority::new(rules, accounts, signatures, place);
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || serve(&mut port, authority, faults, &stop)
        });
        Self { address, stop, thread: Some(thread) }
    }

    /// Stops it and returns its accounts.
    pub fn finish(mut self) -> Finished {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("not finished before").join().expect("the stand-in must not panic")
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

type Reference = Authority<MemoryAccounts, Ed25519Signatures>;

fn serve(port: &mut UdpPort, mut authority: Reference, faults: Faults, stop: &AtomicBool) -> Finished {
    let tokens = TokenKey::new([7; 16]);
    let (mut answers, mut votes, mut with_token) = (0u64, 0u64, 0u64);
    let mut sources = std::collections::HashSet::new();
    let mut buffer = [0; DATAGRAM_MAX];
    while !stop.load(Ordering::Relaxed) {
        let count = port.receive().expect("a live socket");
        for index in 0..count {
            let (bytes, peer) = port.packet(index);
            let mut all = messages(bytes);
            let Some(Ok(message)) = all.next() else { continue };
            assert!(all.next().is_none(), "the generator sends one request per datagram");
            let header = *message.header();
            with_token += u64::from(tokens.accepts(&header.return_token, &peer.address, 0));
            sources.insert(peer.address);
            let token = tokens.token(&peer.address, 0);
            let mut length = answer(&mut authority, &message, &header, token, &mut buffer);
            if matches!(message, Message::TransferRequest(..)) {
                votes += 1;
                if faults.corrupt_vote_every > 0 && votes.is_multiple_of(faults.corrupt_vote_every) {
                    buffer[length - 1] ^= 1;
                }
            }
            answers += 1;
            if faults.forget_every > 0 && answers.is_multiple_of(faults.forget_every) {
                length = 0;
            }
            if length > 0 {
                port.queue(&peer, &[&buffer[..length]]);
            }
        }
        let _ = port.flush().expect("a live socket");
        if count == 0 {
            port.wait(Duration::from_millis(5), &[]).expect("a live socket");
        }
    }
    Finished { accounts: authority.accounts, with_token, sources: sources.len() }
}

fn answer(
    authority: &mut Reference,
    message: &Message<'_>,
    header: &Header,
    token: [u8; 8],
    buffer: &mut [u8],
) -> usize {
    let refused = |buffer: &mut [u8], why: Refusal| refusal(buffer, header, token, &why.body(), None);
    match message {
        Message::TransferRequest(_, order) => {
            let verified = match authority.verify_transfer(order, 0) {
                Ok(Some(verified)) => verified,
                Ok(None) => return executed(authority, header, token, ExecutionStatus::Before, buffer),
                Err(why) => return refused(buffer, why),
            };
            match authority.sign_vote(&verified, 0) {
                Ok(vote) => transfer_response(buffer, header, token, &vote),
                Err(why) => refused(buffer, why),
            }
        }
        Message::ConfirmationRequest(_, certificate) => {
            let outcome = authority.verify_certificate(*certificate).and_then(|verified| match verified {
                None => Ok(Applied::Before),
                Some(verified) => authority.apply_certificate(&verified),
            });
            match outcome {
                Ok(Applied::Now(_)) => executed(authority, header, token, ExecutionStatus::Now, buffer),
                Ok(Applied::Before) => executed(authority, header, token, ExecutionStatus::Before, buffer),
                Err(why) => refused(buffer, why),
            }
        }
        _ => 0,
    }
}

/// Only the newest execution's digest is known here; the generator has one payment per account under way, so that suffices.
fn executed(
    authority: &Reference,
    header: &Header,
    token: [u8; 8],
    status: ExecutionStatus,
    buffer: &mut [u8],
) -> usize {
    use meshpay_protocol::Accounts as _;
    let account = authority.accounts.account(&header.account);
    let order = account.map_or_else(Digest::default, |account| account.last_executed);
    let next_sequence = account.map_or(0, |account| account.next_sequence.get()).into();
    let body = Executed { order, next_sequence, status: status as u8, reserved: [0; 7] };
    confirmation_response(buffer, header, token, &body)
}
