//! Kernel and userspace say the same, packet after packet, and leave the same state behind.

use crate::generator::{self, Choices, MAC, PORT, VLAN, WALL_MS};
use crate::kernel::{Kernel, TEST_OBJECT};
use crate::memory::Memory;
use meshpay_net::xdp::TestRun;
use meshpay_wire::filter::accounts::word_of_account;
use meshpay_wire::filter::tables::ACCOUNT_WORDS;
use meshpay_wire::filter::{
    Action, Arrival, FilterTables, FilterWriter, Outcome, Rate, Settings, SlicePacket, TableSizes, decide,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Small, so that places are contended.
const SIZES: TableSizes = TableSizes { accounts: 16, sources: 8, allowances: 16, echoes: 64 };
/// Packets in all for scale 1.
const PACKETS: u64 = 1_000_000;
/// Packets for one seed, with settings of its own.
const ROUND: u64 = 20_000;
/// How often the tables are compared word by word.
const COMPARED_EVERY: u64 = 500;

fn scale() -> u64 {
    std::env::var("MESHPAY_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn settings(choices: &mut Choices) -> Settings {
    let mut key = [0; 16];
    key.iter_mut().for_each(|byte| *byte = choices.below(256) as u8);
    let mut settings = Settings::new(key, generator::token_key(), PORT, MAC);
    settings.macs[1] = choices.once_in(2).then_some([2, 0, 0, 0, 0, 9]);
    settings.untagged = !choices.once_in(10);
    settings.workers = choices.below(4);
    settings.shed_interface = choices.once_in(2);
    if choices.once_in(3) {
        settings.kinds = u64::MAX;
    }
    let mut rate = |per_second: u64| match choices.below(4) {
        0 => Rate::per_second(0, 0),
        1 => Rate::per_second(per_second / 10, 2),
        _ => Rate::per_second(per_second, 32),
    };
    settings.shared_rate = rate(20_000);
    settings.source_rate = rate(10_000);
    settings.newcomer_rate = rate(10_000);
    settings.stale_rate = rate(2_000);
    settings.evidence_rate = rate(1_000);
    settings.source_idle_ns = choices.of(&[0, 1_000_000, 1_000_000_000]);
    settings
}

/// Changes what userspace knows, in both.
fn change(choices: &mut Choices, both: &[FilterWriter<'_>; 2], now_ns: u64, recent: &[(SocketAddr, Vec<u8>)]) {
    let account = generator::account(choices.below(24) as u8);
    let sequence = u64::from(choices.below(4));
    let tag = generator::tag(choices.below(2) as u8);
    let source = generator::source(choices);
    let level = u64::from(choices.below(12).saturating_sub(9));
    let until = now_ns + u64::from(choices.below(2_000_000));
    let what = choices.below(13);
    let number = choices.below(80);
    let answered = (!recent.is_empty()).then(|| &recent[choices.below(recent.len() as u32) as usize]);
    let mut outcomes = [false; 2];
    for (writer, outcome) in both.iter().zip(&mut outcomes) {
        match what {
            0..=2 => writer.executed(&account, sequence),
            3..=5 => writer.locked(&account, sequence, tag),
            6 => writer.unlocked(&account),
            7 => writer.penalised(&account, until),
            8 => writer.verified(&source.ip(), number),
            9 => writer.bad(&source.ip()),
            10 => writer.set_shed_level(level),
            11 => {
                // Torn: as if a writer had been stopped within an entry, or had come to its end.
                let version =
                    &writer.tables().accounts[number as usize % 16 * ACCOUNT_WORDS + word_of_account::VERSION];
                version.fetch_add(1, Ordering::SeqCst);
            }
            _ => {
                if let Some((source, datagram)) = answered {
                    *outcome = writer.answered(source, generator::NEIGHBOUR, datagram);
                }
            }
        }
    }
    assert_eq!(outcomes[0], outcomes[1]);
}

fn words(table: &[AtomicU64]) -> Vec<u64> {
    table.iter().map(|word| word.load(Ordering::SeqCst)).collect()
}

fn assert_same_tables(kernel: FilterTables<'_>, model: FilterTables<'_>, context: &str) {
    for (name, kernel, model) in [
        ("config", kernel.config, model.config),
        ("own addresses", kernel.own_addresses, model.own_addresses),
        ("shared", kernel.shared, model.shared),
        ("accounts", kernel.accounts, model.accounts),
        ("sources", kernel.sources, model.sources),
        ("allowances", kernel.allowances, model.allowances),
        ("echoes", kernel.echoes, model.echoes),
    ] {
        assert_eq!(words(kernel), words(model), "table `{name}` differs, {context}");
    }
}

/// Asks both; panics with seed and packet where they differ.
fn compare(kernel: &Kernel, model: FilterTables<'_>, frame: &[u8], arrival: Arrival, context: &str) -> Outcome {
    let expected = decide(&SlicePacket(frame), &model, arrival);
    if frame.len() < 14 {
        return expected.outcome;
    }
    let report = kernel.test_run.as_ref().expect("the test object has this map").words();
    report[0].store(arrival.now_ns, Ordering::SeqCst);
    report[1].store(u64::from(arrival.receive_queue), Ordering::SeqCst);
    report[2].store(0, Ordering::SeqCst);
    let run =
        kernel.program.test_run(&TestRun { packet: frame, ..TestRun::default() }).expect("the kernel runs the program");
    let [outcome, socket, evidence] = [2, 3, 4].map(|word| report[word].load(Ordering::SeqCst));
    let found = (
        outcome.checked_sub(1).and_then(|number| Outcome::from_number(number as u8)),
        socket.checked_sub(1).map(|place| place as u32),
        evidence != 0,
    );
    let wanted = (Some(expected.outcome), expected.socket(), expected.evidence().is_some());
    // No socket is in the table, so what would be delivered passes to the stack.
    let action = if expected.action() == Action::Drop { 1 } else { 2 };
    assert!(
        found == wanted && run.verdict == action,
        "kernel {found:?} with action {}, userspace {wanted:?}; {context}, packet {}",
        run.verdict,
        hex(frame)
    );
    expected.outcome
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn round(kernel: &Kernel, seed: u64, packets: u64, outcomes: &mut BTreeMap<Outcome, u64>) {
    let mut choices = Choices(ChaCha8Rng::seed_from_u64(seed));
    let memory = Memory::new(SIZES);
    let both = [FilterWriter::new(kernel.tables()), FilterWriter::new(memory.tables())];
    let settings = settings(&mut choices);
    let mut now_ns = 3_600_000_000_000 + u64::from(choices.below(1_000_000_000));
    for writer in &both {
        assert!(writer.start(&settings));
        writer.set_own_addresses(&generator::own_addresses()).unwrap();
        writer.set_vlan(VLAN, true);
        writer.set_wall_clock(WALL_MS, now_ns);
    }
    let mut recent: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for step in 0..packets {
        now_ns += match choices.below(40) {
            0 => 30_000_000,
            1 => 60_000_000,
            2 if choices.once_in(500) => 3_600_000_000_000,
            3 if choices.once_in(20) => 1_500_000_000,
            _ => u64::from(choices.below(200_000)),
        };
        if choices.once_in(3) {
            change(&mut choices, &both, now_ns, &recent);
        }
        if choices.once_in(5_000) {
            let frozen = choices.once_in(2);
            both.iter().for_each(|writer| writer.set_frozen(frozen));
        }
        let frame = if !frames.is_empty() && choices.once_in(4) {
            frames[choices.below(frames.len() as u32) as usize].clone()
        } else {
            let source = generator::source(&mut choices);
            let now_ms = WALL_MS + (now_ns - 3_600_000_000_000) / 1_000_000;
            let payload = generator::payload(&mut choices, &source, now_ms);
            let plain = choices.once_in(2);
            let frame = generator::frame(&mut choices, &source, &payload, plain);
            let slot = (source, payload);
            if recent.len() < 32 {
                recent.push(slot)
            } else {
                recent[step as usize % 32] = slot
            }
            if frames.len() < 32 {
                frames.push(frame.clone())
            } else {
                frames[step as usize % 32] = frame.clone()
            }
            frame
        };
        let arrival = Arrival { now_ns, receive_queue: choices.below(3) };
        let context = || format!("seed {seed}, packet {step}, {arrival:?}");
        let outcome = compare(kernel, memory.tables(), &frame, arrival, &context());
        *outcomes.entry(outcome).or_default() += 1;
        if step % COMPARED_EVERY == 0 || step + 1 == packets {
            assert_same_tables(kernel.tables(), memory.tables(), &context());
        }
    }
}

/// Replay one seed with `MESHPAY_FILTER_SEED=n`.
#[test]
fn kernel_and_userspace_agree() {
    let Some(kernel) = Kernel::load(TEST_OBJECT, SIZES) else { return };
    let mut outcomes = BTreeMap::new();
    if let Some(seed) = std::env::var("MESHPAY_FILTER_SEED").ok().and_then(|text| text.parse().ok()) {
        round(&kernel, seed, ROUND, &mut outcomes);
    } else {
        for seed in 0..PACKETS * scale() / ROUND {
            round(&kernel, seed, ROUND, &mut outcomes);
        }
        let missing: Vec<_> = Outcome::ALL.iter().filter(|outcome| !outcomes.contains_key(outcome)).collect();
        assert_eq!(missing, [&Outcome::Off], "the generator meets every outcome but one");
    }
    for (outcome, count) in &outcomes {
        println!("{:>9} {}", count, outcome.name());
    }
}

#[test]
fn kernel_and_userspace_agree_on_every_cut() {
    let Some(kernel) = Kernel::load(TEST_OBJECT, SIZES) else { return };
    let mut choices = Choices(ChaCha8Rng::seed_from_u64(1));
    let memory = Memory::new(SIZES);
    let mut settings = settings(&mut choices);
    settings.untagged = true;
    for writer in [FilterWriter::new(kernel.tables()), FilterWriter::new(memory.tables())] {
        assert!(writer.start(&settings));
        writer.set_own_addresses(&generator::own_addresses()).unwrap();
        writer.set_wall_clock(WALL_MS, 0);
    }
    let mut now_ns = 0;
    for number in 0..40 {
        let source = generator::source(&mut choices);
        let payload = generator::payload(&mut choices, &source, WALL_MS);
        let frame = generator::frame(&mut choices, &source, &payload, number % 2 == 0);
        for length in 0..=frame.len() {
            now_ns += 1_000_000;
            let arrival = Arrival { now_ns, receive_queue: 0 };
            compare(&kernel, memory.tables(), &frame[..length], arrival, &format!("frame {number} cut to {length}"));
        }
    }
    assert_same_tables(kernel.tables(), memory.tables(), "after all cuts");
}

#[test]
fn a_filter_that_was_told_nothing_passes_everything() {
    let Some(kernel) = Kernel::load(TEST_OBJECT, SIZES) else { return };
    let memory = Memory::new(SIZES);
    let arrival = Arrival { now_ns: 1, receive_queue: 0 };
    assert_eq!(compare(&kernel, memory.tables(), &[0; 60], arrival, "all zero"), Outcome::Off);
}
