//! A conflicting order that the kernel drops reaches userspace whole, through the ring buffer.

use crate::generator::{self, Choices, MAC, PORT, account, tag};
use crate::kernel::{Kernel, OBJECT};
use meshpay_net::xdp::TestRun;
use meshpay_wire::filter::evidence::Record;
use meshpay_wire::filter::{FilterWriter, Outcome, Settings, TableSizes, maps};
use meshpay_wire::{Header, Kind, MAGIC, VERSION};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use std::net::SocketAddr;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// An order: a header that the filter takes, and zeros.
fn order(number: u8, sequence: u64) -> Vec<u8> {
    let kind = Kind::TransferRequest;
    let header = Header {
        magic: MAGIC,
        version: VERSION,
        class: kind.class() as u8,
        kind: kind as u8,
        flags: 0,
        length: (ORDER_BYTES as u16).into(),
        reserved: 0.into(),
        epoch: 1.into(),
        network: [3; 8],
        account: account(number),
        sequence: sequence.into(),
        order_tag: tag(0),
        request_id: [1; 8],
        return_token: [0; 8],
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(ORDER_BYTES, 0);
    bytes
}

fn run(kernel: &Kernel, packet: &[u8], repeat: u32) -> u32 {
    kernel.program.test_run(&TestRun { packet, repeat, ..TestRun::default() }).unwrap().verdict
}

/// Length of an order in a message.
const ORDER_BYTES: usize = 312;

#[test]
fn a_dropped_conflicting_order_is_shown_with_its_source() {
    let Some(kernel) = Kernel::load(OBJECT, TableSizes::ORDINARY) else { return };
    let mut ring = kernel.program.ring(maps::EVIDENCE).unwrap();
    let counters = kernel.program.per_cpu_counters(maps::COUNTERS).unwrap();
    let writer = FilterWriter::new(kernel.tables());
    let mut settings = Settings::new([1; 16], generator::token_key(), PORT, MAC);
    settings.allowance_window_ns = u64::MAX;
    assert!(writer.start(&settings));
    writer.set_own_addresses(&generator::own_addresses()).unwrap();
    writer.locked(&account(1), 5, tag(1));
    let source: SocketAddr = "10.0.0.7:4000".parse().unwrap();
    let order = order(1, 5);
    let mut choices = Choices(ChaCha8Rng::seed_from_u64(0));
    let frame = generator::frame(&mut choices, &source, &order, true);
    assert_eq!(run(&kernel, &frame, 1), 2, "the first one passes");
    assert!(ring.next(|_| ()).is_none());
    assert_eq!(run(&kernel, &frame, 100), 1);
    let record = ring.next(|bytes| Record::read_from_bytes(bytes).unwrap()).unwrap();
    assert_eq!(record.message, *order);
    assert_eq!(record.port.get(), 4000);
    assert_eq!(record.source, "::ffff:10.0.0.7".parse::<std::net::Ipv6Addr>().unwrap().octets());
    let mut shown = 1;
    while ring.next(|_| ()).is_some() {
        shown += 1;
    }
    assert!(shown < 50, "{shown} of 100 are more than a sample");
    assert_eq!(counters.read_all().unwrap()[Outcome::Conflict as usize], 100);
}
