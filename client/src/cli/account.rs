//! `keygen`, `address`, `balance`.

use clap::Args;
use meshpay_client::machine::SurveyReport;
use meshpay_client::wallet::{KeyError, Store};
use meshpay_client::{Verifier, format_amount, format_minor};
use meshpay_protocol::Token;
use serde_json::{Value, json};

use super::context::{Context, choose_token, parse_account};
use super::exit_code;
use super::failure::Failure;
use super::output::{Output, line};

/// Arguments of `keygen`.
#[derive(Debug, Args)]
pub struct Keygen {
    /// Cost of guessing the passphrase, as a power of two; small values are for tests [default: about a second]
    #[arg(long, value_name = "LOG2_N", value_parser = clap::value_parser!(u8).range(1..=22))]
    work_factor: Option<u8>,
}

impl Keygen {
    pub fn run(&self, context: &Context) -> Result<Output, Failure> {
        let directory = context.directory()?;
        let key_file = context.key_file()?;
        // Before the passphrase is asked for.
        if key_file.exists() {
            return Err(KeyError::Exists(directory.join("key")).into());
        }
        let genesis = context.genesis_if_known()?;
        let _lock = Store::lock(&directory)?;
        let passphrase = context.passphrase(true)?;
        let account = key_file.create(&passphrase, self.work_factor)?;
        context.keep_genesis(&directory)?;
        let digest = genesis.as_ref().map(|genesis| genesis.digest()).transpose()?;
        let mut text = format!("Your new account is\n\n  {}\n\n", hex::encode(account));
        text += &format!("Its key is in {}, encrypted with your passphrase.\n", directory.join("key").display());
        text += "Keep a copy of that file and remember the passphrase: without both, nobody can spend the money, you included.\n";
        if genesis.is_none() {
            text += "Next: name the network once, for example `meshpay balance --genesis genesis.toml`.\n";
        }
        let json = json!({
            "account": hex::encode(account),
            "wallet": directory.display().to_string(),
            "genesis": digest.map(|digest| hex::encode(digest.0)),
        });
        Ok(Output::new(exit_code::DONE, text, &json))
    }
}

/// `address`.
pub fn address(context: &Context) -> Result<Output, Failure> {
    let key_file = context.key_file()?;
    let account = match key_file.account() {
        Err(KeyError::AddressMissing(_)) => key_file.restore_address(&context.passphrase(false)?)?,
        other => other?,
    };
    context.keep_genesis(&context.directory()?)?;
    let genesis = context.genesis_if_known()?;
    let digest = genesis.as_ref().map(|genesis| genesis.digest()).transpose()?;
    let json = json!({
        "account": hex::encode(account),
        "network": genesis.map(|genesis| genesis.name),
        "genesis": digest.map(|digest| hex::encode(digest.0)),
    });
    Ok(Output::new(exit_code::DONE, hex::encode(account), &json))
}

/// Arguments of `balance`.
#[derive(Debug, Args)]
pub struct Balance {
    /// Only this token, by symbol or number [default: all]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Another account than this wallet's
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
}

