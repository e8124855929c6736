//! The `meshpay` command as a process, against a committee on loopback.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy knows that of test functions only")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::authority::Behaviour;
use common::udp::UdpCommittee;
use common::{EUR, TestCommittee, account, account_key, account_seed};
use meshpay_client::Transfer;
use meshpay_client::wallet::{KeyFile, Secret, certificate_file};
use serde_json::Value;

/// A directory with a genesis file, wallets and a committee.
struct Scene {
    directory: tempfile::TempDir,
    committee: UdpCommittee,
}

struct Ran {
    code: i32,
    json: Value,
    stdout: String,
    stderr: String,
}

impl Scene {
    fn new(committee: TestCommittee) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let committee = UdpCommittee::start(committee);
        std::fs::write(directory.path().join("genesis.toml"), committee.genesis.text()).unwrap();
        Self { directory, committee }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes the wallet of a test account.
    fn wallet(&self, number: u8) -> PathBuf {
        let path = self.path(&format!("wallet-{number}"));
        std::fs::create_dir(&path).unwrap();
        let secret = Secret::new("open sesame".to_owned());
        KeyFile::of_wallet(&path).create_from_seed(&account_seed(number), &secret, Some(1)).unwrap();
        path
    }

    fn command(&self, wallet: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshpay"));
        command.arg("--wallet").arg(wallet).arg("--genesis").arg(self.path("genesis.toml")).args(arguments);
        command.env_remove("MESHPAY_FAULT").env_remove("MESHPAY_WALLET").env("MESHPAY_PASSPHRASE", "open sesame");
        command
    }

    fn run(&self, wallet: &Path, arguments: &[&str]) -> Ran {
        ran(self.command(wallet, arguments).output().unwrap())
    }

    fn json(&self, wallet: &Path, arguments: &[&str]) -> Ran {
        let mut command = self.command(wallet, arguments);
        let mut result = ran(command.arg("--json").output().unwrap());
        result.json = serde_json::from_str(&result.stdout).unwrap_or_else(|error| panic!("{error}: {result:?}"));
        result
    }
}

impl std::fmt::Debug for Ran {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "exit {}\n{}\n{}", self.code, self.stdout, self.stderr)
    }
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        json: Value::Null,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Scene {
    /// Whether a quorum of the four has executed its way to this balance; the slowest may still be on its way.
    fn quorum_holds(&self, number: u8, balance: i128) -> bool {
        let holds =
            |place: &usize| self.committee.with(*place, |authority| authority.balance(&account(number))) == balance;
        (0..4).filter(holds).count() >= 3
    }
}

fn hex_of(number: u8) -> String {
    hex::encode(account(number))
}

#[test]
fn from_keygen_to_a_verified_certificate() {
    let scene = Scene::new(TestCommittee::new(4));
    let payer = scene.wallet(0);
    let payee = scene.path("payee");
    let made = scene.json(&payee, &["keygen", "--work-factor", "1"]);
    assert_eq!(made.code, 0, "{made:?}");
    let payee_account = made.json["account"].as_str().unwrap().to_owned();
    assert_eq!(scene.run(&payee, &["address"]).stdout.trim(), payee_account);
    assert_eq!(scene.json(&payee, &["keygen"]).json["error"]["kind"], "key_exists");

    let out = scene.path("paid.mpcert");
    let out_text = out.to_str().unwrap();
    let paid = scene.json(&payer, &["pay", &payee_account, "12.50", "--memo", "two coffees", "--out", out_text]);
    assert_eq!(paid.code, 0, "{paid:?}");
    assert_eq!(paid.json["result"], "final");
    assert_eq!(paid.json["order"]["amount_minor"], "1250");
    assert_eq!(paid.json["quorum_acknowledged"], true);

    // Offline: no wallet, no network, only the genesis.
    let nowhere = scene.path("nowhere");
    let verified = scene.json(&nowhere, &["verify", out_text]);
    assert_eq!((verified.code, &verified.json["valid"]), (0, &Value::Bool(true)), "{verified:?}");
    assert_eq!(verified.json["order"]["recipient"], payee_account.as_str());
    assert_eq!(verified.json["order"]["memo"], "two coffees");
    assert!(!nowhere.exists(), "checking a certificate makes no wallet");

    let received = scene.json(&payee, &["receive", out_text]);
    assert_eq!((received.code, &received.json["quorum_acknowledged"]), (0, &Value::Bool(true)), "{received:?}");
    let balance = scene.json(&payee, &["balance"]);
    assert_eq!(balance.json["balances"][0]["agreed"], "12.50", "{balance:?}");
    let balance = scene.run(&payer, &["balance"]);
    assert!(balance.stdout.starts_with("87.50 EUR"), "{balance:?}");

    let history = scene.json(&payer, &["history"]);
    assert_eq!(history.json["debits"][0]["order"]["amount"], "12.50", "{history:?}");
    assert_eq!(history.json["credits"].as_array().unwrap().len(), 0);
    let history = scene.json(&payee, &["history"]);
    assert_eq!(history.json["credits"][0]["order"]["sender"], hex_of(0).as_str(), "{history:?}");
    let resumed = scene.json(&payer, &["resume"]);
    assert_eq!(resumed.json["payments"].as_array().unwrap().len(), 0, "{resumed:?}");
    assert_eq!(resumed.code, 0);
}

