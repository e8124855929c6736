//! Certificates executed a second by the size of the committee, and by its weights. A certificate holds a minimal quorum drawn at random, as real clients
//! make them on average; with unequal weights the number of its signatures varies.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::Request;
use super::turns::{self, Figures};
use crate::pipeline::PipelineOptions;
use crate::progress::Console;

/// What one committee came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommitteeFigures {
    /// Voting weights by place.
    pub weights: Vec<u32>,
    /// Weight that is a quorum.
    pub quorum: u64,
    /// Signatures in a certificate, on average.
    pub signatures_per_certificate: f64,
    /// What it came to. A payment is one order and one certificate, so certificates are executed at the rate at which payments settle.
    pub figures: Figures,
    /// Certificates a second of the worker's and the journal's own time: what one core could do if nothing else ran on it.
    pub certificates_per_core_second: f64,
}

/// Measures all committees in turns.
pub fn measure(request: &Request, stop: &AtomicBool, console: &Console) -> Result<Vec<CommitteeFigures>> {
    let options: Vec<(String, PipelineOptions)> = request
        .committees
        .iter()
        .map(|weights| (name(weights), PipelineOptions { weights: weights.clone(), ..request.pipeline() }))
        .collect();
    let figures = turns::measure(&options, request.rounds, stop, console)?;
    Ok(options
        .into_iter()
        .zip(figures)
        .map(|((_, options), figures)| CommitteeFigures {
            quorum: 2 * options.weights.iter().map(|weight| u64::from(*weight)).sum::<u64>() / 3 + 1,
            signatures_per_certificate: figures.signatures_per_certificate,
            certificates_per_core_second: 1e6 / figures.cpu_us_per_settled,
            weights: options.weights,
            figures,
        })
        .collect())
}

/// How a committee is called.
pub(super) fn name(weights: &[u32]) -> String {
    let equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
    if equal { format!("{}", weights.len()) } else { format!("{} of weights {weights:?}", weights.len()) }
}
