//! What goes wrong, and when: a list that depends on the seed alone, each fault by its number.
//!
//! What always holds: a fault's time and parameters come from a stream of its own, so any of them may be left out and the others stay as
//! they are. By this a failing run is made smaller.

use meshpay_authority::journal::CrashFault;

use crate::air::Cut;
use crate::dice::Dice;
use crate::setting::Setting;

/// Something that goes wrong. Authorities and wallets are named by number.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The power of an authority goes.
    Power {
        /// What becomes of unsynced writes.
        fault: CrashFault,
        /// How long it is away.
        down_us: u64,
        /// After so many operations of the recovery's disk it goes again.
        again: Option<u64>,
    },
    /// The power goes during the disk operation so many operations from now.
    PowerAtOperation {
        /// How many operations from now.
        after: u64,
        /// What becomes of unsynced writes.
        fault: CrashFault,
    },
    /// The process is killed.
    Kill {
        /// How long it is away.
        down_us: u64,
    },
    /// The process stops cleanly and starts again, perhaps with another number of workers.
    Restart {
        /// A bit of the account image rots meanwhile.
        rot: bool,
    },
    /// A sync fails, and the kernel forgets what it could not write.
    FailedSync {
        /// How many syncs from now.
        after: u64,
    },
    /// The disk takes nothing more for a time.
    FullDisk {
        /// How long.
        for_us: u64,
        /// Bytes that it still takes.
        left: u64,
    },
    /// The process stands still.
    Pause {
        /// How long.
        for_us: u64,
    },
    /// The process is slow from now on.
    Slow {
        /// How many times slower.
        factor: u64,
    },
    /// The wall clock jumps.
    Clock {
        /// To this error, milliseconds.
        skew_ms: i64,
    },
    /// A checkpoint is made.
    Checkpoint {
        /// A bit of one rots afterwards.
        rot: bool,
    },
    /// A bit of the journal rots below the durable mark: this authority counts as faulty from then on.
    RotJournal,
    /// A write lands elsewhere: this authority counts as faulty from then on.
    Misdirect {
        /// How many writes from now.
        after: u64,
        /// How far off.
        distance: u64,
    },
    /// The network splits.
    Partition {
        /// Which way is cut.
        cut: Cut,
        /// Half of the period in which it comes and goes; 0: it stays.
        flaps_us: u64,
        /// How long.
        for_us: u64,
    },
    /// A client's program is killed.
    WalletKilled,
    /// A client goes away and comes back with another address.
    WalletAway {
        /// How long.
        for_us: u64,
    },
    /// A client restores an old backup.
    WalletForgets,
}

/// A fault with its number, time and target.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Number, from 1. Number 0 is the cheating clients.
    pub number: u64,
    /// When.
    pub at_us: u64,
    /// Authority or wallet, to be taken modulo how many there are.
    pub target: usize,
    /// What.
    pub fault: Fault,
    /// Further chance that belongs to it.
    pub dice: Dice,
}

/// The number of the cheating clients among the faults.
pub const CHEATS: u64 = 0;

fn crash_fault(dice: &mut Dice) -> CrashFault {
    match dice.below(6) {
        0 => CrashFault::Kept,
        1 => CrashFault::Lost,
        2 => CrashFault::Torn(dice.below(40)),
        3 => CrashFault::Reordered,
        4 => CrashFault::Garbled,
        _ => CrashFault::GarbledBlocks,
    }
}

/// The fault after the one at `after_us`.
pub fn plan(setting: &Setting, number: u64, after_us: u64) -> Planned {
    let mut dice = Dice::stream(setting.seed, "fault", number);
    let at_us = after_us + 1 + dice.below(setting.fault_interval_us * 2);
    let target = dice.word() as usize;
    let fault = match dice.below(100) {
        0..=13 => Fault::Power {
            fault: crash_fault(&mut dice),
            down_us: dice.below(2_000_000),
            again: dice.chance(350_000).then(|| dice.below(30)),
        },
        14..=23 => Fault::PowerAtOperation { after: dice.below(60), fault: crash_fault(&mut dice) },
        24..=31 => Fault::Kill { down_us: dice.below(500_000) },
        32..=37 => Fault::Restart { rot: dice.chance(300_000) },
        38..=41 => Fault::FailedSync { after: dice.below(20) },
        42..=44 => Fault::FullDisk { for_us: dice.between(500_000, 4_000_000), left: dice.below(3 << 20) },
        45..=49 => Fault::Pause { for_us: dice.between(50_000, 3_000_000) },
        50..=52 => Fault::Slow { factor: dice.between(1, 40) },
        53..=56 => Fault::Clock { skew_ms: dice.below(20_000_000) as i64 - 10_000_000 },
        57..=64 => Fault::Checkpoint { rot: dice.chance(250_000) },
        65 => Fault::RotJournal,
        66 => Fault::Misdirect { after: dice.below(20), distance: 512 * dice.below(4_096) },
        67..=80 => Fault::Partition {
            cut: if dice.chance(600_000) { Cut::Both } else { Cut::OneWay },
            flaps_us: if dice.chance(300_000) { dice.between(20_000, 700_000) } else { 0 },
            for_us: dice.between(100_000, 6_000_000),
        },
        81..=88 => Fault::WalletKilled,
        89..=97 => Fault::WalletAway { for_us: dice.between(50_000, 5_000_000) },
        _ => Fault::WalletForgets,
    };
    Planned { number, at_us, target, fault, dice }
}
