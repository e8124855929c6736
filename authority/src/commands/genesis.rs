//! `genesis`: writes a genesis file.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use meshpay_protocol::{Genesis, genesis};

use crate::directory::write_durably;

/// Flags of `genesis`.
#[derive(clap::Args)]
pub struct MakeGenesis {
    /// Name of the network.
    #[arg(long)]
    name: String,
    /// First epoch.
    #[arg(long, default_value_t = 0)]
    epoch: u32,
    /// Least amount of an account's first credit, in minor units.
    #[arg(long, default_value_t = 1)]
    minimum_first_credit: u64,
    /// A token as NUMBER:SYMBOL:DECIMALS, for example 1:EUR:2. Repeat for more.
    #[arg(long = "token", required = true, value_parser = parse_token)]
    tokens: Vec<(u32, String, u8)>,
    /// An authority as NAME,KEY,WEIGHT,ADDRESS:PORT; KEY as `init` prints it. Repeat for all, in order.
    #[arg(long = "member", required = true, value_parser = parse_member)]
    members: Vec<genesis::MemberEntry>,
    /// First balances: lines of ACCOUNT,TOKEN,AMOUNT.
    #[arg(long)]
    allocations: PathBuf,
    /// File to write.
    #[arg(long)]
    out: PathBuf,
}

impl MakeGenesis {
    pub fn run(self) -> Result<ExitCode> {
        let text = fs::read_to_string(&self.allocations)
            .with_context(|| format!("cannot read {}", self.allocations.display()))?;
        let allocations =
            genesis::parse_allocations(&text).with_context(|| format!("in {}", self.allocations.display()))?;
        let genesis =
            Genesis::new(&self.name, self.epoch, self.minimum_first_credit, self.tokens, self.members, &allocations)?;
        write_durably(&self.out, genesis.text().as_bytes())
            .with_context(|| format!("cannot write {}", self.out.display()))?;
        println!("{}", hex::encode(genesis.digest()?.0));
        Ok(ExitCode::SUCCESS)
    }
}

fn parse_token(text: &str) -> Result<(u32, String, u8), String> {
    let parts: Vec<&str> = text.split(':').collect();
    let [id, symbol, decimals] = parts[..] else { return Err("expected NUMBER:SYMBOL:DECIMALS".to_owned()) };
    let id = id.parse().map_err(|_| format!("{id} is no token number"))?;
    let decimals = decimals.parse().map_err(|_| format!("{decimals} is no number of decimals"))?;
    Ok((id, symbol.to_owned(), decimals))
}

fn parse_member(text: &str) -> Result<genesis::MemberEntry, String> {
    let parts: Vec<&str> = text.split(',').collect();
    let [name, key, weight, address] = parts[..] else {
        return Err("expected NAME,KEY,WEIGHT,ADDRESS:PORT".to_owned());
    };
    let weight = weight.parse().map_err(|_| format!("{weight} is no weight"))?;
    let address: SocketAddr = address.parse().map_err(|_| format!("{address} is no address and port"))?;
    Ok(genesis::MemberEntry { name: name.to_owned(), key: key.to_owned(), weight, address: Some(address) })
}