#[test]
fn a_changed_certificate_is_refused() {
    let scene = Scene::new(TestCommittee::new(4));
    let payer = scene.wallet(0);
    let out = scene.path("paid");
    let out_text = out.to_str().unwrap();
    assert_eq!(scene.run(&payer, &["pay", &hex_of(1), "1", "--out", out_text]).code, 0);
    let bytes = std::fs::read(&out).unwrap();
    for at in (0..bytes.len()).step_by(37) {
        let mut changed = bytes.clone();
        changed[at] ^= 4;
        std::fs::write(&out, &changed).unwrap();
        let verified = scene.json(&payer, &["verify", out_text]);
        assert_ne!(verified.code, 0, "byte {at}: {verified:?}");
    }
    // A forged amount under a correct check: only the signatures tell.
    let mut changed = bytes.clone();
    changed[48 + 96] ^= 1;
    let covered = changed.len() - 32;
    let check = meshpay_wire::truncate_sha512(&changed[..covered]);
    changed[covered..].copy_from_slice(&check);
    std::fs::write(&out, &changed).unwrap();
    let verified = scene.json(&payer, &["verify", out_text]);
    assert_eq!((verified.code, &verified.json["valid"]), (4, &Value::Bool(false)), "{verified:?}");
    assert_eq!(scene.json(&payer, &["receive", out_text]).code, 4);
}

