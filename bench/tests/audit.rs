//! The audit must fail when something is wrong. A shell script stands in for the daemon and prints what a test wants.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use meshpay_bench::daemons::{AuditInput, Auditing, AuthorityDirectory, audit};
use meshpay_bench::workload::{Ending, Ledger, Network, NetworkRequest, Transfer, Wallets};

const ACCOUNTS: usize = 3;
const ISSUED: u128 = 3_000_000_000;

/// What a stand-in authority says of itself.
#[derive(Clone)]
struct Claim {
    result: &'static str,
    state_digest: &'static str,
    balances: u128,
    /// Next sequence and balance of each account.
    accounts: Vec<(u64, i128)>,
    exit: u8,
}

/// After account 0 has paid 30 to account 1.
fn sound() -> Claim {
    Claim {
        result: "passed",
        state_digest: "aa",
        balances: ISSUED,
        accounts: vec![(1, 999_999_970), (0, 1_000_000_030), (0, 1_000_000_000)],
        exit: 0,
    }
}

/// A script cannot be run while a process forked by another test still has it open for writing.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn audit_claims(claims: &[Claim], ending: Ending) -> Auditing {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let wallets = Wallets::from_seed(1, ACCOUNTS, |_| {});
    let committee = (0..4).map(|place| Network::seeded_authority_key(1, place)).collect();
    let request = NetworkRequest { committee, addresses: vec![None; 4], wallets: &wallets, trace: None };
    let network = Network::new(request).expect("a sound genesis");
    let mut ledger = Ledger::new(network.allocations.iter().map(|allocation| allocation.amount));
    assert_eq!(ledger.take_sequence(0), Some(0));
    ledger.book(Transfer { sender: 0, recipient: 1, amount: 30 }, 0, ending);

    let folder = tempfile::tempdir().expect("a folder");
    let authorities: Vec<(u8, AuthorityDirectory)> = claims
        .iter()
        .enumerate()
        .map(|(place, claim)| {
            let script = folder.path().join(format!("daemon-{place}"));
            write_script(&script, claim, &network, &wallets);
            (place as u8, AuthorityDirectory::new(&script, &folder.path().join("unused")))
        })
        .collect();
    let input =
        AuditInput { authorities: &authorities, network: &network, wallets: &wallets, ledger: &ledger, done: &|| {} };
    audit(&input, folder.path())
}

/// `audit --directory DIR --json --accounts FILE`: the file is argument 6.
fn write_script(path: &Path, claim: &Claim, network: &Network, wallets: &Wallets) {
    let genesis = hex::encode(network.rules.genesis.0);
    let report = format!(
        "{{\"result\":\"{}\",\"genesis\":\"{genesis}\",\"records\":3,\"locks\":1,\"executions\":1,\"head\":9,\"state_digest\":\"{}\",\
         \"issued\":{{\"1\":\"{ISSUED}\"}},\"balances\":{{\"1\":\"{}\"}},\"owing_accounts\":0,\"accounts\":3}}",
        claim.result, claim.state_digest, claim.balances
    );
    let lines: String = claim
        .accounts
        .iter()
        .enumerate()
        .map(|(number, (next, balance))| {
            format!("{},{next},1,{balance}\n", hex::encode(wallets.public_key(number as u32)))
        })
        .collect();
    let text = format!("#!/bin/sh\ncat > \"$6\" <<'END'\n{lines}END\necho '{report}'\nexit {}\n", claim.exit);
    std::fs::write(path, text).expect("a disk");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("our own file");
}

fn result_of(claims: &[Claim]) -> String {
    audit_claims(claims, Ending::Complete).result()
}

#[test]
fn sound_states_pass() {
    let auditing = audit_claims(&[sound(), sound()], Ending::Complete);
    assert_eq!(auditing.result(), "passed");
    assert_eq!((auditing.records, auditing.locks, auditing.executions), (6, 2, 2));
    assert!(auditing.balances_compared);
}

#[test]
fn a_failed_audit_fails() {
    let claim = Claim { result: "record 7: a vote does not verify", exit: 1, ..sound() };
    let result = result_of(&[claim, sound()]);
    assert_eq!(result, "authority 0: record 7: a vote does not verify");
}

#[test]
fn different_states_fail() {
    let result = result_of(&[sound(), sound(), Claim { state_digest: "bb", ..sound() }]);
    assert_eq!(result, "authorities have different states: [0, 1] against [2]");
}

#[test]
fn money_made_or_lost_fails() {
    let result = result_of(&[Claim { balances: ISSUED + 1, ..sound() }]);
    assert!(result.contains("balances sum to"), "{result}");
}

#[test]
fn a_missing_acknowledged_payment_fails() {
    let accounts = vec![(0, 1_000_000_000), (0, 1_000_000_000), (0, 1_000_000_000)];
    let result = result_of(&[Claim { accounts, ..sound() }]);
    assert!(result.contains("it acknowledged sequence 0 but stands at 0"), "{result}");
}

#[test]
fn a_payment_that_nobody_made_fails() {
    let mut claim = sound();
    claim.accounts[2] = (1, 1_000_000_000);
    let result = result_of(&[claim]);
    assert!(result.contains("it stands at sequence 1, the books at 0"), "{result}");
}

#[test]
fn a_wrong_balance_or_missing_account_fails() {
    let mut claim = sound();
    claim.accounts[1].1 += 1;
    assert!(result_of(&[claim]).contains("it holds 1000000031, by the books 1000000030"));
    let mut claim = sound();
    claim.accounts.pop();
    assert!(result_of(&[claim]).contains("is missing"));
}

#[test]
fn an_open_payment_may_or_may_not_have_happened_but_its_acknowledgement_binds() {
    let untouched = Claim { accounts: vec![(0, 1_000_000_000); 3], ..sound() };
    for claim in [sound(), untouched.clone()] {
        let auditing = audit_claims(&[claim], Ending::Open(0));
        assert_eq!((auditing.result().as_str(), auditing.balances_compared), ("passed", false));
    }
    // Authority 0 acknowledged it, authority 1 did not.
    assert_eq!(audit_claims(&[sound(), untouched.clone()], Ending::Open(0b01)).result(), "passed");
    let result = audit_claims(&[untouched, sound()], Ending::Open(0b01)).result();
    assert!(result.starts_with("authority 0: 1 accounts are wrong"), "{result}");
}

#[test]
fn a_daemon_that_prints_no_report_fails() {
    let result = result_of(&[Claim { result: "\"", ..sound() }]);
    assert!(result.contains("printed no report"), "{result}");
}
