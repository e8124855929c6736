//! Every input that was ever kept, through its target, on the ordinary compiler: what was found once stays found.
//!
//! `corpus/TARGET/` holds what the fuzzer starts from, `crashes/TARGET/` what has once broken a promise and was put right.

use meshpay_fuzz::TARGETS;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Most bytes of all committed inputs together.
const KEPT_BYTES_MAX: u64 = 300_000;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_kept_input_breaks_no_promise() {
    let mut inputs = 0;
    for target in &TARGETS {
        let kept = [folder("corpus").join(target.name), folder("crashes").join(target.name)];
        for path in kept.iter().flat_map(|folder| files(folder)) {
            let bytes = std::fs::read(&path).unwrap();
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
            if std::panic::catch_unwind(|| (target.run)(&bytes)).is_err() {
                panic!("replay: cargo run -p meshpay-fuzz -- {} fuzz/{name}", target.name);
            }
            inputs += 1;
        }
    }
    assert!(inputs > 0, "nothing was replayed");
}

#[test]
fn every_target_has_a_corpus_and_no_folder_lacks_a_target() {
    let names: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names.len(), TARGETS.len(), "names differ");
    let corpora: BTreeSet<_> =
        files(&folder("corpus")).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(corpora, names);
    for path in files(&folder("crashes")) {
        assert!(names.contains(path.file_name().unwrap().to_str().unwrap()), "{} has no target", path.display());
    }
}

#[test]
fn the_seeds_break_no_promise_and_the_corpora_stay_small() {
    for target in &TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        seeds.iter().for_each(|bytes| (target.run)(bytes));
    }
    let all = TARGETS.iter().flat_map(|target| files(&folder("corpus").join(target.name)));
    let sum: u64 = all.map(|path| path.metadata().unwrap().len()).sum();
    assert!(sum <= KEPT_BYTES_MAX, "{sum} bytes; `cargo xtask fuzz --minimise` keeps what is needed");
}

#[test]
#[ignore = "writes the seeds into corpus/"]
fn write_the_seeds() {
    for target in &TARGETS {
        let to = folder("corpus").join(target.name);
        std::fs::create_dir_all(&to).unwrap();
        for (number, bytes) in (target.seeds)().iter().enumerate() {
            std::fs::write(to.join(format!("seed-{number:02}")), bytes).unwrap();
        }
    }
}
