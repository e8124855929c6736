//! Datagrams: from whoever sends them, through the air, to whoever gets them.

use std::time::Duration;

use meshpay_wire::{Header, Kind, messages};

use super::{CHEAT_PARTIES, CHEAT_US, Event, Life, World};
use crate::air::{Party, address_of};
use crate::coalition::Shot;

impl World {
    pub(super) fn send(&mut self, from: Party, to: Party, place: u32, datagram: Vec<u8>) {
        for (time_us, datagram) in self.network.send(from, to, to >= self.places.len(), datagram, self.now_us) {
            self.at(time_us, Event::Deliver { from, to, place, datagram });
        }
    }

    pub(super) fn deliver(&mut self, from: Party, to: Party, place: u32, datagram: Vec<u8>) {
        self.trace.event(self.now_us, 1, to, &datagram);
        let members = self.places.len();
        if to >= members {
            return self.deliver_to_client(to - members, from, place, &datagram);
        }
        let client = from - members;
        if let Some(liar) = &mut self.places[to].liar {
            let answers = liar.answer(client, &datagram);
            let stolen = liar.certificates().last().cloned();
            if let Some(stolen) = stolen.filter(|_| self.dice.chance(100_000)) {
                self.coalition.steal(stolen);
            }
            for answer in answers {
                self.send(to, from, place, answer);
            }
            return;
        }
        if self.places[to].life != Life::Up {
            return;
        }
        for message in messages(&datagram).flatten() {
            if matches!(message.header().kind(), Some(Kind::TransferRequest | Kind::ConfirmationRequest)) {
                self.totals.operations += 1;
            }
        }
        let workers = self.node(to).running_workers();
        let shard = usize::from(datagram.get(Header::ACCOUNT_OFFSET).copied().unwrap_or(0));
        // Now and then the kernel steers wrongly, which must cost time only.
        let astray = self.places[to].dice.chance(50_000);
        let worker = if astray { self.places[to].dice.index(workers) } else { shard % workers };
        if self.node(to).deliver(worker, datagram, address_of(client, place)) {
            self.schedule_turn(to, worker);
        }
    }

    pub(super) fn deliver_to_client(&mut self, client: usize, authority: usize, place: u32, datagram: &[u8]) {
        if client >= self.wallets.len() {
            let shots = self.coalition.receive(authority, datagram);
            return self.shoot(shots);
        }
        let wallet = &mut self.wallets[client];
        // What goes to an address that the client has left is lost.
        if wallet.place == place && self.now_us >= wallet.away_until_us {
            wallet.receive(authority, datagram, Duration::from_micros(self.now_us));
            self.wallet_acts(client);
        }
    }

    pub(super) fn shoot(&mut self, shots: Vec<Shot>) {
        for certificate in self.coalition.take_made() {
            self.totals.cheats_certified += 1;
            let now_us = self.now_us;
            self.trace.say(now_us, || "the cheats hold a certificate".to_owned());
            self.checker.certificate("a cheat", &certificate);
        }
        for shot in shots {
            let cheat = self.wallets.len() + self.dice.index(CHEAT_PARTIES);
            self.send(self.places.len() + cheat, shot.authority, 0, shot.datagram);
        }
    }

    pub(super) fn cheat(&mut self) {
        if self.healed_us.is_none() {
            let shots = self.coalition.act(self.now_us);
            self.shoot(shots);
            let wait_us = self.dice.below(2 * CHEAT_US);
            self.after(wait_us, Event::Cheat);
        }
    }
}
