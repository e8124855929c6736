//! A run in the plane instead of a run with faults: phones walk, one authority is lost and comes back, payments are measured.

use anyhow::Result;
use meshpay_authority::journal::CrashFault;
use meshpay_wire::PublicKey;

use super::{Event, Life, World};
use crate::mesh::{MOVE_US, Sample};
use crate::wallet::Told;

impl World {
    pub(super) fn mesh_moves(&mut self) {
        if let Some(mesh) = &mut self.network.mesh {
            mesh.step();
        }
        self.after(MOVE_US, Event::Move);
        let Some(back_us) = self.request.mesh.map(|mesh| mesh.back_us).filter(|back_us| self.now_us > *back_us) else {
            return;
        };
        if self.mesh.as_ref().is_some_and(|report| report.caught_up_us.is_none()) {
            let missing = self.checker.missing(0);
            let old: Vec<_> = missing.into_iter().filter(|slot| self.mesh_lacked.contains(slot)).collect();
            match (old.is_empty(), &mut self.mesh) {
                (true, Some(report)) => report.caught_up_us = Some(self.now_us - back_us),
                _ => self.offer(&old),
            }
        }
    }

    pub(super) fn lose(&mut self, comes_back: bool) -> Result<()> {
        if comes_back {
            self.start(0)?;
            self.mesh_lacked = self.checker.missing(0).into_iter().collect();
            if let Some(report) = &mut self.mesh {
                report.lacked = self.mesh_lacked.len();
            }
        } else if self.places[0].life == Life::Up {
            self.power_cut(0, CrashFault::Lost)?;
            self.down(0);
        }
        Ok(())
    }

    /// Somebody who holds certificates offers them to everybody.
    pub(super) fn offer(&mut self, slots: &[(PublicKey, u64)]) {
        let courier = self.courier();
        if !slots.is_empty() && self.wallets[courier].is_idle() {
            for slot in slots {
                if let Some((_, bytes)) = self.checker.certificates().get(slot) {
                    self.wallets[courier].adopt_certificate(bytes);
                }
            }
            let now = self.now();
            self.wallets[courier].settle(now);
            self.wallet_acts(courier);
        }
    }

    pub(super) fn note_for_mesh(&mut self, wallet: usize, told: &Told) {
        let (Some(request), Some(report)) = (self.request.mesh, &mut self.mesh) else { return };
        let ripe = |began_us: u64| began_us + 10_000_000 < request.for_us;
        match told {
            Told::Signed => {
                report.signed += 1;
                report.ripe += u64::from(ripe(self.now_us));
            }
            Told::Finished { began, certified, settled } => {
                let began_us = began.as_micros() as u64;
                report.ripe_final += u64::from(ripe(began_us));
                let quorum = self.setting.rules.committee.largest_minimal_quorum();
                let party = self.places.len() + wallet;
                let hops = self.network.mesh.as_ref().and_then(|mesh| mesh.hops_to_quorum(party, quorum));
                report.samples.push(Sample {
                    began_us,
                    final_us: certified.as_micros() as u64,
                    settled_us: settled.map(|settled| settled.as_micros() as u64),
                    hops: hops.unwrap_or(0),
                });
            }
            Told::Certified(_) => {}
        }
    }

    pub(super) fn end_mesh(&mut self) {
        if let (Some(report), Some(mesh)) = (&mut self.mesh, &self.network.mesh) {
            (report.transmissions, report.hop_bytes, report.unreachable) =
                (mesh.transmissions, mesh.hop_bytes, mesh.unreachable);
        }
        // What is under way between workers is no difference.
        for at in 0..self.places.len() {
            self.places[at].life = Life::Down;
        }
    }
}
