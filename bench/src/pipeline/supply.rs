//! Everything that arrives, signed and composed beforehand: for each payment the datagram of its order and that of its certificate.

use std::sync::Arc;

use anyhow::{Result, ensure};
use meshpay_authority::KeyFile;
use meshpay_authority::accounts::Layout;
use meshpay_crypto::SigningKey;
use meshpay_net::Peer;
use meshpay_protocol::account::shard_of;
use meshpay_wire::{
    CertificateHead, CertificateView, DATAGRAM_MAX, Digest, Envelope, Signature, TokenKey, confirmation_request,
    transfer_request,
};
use rayon::prelude::*;

use super::clock::now_ms;
use super::options::PipelineOptions;
use crate::progress::Console;
use crate::workload::{
    Batch, Certificates, Ending, Ledger, NONE, Network, NetworkRequest, SigningParty, UniformMix, Wallets,
};

/// The place of the authority that is driven.
pub const PLACE: usize = 0;
/// Clients' addresses: each has a queue of its own in front of verification.
const SOURCES: usize = 64;
/// Payments that are signed and composed at once; bounds the memory beside the datagrams.
const CHUNK: usize = 1 << 16;

/// A network, and what its clients will send to each worker.
pub struct Scene {
    /// The network with its secrets.
    pub network: Network,
    /// Key of return tokens, the authority's.
    pub token_key: TokenKey,
    /// For each worker what it gets.
    pub supplies: Vec<Arc<Supply>>,
    /// What the accounts must hold when all of it is settled.
    pub ledger: Ledger,
    /// Payments whose recipient belongs to another worker than the sender.
    pub crossing: u64,
    /// Signatures of all certificates together.
    pub signatures: u64,
    /// Key file of the authority that is driven; none: its key comes from the seed.
    authority: Option<KeyFile>,
    seed: u64,
}

/// What one worker gets.
#[derive(Default)]
pub struct Supply {
    /// Bytes of all datagrams, one behind the other.
    bytes: Vec<u8>,
    /// The payments, in the order in which they begin.
    pub payments: Vec<Prepared>,
}

/// One payment.
#[derive(Clone, Copy)]
pub struct Prepared {
    order_at: usize,
    certificate_at: usize,
    end: usize,
    /// Who sends it.
    pub source: u16,
    /// The same sender's payment before this one, or [`NONE`]: the order waits until that is settled.
    pub previous: u32,
    /// The same sender's next payment, or [`NONE`].
    pub following: u32,
    /// Digest of the order, which both answers must name.
    pub digest: Digest,
    /// The vote that must come.
    pub vote: Signature,
}

impl Supply {
    /// The datagram with a payment's order.
    pub fn order(&self, at: u32) -> &[u8] {
        let payment = &self.payments[at as usize];
        &self.bytes[payment.order_at..payment.certificate_at]
    }

    /// The datagram with a payment's certificate.
    pub fn certificate(&self, at: u32) -> &[u8] {
        let payment = &self.payments[at as usize];
        &self.bytes[payment.certificate_at..payment.end]
    }
}

/// A source's address.
pub fn peer(source: u16) -> Peer {
    let [high, low] = source.to_be_bytes();
    Peer::new(std::net::SocketAddr::from(([10, 77, high, low], 7_000)))
}

impl Scene {
    /// Makes accounts and committee, and signs everything on all cores. `authority` is the key of the authority that is driven, where it has one
    /// already.
    ///
    /// # Errors
    /// If the committee cannot be one, or a worker would get next to nothing.
    pub fn make(options: &PipelineOptions, authority: Option<KeyFile>, console: &Console) -> Result<Self> {
        let payers = options.payers();
        let step = console.step("making account keys", payers as u64);
        let wallets = Wallets::with_receivers(options.seed, payers, options.accounts, |made| step.advance(made));
        step.finish(&format!("{payers} of {} accounts pay", options.accounts));
        let mut committee: Vec<_> =
            (0..options.weights.len()).map(|place| Network::seeded_authority_key(options.seed, place)).collect();
        if let Some(key) = &authority {
            committee[PLACE] = key.signing_key();
        }
        let addresses = vec![None; committee.len()];
        let request = NetworkRequest { committee, addresses, wallets: &wallets, trace: None };
        let network = Network::with_weights(request, &options.weights)?;
        let step = console.step("signing payments", options.payments as u64);
        let mut scene = Self::sign(options, network, &wallets, |signed| step.advance(signed));
        scene.authority = authority;
        step.finish(&format!("{} payments", options.payments));
        for (worker, supply) in scene.supplies.iter().enumerate() {
            ensure!(
                supply.payments.len() >= options.payments / options.workers / 4,
                "worker {worker} would get {} of {} payments; take more accounts",
                supply.payments.len(),
                options.payments
            );
        }
        Ok(scene)
    }

