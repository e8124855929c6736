//! `verify` and `receive`: what a recipient does with a certificate.

use std::path::PathBuf;

use clap::Args;
use meshpay_client::wallet::read_certificate;
use serde_json::json;

use super::context::Context;
use super::exit_code;
use super::failure::Failure;
use super::output::{OrderJson, Output, amount_text, certificate_lines, names};
use super::pay::{settled_json, settled_text};

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The certificate
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Verify {
    pub fn run(&self, context: &Context) -> Result<Output, Failure> {
        let verifier = context.verifier()?;
        let certificate = match read_certificate(&self.file, &verifier) {
            Ok(certificate) => certificate,
            Err(error) if error.is_disproof() => {
                let json = json!({ "valid": false, "reason": error.to_string() });
                let text = format!("NOT VALID. Do not hand over the goods.\n  {error}\n");
                return Ok(Output::new(exit_code::DISPROVED, text, &json));
            }
            Err(error) => return Err(error.into()),
        };
        let own = context.key_file()?.account().ok();
        let mut text = String::from("Valid: this payment is final.\n");
        text += &certificate_lines(&verifier, &certificate);
        text += match own {
            Some(own) if own == certificate.recipient() => {
                "It pays this wallet. `meshpay receive FILE` keeps it and has it executed.\n"
            }
            Some(own) if own == certificate.sender() => "It was paid by this wallet.\n",
            Some(_) => "It pays somebody else than this wallet.\n",
            None => "",
        };
        let committee = &verifier.rules().committee;
        let json = json!({
            "valid": true,
            "order": OrderJson::new(&verifier, certificate.order()),
            "signers": names(&verifier, certificate.signers()),
            "weight": committee.weight_of(certificate.signers()),
            "quorum": committee.quorum(),
            "pays_this_wallet": own.map(|own| own == certificate.recipient()),
        });
        Ok(Output::new(exit_code::DONE, text, &json))
    }
}

/// Arguments of `receive`.
#[derive(Debug, Args)]
pub struct Receive {
    /// The certificate
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Receive {
    pub fn run(&self, context: &Context) -> Result<Output, Failure> {
        let mut wallet = context.wallet()?;
        let verifier = wallet.verifier().clone();
        let certificate = read_certificate(&self.file, &verifier)?;
        let received = wallet.receive(certificate)?;
        let settlement = &received.settlement;
        let order = settlement.certificate.order();
        let mut text = format!("Received {}: ", amount_text(&verifier, order));
        text += &settled_text(&verifier, settlement);
        text += &certificate_lines(&verifier, &settlement.certificate);
        for warning in wallet.store().take_warnings() {
            text += &format!("Warning: {warning}.\n");
        }
        let exit = if settlement.quorum { exit_code::DONE } else { exit_code::UNFINISHED };
        Ok(Output::new(exit, text, &settled_json(&verifier, settlement)))
    }
}
