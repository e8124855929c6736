//! An authority that answers, and lies: in a thread of the test, with a puppet's key.

use crate::network::{Actor, Network};
use anyhow::Result;
use meshpay_wire::{
    DATAGRAM_MAX, Digest, Executed, ExecutionStatus, Message, RefusalBody, RefusalCode, Vote, messages, vote_digest,
};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Votes whose signature is garbage.
    WrongSignature,
    /// Votes, properly signed, for another order than the one sent.
    WrongDigest,
    /// Refusals that are not true: a conflict-free order is 'refused', a certificate is 'missing'.
    FalseRefusal,
    /// Acknowledgements of what was never executed, and votes under another member's name.
    FalseName,
}

/// A lying authority; its thread ends when it is dropped.
pub struct Liar {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    /// Answers on a socket as the puppet of that place, going through `lies` one answer after the other.
    ///
    /// # Errors
    /// If the socket cannot be set up.
    pub fn start(socket: UdpSocket, place: usize, network: Network, lies: Vec<Lie>) -> Result<Self> {
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), answered.clone());
        let thread = std::thread::spawn(move || {
            let (mut buffer, mut out) = ([0; 2 * DATAGRAM_MAX], [0; DATAGRAM_MAX]);
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                for message in messages(&buffer[..length]).map_while(Result::ok) {
                    let lie = lies[count.fetch_add(1, Ordering::Relaxed) as usize % lies.len()];
                    if let Some(length) = answer(&mut out, &message, lie, place, &network) {
                        let _ = socket.send_to(&out[..length], from);
                    }
                }
            }
        });
        Ok(Self { stop, answered, thread: Some(thread) })
    }

    /// How many requests it has answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(out: &mut [u8], message: &Message<'_>, lie: Lie, place: usize, network: &Network) -> Option<usize> {
    const TOKEN: [u8; 8] = [7; 8];
    let actor = Actor::puppet(place);
    let refusal = |out: &mut [u8], code: RefusalCode| {
        let body = RefusalBody {
            code: (code as u16).into(),
            reserved: 0.into(),
            value: 0.into(),
            sequence: 4_711.into(),
            amount: 1.into(),
        };
        meshpay_wire::refusal(out, message.header(), TOKEN, &body, None)
    };
    Some(match message {
        Message::TransferRequest(header, order) => {
            let digest = network.digest(&order.body);
            let signed =
                |digest: &Digest| actor.sign(&vote_digest(&network.rules.genesis, order.body.epoch.get(), digest));
            let vote = |authority: usize, order: Digest, signature| Vote {
                authority: authority as u8,
                reserved: [0; 3],
                order,
                signature,
            };
            let other = Digest([0x55; 32]);
            let vote = match lie {
                Lie::WrongSignature => vote(place, digest, [0xee; 64]),
                Lie::WrongDigest => vote(place, other, signed(&other)),
                Lie::FalseName => vote(0, digest, signed(&digest)),
                Lie::FalseRefusal => return Some(refusal(out, RefusalCode::InsufficientBalance)),
            };
            meshpay_wire::transfer_response(out, header, TOKEN, &vote)
        }
        Message::ConfirmationRequest(header, _) => {
            if lie == Lie::FalseRefusal {
                return Some(refusal(out, RefusalCode::BadVote));
            }
            let executed = Executed {
                order: Digest([0x55; 32]),
                next_sequence: 9_999.into(),
                status: ExecutionStatus::Before as u8,
                reserved: [0; 7],
            };
            meshpay_wire::confirmation_response(out, header, TOKEN, &executed)
        }
        Message::AccountQuery(header, query) => {
            // Says that the account is unknown, or immensely rich, far ahead and locked by garbage.
            let mut account = <meshpay_wire::AccountAnswer as zerocopy::FromZeros>::new_zeroed();
            account.token = query.token;
            if lie != Lie::FalseRefusal {
                account.balance = zerocopy::little_endian::I128::new(i128::from(u64::MAX));
                account.flags = (meshpay_wire::account_flags::KNOWN | meshpay_wire::account_flags::LOCKED).into();
                account.next_sequence = 9_999.into();
            }
            meshpay_wire::account_answer(out, header, TOKEN, &account)
        }
        Message::CertificateQuery(..) => refusal(out, RefusalCode::NotFound),
        _ => return None,
    })
}

/// A socket for a liar, and its address.
///
/// # Errors
/// If none can be had.
pub fn socket() -> Result<(UdpSocket, SocketAddr)> {
    let socket = UdpSocket::bind((crate::committee::own_loopback_address(), 0))?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}
