//! The stages of a payment in process, without network and disk: decode, digest, screen, verify, sign, apply.
//!
//!     cargo bench -p meshpay-bench --bench stages
//!
//! Times are for a burst of [`BURST`] payments of different accounts, so divide by it; criterion's throughput does.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use meshpay_bench::workload::{
    Batch, Certificates, Ledger, Network, NetworkRequest, SigningParty, UniformMix, Wallets,
};
use meshpay_protocol::{
    Accounts as _, Ed25519Signatures, MemoryAccounts, PendingCertificate, PendingOrder, Signatures as _, apply,
    genesis, screen_certificate, screen_order, verify_certificates, verify_orders,
};
use meshpay_wire::{
    CertificateHead, CertificateView, DATAGRAM_MAX, Envelope, Signature, confirmation_request, messages, order_digest,
    transfer_request, vote_digest,
};

const BURST: usize = 256;
const ACCOUNTS: usize = 10_000;
const SEED: u64 = 5;

/// A burst of payments in all forms that the stages need.
struct Scene {
    network: Network,
    accounts: MemoryAccounts,
    batch: Batch,
    certificates: Vec<(CertificateHead, Vec<Signature>)>,
    order_datagrams: Vec<Vec<u8>>,
    certificate_datagrams: Vec<Vec<u8>>,
}

impl Scene {
    fn new() -> Self {
        let wallets = Wallets::from_seed(SEED, ACCOUNTS, |_| {});
        let committee = (0..4).map(|place| Network::seeded_authority_key(SEED, place)).collect();
        let request = NetworkRequest { committee, addresses: vec![None; 4], wallets: &wallets, trace: None };
        let network = Network::new(request).expect("a sound genesis");
        let mut accounts = MemoryAccounts::default();
        genesis::allocate(&mut accounts, &network.allocations).expect("room");
        let party = SigningParty {
            rules: &network.rules,
            committee: &network.committee,
            wallets: &wallets,
            certificates: Certificates::RandomQuorum,
        };
        let mut ledger = Ledger::new(network.allocations.iter().map(|allocation| allocation.amount));
        let mut mix = UniformMix::new(SEED, ACCOUNTS as u32);
        let batch = Batch::sign(party, &mut mix, &mut ledger, BURST, SEED, |_| {});
        let certificates: Vec<(CertificateHead, Vec<Signature>)> = batch
            .payments()
            .iter()
            .enumerate()
            .map(|(at, payment)| {
                let signers = (0..4).filter(|place| payment.signers >> place & 1 == 1);
                let signatures = signers.map(|place| *batch.vote(at, place)).collect();
                let head =
                    CertificateHead { order: payment.order, signers: payment.signers.into(), reserved: 0.into() };
                (head, signatures)
            })
            .collect();
        let envelope = Envelope { network: network.rules.network, epoch: 0, request_id: [1; 8], return_token: [2; 8] };
        let mut buffer = [0; DATAGRAM_MAX];
        let mut order_datagrams = Vec::new();
        let mut certificate_datagrams = Vec::new();
        for (payment, (head, signatures)) in batch.payments().iter().zip(&certificates) {
            let length = transfer_request(&mut buffer, &envelope, &payment.order, &payment.digest);
            order_datagrams.push(buffer[..length].to_vec());
            let certificate = CertificateView { head, signatures };
            let length = confirmation_request(&mut buffer, &envelope, &certificate, &payment.digest);
            certificate_datagrams.push(buffer[..length].to_vec());
        }
        Self { network, accounts, batch, certificates, order_datagrams, certificate_datagrams }
    }

