//! What lies where in an authority's directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use meshpay_protocol::{Allocation, Genesis, genesis};

/// Names in the directory.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// The directory at a path.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
    /// Settings.
    pub fn settings(&self) -> PathBuf {
        self.0.join("authority.toml")
    }
    /// Secret key and journal identity.
    pub fn key(&self) -> PathBuf {
        self.0.join("key")
    }
    /// Name of the journal's 'durable to' mark, beside the key.
    pub const MARK: &str = "key.mark";
    /// Genesis.
    pub fn genesis(&self) -> PathBuf {
        self.0.join("genesis.toml")
    }
    /// The genesis' allocations.
    pub fn allocations(&self) -> PathBuf {
        self.0.join("allocations.csv")
    }
    /// Segments of the journal.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }
    /// The account table's image.
    pub fn image(&self) -> PathBuf {
        self.0.join("accounts.image")
    }

    /// Reads genesis and allocations and checks that they belong together.
    pub fn read_genesis(&self) -> Result<(Genesis, Vec<Allocation>)> {
        read_genesis(&self.genesis(), &self.allocations())
    }

    /// Reads the genesis without its allocations, which may take long.
    pub fn read_genesis_alone(&self) -> Result<Genesis> {
        parse_genesis(&self.genesis())
    }

    /// Reads the allocations and checks that they are those of the genesis.
    pub fn read_allocations(&self, genesis: &Genesis) -> Result<Vec<Allocation>> {
        parse_allocations(genesis, &self.allocations())
    }
}

/// Reads a genesis and its allocations and checks that they belong together.
pub fn read_genesis(genesis_path: &Path, allocations_path: &Path) -> Result<(Genesis, Vec<Allocation>)> {
    let genesis = parse_genesis(genesis_path)?;
    let allocations = parse_allocations(&genesis, allocations_path)?;
    Ok((genesis, allocations))
}

fn parse_genesis(path: &Path) -> Result<Genesis> {
    Genesis::parse(&read(path)?).with_context(|| format!("in {}", path.display()))
}

fn parse_allocations(genesis: &Genesis, path: &Path) -> Result<Vec<Allocation>> {
    let allocations = genesis::parse_allocations(&read(path)?).with_context(|| format!("in {}", path.display()))?;
    genesis.check_allocations(&allocations).with_context(|| format!("in {}", path.display()))?;
    Ok(allocations)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Makes the entry of a new file in its directory durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?.sync_all(),
        None => Ok(()),
    }
}

/// Writes a whole file and makes it durable before it bears its name.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_parent(path)
}
