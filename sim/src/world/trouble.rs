//! What goes wrong: carries out the faults of the plan.

use anyhow::Result;
use meshpay_authority::journal::Disk;

use super::{CHEAT_PARTIES, Event, Life, World};
use crate::air::{Partition, client_at};
use crate::dice::Dice;
use crate::faults::{Fault, Planned, plan};

impl World {
    pub(super) fn fault(&mut self, planned: Planned) -> Result<()> {
        if self.healed_us.is_some() {
            return Ok(());
        }
        let next = plan(&self.setting, planned.number + 1, planned.at_us);
        self.at(next.at_us, Event::Fault(Box::new(next)));
        if !self.keeps(planned.number) {
            return Ok(());
        }
        self.totals.faults += 1;
        self.faults.push(planned.number);
        let now_us = self.now_us;
        self.trace.event(now_us, 4, planned.target % 1_000, &planned.number.to_le_bytes());
        self.trace
            .say(now_us, || format!("fault {}: {:?} of {}", planned.number, planned.fault, planned.target % 1_000));
        match planned.fault {
            Fault::Partition { cut, flaps_us, for_us } => {
                let mut dice = planned.dice;
                let parties = self.places.len() + self.wallets.len() + CHEAT_PARTIES;
                let second = (0..parties).map(|_| dice.chance(500_000)).collect();
                self.network.split(Partition { second, cut, flaps_us, until_us: now_us + for_us });
            }
            Fault::WalletKilled | Fault::WalletAway { .. } | Fault::WalletForgets => self.wallet_fault(&planned),
            _ => return self.authority_fault(planned),
        }
        Ok(())
    }

    pub(super) fn wallet_fault(&mut self, planned: &Planned) {
        let at = planned.target % self.courier();
        let now_us = self.now_us;
        let wallet = &mut self.wallets[at];
        match planned.fault {
            Fault::WalletAway { for_us } => {
                wallet.away_until_us = now_us + for_us;
                wallet.place += 1;
            }
            // An account without an honest hand may block itself, so few are lost this way.
            Fault::WalletForgets if at < 3 => wallet.forget(),
            _ => wallet.kill(),
        }
    }

    pub(super) fn authority_fault(&mut self, planned: Planned) -> Result<()> {
        let honest: Vec<usize> = (0..self.places.len()).filter(|at| self.places[*at].node.is_some()).collect();
        let at = honest[planned.target % honest.len()];
        let mut dice = planned.dice;
        let now_us = self.now_us;
        if self.places[at].life != Life::Up {
            return Ok(());
        }
        match planned.fault {
            Fault::Power { fault, down_us, again } => {
                self.power_cut(at, fault)?;
                self.down(at);
                self.places[at].again = again;
                self.node(at).workers = dice.between(1, 3) as usize;
                self.after(down_us, Event::Start { node: at });
            }
            Fault::PowerAtOperation { after, fault } => {
                let disk = &self.node(at).disk;
                disk.crash_at(disk.operations() + after);
                self.places[at].armed = Some(fault);
            }
            Fault::Kill { down_us } => {
                self.node(at).kill();
                self.down(at);
                self.after(down_us, Event::Start { node: at });
            }
            Fault::Restart { rot } => self.restart(at, rot, &mut dice)?,
            Fault::FailedSync { after } => self.node(at).disk.fail_sync(after),
            Fault::FullDisk { for_us, left } => {
                let disk = &self.node(at).disk;
                disk.set_capacity(Some(disk.used_bytes() + left));
                self.after(for_us, Event::DiskHasRoom { node: at });
            }
            Fault::Pause { for_us } => self.places[at].paused_until_us = now_us + for_us,
            Fault::Slow { factor } => self.places[at].slow = factor,
            Fault::Clock { skew_ms } => self.node(at).skew_ms = skew_ms,
            Fault::Checkpoint { rot } => {
                let made = self.node(at).checkpoint(&mut dice);
                if let Err(error) = made {
                    self.trace.say(now_us, || format!("authority {at} made no checkpoint: {error:#}"));
                }
                if rot {
                    self.rot_file(at, "checkpoint-", u64::MAX, &mut dice);
                }
            }
            Fault::RotJournal | Fault::Misdirect { .. } => {
                let weight = u64::from(self.setting.rules.committee.members()[at].weight);
                if self.request.canary.is_some() || self.checker.faults_left() < weight {
                    return Ok(());
                }
                self.checker.give_up(at);
                if let Fault::Misdirect { after, distance } = planned.fault {
                    self.node(at).disk.misdirect_write(after, distance);
                } else {
                    let marked = self.node(at).marked();
                    self.rot_file(at, "segment-", marked, &mut dice);
                }
            }
            Fault::Partition { .. } | Fault::WalletKilled | Fault::WalletAway { .. } | Fault::WalletForgets => {}
        }
        Ok(())
    }

    /// Flips a bit of a file whose name begins so, below a position of the journal.
    pub(super) fn rot_file(&mut self, at: usize, prefix: &str, below: u64, dice: &mut Dice) {
        let disk = &self.node(at).disk;
        let Ok(names) = disk.list() else { return };
        let mut names: Vec<String> = names.into_iter().filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        if below != u64::MAX {
            names.truncate((below >> 20) as usize + 1);
        }
        if names.is_empty() {
            return;
        }
        let name = &names[dice.index(names.len())];
        let mut length = disk.length(name).unwrap_or(0);
        if below != u64::MAX && *name == names[names.len() - 1] {
            length = length.min(below & ((1 << 20) - 1));
        }
        if length > 0 {
            disk.flip(name, dice.below(length), 1 << dice.below(8));
        }
    }

    pub(super) fn restart(&mut self, at: usize, rot: bool, dice: &mut Dice) -> Result<()> {
        let now_us = self.now_us;
        let Some(mut node) = self.places[at].node.take() else { return Ok(()) };
        let mut outputs = Vec::new();
        let stopped = node.stop(now_us, |node| outputs.push(node.take_output()));
        self.places[at].node = Some(node);
        for (appended, sent) in outputs {
            for record in appended {
                self.checker.appended(at, record.position, record.kind, &record.payload);
            }
            for (peer, datagram) in sent {
                self.checker.sent(at, &datagram);
                let (client, place) = client_at(&peer);
                if client < self.wallets.len() + CHEAT_PARTIES {
                    self.send(at, self.places.len() + client, place, datagram);
                }
            }
        }
        match stopped {
            Err(error) => self.survive(at, Err(error)),
            Ok(_) => {
                if rot {
                    self.node(at).rot_image(dice)?;
                }
                self.node(at).kill();
                self.down(at);
                self.node(at).workers = dice.between(1, 3) as usize;
                let wait_us = dice.below(300_000);
                self.after(wait_us, Event::Start { node: at });
                Ok(())
            }
        }
    }
}
