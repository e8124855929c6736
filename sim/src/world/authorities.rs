//! The processes of honest authorities: when a worker takes its turn, when the journal writes and syncs, how a process ends and starts.

use anyhow::Result;
use meshpay_authority::journal::CrashFault;

use super::{CHEAT_PARTIES, Event, Life, MAINTAIN_US, World};
use crate::air::client_at;
use crate::dice::Dice;
use crate::node::Node;

impl World {
    pub(super) fn schedule_turn(&mut self, node: usize, worker: usize) {
        let place = &mut self.places[node];
        if place.turn_is_due[worker] {
            return;
        }
        place.turn_is_due[worker] = true;
        let wait_us = place.dice.between(2, 120) * place.slow;
        let at_us = (self.now_us + wait_us).max(place.paused_until_us);
        let incarnation = self.node(node).incarnation;
        self.at(at_us, Event::Turn { node, incarnation, worker });
    }

    pub(super) fn schedule_all_turns(&mut self, node: usize) {
        for worker in 0..self.node(node).running_workers() {
            self.schedule_turn(node, worker);
        }
    }

    pub(super) fn schedule_begin(&mut self, node: usize) {
        let place = &mut self.places[node];
        if !place.begin_is_due && place.node.as_ref().is_some_and(Node::wants_commit) {
            place.begin_is_due = true;
            let wait_us = place.dice.between(5, 400) * place.slow;
            let at_us = (self.now_us + wait_us).max(place.paused_until_us);
            let incarnation = self.node(node).incarnation;
            self.at(at_us, Event::Begin { node, incarnation });
        }
    }

    pub(super) fn turn(&mut self, node: usize, worker: usize) -> Result<()> {
        if self.now_us < self.places[node].paused_until_us {
            let (at_us, incarnation) = (self.places[node].paused_until_us, self.node(node).incarnation);
            self.at(at_us, Event::Turn { node, incarnation, worker });
            return Ok(());
        }
        self.places[node].turn_is_due[worker] = false;
        let now_us = self.now_us;
        let turn = self.node(node).turn(worker, now_us);
        self.take_output(node);
        match turn {
            Ok(turn) => {
                if turn.busy {
                    self.schedule_turn(node, worker);
                }
                let mut woken = self.node(node).take_woken();
                while woken != 0 {
                    self.schedule_turn(node, woken.trailing_zeros() as usize);
                    woken &= woken - 1;
                }
                self.schedule_begin(node);
                Ok(())
            }
            Err(error) => self.survive(node, Err(error.into())),
        }
    }

    pub(super) fn take_output(&mut self, node: usize) {
        let (appended, sent) = self.node(node).take_output();
        for record in appended {
            self.trace.event(self.now_us, record.kind, node, &record.payload);
            let now_us = self.now_us;
            self.trace.say(now_us, || format!("authority {node} {}", record.describe()));
            self.checker.appended(node, record.position, record.kind, &record.payload);
        }
        for (peer, datagram) in sent {
            self.checker.sent(node, &datagram);
            let (client, place) = client_at(&peer);
            if client < self.wallets.len() + CHEAT_PARTIES {
                self.send(node, self.places.len() + client, place, datagram);
            }
        }
    }

    pub(super) fn begin(&mut self, node: usize) -> Result<()> {
        self.places[node].begin_is_due = false;
        let begun = self.node(node).begin();
        match begun {
            Ok(true) => {
                let place = &mut self.places[node];
                let wait_us = place.dice.between(50, self.setting.sync_most_us) * place.slow;
                let at_us = (self.now_us + wait_us).max(place.paused_until_us);
                let incarnation = self.node(node).incarnation;
                self.at(at_us, Event::Finish { node, incarnation });
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => self.survive(node, Err(error)),
        }
    }

    pub(super) fn finish(&mut self, node: usize) -> Result<()> {
        let now_us = self.now_us;
        let done = self.node(node).finish().and_then(|()| self.node(node).maintain(now_us));
        self.survive(node, done)?;
        if self.places[node].life == Life::Up {
            self.schedule_all_turns(node);
            self.schedule_begin(node);
        }
        Ok(())
    }

    /// A process whose disk fails ends: by the power where that was chosen, else by its own hand.
    pub(super) fn survive(&mut self, node: usize, done: Result<()>) -> Result<()> {
        let Err(error) = done else { return Ok(()) };
        let now_us = self.now_us;
        self.trace.say(now_us, || format!("authority {node} ends: {error:#}"));
        match self.places[node].armed.take() {
            Some(fault) => self.power_cut(node, fault)?,
            None => self.node(node).kill(),
        }
        self.down(node);
        let wait_us = self.places[node].dice.below(1_000_000);
        self.after(wait_us, Event::Start { node });
        Ok(())
    }

    pub(super) fn power_cut(&mut self, node: usize, fault: CrashFault) -> Result<()> {
        self.totals.power_cuts += 1;
        let mut dice = Dice::new(self.places[node].dice.word());
        self.node(node).crash(fault, &mut dice)
    }

    pub(super) fn down(&mut self, node: usize) {
        let place = &mut self.places[node];
        place.life = Life::Down;
        place.begin_is_due = false;
        place.turn_is_due.clear();
        place.armed = None;
    }

    pub(super) fn start(&mut self, node: usize) -> Result<()> {
        if self.places[node].life != Life::Down {
            return Ok(());
        }
        self.totals.starts += 1;
        let again = self.places[node].again.take();
        let mut dice = Dice::new(self.places[node].dice.word());
        if let Some(after) = again {
            let disk = &self.node(node).disk;
            disk.crash_at(disk.operations() + after);
        }
        let started = self.node(node).start(&mut dice);
        let now_us = self.now_us;
        match started {
            Ok(started) => {
                self.trace.event(now_us, 3, node, &started.head.to_le_bytes());
                self.trace.say(now_us, || {
                    format!("authority {node} starts from {} with its journal up to {}", started.origin, started.head)
                });
                // A damaged disk may have been hit again by the start's own writes; its authority counts as faulty, and nothing is asked of it.
                let failed = std::mem::take(&mut self.places[node].start_failed) && !self.checker.is_faulty(node);
                match failed.then(|| self.node(node).held()) {
                    None => self.checker.restarted(node, started.head, &started.slots),
                    Some(Ok(held)) => self.checker.restarted_twice(node, &held, started.head, &started.slots),
                    Some(Err(error)) => {
                        let what = format!("authority {node}: {error:#}");
                        self.checker.broken("an undamaged journal can be read", what);
                    }
                }
                self.places[node].life = Life::Up;
                let workers = self.node(node).running_workers();
                self.places[node].turn_is_due = vec![false; workers];
                if again.is_some() {
                    // The recovery was over before; the power goes in what follows.
                    self.places[node].armed = Some(CrashFault::Reordered);
                }
                let incarnation = self.node(node).incarnation;
                self.after(MAINTAIN_US, Event::Maintain { node, incarnation });
            }
            Err(_) if again.is_some() => {
                self.power_cut(node, CrashFault::GarbledBlocks)?;
                self.places[node].start_failed = true;
                self.after(50_000, Event::Start { node });
            }
            Err(error) if self.checker.is_faulty(node) => {
                self.trace.say(now_us, || format!("authority {node} refuses to start, as it must: {error:#}"));
                self.totals.refused_damaged += 1;
                self.places[node].life = Life::Dead;
            }
            Err(error) => {
                self.checker.broken("an undamaged authority starts", format!("authority {node} refused: {error:#}"));
            }
        }
        Ok(())
    }
}
