//! A program run by hand: its verdict, its time, its packet; and a flood of live frames.

use std::os::fd::AsFd;

use meshpay_net::xdp::{LIVE_BATCH_MAX, PerCpuCounters, TestRun};

use crate::support::{PER_CPU_ARRAY, XDP_DROP, XDP_PASS, counting, frame, index, is_root, map, verdict, with_veth};

#[test]
fn verdict_and_packet_come_back() {
    if !is_root() {
        return;
    }
    for expected in [XDP_DROP, XDP_PASS, 77] {
        let packet = frame(60);
        let run = TestRun { packet: &packet, repeat: 1000, ..TestRun::default() };
        let ran = verdict(expected).test_run(&run).expect("a run");
        assert_eq!((ran.verdict, &ran.packet_out), (expected, &packet));
        assert!(ran.duration_ns < 100_000, "{} ns for two instructions", ran.duration_ns);
    }
    for bytes in [14, 3000] {
        let packet = frame(bytes);
        let run = TestRun { packet: &packet, ..TestRun::default() };
        assert_eq!(verdict(XDP_PASS).test_run(&run).expect("a run").packet_out, packet);
    }
    let short = TestRun { packet: &frame(14)[..13], ..TestRun::default() };
    assert!(verdict(XDP_PASS).test_run(&short).is_err(), "the kernel takes no frame without a header");
}

#[test]
fn live_frames_run_on_an_interface() {
    with_veth(|| {
        let array = map(PER_CPU_ARRAY, 4, 8, 2, 0);
        let program = counting(array.as_fd());
        let counters = PerCpuCounters::from_descriptor("counters", array).expect("counters");
        let packet = frame(100);
        let at = Some((index("left"), 0));
        let run = TestRun { packet: &packet, repeat: 10_000, arrived_at: at, live_batch: Some(64) };
        let ran = program.test_run(&run).expect("a flood");
        assert!(ran.packet_out.is_empty());
        assert_eq!(counters.read(1).expect("a counter"), 50_000);
        let too_many = TestRun { live_batch: Some(LIVE_BATCH_MAX + 1), ..run };
        assert!(program.test_run(&too_many).is_err());
        let nowhere = TestRun { arrived_at: Some((0x7fff_0000, 0)), ..run };
        assert!(program.test_run(&nowhere).is_err());
    });
}