    fn sign(options: &PipelineOptions, network: Network, wallets: &Wallets, signed: impl Fn(u64) + Sync) -> Self {
        let token_key = TokenKey::new([9; 16]);
        let mut supplies: Vec<Supply> = (0..options.workers).map(|_| Supply::default()).collect();
        let (mut crossing, mut signatures) = (0, 0);
        let party = SigningParty {
            rules: &network.rules,
            committee: &network.committee,
            wallets,
            certificates: Certificates::RandomQuorum,
        };
        let mut ledger = Ledger::new(network.allocations.iter().map(|allocation| allocation.amount));
        let (payers, accounts) = (wallets.payers() as u32, wallets.count() as u32);
        let mut mix = UniformMix::with_payers(options.seed, payers, accounts);
        let issued_ms = now_ms();
        let tokens: Vec<[u8; 8]> =
            (0..SOURCES).map(|source| token_key.token(&peer(source as u16).address, issued_ms)).collect();
        let mut last_of = vec![NONE; payers as usize];
        let mut left = options.payments;
        let mut round = 0;
        while left > 0 {
            let batch =
                Batch::sign(party, &mut mix, &mut ledger, left.min(CHUNK), options.seed.wrapping_add(round), &signed);
            round += 1;
            left -= batch.len();
            let composed: Vec<Composed> = (0..batch.len())
                .into_par_iter()
                .map(|at| {
                    let source = batch.payments()[at].transfer.sender as usize % SOURCES;
                    compose(&network, &batch, at, tokens[source])
                })
                .collect();
            for (at, composed) in composed.iter().enumerate() {
                let transfer = batch.payments()[at].transfer;
                let worker = |account| shard_of(wallets.public_key(account)) % options.workers;
                let owner = worker(transfer.sender);
                crossing += u64::from(owner != worker(transfer.recipient));
                signatures += u64::from(batch.payments()[at].signers.count_ones());
                let previous = &mut last_of[transfer.sender as usize];
                let source = (transfer.sender as usize % SOURCES) as u16;
                *previous = supplies[owner].add(composed, source, *previous, batch.payments()[at].digest);
            }
            ledger.book_batch(&batch, |_| Ending::Complete);
        }
        let supplies = supplies.into_iter().map(Arc::new).collect();
        Self { network, token_key, supplies, ledger, crossing, signatures, authority: None, seed: options.seed }
    }

    /// The key of the authority that is driven.
    pub fn authority_key(&self) -> SigningKey {
        match &self.authority {
            Some(key) => key.signing_key(),
            None => Network::seeded_authority_key(self.seed, PLACE),
        }
    }

    /// Sizes of the account table.
    pub fn layout(&self) -> Layout {
        Layout::for_capacity(self.network.allocations.len() as u64)
    }
}

impl Supply {
    /// Payments without a signature or a datagram, for tests of what offers them.
    #[cfg(test)]
    pub(super) fn unsigned(payments: usize) -> Self {
        let payment = Prepared {
            order_at: 0,
            certificate_at: 0,
            end: 0,
            source: 0,
            previous: NONE,
            following: NONE,
            digest: Digest::default(),
            vote: [0; 64],
        };
        Self { bytes: Vec::new(), payments: vec![payment; payments] }
    }

    /// Adds a payment and says which it is. Its number is what its request ids say, so that an answer finds it.
    fn add(&mut self, composed: &Composed, source: u16, previous: u32, digest: Digest) -> u32 {
        let at = self.payments.len() as u32;
        if previous != NONE {
            self.payments[previous as usize].following = at;
        }
        let order_at = self.bytes.len();
        self.bytes.extend_from_slice(&composed.order);
        let certificate_at = self.bytes.len();
        self.bytes.extend_from_slice(&composed.certificate);
        let end = self.bytes.len();
        for begin in [order_at, certificate_at] {
            let id = begin + std::mem::offset_of!(meshpay_wire::Header, request_id);
            self.bytes[id..id + 8].copy_from_slice(&u64::from(at).to_le_bytes());
        }
        let vote = composed.vote;
        self.payments.push(Prepared { order_at, certificate_at, end, source, previous, following: NONE, digest, vote });
        at
    }
}

/// A payment's datagrams, before it is known which number it has at its worker.
struct Composed {
    order: Vec<u8>,
    certificate: Vec<u8>,
    vote: Signature,
}

fn compose(network: &Network, batch: &Batch, at: usize, return_token: [u8; 8]) -> Composed {
    let payment = &batch.payments()[at];
    let (network, epoch) = (network.rules.network, network.rules.epoch);
    let envelope = Envelope { network, epoch, request_id: [0; 8], return_token };
    let mut buffer = [0; DATAGRAM_MAX];
    let length = transfer_request(&mut buffer, &envelope, &payment.order, &payment.digest);
    let order = buffer[..length].to_vec();
    let signers = payment.signers;
    let signatures: Vec<Signature> =
        (0..32).filter(|place| signers >> place & 1 == 1).map(|place| *batch.vote(at, place)).collect();
    let head = CertificateHead { order: payment.order, signers: signers.into(), reserved: 0.into() };
    let view = CertificateView { head: &head, signatures: &signatures };
    let length = confirmation_request(&mut buffer, &envelope, &view, &payment.digest);
    Composed { order, certificate: buffer[..length].to_vec(), vote: *batch.vote(at, PLACE) }
}
