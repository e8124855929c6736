//! `audit`: verifies a journal from the genesis on.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use meshpay_protocol::Accounts;
use meshpay_protocol::account::slot_kind;

use crate::directory::{Directory, write_durably};
use crate::journal::{self, Disk, Identity, MarkPlace, RealDisk};
use crate::key::KeyFile;
use crate::state;

/// Flags of `audit`.
#[derive(clap::Args)]
pub struct Audit {
    /// The authority's directory.
    #[arg(long)]
    directory: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write a line per account and token: account,next_sequence,token,balance.
    #[arg(long)]
    accounts: Option<PathBuf>,
}

impl Audit {
    pub fn run(self) -> Result<ExitCode> {
        let directory = Directory::new(&self.directory);
        let (genesis, allocations) = directory.read_genesis()?;
        let rules = genesis.rules()?;
        let key = KeyFile::read(&directory.key())?;
        let authority = key.signing_key().public_key();
        let number = key.journal.context("no journal was made for this key yet; there is nothing to audit")?;
        let identity = Identity { journal: number, network: rules.genesis.0 };
        let mark =
            MarkPlace { disk: Arc::new(RealDisk::open_read_only(directory.path())), name: Directory::MARK.to_owned() };
        // Read before the journal, so that a daemon that runs beside the audit only ever adds to it.
        let marked = journal::marked(&mark, &identity)?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open_read_only(&directory.journal()));
        let (report, accounts) = state::audit(&disk, &identity, marked, &rules, &authority, &allocations);
        if let Some(path) = self.accounts {
            let mut text = String::new();
            for slot in accounts.slots() {
                let next = accounts.account(&slot.key).map_or(0, |account| account.next_sequence.get());
                if slot.kind != slot_kind::EMPTY {
                    let _ = writeln!(text, "{},{next},{},{}", hex::encode(slot.key), slot.token, slot.balance);
                }
            }
            write_durably(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        if self.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            println!("result        {}", report.result);
            println!("genesis       {}", report.genesis);
            println!(
                "records       {} ({} locks, {} executions, {} proofs of equivocation)",
                report.records, report.locks, report.executions, report.evidence
            );
            println!("head          {}", report.head);
            println!("state digest  {}", report.state_digest);
            println!("accounts      {} ({} owing)", report.accounts, report.owing_accounts);
            for token in &rules.tokens {
                let balances = report.balances.get(&token.id).map_or("0", String::as_str);
                println!(
                    "token {:<7} issued {}, balances sum to {balances} ({})",
                    token.id, token.supply, token.symbol
                );
            }
        }
        Ok(if report.result == "passed" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