    fn pending_orders(&self) -> Vec<PendingOrder<'_>> {
        self.batch
            .payments()
            .iter()
            .map(|payment| PendingOrder { order: &payment.order, digest: payment.digest })
            .collect()
    }

    /// As after the order was locked here: the sender's signature is known, and in 3 of 4 one vote is our own.
    fn pending_certificates(&self) -> Vec<PendingCertificate<'_>> {
        let rules = &self.network.rules;
        self.certificates
            .iter()
            .zip(self.batch.payments())
            .map(|((head, signatures), payment)| PendingCertificate {
                certificate: CertificateView { head, signatures },
                digest: payment.digest,
                vote_digest: vote_digest(&rules.genesis, rules.epoch, &payment.digest),
                sender_known: true,
                own_vote: (payment.signers & 1 == 1).then_some(0),
            })
            .collect()
    }
}

fn decode(datagrams: &[Vec<u8>]) -> usize {
    datagrams.iter().flat_map(|datagram| messages(black_box(datagram))).filter(Result::is_ok).count()
}

fn stages(criterion: &mut Criterion) {
    let scene = Scene::new();
    let rules = &scene.network.rules;
    let mut signatures = Ed25519Signatures::new(&rules.committee, Network::seeded_authority_key(SEED, 0))
        .expect("the committee is sound");
    let mut group = criterion.benchmark_group("stages");
    group.throughput(Throughput::Elements(BURST as u64));

    group.bench_function("decode orders", |bencher| {
        bencher.iter(|| assert_eq!(decode(&scene.order_datagrams), BURST));
    });
    group.bench_function("decode certificates", |bencher| {
        bencher.iter(|| assert_eq!(decode(&scene.certificate_datagrams), BURST));
    });
    group.bench_function("digest orders", |bencher| {
        bencher.iter(|| {
            for payment in scene.batch.payments() {
                black_box(order_digest(&rules.genesis, &payment.order.body));
            }
        });
    });
    group.bench_function("screen orders", |bencher| {
        let pending = scene.pending_orders();
        bencher.iter(|| pending.iter().all(|order| screen_order(rules, &scene.accounts, black_box(order), 0).is_ok()));
    });
    group.bench_function("screen certificates", |bencher| {
        let pending = scene.pending_certificates();
        bencher.iter(|| {
            pending.iter().all(|item| {
                screen_certificate(rules, &scene.accounts, black_box(&item.certificate), &item.digest).is_ok()
            })
        });
    });
    group.bench_function("verify orders", |bencher| {
        let pending = scene.pending_orders();
        let mut valid = [false; BURST];
        bencher.iter(|| {
            let mut count = 0;
            verify_orders(&mut signatures, &pending, &mut valid, |_, order| count += usize::from(order.is_some()));
            assert_eq!(count, BURST);
        });
    });
    group.bench_function("verify certificates", |bencher| {
        let pending = scene.pending_certificates();
        bencher.iter(|| {
            let mut count = 0;
            verify_certificates(&scene.network.rules, &mut signatures, &pending, |_, outcome| {
                count += usize::from(outcome.is_ok())
            });
            assert_eq!(count, BURST);
        });
    });
    group.bench_function("sign votes", |bencher| {
        let digests: Vec<[u8; 32]> =
            scene.batch.payments().iter().map(|payment| vote_digest(&rules.genesis, 0, &payment.digest)).collect();
        let mut out = vec![[0; 64]; BURST];
        bencher.iter(|| signatures.sign_votes(black_box(&digests), &mut out));
    });
    group.bench_function("lock, debit and credit", |bencher| {
        bencher.iter_batched_ref(
            || scene.accounts.clone(),
            |accounts| settle(accounts, &scene.batch),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn settle(accounts: &mut MemoryAccounts, batch: &Batch) {
    for (at, payment) in batch.payments().iter().enumerate() {
        let (order, position) = (&payment.order, at as u64 + 1);
        let body = &order.body;
        apply::lock(accounts, order, payment.digest, position).expect("it grows");
        apply::debit(accounts, order, payment.digest, position).expect("it grows");
        let (token, amount) = (body.token.get(), body.amount.get());
        apply::credit(accounts, &body.recipient, token, amount, Some(position)).expect("it grows");
    }
    black_box(accounts.exists(&batch.payments()[0].order.body.sender));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30);
    targets = stages
}
criterion_main!(benches);
