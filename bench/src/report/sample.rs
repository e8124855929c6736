//! A run that never happened, for the tests of reports.

use super::RunReport;
use crate::daemons::Auditing;
use crate::generator::Outcome;
use crate::link::LinkKind;
use crate::machine::{FileSystem, Machine, SyncTime};
use crate::scenario::{Cores, CpuAccount, CpuShare, GeneratorCheck, Measured, Scenario};

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
        sources: 2_048,
        accounts: 100_000,
        committee: 4,
        failures: Vec::new(),
    }
}

/// Its report.
pub fn report() -> RunReport {
    let machine = Machine {
        processor: "an imaginary processor".to_owned(),
        cores: 2,
        is_virtual: false,
        kernel: "6.18".to_owned(),
        memory_mib: 24_105,
    };
    RunReport::new(&measured(), &machine, "0123456789ab", false)
}
