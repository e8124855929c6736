//! A client that may send anything: datagrams out, answers in.
//!
//! Where it behaves, it does as `docs/wire.md` tells clients: a fresh request id for every transmission, the return token of
//! the last answer, the first retry after 60 ms or more.

use crate::DEADLINE;
use crate::network::Certificate;
use anyhow::{Context, Result, bail};
use meshpay_protocol::Rules;
use meshpay_wire::{
    AccountAnswer, CertificateLinks, CertificateQuery, CertificateView, DATAGRAM_MAX, DIRECTION_DEBIT, Envelope,
    Executed, Header, Message, PublicKey, RefusalBody, RefusalCode, SignedOrder, Vote, messages,
};
use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// An answer, copied out of its datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A vote.
    Vote(Vote),
    /// What was executed.
    Executed(Executed),
    /// An account's state.
    Account(AccountAnswer),
    /// A certificate.
    Certificate(CertificateLinks, Certificate),
    /// A refusal, with the locked order where there is one.
    Refusal(RefusalBody, Option<SignedOrder>),
}

impl Answer {
    /// The vote.
    ///
    /// # Errors
    /// If it is another answer.
    pub fn vote(self) -> Result<Vote> {
        match self {
            Answer::Vote(vote) => Ok(vote),
            other => bail!("expected a vote, got {other:?}"),
        }
    }

    /// What was executed.
    ///
    /// # Errors
    /// If it is another answer.
    pub fn executed(self) -> Result<Executed> {
        match self {
            Answer::Executed(executed) => Ok(executed),
            other => bail!("expected an acknowledgement, got {other:?}"),
        }
    }

    /// The refusal with this code.
    ///
    /// # Errors
    /// If it is another answer, or another code.
    pub fn refusal(self, code: RefusalCode) -> Result<(RefusalBody, Option<SignedOrder>)> {
        match self {
            Answer::Refusal(body, locked) if body.code.get() == code as u16 => Ok((body, locked)),
            other => bail!("expected the refusal {}, got {other:?}", code.name()),
        }
    }

    /// Whether it asks to come again later.
    pub fn is_retry_later(&self) -> bool {
        matches!(self, Answer::Refusal(body, _) if body.code.get() == RefusalCode::RetryLater as u16)
    }
}

/// One message that came back.
#[derive(Clone, Debug)]
pub struct Received {
    /// Who sent the datagram.
    pub from: SocketAddr,
    /// Its header, which echoes the request's.
    pub header: Header,
    /// What it says.
    pub answer: Answer,
    /// Its length in bytes.
    pub length: usize,
}

/// A socket with the memory that a client needs.
pub struct Client {
    socket: UdpSocket,
    envelope: Envelope,
    tokens: HashMap<SocketAddr, [u8; 8]>,
    next_request: u64,
}

/// How long a behaving client waits before it sends again.
const RETRY: Duration = Duration::from_millis(150);

