//! `pay` and `resume`.

use std::path::{Path, PathBuf};

use clap::Args;
use meshpay_client::machine::{AuthorityProgress, Outcome, SettlementReport};
use meshpay_client::wallet::{PaymentDone, PaymentRequest, Wallet, WalletError, certificate_file, write_durably};
use meshpay_client::{Certificate, Verifier, format_amount, parse_amount, parse_minor_units};
use meshpay_wire::RefusalCode;
use serde_json::{Value, json};

use super::account::authority_lines;
use super::context::{Context, choose_token, parse_account};
use super::exit_code;
use super::failure::Failure;
use super::output::{OrderJson, Output, amount_text, line, names, names_text};

/// Arguments of `pay`.
#[derive(Debug, Args)]
pub struct Pay {
    /// Who receives: 64 hex digits, as `meshpay address` shows them
    #[arg(value_name = "ACCOUNT")]
    recipient: String,
    /// How much, for example 12.50
    #[arg(value_name = "AMOUNT")]
    amount: String,
    /// Which token, by symbol or number [default: the network's only one]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// The amount is in minor units: 1250 rather than 12.50
    #[arg(long)]
    minor_units: bool,
    /// Up to 32 bytes of text for the recipient
    #[arg(long, value_name = "TEXT")]
    memo: Option<String>,
    /// Write the certificate here too, for the recipient; the file must not exist
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Arguments of `resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// Write the certificate of the resumed payment here too; the file must not exist
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn parse_memo(text: Option<&str>) -> Result<[u8; 32], Failure> {
    let bytes = text.unwrap_or("").as_bytes();
    let mut memo = [0; 32];
    memo.get_mut(..bytes.len())
        .ok_or_else(|| Failure::usage(format!("the memo has {} bytes, 32 are possible", bytes.len())))?
        .copy_from_slice(bytes);
    Ok(memo)
}

fn refuse_existing(out: Option<&Path>) -> Result<(), Failure> {
    match out {
        Some(path) if path.exists() => {
            Err(Failure::usage(format!("{} exists already; choose another name for the certificate", path.display())))
        }
        _ => Ok(()),
    }
}

impl Pay {
    pub fn run(&self, context: &Context) -> Result<Output, Failure> {
        refuse_existing(self.out.as_deref())?;
        let recipient = parse_account(&self.recipient)?;
        let memo = parse_memo(self.memo.as_deref())?;
        let mut wallet = context.wallet()?;
        let verifier = wallet.verifier().clone();
        let token = choose_token(&verifier, self.token.as_deref())?;
        let amount_minor =
            if self.minor_units { parse_minor_units(&self.amount)? } else { parse_amount(&self.amount, token)? };
        if amount_minor > token.supply {
            let all = format_amount(i128::from(token.supply), token);
            return Err(Failure::usage(format!("there is no more than {all} in this network")));
        }
        // Before the passphrase is asked for.
        if let Some(first) = wallet.store().pending()?.into_iter().next() {
            return Err(explain_pending(&verifier, WalletError::PendingFirst(Box::new(first))));
        }
        let key = context.key_file()?.open(&context.passphrase(false)?)?;
        let request = PaymentRequest { recipient, token: token.id, amount_minor, memo };
        match wallet.pay(&key, request) {
            Ok(done) => Ok(describe(&mut wallet, &done, self.out.as_deref())),
            Err(WalletError::Insufficient { spendable, amount_minor, report }) => {
                let (has, wants) = (format_amount(spendable, token), format_amount(i128::from(amount_minor), token));
                let mut text = format!("you have {has} to spend, the payment needs {wants}; nothing was signed.\n");
                text += &authority_lines(&verifier, &report, std::slice::from_ref(token));
                text += "If you were paid and it does not show yet, import the payer's certificate: `meshpay receive FILE`.";
                Err(Failure::new("insufficient", exit_code::INSUFFICIENT, text))
            }
            Err(WalletError::BelowFirstCredit { minimum_minor }) => {
                let minimum = format_amount(i128::from(minimum_minor), token);
                let text = format!(
                    "the recipient has no account yet, and the first payment to an account must be {minimum} or more; nothing was signed"
                );
                Err(Failure::new("below_first_credit", exit_code::INSUFFICIENT, text))
            }
            Err(WalletError::NoQuorum { answered, authorities, report }) => {
                let text = WalletError::NoQuorum { answered, authorities, report: report.clone() }.to_string();
                let lines = authority_lines(&verifier, &report, std::slice::from_ref(token));
                Err(Failure::new("no_quorum", exit_code::NO_QUORUM, format!("{text}.\n{}", lines.trim_end())))
            }
            Err(error) => Err(explain_pending(&verifier, error)),
        }
    }
}

/// Says which payment is pending, so that nobody pays twice by mistake.
fn explain_pending(verifier: &Verifier, error: WalletError) -> Failure {
    match &error {
        WalletError::PendingFirst(pending) => {
            let order = pending.orders.first().map(|order| {
                let order = order.order();
                format!("{} to {}", amount_text(verifier, order), hex::encode(order.body.recipient))
            });
            let text = format!(
                "an earlier payment of {} (sequence {}) is not final yet. Run `meshpay resume` to finish it; if it is the one you \
                 want to make now, that is all. Nothing was signed",
                order.unwrap_or_default(),
                pending.sequence
            );
            Failure::new("pending", exit_code::UNFINISHED, text)
        }
        _ => error.into(),
    }
}

impl Resume {
    pub fn run(&self, context: &Context) -> Result<Output, Failure> {
        refuse_existing(self.out.as_deref())?;
        let mut wallet = context.wallet()?;
        let verifier = wallet.verifier().clone();
        let resumed = wallet.resume()?;
        let mut text = String::new();
        let mut exit = exit_code::DONE;
        let mut payments = Vec::new();
        for (at, done) in resumed.payments.iter().enumerate() {
            let output = describe(&mut wallet, done, self.out.as_deref().filter(|_| at == 0));
            text += &output.text;
            exit = exit.max(output.exit_code);
            payments.push(output.json);
        }
        for settled in &resumed.settled {
            let order = settled.certificate.order();
            text += &format!("{}, sequence {}: ", amount_text(&verifier, order), order.body.sequence.get());
            text += &settled_text(&verifier, settled);
            if !settled.quorum {
                exit = exit.max(exit_code::UNFINISHED);
            }
        }
        if text.is_empty() {
            text = "Nothing to resume: every payment of this wallet is final and executed by a quorum.\n".to_owned();
        }
        let settled: Vec<Value> = resumed.settled.iter().map(|settled| settled_json(&verifier, settled)).collect();
        Ok(Output::new(exit, text, &json!({ "payments": payments, "settled": settled })))
    }
}

/// Who has executed a certificate, as a sentence.
pub fn settled_text(verifier: &Verifier, settled: &SettlementReport) -> String {
    let who = names_text(verifier, settled.acknowledged);
    if settled.quorum {
        format!("final, executed by {who}.\n")
    } else {
        format!(
            "final, but executed only by {who} so far. Run `meshpay resume` again when more authorities can be reached.\n"
        )
    }
}

/// The same as JSON.
pub fn settled_json(verifier: &Verifier, settled: &SettlementReport) -> Value {
    json!({
        "order": OrderJson::new(verifier, settled.certificate.order()),
        "acknowledged": names(verifier, settled.acknowledged),
        "quorum_acknowledged": settled.quorum,
    })
}

fn progress_text(progress: &AuthorityProgress) -> String {
    let mut parts = Vec::new();
    if progress.acknowledged {
        parts.push("executed it".to_owned());
    } else if progress.voted {
        parts.push("voted".to_owned());
    } else if let Some(refusal) = progress.refusal {
        parts.push(format!("refused: {}", refusal.code.name()));
    } else if !progress.answered {
        parts.push("no answer".to_owned());
    }
    if progress.brought > 0 {
        parts.push(format!("was brought {} certificates that it lacked", progress.brought));
    }
    if progress.lies > 0 {
        parts.push(format!("sent {} answers that signatures disprove", progress.lies));
    }
    if parts.is_empty() { "no vote yet".to_owned() } else { parts.join("; ") }
}

/// A reason that does not pass by itself and that authorities of more than the faulty weight give.
fn common_refusal(verifier: &Verifier, authorities: &[AuthorityProgress]) -> Option<RefusalCode> {
    use RefusalCode::{
        BadSignature, BelowFirstCredit, Conflict, Expired, NotVoting, Penalised, UnknownToken, WrongEpoch,
    };
    let lasting = [WrongEpoch, Expired, UnknownToken, Conflict, BadSignature, BelowFirstCredit, NotVoting, Penalised];
    lasting.into_iter().find(|code| {
        let says = |progress: &AuthorityProgress| progress.refusal.is_some_and(|refusal| refusal.code == *code);
        let saying = authorities.iter().enumerate().filter(|(_, progress)| !progress.voted && says(progress));
        saying.map(|(place, _)| verifier.weight(place)).sum::<u64>() >= verifier.honest_weight()
    })
}

/// Where the certificate lies, and what went wrong with writing it elsewhere.
fn hand_over(wallet: &Wallet, certificate: &Certificate, out: Option<&Path>) -> (Option<PathBuf>, Option<String>) {
    let kept = wallet.store().sent_certificate_path(certificate.sequence());
    let kept = kept.exists().then_some(kept);
    let Some(out) = out else { return (kept, None) };
    match write_durably(out, &certificate_file(&wallet.verifier().rules().genesis, certificate)) {
        Ok(()) => (Some(out.to_owned()), None),
        Err(error) => {
            let text = format!("The certificate could not be written to {}: {error}.\n", out.display());
            (kept, Some(text))
        }
    }
}

/// Says how a payment went.
fn describe(wallet: &mut Wallet, done: &PaymentDone, out: Option<&Path>) -> Output {
    let verifier = wallet.verifier().clone();
    let report = &done.report;
    let acknowledged = (report.authorities.iter().enumerate())
        .filter(|(_, progress)| progress.acknowledged)
        .fold(0u32, |bits, (place, _)| bits | 1 << place);
    let voted = report.authorities.iter().filter(|progress| progress.voted).count();
    // In every case the first order is the one that this run was about.
    let wanted = done.pending.orders.first().map(|order| *order.order());
    let what = wanted.map_or_else(String::new, |order| {
        format!("{} to {}", amount_text(&verifier, &order), hex::encode(order.body.recipient))
    });
    let mut text = String::new();
    let (result, exit, file, mut warning) = match &report.outcome {
        Outcome::Certified(certificate) => {
            let (file, warning) = hand_over(wallet, certificate, out);
            text += &format!("Paid {what}. The payment is final.\n");
            let exit = if report.quorum_acknowledged { exit_code::DONE } else { exit_code::UNFINISHED };
            ("final", exit, file, warning)
        }
        Outcome::Superseded(certificate) => {
            let (file, warning) = hand_over(wallet, certificate, out);
            let order = certificate.order();
            text += &format!(
                "Not paid: {what}. Another order of this account took sequence {} first, and is final: {} to {}.\n",
                certificate.sequence(),
                amount_text(&verifier, order),
                hex::encode(order.body.recipient)
            );
            text += "Is this account used on two devices, or was the wallet restored from a backup? Pay again if you still want to.\n";
            ("superseded", exit_code::OTHER_ORDER, file, warning)
        }
        Outcome::Pending => {
            text += &format!("Not final yet: {what}. {voted} of {} authorities voted.\n", report.authorities.len());
            ("pending", exit_code::UNFINISHED, None, None)
        }
    };
    text += &line("sequence", done.pending.sequence);
    if let Some(finality) = done.finality {
        text += &line("final after", format!("{:.1} ms", finality.as_secs_f64() * 1_000.0));
    }
    if let Some(file) = &file {
        text += &line("certificate", file.display());
    }
    if acknowledged.count_ones() as usize == report.authorities.len() {
        text += &line("executed by", format!("all {} authorities", report.authorities.len()));
    } else {
        for (place, progress) in report.authorities.iter().enumerate() {
            text += &line(verifier.authority_name(place), progress_text(progress));
        }
    }
    for path in &done.evidence {
        text += &line("evidence", path.display());
    }
    text += &warning.take().unwrap_or_default();
    for warning in wallet.store().take_warnings() {
        text += &format!("Warning: {warning}.\n");
    }
    if result == "pending"
        && let Some(code) = common_refusal(&verifier, &report.authorities)
    {
        text += &format!(
            "Enough authorities say {} that it may not be by mistake; see that code in docs/wire.md. Time alone may not heal it.\n",
            code.name()
        );
    }
    text += match result {
        "pending" => {
            "The order is safe on disk and stays valid; do not pay again. Run `meshpay resume` to go on when more authorities can be \
             reached.\n"
        }
        "final" if !report.quorum_acknowledged => {
            "It is final, but no quorum has executed it yet: `meshpay resume` tells the others.\n"
        }
        "final" => "Give the certificate to the recipient; he checks it offline with `meshpay verify FILE`.\n",
        _ => "",
    };
    if done.resumed_instead {
        text += "This was an earlier order that this wallet had forgotten; it was carried on instead. What you asked for now was not \
                 signed: pay again if you still want to.\n";
    }
    let exit = if done.resumed_instead { exit_code::OTHER_ORDER } else { exit };
    let authorities: Vec<Value> = (report.authorities.iter().enumerate())
        .map(|(place, progress)| {
            json!({
                "name": verifier.authority_name(place),
                "answered": progress.answered,
                "voted": progress.voted,
                "acknowledged": progress.acknowledged,
                "refusal": progress.refusal.map(|refusal| refusal.code.name()),
                "disproved_answers": progress.lies,
                "certificates_brought": progress.brought,
            })
        })
        .collect();
    let json = json!({
        "result": result,
        "order": wanted.map(|order| OrderJson::new(&verifier, &order)),
        "certified_order": report.outcome.certificate().map(|certificate| OrderJson::new(&verifier, certificate.order())),
        "quorum_acknowledged": report.quorum_acknowledged,
        "finality_ms": done.finality.map(|finality| finality.as_secs_f64() * 1_000.0),
        "certificate_file": file.map(|file| file.display().to_string()),
        "authorities": authorities,
        "evidence_files": done.evidence.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "resumed_instead": done.resumed_instead,
    });
    Output::new(exit, text, &json)
}
