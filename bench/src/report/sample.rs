//! A run that never happened, for the tests of reports.

use super::{RunReport, Setting};
use crate::daemons::{Auditing, PacketIo, SyncTimes};
use crate::generator::Outcome;
use crate::link::LinkKind;
use crate::machine::{FileSystem, Machine, SyncTime};
use crate::scenario::{Cores, CpuAccount, CpuShare, GeneratorCheck, Load, Measured, Scenario, Search, Trial};
use crate::signatures::SignatureTimes;

/// A run of `single` that passed.
pub fn measured() -> Measured {
    let mut outcome = Outcome::new(20_000);
    (1..=1_000u64).for_each(|us| outcome.finality_us.saturating_record(us));
    (outcome.offered_in_window, outcome.settled_in_window, outcome.settled) = (15_000, 14_990, 20_000);
    outcome.window_seconds = 1.0;
    outcome.refusals.insert("retry_later", 3);
    Measured {
        scenario: Scenario::Single,
        outcome,
        offered_per_second: 15_000.0,
        search: None,
        stepped_down: Vec::new(),
        cpu: CpuAccount {
            us_per_settled: 41.5,
            threads: vec![CpuShare { thread: "worker-0".to_owned(), count: 1, us_per_settled: 30.25 }],
            ..CpuAccount::default()
        },
        journal_syncs: Some(SyncTimes { count: 4_000, p50: 240, p99: 9_000 }),
        loads: Vec::new(),
        generator_check: GeneratorCheck {
            offered_per_second: 22_500.0,
            settled_per_second: 22_498.0,
            lateness_p99_us: 90,
            answer_p99_us: 200,
            passed: true,
        },
        auditing: Auditing {
            records: 40_001,
            locks: 20_000,
            executions: 20_000,
            balances_compared: true,
            ..Auditing::default()
        },
        cores: Cores { authority: vec![1], generator: 0 },
        link: "veth, as it should be".to_owned(),
        link_kind: LinkKind::Veth,
        link_drops: [0, 0],
        file_system: FileSystem { kind: "ext4".to_owned(), source: "/dev/vda".to_owned() },
        sync_time: SyncTime { p50: 230, p99: 9_500 },
        durability: "power-loss".to_owned(),
        rung: "udp".to_owned(),
        packet_io: PacketIo {
            rung: "xdp-udp".to_owned(),
            mode: Some("native".to_owned()),
            not_higher: vec!["xsk-copy: no memory may be locked".to_owned()],
            outcomes: [("delivered".to_owned(), 40_000), ("echo".to_owned(), 2)].into(),
            rings: [("kicks".to_owned(), 1_234)].into(),
        },
        sources: 2_048,
        bundle: 1,
        accounts: 100_000,
        committee: 4,
        failures: Vec::new(),
    }
}

/// The same with everything that a search finds: trials, and a load of ten percent whose promise is kept, and one of ninety-five.
pub fn searched() -> Measured {
    let mut measured = measured();
    let trial = |offered_per_second, sustained| Trial {
        offered_per_second,
        settled_per_second: if sustained { offered_per_second } else { 9_000.0 },
        retry_share: 0.0,
        lost: 0,
        finality_p99_us: if sustained { 4_000 } else { 700_000 },
        sustained,
    };
    let trials = vec![trial(14_000.0, true), trial(16_000.0, false), trial(15_000.0, true)];
    measured.search = Some(Search { closed_loop_per_second: 15_500.0, trials, rate: 15_000.0 });
    measured.loads = [(10.0, 1), (95.0, 4)].map(|(percent, factor)| load(percent, factor)).into();
    measured
}

fn load(percent: f64, factor: u64) -> Load {
    let mut outcome = Outcome::new(0);
    (1..=1_000u64).for_each(|us| outcome.finality_us.saturating_record(us * factor));
    (outcome.settled_in_window, outcome.window_seconds) = ((150.0 * percent) as u64, 1.0);
    Load {
        percent,
        offered_per_second: 150.0 * percent,
        outcome,
        cpu: CpuAccount { us_per_settled: 60.0 - percent / 5.0, ..CpuAccount::default() },
        syncs: Some(SyncTimes { count: 2_000, p50: 230, p99: 9_500 }),
    }
}

/// Where it was taken.
pub fn setting() -> Setting {
    let machine = Machine {
        processor: "an imaginary processor".to_owned(),
        cores: 2,
        is_virtual: false,
        kernel: "6.18".to_owned(),
        memory_mib: 24_105,
    };
    Setting {
        machine,
        commit: "0123456789ab".to_owned(),
        command_line: "meshpay-bench run".to_owned(),
        began_unix_s: 1_790_000_000,
        signature_us: Some(SignatureTimes {
            implementation: "ifma-x8".to_owned(),
            group: 64,
            verify_us: 3.5,
            known_key_us: 1.4,
            sign_us: 0.9,
            library: "ed25519-dalek".to_owned(),
            library_verify_us: 24.0,
            library_sign_us: 11.5,
        }),
        is_trace: false,
    }
}

/// Its report.
pub fn report() -> RunReport {
    RunReport::new(&measured(), &setting())
}
