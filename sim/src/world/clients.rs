//! Honest clients: what they wish to pay, and what their wallets send and tell.

use super::{Event, World};
use crate::setting::{FUNDS, MINIMUM_FIRST_CREDIT};
use crate::wallet::{Told, Wish};

impl World {
    pub(super) fn begin_payment(&mut self, wallet: usize) {
        if self.healed_us.is_none() {
            let wish = self.wish(wallet);
            let now = self.now();
            if self.now_us >= self.wallets[wallet].away_until_us {
                self.wallets[wallet].begin(wish, now);
            }
            self.wallet_acts(wallet);
            let wait_us = self.dice.below(self.setting.idle_us * 2);
            self.after(wait_us, Event::BeginPayment { wallet });
        }
    }

    pub(super) fn wish(&mut self, wallet: usize) -> Option<Wish> {
        if self.dice.chance(150_000) {
            return None;
        }
        let tokens = self.setting.rules.tokens.len() as u64;
        let token = 1 + self.dice.below(tokens) as u32;
        let (recipient, least) = match self.dice.below(12) {
            0 => (self.fresh[self.dice.index(self.fresh.len())], MINIMUM_FIRST_CREDIT),
            1 => (
                self.setting.cheats[self.dice.index(self.setting.cheats.len())].key(),
                crate::setting::MINIMUM_FIRST_CREDIT,
            ),
            2 => (self.wallets[wallet].account(), MINIMUM_FIRST_CREDIT),
            _ => {
                let other = self.dice.index(self.courier());
                (self.wallets[other].account(), MINIMUM_FIRST_CREDIT)
            }
        };
        let most = if self.dice.chance(100_000) { FUNDS } else { 2_000 };
        Some(Wish { recipient, token, amount: self.dice.between(least, most) })
    }

    /// Sends what a wallet has to send, tells what it has to tell, and sets its alarm.
    pub(super) fn wallet_acts(&mut self, wallet: usize) {
        let away = self.now_us < self.wallets[wallet].away_until_us;
        while let Some(transmission) = self.wallets[wallet].transmit() {
            if !away {
                let place = self.wallets[wallet].place;
                self.send(self.places.len() + wallet, transmission.authority, place, transmission.datagram);
            }
        }
        for told in self.wallets[wallet].take_told() {
            self.note_for_mesh(wallet, &told);
            if let Told::Certified(certificate) = told {
                self.totals.certified += 1;
                let bytes = certificate.bytes();
                let (now_us, sequence) = (self.now_us, certificate.sequence());
                self.trace.say(now_us, || format!("wallet {wallet} holds a certificate for its sequence {sequence}"));
                self.checker.certificate(&format!("wallet {wallet}"), &bytes);
                let recipient = certificate.recipient();
                let to = self.wallets.iter().position(|other| other.account() == recipient);
                if let Some(wallet) = to.filter(|_| self.dice.chance(700_000)) {
                    let wait_us = self.dice.below(500_000);
                    self.after(wait_us, Event::Hand { wallet, certificate: bytes });
                }
            }
        }
        if let Some(timer) = self.wallets[wallet].next_timer() {
            let at_us = (timer.as_micros() as u64).max(self.now_us + 1);
            if self.wallet_wakes[wallet].is_none_or(|due| at_us < due || due <= self.now_us) {
                self.wallet_wakes[wallet] = Some(at_us);
                self.at(at_us, Event::WakeWallet { wallet });
            }
        }
    }
}
