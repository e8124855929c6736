//! A message of every kind, every field filled from a seed.

use meshpay_wire::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// A generator of bytes that replays.
pub struct Random(ChaCha8Rng);

impl Random {
    pub fn seeded(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0.next_u64() as usize % bound
    }

    /// Any value of a type of plain bytes.
    pub fn value<T: FromBytes + IntoBytes + FromZeros>(&mut self) -> T {
        let mut value = T::new_zeroed();
        self.0.fill_bytes(value.as_mut_bytes());
        value
    }

    pub fn order(&mut self) -> SignedOrder {
        let mut order: SignedOrder = self.value();
        order.body.reserved = [0; 7];
        order.body.operation = OPERATION_TRANSFER;
        order
    }

    /// A certificate with this many signatures, as bytes.
    pub fn certificate(&mut self, signers: usize) -> Vec<u8> {
        let mut places: Vec<usize> = (0..COMMITTEE_MAX).collect();
        while places.len() > signers {
            places.remove(self.below(places.len()));
        }
        let bits = places.iter().fold(0u32, |bits, place| bits | 1 << place);
        let head = CertificateHead { order: self.order(), signers: bits.into(), reserved: 0.into() };
        let mut bytes = head.as_bytes().to_vec();
        for _ in 0..signers {
            bytes.extend(self.bytes::<64>());
        }
        bytes
    }

    pub fn envelope(&mut self, epoch: u32) -> Envelope {
        Envelope { network: self.bytes(), epoch, request_id: self.bytes(), return_token: self.bytes() }
    }

    /// The header of some request, for answers to echo.
    pub fn request_header(&mut self, kind: Kind) -> Header {
        Header {
            magic: MAGIC,
            version: VERSION,
            class: kind.class() as u8,
            kind: kind as u8,
            flags: 0,
            length: 1400.into(),
            reserved: 0.into(),
            ..self.value()
        }
    }
}

pub fn view(bytes: &[u8]) -> CertificateView<'_> {
    CertificateView::parse(bytes).expect("a certificate").0
}

/// What `write` writes.
pub fn written(write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut buffer = vec![0xee; DATAGRAM_MAX];
    let length = write(&mut buffer);
    assert!(buffer[length..].iter().all(|byte| *byte == 0xee), "nothing is written past the message");
    buffer.truncate(length);
    buffer
}

/// A name and a message for every kind that this version reads, some of them in several shapes.
pub fn every_kind(seed: u64) -> Vec<(String, Vec<u8>)> {
    let mut random = Random::seeded(seed);
    let mut samples = Vec::new();
    let mut add = |name: String, message: Vec<u8>| samples.push((name, message));

    let order = random.order();
    let envelope = random.envelope(order.body.epoch.get());
    let digest = Digest(random.bytes());
    add("transfer request".into(), written(|to| transfer_request(to, &envelope, &order, &digest)));

    let request = random.request_header(Kind::TransferRequest);
    let token = random.bytes();
    let vote = Vote { reserved: [0; 3], ..random.value() };
    add("transfer response".into(), written(|to| transfer_response(to, &request, token, &vote)));

    for signers in [1, 3, 14, SIGNERS_MAX] {
        let certificate = random.certificate(signers);
        let envelope = random.envelope(view(&certificate).head.order.body.epoch.get());
        let message = written(|to| confirmation_request(to, &envelope, &view(&certificate), &digest));
        add(format!("confirmation request with {signers} votes"), message);
        let request = random.request_header(Kind::CertificateQuery);
        let links = random.value();
        let message = written(|to| certificate_answer(to, &request, token, &links, &view(&certificate)));
        add(format!("certificate answer with {signers} votes"), message);
    }

    let request = random.request_header(Kind::ConfirmationRequest);
    for status in [ExecutionStatus::Now, ExecutionStatus::Before] {
        let executed = Executed { status: status as u8, reserved: [0; 7], ..random.value() };
        let message = written(|to| confirmation_response(to, &request, token, &executed));
        add(format!("confirmation response, {status:?}"), message);
    }

    let account: PublicKey = random.bytes();
    let envelope = random.envelope(7);
    add("account query".into(), written(|to| account_query(to, &envelope, &account, 3)));
    let request = random.request_header(Kind::AccountQuery);
    let answer: AccountAnswer = random.value();
    add("account answer".into(), written(|to| account_answer(to, &request, token, &answer)));

    let debit = CertificateQuery { direction: DIRECTION_DEBIT, reserved: [0; 7], locator: 0.into() };
    let credit = CertificateQuery { direction: DIRECTION_CREDIT, reserved: [0; 7], locator: 123_456_789.into() };
    let message = written(|to| certificate_query(to, &envelope, &account, 42, &debit, 3));
    add("certificate query for a debit".into(), message);
    let message = written(|to| certificate_query(to, &envelope, &account, 0, &credit, SIGNERS_MAX));
    add("certificate query for a credit".into(), message);

    for code in RefusalCode::ALL {
        let kind = [Kind::TransferRequest, Kind::AccountQuery][*code as usize % 2];
        let request = random.request_header(kind);
        let body = RefusalBody { code: (*code as u16).into(), reserved: 0.into(), ..random.value() };
        let locked = (*code == RefusalCode::Conflict).then_some(&order);
        let message = written(|to| refusal(to, &request, token, &body, locked));
        add(format!("refusal {}", code.name()), message);
    }
    samples
}