impl Client {
    /// A client of a network, on a loopback address of its own.
    ///
    /// # Errors
    /// If no socket can be had.
    pub fn new(rules: &Rules) -> Result<Self> {
        Self::bound(rules, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))
    }

    /// A client at this address, in the calling thread's network namespace.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn bound(rules: &Rules, address: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(address).with_context(|| format!("binding a client's socket to {address}"))?;
        let envelope =
            Envelope { network: rules.network, epoch: rules.epoch, request_id: [0; 8], return_token: [0; 8] };
        // Clients share a machine and may share a key; ids must not repeat among them.
        Ok(Self { socket, envelope, tokens: HashMap::new(), next_request: getrandom::u64()? })
    }

    /// Another hand on the same socket, with the tokens that were given so far: for sending while this one listens.
    ///
    /// # Errors
    /// If no further descriptor can be had.
    pub fn clone_socket(&self) -> Result<Self> {
        let (socket, tokens) = (self.socket.try_clone()?, self.tokens.clone());
        Ok(Self { socket, envelope: self.envelope, tokens, next_request: getrandom::u64()? })
    }

    /// The socket's address.
    ///
    /// # Errors
    /// If the kernel cannot say.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// The envelope of the next transmission to an authority.
    pub fn envelope(&mut self, to: SocketAddr) -> Envelope {
        self.next_request = self.next_request.wrapping_add(1);
        let return_token = self.tokens.get(&to).copied().unwrap_or([0; 8]);
        Envelope { request_id: self.next_request.to_le_bytes(), return_token, ..self.envelope }
    }

    /// Sends a datagram, whatever is in it.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn send(&self, to: SocketAddr, datagram: &[u8]) -> Result<()> {
        loop {
            match self.socket.send_to(datagram, to) {
                Ok(_) => return Ok(()),
                // The device's queue is full, or an ICMP message came back for an earlier datagram.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {}
                Err(error) => return Err(error).with_context(|| format!("sending {} bytes", datagram.len())),
            }
        }
    }

    /// All messages of the next datagram; nothing where none comes within `wait`.
    ///
    /// # Errors
    /// If something came that is not well formed: authorities send no such thing.
    pub fn receive(&mut self, wait: Duration) -> Result<Option<Vec<Received>>> {
        let mut buffer = [0; 65_536];
        self.socket.set_read_timeout(Some(wait.max(Duration::from_micros(1))))?;
        let (length, from) = loop {
            match self.socket.recv_from(&mut buffer) {
                Ok(received) => break received,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionRefused) => {}
                Err(error) => return Err(error).context("receiving"),
            }
        };
        if length > DATAGRAM_MAX {
            bail!("an authority sent {length} bytes, more than any datagram may have");
        }
        let mut received = Vec::new();
        for message in messages(&buffer[..length]) {
            let message = message.map_err(|why| anyhow::anyhow!("an authority sent a malformed message: {why:?}"))?;
            let header = *message.header();
            self.tokens.insert(from, header.return_token);
            let answer = match message {
                Message::TransferResponse(_, vote) => Answer::Vote(*vote),
                Message::ConfirmationResponse(_, executed) => Answer::Executed(*executed),
                Message::AccountAnswer(_, account) => Answer::Account(*account),
                Message::CertificateAnswer(_, links, view) => {
                    Answer::Certificate(*links, Certificate::from_view(&view))
                }
                Message::Refusal(_, body, locked) => Answer::Refusal(*body, locked.copied()),
                other => bail!("an authority sent what is no answer: {other:?}"),
            };
            received.push(Received { from, header, answer, length: header.length.get() as usize });
        }
        Ok(Some(received))
    }

    /// Sends what `write` makes until an answer to one of these transmissions comes.
    ///
    /// # Errors
    /// If none comes in time.
    pub fn exchange(
        &mut self,
        to: SocketAddr,
        mut write: impl FnMut(&mut [u8], &Envelope) -> usize,
    ) -> Result<Received> {
        let end = Instant::now() + DEADLINE;
        let mut sent = HashSet::new();
        while Instant::now() < end {
            let envelope = self.envelope(to);
            sent.insert(envelope.request_id);
            let mut datagram = [0; DATAGRAM_MAX];
            let length = write(&mut datagram, &envelope);
            self.send(to, &datagram[..length])?;
            let next = Instant::now() + RETRY;
            while let Some(received) = self.receive(next.saturating_duration_since(Instant::now()))? {
                let ours = |message: &Received| message.from == to && sent.contains(&message.header.request_id);
                if let Some(found) = received.into_iter().find(ours) {
                    return Ok(found);
                }
                if Instant::now() > next {
                    break;
                }
            }
        }
        bail!("no answer from {to} in {} s", DEADLINE.as_secs())
    }

    /// Asks for a vote.
    ///
    /// # Errors
    /// If no answer comes.
    pub fn order(&mut self, to: SocketAddr, rules: &Rules, order: &SignedOrder) -> Result<Answer> {
        let digest = meshpay_wire::order_digest(&rules.genesis, &order.body);
        let received =
            self.exchange(to, |buffer, envelope| meshpay_wire::transfer_request(buffer, envelope, order, &digest))?;
        Ok(received.answer)
    }

    /// Brings a certificate.
    ///
    /// # Errors
    /// If no answer comes.
    pub fn confirm(&mut self, to: SocketAddr, rules: &Rules, certificate: &Certificate) -> Result<Answer> {
        let digest = meshpay_wire::order_digest(&rules.genesis, &certificate.order.body);
        let bytes = certificate.bytes();
        let (view, _) = CertificateView::parse(&bytes).context("the test's certificate has no readable form")?;
        let received =
            self.exchange(to, |buffer, envelope| meshpay_wire::confirmation_request(buffer, envelope, &view, &digest))?;
        Ok(received.answer)
    }

    /// Asks for an account.
    ///
    /// # Errors
    /// If no account answer comes.
    pub fn account(&mut self, to: SocketAddr, account: &PublicKey, token: u32) -> Result<AccountAnswer> {
        let received =
            self.exchange(to, |buffer, envelope| meshpay_wire::account_query(buffer, envelope, account, token))?;
        match received.answer {
            Answer::Account(answer) => Ok(answer),
            other => bail!("expected an account, got {other:?}"),
        }
    }

    /// Asks for the certificate with which an account paid at a sequence.
    ///
    /// # Errors
    /// If no answer comes.
    pub fn debit(&mut self, to: SocketAddr, rules: &Rules, account: &PublicKey, sequence: u64) -> Result<Answer> {
        let query = CertificateQuery { direction: DIRECTION_DEBIT, reserved: [0; 7], locator: 0.into() };
        let signers = rules.committee.largest_minimal_quorum();
        let received = self.exchange(to, |buffer, envelope| {
            meshpay_wire::certificate_query(buffer, envelope, account, sequence, &query, signers)
        })?;
        Ok(received.answer)
    }

    /// Sends a datagram that must draw no answer, then asks for an account until that answer comes, and returns whatever else came.
    ///
    /// # Errors
    /// If the authority does not answer the question.
    pub fn answers_drawn(&mut self, to: SocketAddr, datagram: &[u8], ask: &PublicKey) -> Result<Vec<Received>> {
        while self.receive(Duration::from_micros(1))?.is_some() {}
        self.send(to, datagram)?;
        let end = Instant::now() + DEADLINE;
        let (mut drawn, mut asked, mut answered) = (Vec::new(), HashSet::new(), false);
        while !answered {
            if Instant::now() > end {
                bail!("{to} stopped answering after a datagram of {} bytes", datagram.len());
            }
            let envelope = self.envelope(to);
            asked.insert(envelope.request_id);
            let mut query = [0; DATAGRAM_MAX];
            let length = meshpay_wire::account_query(&mut query, &envelope, ask, crate::network::EURO);
            self.send(to, &query[..length])?;
            // A grace for what may still come; too short a one can only hide an answer, never invent one.
            let mut wait = RETRY;
            while let Some(received) = self.receive(wait)? {
                for message in received {
                    if asked.contains(&message.header.request_id) {
                        answered = true;
                        wait = Duration::from_millis(20);
                    } else {
                        drawn.push(message);
                    }
                }
            }
        }
        Ok(drawn)
    }
}
