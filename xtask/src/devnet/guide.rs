//! What a newcomer reads: who runs where, and commands that can be pasted as they are.

use super::authorities::Authorities;
use super::network::{AUTHORITIES, Network, WALLETS};
use std::fmt::Write;
use std::path::PathBuf;

/// The guide.
pub fn text(network: &Network, authorities: &Authorities<'_>) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(String::new());
    line(if network.continued {
        "Your network runs again, with all that was paid on it: four authorities, of whom any three are a quorum."
            .to_owned()
    } else {
        "Your network runs: four authorities, each with a journal of its own on disk. Any three are a quorum."
            .to_owned()
    });
    line(String::new());
    for (place, name) in AUTHORITIES.iter().enumerate() {
        let id = authorities.id(place).unwrap_or_default();
        let log = network.shown(&network.path(&format!("{name}.log")));
        line(format!(
            "  {name:<6} {}   metrics http://{}/metrics   process {id:<7} {log}",
            network.listen(place),
            network.metrics(place)
        ));
    }
    line(String::new());
    let held: Vec<String> = WALLETS
        .iter()
        .map(|(name, cents)| format!("{name} was given {}.{:02} EUR", cents / 100, cents % 100))
        .collect();
    line(format!("There are two wallets: {}. Open a second terminal in this folder and paste:", held.join(", ")));
    line(String::new());
    let (alice, bob) = (network.shown(&network.path("alice")), network.shown(&network.path("bob")));
    let certificate = network.shown(&unused(network, "bread"));
    let passphrase = network.shown(&network.path("passphrase"));
    let programs = network.shown(network.programs());
    let pay = format!("{programs}/meshpay pay --wallet {alice} --passphrase-file {passphrase} {}", network.accounts[1]);
    let victim = AUTHORITIES.len() - 1;
    let name = AUTHORITIES[victim];
    let steps = [
        ("what Alice has", format!("{programs}/meshpay balance --wallet {alice}")),
        ("Alice pays Bob for bread", format!("{pay} 12.50 --memo bread --out {certificate}")),
        (
            "Bob checks the certificate; this needs no network",
            format!("{programs}/meshpay verify --wallet {bob} {certificate}"),
        ),
        ("what Bob has", format!("{programs}/meshpay balance --wallet {bob}")),
        ("pull the plug on one authority", format!("kill -9 {}", authorities.id(victim).unwrap_or_default())),
        ("payments go on", format!("{pay} 1")),
        (
            "start it again (or press Enter here); it recovers from its journal",
            format!("{programs}/meshpay-authority run --directory {}", network.shown(&network.path(name))),
        ),
    ];
    for (what, command) in steps {
        line(format!("  # {what}"));
        line(format!("  {command}"));
        line(String::new());
    }
    line("Ctrl-C here stops the authorities and keeps what was paid.".to_owned());
    out
}

/// A name for a certificate that no earlier run has used, since a wallet overwrites none.
fn unused(network: &Network, what: &str) -> PathBuf {
    let numbered = (2..).map(|number| network.path(&format!("{what}-{number}.certificate")));
    let mut names = std::iter::once(network.path(&format!("{what}.certificate"))).chain(numbered);
    names.find(|path| !path.exists()).unwrap_or_default()
}
