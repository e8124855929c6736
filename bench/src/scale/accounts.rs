//! What a payment costs by the number of accounts in the table.
//!
//! All tables are full of their accounts and in memory at once. Payers are a bounded number, since each needs a key and signs; payees are all accounts. Where an
//! account lies in the table is decided by a keyed hash of its name, so the payers lie scattered over the whole table like the payees, and each payer of a
//! large table is met for the first time in the run: every slot that a payment touches is as cold as among real payers.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::Request;
use super::turns::{self, Figures};
use crate::pipeline::PipelineOptions;
use crate::progress::Console;

/// The cost of a payment by the number of accounts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountsReport {
    /// By number of accounts.
    pub sizes: Vec<SizeFigures>,
    /// Dearest by cheapest, by CPU per payment.
    pub spread: f64,
    /// The same by the quieter quarter of the rounds.
    pub quiet_spread: f64,
}

/// A payment among so many accounts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizeFigures {
    /// Accounts in the table.
    pub accounts: usize,
    /// Of these, those that paid.
    pub payers: usize,
    /// What it came to.
    pub figures: Figures,
}

/// Measures all sizes in turns.
pub fn measure(request: &Request, stop: &AtomicBool, console: &Console) -> Result<AccountsReport> {
    let options: Vec<(String, PipelineOptions)> = request
        .accounts
        .iter()
        .map(|accounts| (accounts.to_string(), PipelineOptions { accounts: *accounts, ..request.pipeline() }))
        .collect();
    let figures = turns::measure(&options, request.rounds, stop, console)?;
    let spread = |cost: fn(&Figures) -> f64| {
        let most = figures.iter().map(cost).fold(0.0, f64::max);
        most / figures.iter().map(cost).fold(f64::INFINITY, f64::min)
    };
    Ok(AccountsReport {
        spread: spread(|figures| figures.cpu_us_per_settled),
        quiet_spread: spread(|figures| figures.quiet_cpu_us_per_settled),
        sizes: options
            .iter()
            .zip(&figures)
            .map(|((_, options), figures)| SizeFigures {
                accounts: options.accounts,
                payers: options.payers(),
                figures: figures.clone(),
            })
            .collect(),
    })
}
