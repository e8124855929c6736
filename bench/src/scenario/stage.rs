//! What a session stands on: a folder on a disk that is removed afterwards, the cores, and the link.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, ensure};

use super::session::SessionRequest;
use super::{Cores, Durability, LinkChoice, Options, Scenario};
use crate::cpu;
use crate::link::{Link, LinkRequest};
use crate::machine::{self, FileSystem, SyncTime};
use crate::progress::Console;
use crate::workload::{Trace, Wallets};

/// All of it. Dropping it takes the link down and removes the folder, unless that is to be kept.
pub struct Stage {
    /// The file system of the journals.
    pub file_system: FileSystem,
    /// How long its disk takes to sync.
    pub sync_time: SyncTime,
    /// Who runs where.
    pub cores: Cores,
    /// What the sides are connected by.
    pub link: Link,
    scenario: Scenario,
    folder: WorkFolder,
}

impl Stage {
    /// Makes it for a scenario, and says what it is.
    ///
    /// # Errors
    /// If the folder is there already or would not survive a power cut, or there is no such link here.
    pub fn build(scenario: Scenario, options: &Options, console: &Console) -> Result<Self> {
        let folder = WorkFolder::make(options, scenario)?;
        let file_system = FileSystem::of(folder.path())?;
        ensure!(
            !(file_system.is_memory() && options.durability == Durability::PowerLoss),
            "{} is on {file_system}, which forgets all at a power cut; give a folder on a disk by --keep, or --durability process",
            folder.path().display()
        );
        let sync_time = machine::measure_sync(folder.path())?;
        let cores = Cores::share(cpu::core_count(), scenario, options.committee)?;
        let wanted =
            LinkRequest { napi_scheduling: options.napi, ..LinkRequest::new(cores.authority[0], cores.generator) };
        let link = match options.link {
            LinkChoice::Auto => Link::open(wanted)?,
            LinkChoice::Veth => Link::open_veth(wanted)?,
            LinkChoice::Loopback => Link::open_loopback(wanted, "as asked for")?,
        };
        console.say(&format!(
            "authorities on cores {:?}, generator on core {}; {}; {file_system}, a sync takes {} us (p99 {} us)",
            cores.of_authorities(),
            cores.generator,
            link.description(),
            sync_time.p50,
            sync_time.p99
        ));
        Ok(Self { file_system, sync_time, cores, link, scenario, folder })
    }

    /// What a session on it is made of.
    pub fn request<'a>(
        &'a self,
        options: &'a Options,
        wallets: &'a Wallets,
        trace: Option<&'a Trace>,
        stop: &'a AtomicBool,
        console: &'a Console,
    ) -> SessionRequest<'a> {
        SessionRequest {
            scenario: self.scenario,
            options,
            cores: &self.cores,
            link: &self.link,
            wallets,
            trace,
            folder: self.folder.path(),
            stop,
            console,
        }
    }
}

/// Removes folders of runs whose process was killed: their names end with its id. What cannot be removed stays.
fn remove_leftovers(work: &Path) {
    let Ok(entries) = fs::read_dir(work) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((scenario, pid)) = name.to_str().and_then(|name| name.rsplit_once('-')) else { continue };
        let ours = [Scenario::Single, Scenario::Committee].iter().any(|known| known.name() == scenario);
        if ours && pid.parse::<u32>().is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A folder for one run, removed afterwards unless it is to be kept.
struct WorkFolder {
    path: PathBuf,
    keep: bool,
}

impl WorkFolder {
    fn make(options: &Options, scenario: Scenario) -> Result<Self> {
        remove_leftovers(&options.work);
        let keep = options.keep.is_some();
        let path = match &options.keep {
            Some(keep) => keep.join(scenario.name()),
            None => options.work.join(format!("{}-{}", scenario.name(), std::process::id())),
        };
        ensure!(!path.exists(), "{} exists already; remove it or name another folder by --keep", path.display());
        fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self { path, keep })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_dead_runs_are_removed() {
        let work = tempfile::tempdir().expect("a folder");
        // Process ids end at 2^22.
        let [dead, ours, other] =
            [&"single-99999999".to_owned(), &format!("single-{}", std::process::id()), &"mine-99999999".to_owned()];
        for name in [dead, ours, other] {
            fs::create_dir(work.path().join(name)).expect("a folder");
        }
        remove_leftovers(work.path());
        let left = |name: &str| work.path().join(name).exists();
        assert_eq!((left(dead), left(ours), left(other)), (false, true, true));
    }
}
