//! The audit after a run: the daemon's own audit of its journal, compared with the bench's own books.
//!
//! Checked for every authority: its journal verifies from the genesis on; balances sum to what was issued; every payment that it
//! acknowledged is there. For all together: their states are equal. And where every payment of the run came to an end, every single
//! balance and sequence equals the books of the bench, which were kept without the authority's code.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, Result};
use meshpay_wire::PublicKey;
use serde::Deserialize;

use super::AuthorityDirectory;
use crate::workload::{Ledger, Network, TOKEN, Wallets};

/// What the daemon's `audit --json` prints, as far as it is used here.
#[derive(Clone, Debug, Deserialize)]
struct AuditOutput {
    result: String,
    genesis: String,
    state_digest: String,
    records: u64,
    locks: u64,
    executions: u64,
    issued: BTreeMap<String, String>,
    balances: BTreeMap<String, String>,
}

/// What to audit, and against what.
pub struct AuditInput<'a> {
    /// Directories of the authorities that ran, with their committee places.
    pub authorities: &'a [(u8, AuthorityDirectory)],
    /// The network.
    pub network: &'a Network,
    /// The accounts.
    pub wallets: &'a Wallets,
    /// The bench's books.
    pub ledger: &'a Ledger,
    /// Told after each authority.
    pub done: &'a dyn Fn(),
}

/// What the audit came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auditing {
    /// What failed; empty if nothing did.
    pub failures: Vec<String>,
    /// Records read, of all authorities together.
    pub records: u64,
    /// Orders locked, likewise.
    pub locks: u64,
    /// Certificates executed, likewise.
    pub executions: u64,
    /// Whether every balance was compared with the bench's own books.
    pub balances_compared: bool,
}

impl Auditing {
    /// "passed", or what failed.
    pub fn result(&self) -> String {
        if self.failures.is_empty() { "passed".to_owned() } else { self.failures.join("; ") }
    }
}

/// Audits all authorities. The daemons must have stopped. `folder` takes the lists of accounts.
pub fn audit(input: &AuditInput<'_>, folder: &Path) -> Auditing {
    let mut auditing = Auditing { balances_compared: input.ledger.uncertain() == 0, ..Auditing::default() };
    let mut digests: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (place, directory) in input.authorities {
        let list = folder.join(format!("accounts-{place}.csv"));
        let outcome = run_audit(directory, &list).and_then(|output| {
            let failures = check_output(&output, input.network);
            let accounts = check_accounts(input, *place, &list)?;
            Ok((output, failures, accounts))
        });
        match outcome {
            Ok((output, failures, accounts)) => {
                auditing.records += output.records;
                auditing.locks += output.locks;
                auditing.executions += output.executions;
                digests.entry(output.state_digest).or_default().push(*place);
                let all = failures.into_iter().chain(accounts);
                auditing.failures.extend(all.map(|failure| format!("authority {place}: {failure}")));
            }
            Err(error) => auditing.failures.push(format!("authority {place}: {error:#}")),
        }
        (input.done)();
    }
    if digests.len() > 1 {
        let groups: Vec<String> = digests.values().map(|places| format!("{places:?}")).collect();
        auditing.failures.push(format!("authorities have different states: {}", groups.join(" against ")));
    }
    auditing
}

fn run_audit(directory: &AuthorityDirectory, list: &Path) -> Result<AuditOutput> {
    let mut command = directory.command("audit");
    command.arg("--json").arg("--accounts").arg(list);
    let output = command.output().context("cannot start the audit")?;
    // A failed audit prints its reason as JSON too, and exits with 1.
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!("the audit ({}) printed no report: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
    })
}

fn check_output(output: &AuditOutput, network: &Network) -> Vec<String> {
    let mut failures = Vec::new();
    if output.result != "passed" {
        failures.push(output.result.clone());
    }
    if output.genesis != hex::encode(network.rules.genesis.0) {
        failures.push("its journal is of another genesis".to_owned());
    }
    let issued: u128 = network.allocations.iter().map(|allocation| u128::from(allocation.amount)).sum();
    let issued = BTreeMap::from([(TOKEN.to_string(), issued.to_string())]);
    if output.issued != issued {
        failures.push(format!("it says that {:?} was issued, but {issued:?} was", output.issued));
    }
    if output.balances != issued {
        failures.push(format!("balances sum to {:?}, but {issued:?} was issued", output.balances));
    }
    failures
}

/// Most accounts that are named one by one when they are wrong.
const NAMED_MAX: usize = 3;

/// Compares the list of accounts with the books.
fn check_accounts(input: &AuditInput<'_>, place: u8, list: &Path) -> Result<Option<String>> {
    let numbers: HashMap<&PublicKey, u32> =
        input.wallets.public_keys().iter().enumerate().map(|(number, key)| (key, number as u32)).collect();
    let file = File::open(list).with_context(|| format!("cannot open {}", list.display()))?;
    let mut seen = vec![false; input.wallets.count()];
    let mut wrong = Vec::new();
    for (at, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", list.display()))?;
        if at == 0 && line.starts_with("account") {
            continue;
        }
        let account = parse_line(&line).with_context(|| format!("{}, line {}: {line:?}", list.display(), at + 1))?;
        let Some(number) = numbers.get(&account.key) else {
            wrong.push(format!("{} is no account of the genesis", hex::encode(account.key)));
            continue;
        };
        seen[*number as usize] = true;
        if let Some(what) = compare(input.ledger, place, *number, &account) {
            wrong.push(format!("account {}: {what}", hex::encode(account.key)));
        }
    }
    wrong.extend(
        seen.iter()
            .enumerate()
            .filter(|(_, seen)| !**seen)
            .map(|(number, _)| format!("account {} is missing", hex::encode(input.wallets.public_key(number as u32)))),
    );
    if wrong.is_empty() {
        return Ok(None);
    }
    let named = wrong[..wrong.len().min(NAMED_MAX)].join(", ");
    Ok(Some(format!(
        "{} accounts are wrong: {named}{}",
        wrong.len(),
        if wrong.len() > NAMED_MAX { ", ..." } else { "" }
    )))
}

fn compare(ledger: &Ledger, place: u8, number: u32, account: &AccountLine) -> Option<String> {
    let acknowledged = ledger.acknowledged_by(place, number);
    if account.next_sequence < acknowledged {
        return Some(format!("it acknowledged sequence {} but stands at {}", acknowledged - 1, account.next_sequence));
    }
    if ledger.uncertain() > 0 {
        return None;
    }
    if account.next_sequence != acknowledged {
        return Some(format!("it stands at sequence {}, the books at {acknowledged}", account.next_sequence));
    }
    let balance = ledger.balance(number);
    (account.balance != balance).then(|| format!("it holds {}, by the books {balance}", account.balance))
}

struct AccountLine {
    key: PublicKey,
    next_sequence: u64,
    balance: i128,
}

fn parse_line(line: &str) -> Option<AccountLine> {
    let fields: Vec<&str> = line.trim().split(',').collect();
    let &[key, next_sequence, token, balance] = fields.as_slice() else { return None };
    let mut bytes = [0; 32];
    hex::decode_to_slice(key, &mut bytes).ok()?;
    if token.parse() != Ok(TOKEN) {
        return None;
    }
    Some(AccountLine { key: bytes, next_sequence: next_sequence.parse().ok()?, balance: balance.parse().ok()? })
}