#[test]
fn a_wallet_killed_between_writing_and_sending_resumes() {
    let scene = Scene::new(TestCommittee::new(4));
    let payer = scene.wallet(0);
    let output =
        scene.command(&payer, &["pay", &hex_of(1), "5"]).env("MESHPAY_FAULT", "kill-at:order-persisted").output();
    assert_eq!(output.unwrap().status.code(), None, "killed by a signal");
    for place in 0..4 {
        assert!(scene.committee.with(place, |authority| authority.orders_heard.is_empty()), "nothing was sent");
    }
    // Another payment is refused, whatever it is, so that no second order is signed for the sequence.
    let second = scene.json(&payer, &["pay", &hex_of(2), "7"]);
    assert_eq!((second.code, &second.json["error"]["kind"]), (3, &Value::from("pending")), "{second:?}");
    let resumed = scene.json(&payer, &["resume"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(resumed.json["payments"][0]["order"]["recipient"], hex_of(1).as_str());
    assert_eq!(scene.json(&payer, &["pay", &hex_of(2), "7"]).code, 0);
    for place in 0..4 {
        let heard = scene.committee.with(place, |authority| authority.orders_heard.clone());
        assert!(heard.iter().all(|order| {
            heard.iter().all(|other| other.body.sequence != order.body.sequence || other.body == order.body)
        }));
    }
    assert!(scene.quorum_holds(0, 10_000 - 1_200));
}

#[test]
fn a_wallet_killed_at_any_other_point_resumes() {
    for point in ["before-rename", "certificate-kept", "certified"] {
        let scene = Scene::new(TestCommittee::new(4));
        let payer = scene.wallet(0);
        // The first run writes genesis and folders, so that the kill meets an order or a certificate.
        assert_eq!(scene.run(&payer, &["balance"]).code, 0);
        let fault = format!("kill-at:{point}");
        let killed = scene.command(&payer, &["pay", &hex_of(1), "5"]).env("MESHPAY_FAULT", fault).output().unwrap();
        assert_eq!(killed.status.code(), None, "{point}: killed by a signal");
        let resumed = scene.json(&payer, &["resume"]);
        assert_eq!(resumed.code, 0, "{point}: {resumed:?}");
        let paid = scene.json(&payer, &["pay", &hex_of(2), "7"]);
        assert_eq!(paid.code, 0, "{point}: {paid:?}");
        // Before the rename the order did not exist, and nobody has heard of it; afterwards it is paid, once.
        let expected = if point == "before-rename" { 10_000 } else { 10_500 };
        assert!(scene.quorum_holds(1, expected) && scene.quorum_holds(2, 10_700), "{point}");
    }
}

#[test]
fn without_a_quorum_nothing_is_signed() {
    let scene = Scene::new(TestCommittee::new(4).behave(0, Behaviour::Silent).behave(1, Behaviour::Silent));
    let payer = scene.wallet(0);
    let paid = scene.json(&payer, &["pay", &hex_of(1), "5", "--timeout-ms", "700"]);
    assert_eq!((paid.code, &paid.json["error"]["kind"]), (6, &Value::from("no_quorum")), "{paid:?}");
    assert!(scene.committee.with(2, |authority| authority.orders_heard.is_empty()));
    let balance = scene.json(&payer, &["balance", "--timeout-ms", "700"]);
    assert_eq!(balance.code, 6, "{balance:?}");
}

#[test]
fn a_payment_that_loses_its_quorum_midway_stays_pending_and_is_resumed() {
    let scene = Scene::new(TestCommittee::new(4));
    let payer = scene.wallet(0);
    // Two authorities answer questions but vote wrongly.
    for place in 0..2 {
        scene.committee.with(place, |authority| authority.behaviour = Behaviour::WrongSignatures);
    }
    let paid = scene.json(&payer, &["pay", &hex_of(1), "5", "--timeout-ms", "2500"]);
    assert_eq!((paid.code, &paid.json["result"]), (3, &Value::from("pending")), "{paid:?}");
    let text = scene.run(&payer, &["pay", &hex_of(1), "5"]);
    assert_eq!(text.code, 3);
    assert!(text.stderr.contains("meshpay resume"), "{text:?}");
    for place in 0..2 {
        scene.committee.with(place, |authority| authority.behaviour = Behaviour::Honest);
    }
    let resumed = scene.json(&payer, &["resume"]);
    assert_eq!((resumed.code, &resumed.json["payments"][0]["result"]), (0, &Value::from("final")), "{resumed:?}");
}

#[test]
fn a_wallet_restored_from_its_key_alone_goes_on_where_it_was() {
    let scene = Scene::new(TestCommittee::new(4));
    let payer = scene.wallet(0);
    for _ in 0..3 {
        assert_eq!(scene.run(&payer, &["pay", &hex_of(1), "5"]).code, 0);
    }
    // One more order reaches two authorities only, and then the phone falls into the water.
    let rules = scene.committee.verifier.rules();
    let order = Transfer::new(3, EUR, account(2), 111).sign(rules, &account_key(0));
    for place in 0..2 {
        scene.committee.with(place, |authority| authority.vote(&order));
    }
    let key = std::fs::read(payer.join("key")).unwrap();
    std::fs::remove_dir_all(&payer).unwrap();
    let payer = scene.path("restored");
    std::fs::create_dir(&payer).unwrap();
    meshpay_client::wallet::write_durably(&payer.join("key"), &key).unwrap();
    assert!(scene.run(&payer, &["balance"]).stderr.contains("meshpay address"));
    assert_eq!(scene.run(&payer, &["address"]).stdout.trim(), hex_of(0));
    let paid = scene.json(&payer, &["pay", &hex_of(3), "9"]);
    assert_eq!((paid.code, &paid.json["resumed_instead"]), (7, &Value::Bool(true)), "{paid:?}");
    assert_eq!(paid.json["order"]["recipient"], hex_of(2).as_str());
    assert_eq!(paid.json["result"], "final");
    let paid = scene.json(&payer, &["pay", &hex_of(3), "9"]);
    assert_eq!((paid.code, &paid.json["order"]["sequence"]), (0, &Value::from(4)), "{paid:?}");
    let history = scene.json(&payer, &["history"]);
    assert_eq!(history.json["debits"].as_array().unwrap().len(), 5, "{history:?}");
}

#[test]
fn resume_finds_a_forgotten_order() {
    let scene = Scene::new(TestCommittee::new(4));
    let rules = scene.committee.verifier.rules();
    let order = Transfer::new(0, EUR, account(2), 111).sign(rules, &account_key(0));
    scene.committee.with(1, |authority| authority.vote(&order));
    let payer = scene.wallet(0);
    let resumed = scene.json(&payer, &["resume"]);
    assert_eq!(
        (resumed.code, &resumed.json["payments"][0]["order"]["amount_minor"]),
        (0, &Value::from("111")),
        "{resumed:?}"
    );
}

#[test]
fn evidence_of_a_wallet_used_twice_is_saved_and_checked() {
    let scene = Scene::new(TestCommittee::new(4));
    // The other device signed for sequence 0 while this one has its own order on disk already.
    let payer = scene.wallet(0);
    let killed =
        scene.command(&payer, &["pay", &hex_of(1), "5"]).env("MESHPAY_FAULT", "kill-at:order-persisted").output();
    assert_eq!(killed.unwrap().status.code(), None);
    let rules = scene.committee.verifier.rules();
    let other = Transfer::new(0, EUR, account(2), 111).sign(rules, &account_key(0));
    // Two hold it: an order of this device's own, asked of the other two, would lock the account for ever.
    for place in 0..2 {
        scene.committee.with(place, |authority| authority.vote(&other));
    }
    let resumed = scene.json(&payer, &["resume"]);
    assert_eq!((resumed.code, &resumed.json["payments"][0]["result"]), (7, &Value::from("superseded")), "{resumed:?}");
    let file = resumed.json["payments"][0]["evidence_files"][0].as_str().unwrap().to_owned();
    let nowhere = scene.path("nowhere");
    let verified = scene.json(&nowhere, &["evidence", "verify", &file]);
    assert_eq!((verified.code, &verified.json["account"]), (0, &Value::from(hex_of(0))), "{verified:?}");
    assert_eq!(scene.run(&nowhere, &["evidence", "show", &file]).code, 0);
    // The proof of one order twice proves nothing.
    let order = meshpay_protocol::Equivocation { first: other, second: other };
    let fake = scene.path("fake");
    std::fs::write(&fake, meshpay_client::wallet::evidence_file(&rules.genesis, &order)).unwrap();
    assert_eq!(scene.json(&nowhere, &["evidence", "verify", fake.to_str().unwrap()]).code, 4);
    // The wallet is not locked: the next sequence is free.
    assert_eq!(scene.json(&payer, &["pay", &hex_of(1), "5"]).code, 0);
}

#[test]
fn money_that_no_authority_has_seen_is_spent_by_presenting_the_certificate() {
    let scene = Scene::new(TestCommittee::new(4));
    let rules = scene.committee.verifier.rules();
    let order = Transfer::new(0, EUR, account(9), 5_000).sign(rules, &account_key(1));
    let mut votes = meshpay_client::VoteCollector::new(scene.committee.verifier.clone(), order);
    for place in 0..4 {
        let vote = scene.committee.with(place, |authority| authority.vote(&order));
        votes.add(&vote).unwrap();
    }
    let file = scene.path("from-payer");
    std::fs::write(&file, certificate_file(&rules.genesis, &votes.certificate().unwrap())).unwrap();
    let payee = scene.wallet(9);
    let poor = scene.json(&payee, &["pay", &hex_of(2), "10"]);
    assert_eq!((poor.code, &poor.json["error"]["kind"]), (5, &Value::from("insufficient")), "{poor:?}");
    // Received while no authority can be reached, then spent.
    for place in 0..4 {
        scene.committee.with(place, |authority| authority.behaviour = Behaviour::Silent);
    }
    let received = scene.json(&payee, &["receive", file.to_str().unwrap(), "--timeout-ms", "200"]);
    assert_eq!(received.code, 3, "{received:?}");
    for place in 0..4 {
        scene.committee.with(place, |authority| authority.behaviour = Behaviour::Honest);
    }
    let paid = scene.json(&payee, &["pay", &hex_of(2), "50"]);
    assert_eq!(paid.code, 0, "{paid:?}");
    let stranger = scene.json(&scene.wallet(3), &["receive", file.to_str().unwrap()]);
    assert_eq!(stranger.json["error"]["kind"], "not_for_this_wallet", "{stranger:?}");
}

#[test]
fn dust_for_a_new_account_is_not_signed() {
    let scene = Scene::new(TestCommittee::new(4));
    let payer = scene.wallet(0);
    let dust = scene.json(&payer, &["pay", &hex_of(9), "0.49"]);
    assert_eq!((dust.code, &dust.json["error"]["kind"]), (5, &Value::from("below_first_credit")), "{dust:?}");
    assert!(scene.run(&payer, &["pay", &hex_of(9), "0.49"]).stderr.contains("0.50 EUR"));
    assert_eq!(scene.run(&payer, &["pay", &hex_of(9), "0.50"]).code, 0);
    assert_eq!(scene.run(&payer, &["pay", &hex_of(9), "0.01"]).code, 0, "it has an account now");
}

#[test]
fn one_process_at_a_time() {
    let scene = Scene::new(TestCommittee::new(4));
    let payer = scene.wallet(0);
    let lock = meshpay_client::wallet::Store::lock(&payer).unwrap();
    let busy = scene.json(&payer, &["balance"]);
    assert_eq!((busy.code, &busy.json["error"]["kind"]), (8, &Value::from("busy")), "{busy:?}");
    drop(lock);
    assert_eq!(scene.json(&payer, &["balance"]).code, 0);
}

#[test]
fn mistakes_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new(TestCommittee::new(4));
    let payer = scene.wallet(0);
    for (arguments, needle) in [
        (vec!["pay", "12ab", "5"], "64 hex digits"),
        (vec!["pay", &"ff".repeat(32), "5"], "no account"),
        (vec!["pay", &hex_of(1), "5.001"], "decimal places"),
        (vec!["pay", &hex_of(1), "0"], "more than zero"),
        (vec!["pay", &hex_of(1), "5", "--token", "USD"], "no token"),
        (vec!["pay", &hex_of(1), "99999999"], "no more than"),
        (vec!["pay", &hex_of(1), "5", "--memo", "a text that is longer than any memo can be"], "memo"),
        (vec!["balance", "--authority", "nobody=127.0.0.1:1"], "no authority"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(|argument| &**argument).collect();
        let failed = scene.run(&payer, &arguments);
        assert_eq!(failed.code, 2, "{arguments:?}: {failed:?}");
        assert!(failed.stderr.contains(needle), "{arguments:?}: {failed:?}");
    }
    let wrong = scene.command(&payer, &["pay", &hex_of(1), "5"]).env("MESHPAY_PASSPHRASE", "wrong").output();
    assert!(ran(wrong.unwrap()).stderr.contains("passphrase does not open"));
    let key = payer.join("key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(scene.run(&payer, &["balance"]).stderr.contains("chmod 600"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    // A wallet belongs to one network.
    assert_eq!(scene.run(&payer, &["balance"]).code, 0);
    let other = TestCommittee::new(7);
    std::fs::write(scene.path("genesis.toml"), other.genesis.text()).unwrap();
    let foreign = scene.run(&payer, &["balance"]);
    assert!(foreign.stderr.contains("belongs to the network"), "{foreign:?}");
    assert!(scene.run(&scene.path("empty"), &["balance"]).stderr.contains("meshpay keygen"));
}

#[test]
fn a_damaged_order_stops_signing_and_says_what_to_do() {
    let scene = Scene::new(TestCommittee::new(4));
    let payer = scene.wallet(0);
    let killed =
        scene.command(&payer, &["pay", &hex_of(1), "5"]).env("MESHPAY_FAULT", "kill-at:order-persisted").output();
    assert_eq!(killed.unwrap().status.code(), None);
    let file = std::fs::read_dir(payer.join("orders")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&file).unwrap();
    for torn in [&bytes[..0], &bytes[..100], &bytes[..bytes.len() - 1]] {
        std::fs::write(&file, torn).unwrap();
        let failed = scene.json(&payer, &["pay", &hex_of(1), "5"]);
        assert_eq!((failed.code, &failed.json["error"]["kind"]), (1, &Value::from("damaged_order")), "{failed:?}");
    }
}

#[test]
fn authorities_that_lag_are_shown_and_brought_up_to_date() {
    let scene = Scene::new(TestCommittee::new(4));
    let payer = scene.wallet(0);
    scene.committee.with(3, |authority| authority.behaviour = Behaviour::Silent);
    for _ in 0..3 {
        assert_eq!(scene.run(&payer, &["pay", &hex_of(1), "5"]).code, 0);
    }
    scene.committee.with(3, |authority| authority.behaviour = Behaviour::Honest);
    let balance = scene.json(&payer, &["balance"]);
    assert_eq!(balance.json["balances"][0]["agreed"], "85.00", "{balance:?}");
    assert_eq!(balance.json["authorities"][3]["lagging"], true, "{balance:?}");
    assert!(scene.run(&payer, &["balance"]).stdout.contains("lagging"));
    // Now the payment needs it.
    scene.committee.with(0, |authority| authority.behaviour = Behaviour::Silent);
    let paid = scene.json(&payer, &["pay", &hex_of(1), "5"]);
    assert_eq!((paid.code, &paid.json["authorities"][3]["certificates_brought"]), (0, &Value::from(3)), "{paid:?}");
    assert_eq!(scene.committee.with(3, |authority| authority.next_sequence(&account(0))), 4);
}
