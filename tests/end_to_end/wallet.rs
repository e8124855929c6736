//! The `meshpay` command against real authorities: pay, verify, look at balances, with one authority gone, after a kill.

use anyhow::{Context, Result, ensure};
use meshpay_tests::committee::{Committee, Plan};
use meshpay_tests::network::EURO;
use meshpay_tests::process::finish;
use meshpay_tests::wallet::Wallet;

/// Four daemons; Alice has money, Bob has a wallet.
fn four() -> Result<(Committee, Wallet, Wallet)> {
    let committee = Plan::with_daemons(4).fund_wallet("alice", 100_000)?.start()?;
    let (alice, bob) = (committee.wallet("alice")?, committee.wallet("bob")?);
    Ok((committee, alice, bob))
}

/// All four executed the same, to the last cent.
fn all_agree(committee: &mut Committee, wallets: &[(&Wallet, i128)]) -> Result<()> {
    let mut digests = Vec::new();
    for daemon in &mut committee.daemons {
        ensure!(daemon.stop()?.success(), "authority {} did not stop cleanly", daemon.place);
        let report = daemon.audit()?;
        digests.push(report["state_digest"].clone());
        let accounts = daemon.audited_accounts()?;
        for (wallet, balance) in wallets {
            let held = accounts.get(&(hex::encode(wallet.account), EURO)).map_or(0, |(_, held)| *held);
            ensure!(held == *balance, "authority {} holds {held} where {balance} must be", daemon.place);
        }
    }
    ensure!(digests.iter().all(|digest| *digest == digests[0]), "state digests differ: {digests:?}");
    Ok(())
}

#[test]
fn pays_and_the_recipient_checks_it_offline() -> Result<()> {
    let (mut committee, alice, bob) = four()?;
    let certificate = committee.scratch().join("for-bob.certificate");
    let file = certificate.to_str().context("a path in text")?;
    let paid =
        alice.run("pay", &["--minor-units", &hex::encode(bob.account), "1250", "--memo", "bread", "--out", file])?;
    ensure!(paid["result"] == "final" && paid["quorum_acknowledged"] == true, "{paid}");
    ensure!(alice.balance()? == 98_750 && bob.balance()? == 1_250, "wrong balances");
    // Offline: every daemon is stopped, and only the genesis file is read.
    all_agree(&mut committee, &[(&alice, 98_750), (&bob, 1_250)])?;
    let verified = bob.run("verify", &[file])?;
    ensure!(verified["valid"] == true && verified["pays_this_wallet"] == true, "{verified}");
    let mut bytes = std::fs::read(&certificate)?;
    let at = bytes.len() / 2;
    bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
    std::fs::write(&certificate, bytes)?;
    let refused = bob.try_run("verify", &[file])?;
    ensure!(matches!(refused.code, Some(1 | 4)), "a changed certificate was taken: {refused:?}");
    Ok(())
}

#[test]
fn payments_go_on_with_one_authority_gone_and_it_catches_up() -> Result<()> {
    let (mut committee, alice, bob) = four()?;
    alice.pay(&bob.account, 100)?;
    committee.daemons[2].kill()?;
    for amount in [10, 20, 30] {
        let paid = alice.pay(&bob.account, amount)?;
        ensure!(paid["quorum_acknowledged"] == true, "{paid}");
    }
    ensure!(bob.balance()? == 160, "Bob was paid");
    // Back again, it is brought what it missed by the next payment.
    committee.daemons[2].start()?;
    alice.pay(&bob.account, 1)?;
    bob.pay(&alice.account, 61)?;
    alice.run("resume", &[])?;
    bob.run("resume", &[])?;
    all_agree(&mut committee, &[(&alice, 99_900), (&bob, 100)])
}

#[test]
fn killed_between_writing_and_sending_it_pays_once() -> Result<()> {
    let (mut committee, alice, bob) = four()?;
    for (round, point) in ["order-persisted", "certified", "certificate-kept", "before-rename"].into_iter().enumerate()
    {
        let mut pay = alice.command_killed_at(point, "pay")?;
        pay.args(["--minor-units", &hex::encode(bob.account), "500"]);
        let killed = finish(pay)?;
        ensure!(killed.code.is_none(), "the wallet was not killed at {point}: {killed:?}");
        // It does not sign another order for that sequence, whatever it is asked.
        if point == "order-persisted" {
            let refused = alice.try_run("pay", &["--minor-units", &hex::encode(bob.account), "7"])?;
            ensure!(refused.code == Some(3), "another order was signed: {refused:?}");
        }
        alice.run("resume", &[])?;
        let (paid, nothing) = (500 * (round as i128 + 1), 500 * round as i128);
        let held = bob.balance()?;
        // Killed before the order was whole on the disk, there was no payment; otherwise there is one.
        ensure!(held == paid || (point == "before-rename" && held == nothing), "after {point} Bob holds {held}");
    }
    let held = bob.balance()?;
    alice.pay(&bob.account, 1)?;
    all_agree(&mut committee, &[(&alice, 100_000 - held - 1), (&bob, held + 1)])
}

#[test]
fn without_a_quorum_it_stays_safe_and_resumes() -> Result<()> {
    let (mut committee, mut alice, bob) = four()?;
    // Two of four are gone: no quorum can vote.
    for place in [0, 1] {
        committee.daemons[place].kill()?;
    }
    alice.timeout_ms = 1_500;
    let refused = alice.try_run("pay", &["--minor-units", &hex::encode(bob.account), "40"])?;
    ensure!(matches!(refused.code, Some(3 | 6)), "a payment without a quorum: {refused:?}");
    for place in [0, 1] {
        committee.daemons[place].start()?;
    }
    alice.timeout_ms = 60_000;
    alice.run("resume", &[])?;
    let before = bob.balance()?;
    alice.pay(&bob.account, 5)?;
    all_agree(&mut committee, &[(&alice, 100_000 - before - 5), (&bob, before + 5)])
}