impl Balance {
    pub fn run(&self, context: &Context) -> Result<Output, Failure> {
        let mut wallet = context.wallet()?;
        let verifier = wallet.verifier().clone();
        let own = wallet.store().account();
        let account = self.account.as_deref().map(parse_account).transpose()?.unwrap_or(own);
        let tokens: Vec<Token> = match &self.token {
            Some(name) => vec![choose_token(&verifier, Some(name))?.clone()],
            None => verifier.rules().tokens.clone(),
        };
        let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        let report = wallet.survey(account, &ids)?;
        let mut text = String::new();
        let mut balances = Vec::new();
        for token in &tokens {
            let (agreed, spendable) = (report.balance(token.id), report.spendable(token.id));
            text += &match agreed {
                Some(minor) => format!("{}\n", format_amount(minor, token)),
                None if report.answered == 0 => format!("{}: nobody answered\n", token.symbol),
                None => format!("{}: the authorities do not agree yet, see below\n", token.symbol),
            };
            balances.push(json!({
                "token": token.id,
                "symbol": token.symbol,
                "decimals": token.decimals,
                "agreed_minor": agreed.map(|minor| minor.to_string()),
                "agreed": agreed.map(|minor| format_minor(minor, token.decimals)),
                "spendable_minor": spendable.map(|minor| minor.to_string()),
            }));
        }
        text += &authority_lines(&verifier, &report, &tokens);
        let pending = if account == own { wallet.store().pending()? } else { Vec::new() };
        if !pending.is_empty() {
            text += "A payment of yours is not final yet: run `meshpay resume`.\n";
        } else if report.locked().iter().any(|_| account == own) {
            text += "The authorities hold an order of yours that this wallet does not know: run `meshpay resume`.\n";
        }
        let enough = report.quorum_answered;
        if !enough {
            text += "Fewer than a quorum answered, so this may be out of date. Check the network, or the addresses with --authority.\n";
        }
        let json = json!({
            "account": hex::encode(account),
            "quorum_answered": report.quorum_answered,
            "next_sequence": report.next_sequence,
            "balances": balances,
            "authorities": authorities_json(&verifier, &report, &tokens),
            "pending_sequences": pending.iter().map(|pending| pending.sequence).collect::<Vec<_>>(),
        });
        Ok(Output::new(if enough { exit_code::DONE } else { exit_code::NO_QUORUM }, text, &json))
    }
}

/// One line for each authority, said only where they differ or somebody is missing.
pub fn authority_lines(verifier: &Verifier, report: &SurveyReport, tokens: &[Token]) -> String {
    let next = report.next_sequence.unwrap_or(0);
    let mut text = String::new();
    let mut all_equal = true;
    for (place, view) in report.views.iter().enumerate() {
        let mut remarks = Vec::new();
        match view {
            None => {
                let refusal = report.refusals[place].map(|refusal| format!("refused: {}", refusal.code.name()));
                remarks.push(refusal.unwrap_or_else(|| "no answer".to_owned()));
            }
            Some(view) => {
                for token in tokens {
                    let balance = view.balances.get(&token.id).copied();
                    if balance != report.balance(token.id) || balance.is_none() {
                        let shown = balance.map_or("no answer".to_owned(), |minor| format_amount(minor, token));
                        remarks.push(format!("says {shown}"));
                    }
                }
                if !view.known {
                    remarks.push("does not know the account".to_owned());
                }
                if view.next_sequence < next {
                    remarks.push(format!("lagging: lacks {} payments", next - view.next_sequence));
                }
                if view.owing {
                    remarks.push("owing: lacks credits of the account".to_owned());
                }
                if view.not_voting {
                    remarks.push("does not vote any more".to_owned());
                }
                if view.locked.is_some() {
                    remarks.push(format!("holds an order for sequence {}", view.next_sequence));
                }
            }
        }
        all_equal &= remarks.is_empty();
        let shown = if remarks.is_empty() { "agrees".to_owned() } else { remarks.join("; ") };
        text += &line(verifier.authority_name(place), shown);
    }
    if all_equal { format!("  all {} authorities agree\n", report.views.len()) } else { text }
}

/// The same as JSON.
pub fn authorities_json(verifier: &Verifier, report: &SurveyReport, tokens: &[Token]) -> Value {
    let next = report.next_sequence.unwrap_or(0);
    let describe = |(place, view): (usize, &Option<meshpay_client::machine::AccountView>)| {
        let balances: serde_json::Map<String, Value> = tokens
            .iter()
            .filter_map(|token| {
                let minor = view.as_ref()?.balances.get(&token.id)?;
                Some((token.id.to_string(), Value::String(minor.to_string())))
            })
            .collect();
        json!({
            "name": verifier.authority_name(place),
            "answered": view.is_some(),
            "known": view.as_ref().map(|view| view.known),
            "next_sequence": view.as_ref().map(|view| view.next_sequence),
            "balances_minor": balances,
            "lagging": view.as_ref().map(|view| view.next_sequence < next),
            "owing": view.as_ref().map(|view| view.owing),
            "not_voting": view.as_ref().map(|view| view.not_voting),
            "holds_order": view.as_ref().map(|view| view.locked.is_some()),
            "refusal": report.refusals[place].map(|refusal| refusal.code.name()),
        })
    };
    report.views.iter().enumerate().map(describe).collect()
}
