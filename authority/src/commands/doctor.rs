//! `doctor`: what an interface can do, and what stands in the way. Changes nothing and needs no right.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use meshpay_net::host::{Capabilities, Interface, Kernel, Link};
use meshpay_net::rung::Rung;
use serde_json::json;

use crate::doctor::{Facts, best, report, verdicts};

/// Flags of `doctor`.
#[derive(clap::Args)]
pub struct Doctor {
    /// The interface; without it all are shown in short.
    interface: Option<String>,
    /// Worker threads that the daemon will have.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=crate::settings::WORKERS_MAX as i64))]
    workers: u16,
    /// Fail (exit code 1) if the interface cannot reach this rung: udp, xdp-udp, xdp-udp-xsk-out, xsk-copy, xsk-zero-copy.
    #[arg(long, requires = "interface")]
    require: Option<Rung>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn run(self) -> Result<ExitCode> {
        let kernel = Kernel::read();
        let capabilities = Capabilities::held().context("cannot read this process's rights")?;
        let interfaces = match &self.interface {
            Some(name) => vec![named(name)?],
            None => Interface::all()?,
        };
        let examined: Vec<_> = interfaces
            .into_iter()
            .map(|interface| {
                let facts = Facts {
                    kernel: kernel.clone(),
                    capabilities,
                    interface,
                    workers: usize::from(self.workers),
                    page_bytes: rustix::param::page_size(),
                };
                let verdicts = verdicts(&facts, |_| None);
                (facts, verdicts)
            })
            .collect();

        if self.json {
            let interfaces: Vec<_> =
                examined.iter().map(|(facts, verdicts)| report::interface_json(facts, verdicts)).collect();
            let all = json!({"host": report::host_json(&kernel, &capabilities), "interfaces": interfaces});
            println!("{}", serde_json::to_string_pretty(&all)?);
        } else {
            println!("{}", report::host(&kernel, &capabilities));
            if self.interface.is_none() {
                println!("{}", report::heading());
            }
            for (facts, verdicts) in &examined {
                match self.interface {
                    Some(_) => print!("{}", report::interface(facts, verdicts)),
                    None => println!("{}", report::line(facts, verdicts)),
                }
            }
            if self.interface.is_none() {
                println!("\n`meshpay-authority doctor INTERFACE` says why, and what to do.");
            }
        }
        if let (Some(required), Some((facts, verdicts))) = (self.require, examined.first()) {
            let reached = verdicts.iter().any(|verdict| verdict.rung >= required && verdict.reached());
            if !reached {
                bail!("{} reaches {}, not {required}", facts.interface.link.name, best(verdicts));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The interface, or an error that names those there are.
fn named(name: &str) -> Result<Interface> {
    match Interface::named(name) {
        Err(error) if error.is_absent() => {
            let names: Vec<String> = Link::all()?.into_iter().map(|link| link.name).collect();
            bail!("there is no interface {name:?} in this network namespace; there are {}", names.join(", "))
        }
        other => Ok(other?),
    }
}
