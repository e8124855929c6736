//! `evidence verify` and `evidence show`: proofs that an account signed two orders for one sequence.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use meshpay_client::wallet::{FileError, read_evidence};
use serde_json::json;

use super::context::Context;
use super::exit_code;
use super::failure::Failure;
use super::output::{OrderJson, Output, amount_text, line};

/// What can be done with evidence.
#[derive(Debug, Subcommand)]
pub enum Evidence {
    /// Check a proof, trusting nobody; exit code 4 where it proves nothing
    Verify(EvidenceFile),
    /// Show the two orders, whether or not they prove anything
    Show(EvidenceFile),
}

/// Arguments of both.
#[derive(Debug, Args)]
pub struct EvidenceFile {
    /// The evidence
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Evidence {
    pub fn run(&self, context: &Context) -> Result<Output, Failure> {
        let (Evidence::Verify(arguments) | Evidence::Show(arguments)) = self;
        let must_hold = matches!(self, Evidence::Verify(_));
        let verifier = context.verifier()?;
        let genesis = verifier.rules().genesis;
        let proof = match read_evidence(&arguments.file, &genesis) {
            Ok(proof) => proof,
            Err(error @ (FileError::Damaged { .. } | FileError::Network { .. })) if must_hold => {
                let json = json!({ "valid": false, "reason": error.to_string() });
                return Ok(Output::new(exit_code::DISPROVED, format!("Proves nothing.\n  {error}\n"), &json));
            }
            Err(error) => return Err(error.into()),
        };
        let verdict = proof.verify(&genesis);
        let mut text = match &verdict {
            Ok(()) => format!(
                "Proven: account {} signed two orders for sequence {}.\n",
                hex::encode(proof.first.body.sender),
                proof.first.body.sequence.get()
            ),
            Err(error) => format!("Proves nothing: {error}.\n"),
        };
        for (label, order) in [("one order", &proof.first), ("the other", &proof.second)] {
            let to = hex::encode(order.body.recipient);
            text += &line(label, format!("{} to {to}", amount_text(&verifier, order)));
        }
        let json = json!({
            "valid": verdict.is_ok(),
            "reason": verdict.err().map(|error| error.to_string()),
            "account": hex::encode(proof.first.body.sender),
            "sequence": proof.first.body.sequence.get(),
            "orders": [OrderJson::new(&verifier, &proof.first), OrderJson::new(&verifier, &proof.second)],
        });
        let exit = if verdict.is_err() && must_hold { exit_code::DISPROVED } else { exit_code::DONE };
        Ok(Output::new(exit, text, &json))
    }
}
