//! After the last fault: everything heals, and within a bound everything that exists must have settled everywhere.

use meshpay_wire::PublicKey;

use super::{Event, LIVENESS_BOUND_US, LOOK_US, Life, World};

impl World {
    pub(super) fn heal(&mut self) {
        let now_us = self.now_us;
        self.healed_us = Some(now_us);
        self.trace.say(now_us, || "everything heals".to_owned());
        self.network.heal();
        for at in 0..self.places.len() {
            let place = &mut self.places[at];
            (place.paused_until_us, place.slow, place.armed, place.again) = (now_us, 1, None, None);
            let Some(node) = &mut place.node else { continue };
            node.skew_ms = 0;
            node.disk.set_capacity(None);
            if place.life == Life::Up {
                // The faults that were still to come do not.
                node.disk.restart_process();
            } else if place.life == Life::Down {
                self.after(1, Event::Start { node: at });
            }
        }
        for wallet in &mut self.wallets {
            wallet.away_until_us = now_us;
        }
        self.after(LOOK_US, Event::Look);
    }

    /// Whether an authority must keep the promises of liveness.
    pub(super) fn must_be_live(&self, at: usize) -> bool {
        self.places[at].node.is_some() && !self.checker.is_faulty(at)
    }

    pub(super) fn look(&mut self) {
        let Some(healed_us) = self.healed_us else { return };
        let mut unfinished = Vec::new();
        for wallet in 0..self.courier() {
            let state = &self.wallets[wallet];
            if !state.is_done() {
                let blocked = state.pending().is_some_and(|order| {
                    let digest = self.setting.verifier.order_digest(order);
                    !self.checker.can_be_certified((order.body.sender, order.body.sequence.get()), &digest)
                });
                if !(state.forgetful && blocked) {
                    unfinished.push(format!(
                        "wallet {wallet} has {} order and {} certificates unsettled ({})",
                        if state.pending().is_some() { "an" } else { "no" },
                        state.unsettled(),
                        state.explain()
                    ));
                }
                let now = self.now();
                self.wallets[wallet].begin(None, now);
                self.wallet_acts(wallet);
            }
        }
        let mut missing = std::collections::BTreeSet::new();
        for at in (0..self.places.len()).filter(|at| self.must_be_live(*at)) {
            let lacks = self.checker.missing(at);
            if !lacks.is_empty() {
                unfinished.push(format!("authority {at} lacks {} certificates", lacks.len()));
            }
            if self.places[at].life != Life::Up {
                unfinished.push(format!("authority {at} is not up"));
            }
            missing.extend(lacks);
        }
        let missing: Vec<(PublicKey, u64)> = missing.into_iter().collect();
        self.offer(&missing);
        let waited_us = self.now_us - healed_us;
        // A table that is full for good keeps some from settling, which is promised (DESIGN 5.15); safety is looked at all the same.
        if unfinished.is_empty() || self.setting.crowded && waited_us > LIVENESS_BOUND_US / 8 {
            self.totals.settled_us = waited_us;
            self.settled = true;
        } else if waited_us > LIVENESS_BOUND_US {
            self.checker.broken("everything settles after the last fault", unfinished.join("; "));
        } else {
            self.after(LOOK_US, Event::Look);
        }
    }

    /// Ends all processes and looks at what they hold.
    pub(super) fn look_inside(&mut self) {
        for at in 0..self.places.len() {
            if self.places[at].life != Life::Up {
                continue;
            }
            let Some(node) = &mut self.places[at].node else { continue };
            if node.voting_stopped().is_some() && !self.checker.is_faulty(at) {
                self.checker.broken("an honest authority votes", format!("authority {at} has stopped voting"));
            }
            let slots = node.autopsy();
            self.trace.event(self.now_us, 5, at, &(slots.len() as u64).to_le_bytes());
            self.checker.compare(at, &slots);
        }
    }
}
