//! `check`: is everything readable and whole? Changes nothing, and may be run beside the daemon.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use meshpay_protocol::record::Record;

use crate::directory::Directory;
use crate::journal::{self, Identity, MarkPlace, RealDisk};
use crate::key::KeyFile;
use crate::settings::Settings;
use crate::state::known_kinds;

/// Flags of `check`.
#[derive(clap::Args)]
pub struct Check {
    /// The authority's directory.
    #[arg(long)]
    directory: PathBuf,
}

impl Check {
    pub fn run(self) -> Result<ExitCode> {
        let directory = Directory::new(&self.directory);
        let settings = Settings::read(&directory.settings())?;
        println!("settings   {}: good", directory.settings().display());
        let (genesis, allocations) = directory.read_genesis()?;
        let rules = genesis.rules()?;
        println!(
            "genesis    {} ({}), {} authorities, {} allocations: good",
            genesis.name,
            &hex::encode(rules.genesis.0)[..16],
            rules.committee.members().len(),
            allocations.len()
        );
        let key = KeyFile::read(&directory.key())?;
        let public_key = key.signing_key().public_key();
        let place = rules
            .committee
            .place_of(&public_key)
            .with_context(|| format!("the key {} is not in the committee", hex::encode(public_key)))?;
        println!("key        {} at place {place}: good", &hex::encode(public_key)[..16]);
        let number = key.journal.context("no journal was made for this key yet; run `init` with --genesis")?;
        let identity = Identity { journal: number, network: rules.genesis.0 };
        let mark =
            MarkPlace { disk: Arc::new(RealDisk::open_read_only(directory.path())), name: Directory::MARK.to_owned() };
        let marked = journal::marked(&mark, &identity)?;
        let disk = RealDisk::open_read_only(&directory.journal());
        let read = journal::inspect(&disk, Some(&identity), None, known_kinds(), &mut |position, kind, payload| {
            Record::parse(kind, payload)
                .map(|_| ())
                .ok_or_else(|| format!("the record of kind {kind} at {position} does not have that kind's form").into())
        })?;
        if read.head < marked {
            bail!(
                "the journal can be read up to {} only, but was durable up to {marked}: the next start will be refused; \
                 keep the directory as evidence",
                read.head
            );
        }
        println!("journal    {} records to {}: good", read.records, read.head);
        if let Some(cut) = read.cut {
            println!(
                "           a torn tail begins in {} at byte {}; the next start cuts it off",
                cut.file, cut.offset
            );
        }
        println!("durability {}", settings.journal.durability.durability().name());
        Ok(ExitCode::SUCCESS)
    }
}
