//! `init` and `adopt`: an authority's directory begins, or moves.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use meshpay_protocol::record::{GenesisRecord, kind};
use zerocopy::IntoBytes;

use super::run::Overrides;
use crate::daemon::journal_config;
use crate::directory::{Directory, read_genesis, write_durably};
use crate::journal::{self, Disk, Identity, MarkPlace, Position, RealDisk};
use crate::key::KeyFile;
use crate::settings::Settings;

/// Flags of `init`.
#[derive(clap::Args)]
pub struct Init {
    /// The authority's directory; made if it does not exist.
    #[arg(long)]
    directory: PathBuf,
    /// Genesis file; with it the journal is made too.
    #[arg(long, requires = "allocations")]
    genesis: Option<PathBuf>,
    /// Allocations of that genesis.
    #[arg(long, requires = "genesis")]
    allocations: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
}

impl Init {
    pub fn run(self) -> Result<ExitCode> {
        let directory = Directory::new(&self.directory);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory.path())
            .with_context(|| format!("cannot make the directory {}", directory.path().display()))?;
        if !directory.key().exists() {
            KeyFile::generate()?.write(&directory.key())?;
        }
        let mut key = KeyFile::read(&directory.key())?;
        let public_key = key.signing_key().public_key();
        println!("{}", hex::encode(public_key));
        let (Some(genesis_path), Some(allocations_path)) = (self.genesis, self.allocations) else {
            eprintln!(
                "This is the authority's public key. Put it into the genesis, then run `init` again with --genesis and --allocations."
            );
            return Ok(ExitCode::SUCCESS);
        };

        let mut settings =
            if directory.settings().exists() { Settings::read(&directory.settings())? } else { Settings::default() };
        self.overrides.apply(&mut settings);
        settings.check()?;
        let (genesis, allocations) = read_genesis(&genesis_path, &allocations_path)?;
        settings.accounts.capacity = settings.accounts.capacity.max(allocations.len() as u64);
        let rules = genesis.rules()?;
        if rules.committee.place_of(&public_key).is_none() {
            bail!(
                "the key {} in {} is not in the committee of {}; put it there, or init another directory",
                hex::encode(public_key),
                directory.key().display(),
                genesis_path.display()
            );
        }
        if key.journal.is_some() {
            bail!(
                "the key in {} has had a journal before. A key votes with one journal only, so that nothing it has signed can be \
                 forgotten: to start anew, make a new key in another directory and join with it.",
                directory.key().display()
            );
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory.journal())?;
        fs::set_permissions(directory.journal(), fs::Permissions::from_mode(0o700))?;
        let copy = |path: PathBuf, text: String| {
            write_durably(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
        };
        copy(directory.genesis(), genesis.text())?;
        copy(directory.allocations(), meshpay_protocol::genesis::allocations_text(&allocations))?;
        copy(directory.settings(), settings.text())?;

        let mut number = [0; 32];
        getrandom::fill(&mut number).map_err(|error| anyhow::anyhow!("the kernel gave no random bytes: {error}"))?;
        let identity = Identity { journal: number, network: rules.genesis.0 };
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(&directory.journal())?);
        let mark = MarkPlace { disk: Arc::new(RealDisk::open(directory.path())?), name: Directory::MARK.to_owned() };
        let config = journal_config(&settings);
        journal::create(&disk, &mark, &identity, &config)?;
        let (mut journal, _) =
            journal::recover(&disk, &mark, &identity, &config, Position::START, &mut |_, _, _| Ok(()))?;
        let first = GenesisRecord { genesis: rules.genesis.0, authority: public_key };
        journal.handle().append(kind::GENESIS, &[first.as_bytes()])?;
        journal.commit()?;
        journal.stop()?;
        // Last: a key that names a journal is a key that has one.
        key.journal = Some(number);
        key.write(&directory.key())?;
        eprintln!(
            "Authority {} of network {} is ready in {}. Start it with `meshpay-authority run --directory {}`.",
            &hex::encode(public_key)[..16],
            genesis.name,
            directory.path().display(),
            directory.path().display()
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `adopt`.
#[derive(clap::Args)]
pub struct Adopt {
    /// The authority's directory, in its new place.
    #[arg(long)]
    directory: PathBuf,
    /// You have made sure that the old place will never run again: two copies of one authority sign against each other.
    #[arg(long, required = true)]
    the_other_copy_is_destroyed: bool,
}

impl Adopt {
    pub fn run(self) -> Result<ExitCode> {
        let directory = Directory::new(&self.directory);
        let key = KeyFile::read(&directory.key())?;
        let rules = directory.read_genesis()?.0.rules()?;
        let number = key.journal.context("no journal was made for this key yet; there is nothing to adopt")?;
        let identity = Identity { journal: number, network: rules.genesis.0 };
        let disk = RealDisk::open(&directory.journal())?;
        let mark = MarkPlace { disk: Arc::new(RealDisk::open(directory.path())?), name: Directory::MARK.to_owned() };
        journal::adopt(&disk, &mark, &identity)?;
        eprintln!("{} is now the only place of this authority.", directory.path().display());
        Ok(ExitCode::SUCCESS)
    }
}
