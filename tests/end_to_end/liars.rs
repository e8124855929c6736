//! A committee of seven, two of whom lie in every way there is: payments settle, and nobody believes them.

use anyhow::{Result, ensure};
use meshpay_tests::committee::Plan;
use meshpay_tests::liar::{self, Liar, Lie};

#[test]
fn two_of_seven() -> Result<()> {
    let (first_socket, first) = liar::socket()?;
    let (second_socket, second) = liar::socket()?;
    let plan = Plan::with_daemons(5).puppet_at(first).puppet_at(second);
    let mut committee = plan.fund_wallet("alice", 10_000)?.start()?;
    let lies = [Lie::WrongSignature, Lie::WrongDigest, Lie::FalseRefusal, Lie::FalseName];
    let backwards: Vec<Lie> = lies.into_iter().rev().collect();
    let liars = [
        Liar::start(first_socket, 5, committee.network.clone(), lies.to_vec())?,
        Liar::start(second_socket, 6, committee.network.clone(), backwards)?,
    ];
    let (alice, bob) = (committee.wallet("alice")?, committee.wallet("bob")?);
    for _ in 0..6 {
        let paid = alice.pay(&bob.account, 100)?;
        ensure!(paid["quorum_acknowledged"] == true, "{paid}");
    }
    bob.pay(&alice.account, 250)?;
    ensure!(alice.balance()? == 9_650 && bob.balance()? == 350, "wrong balances");
    for liar in &liars {
        ensure!(liar.answered() > 10, "a liar was asked {} times only", liar.answered());
    }
    // With the liars, one more silent authority would be one too many; without it, they are too few to matter.
    alice.run("resume", &[])?;
    bob.run("resume", &[])?;
    let mut digests = Vec::new();
    for daemon in &mut committee.daemons {
        ensure!(daemon.stop()?.success(), "authority {} did not stop cleanly", daemon.place);
        digests.push(daemon.audit()?["state_digest"].clone());
    }
    ensure!(digests.iter().all(|digest| *digest == digests[0]), "state digests differ: {digests:?}");
    Ok(())
}
