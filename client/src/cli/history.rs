//! `history`.

use std::sync::Arc;

use clap::Args;
use meshpay_client::Certificate;
use serde_json::{Value, json};

use super::context::Context;
use super::exit_code;
use super::failure::Failure;
use super::output::{OrderJson, Output, amount_text, memo_text, names, names_text};

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// How many payments, and how many receipts, at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
}

impl HistoryArgs {
    pub fn run(&self, context: &Context) -> Result<Output, Failure> {
        let mut wallet = context.wallet()?;
        let verifier = wallet.verifier().clone();
        let account = wallet.store().account();
        let (report, history) = wallet.history(usize::from(self.limit))?;
        let row = |certificate: &Arc<Certificate>, other: [u8; 32]| {
            let body = &certificate.order().body;
            let amount = amount_text(&verifier, certificate.order());
            let memo = memo_text(&body.memo).unwrap_or_default();
            format!("  {:>8}  {amount:>18}  {}  {memo}", body.sequence.get(), hex::encode(other)).trim_end().to_owned()
                + "\n"
        };
        let mut text = String::new();
        text += &format!("Paid ({}), newest first: sequence, amount, to\n", history.debits.len());
        for debit in &history.debits {
            text += &row(debit, debit.recipient());
        }
        text += &format!("Received ({}), newest first: payer's sequence, amount, from\n", history.credits.len());
        for credit in &history.credits {
            text += &row(credit, credit.sender());
        }
        if history.credits_cut_off {
            text += "There are more receipts; ask for them with --limit.\n";
        }
        if !history.debits_missing.is_empty() {
            let missing: Vec<String> = history.debits_missing.iter().map(u64::to_string).collect();
            text += &format!("No authority showed the certificates of the sequences {}.\n", missing.join(", "));
        }
        let whole = verifier.rules().committee.is_quorum(history.walked);
        if !whole {
            let who = names_text(&verifier, history.walked);
            text += &format!("Only {who} could be asked for receipts, so some may be missing.\n");
        }
        text += "Every line is proven by a certificate that was checked here.\n";
        for warning in wallet.store().take_warnings() {
            text += &format!("Warning: {warning}.\n");
        }
        let orders = |list: &[Arc<Certificate>]| -> Vec<Value> {
            list.iter()
                .map(|certificate| {
                    let signers = names(&verifier, certificate.signers());
                    json!({ "order": OrderJson::new(&verifier, certificate.order()), "signers": signers })
                })
                .collect()
        };
        let json = json!({
            "account": hex::encode(account),
            "next_sequence": report.next_sequence,
            "debits": orders(&history.debits),
            "credits": orders(&history.credits),
            "debits_missing": history.debits_missing,
            "credits_cut_off": history.credits_cut_off,
            "credits_walked_at": names(&verifier, history.walked),
            "quorum_walked": whole,
        });
        Ok(Output::new(if whole { exit_code::DONE } else { exit_code::NO_QUORUM }, text, &json))
    }
}
