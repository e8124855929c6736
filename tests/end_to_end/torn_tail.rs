//! What a power cut leaves at the journal's end is cut off; what was once durable and has changed is refused by name.

use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use meshpay_tests::random::Random;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The file of the journal that was written last, and where its written part ends.
fn end_of_journal(journal: &Path) -> Result<(PathBuf, u64)> {
    let mut ends = Vec::new();
    for entry in std::fs::read_dir(journal)? {
        let path = entry?.path();
        let bytes = std::fs::read(&path)?;
        // Segments lie allocated ahead and hold zeros; the first block names the file and is not content.
        let content = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        if content >= 4_096 {
            ends.push((path, content as u64 + 1));
        }
    }
    ends.sort();
    ends.pop().context("the journal holds nothing")
}

#[test]
fn a_torn_tail_is_cut_off_and_nothing_acknowledged_is_lost() -> Result<()> {
    let mut scene = Scene::start()?;
    let mut random = Random::new("torn tail")?;
    for round in 0..12 {
        scene.pay(1)?;
        let locked = scene.alice_pays(scene.ledger.next_sequence(&scene.alice.public), 2);
        scene.voted(&locked)?;
        scene.committee.daemons[0].kill()?;
        let (file, end) = end_of_journal(&scene.committee.daemons[0].directory.join("journal"))?;
        let journal = File::options().read(true).write(true).open(&file)?;
        let mut torn = vec![0; 1 + random.below(9_000)];
        match round % 3 {
            0 => random.fill(&mut torn),
            // As a write that got half of its blocks out: the beginning of what was written before, again.
            1 => {
                let half = torn.len().min(512).min((end - 4_096) as usize);
                journal.read_exact_at(&mut torn[..half], 4_096)?;
            }
            // Blocks that arrived without those before them.
            _ => {
                let half = torn.len() / 2;
                random.fill(&mut torn[half..]);
            }
        }
        // What is written at once never shares a block with anything else, so what a torn write leaves begins at a block.
        let aligned = end.next_multiple_of(4_096);
        let room = journal.metadata()?.len().saturating_sub(aligned) as usize;
        torn.truncate(room);
        journal.write_all_at(&torn, aligned)?;
        scene.committee.daemons[0]
            .start()
            .with_context(|| format!("round {round}, {} torn bytes at {aligned}", torn.len()))?;
        scene.state_is_right()?;
        // The lock too was answered for.
        let other = scene.alice_pays(locked.body.sequence.get(), 3);
        scene.refused(&other, meshpay_wire::RefusalCode::Conflict)?;
        let certificate = scene.certified(locked);
        scene.executed(&certificate)?;
    }
    scene.stop_and_audit()
}

#[test]
fn a_flipped_byte_is_detected() -> Result<()> {
    let mut scene = Scene::start()?;
    let mut random = Random::new("flipped bytes")?;
    for _ in 0..4 {
        scene.pay(1)?;
    }
    let locked = scene.alice_pays(4, 2);
    scene.voted(&locked)?;
    scene.stop_and_audit()?;
    let (file, end) = end_of_journal(&scene.committee.daemons[0].directory.join("journal"))?;
    let journal = File::options().read(true).write(true).open(&file)?;
    let flips = 60 * meshpay_tests::scale();
    let name = file.file_name().context("a file has a name")?.to_string_lossy().into_owned();
    for _ in 0..flips {
        let offset = 4_096 + random.below((end - 4_096) as usize) as u64;
        let mut byte = [0];
        journal.read_exact_at(&mut byte, offset)?;
        let flipped = [byte[0] ^ 1 << random.below(8)];
        journal.write_all_at(&flipped, offset)?;
        let message = scene.committee.daemons[0]
            .refuses_to_start()
            .with_context(|| format!("byte {offset} of {name}, which ends at {end}, was flipped"))?;
        ensure!(message.contains(&name), "the message must name the file {name}: {message}");
        let audit = scene.committee.daemons[0].run_audit(None)?;
        ensure!(audit.code == Some(1), "an audit passed over a flipped byte at {offset}: {audit:?}");
        journal.write_all_at(&byte, offset)?;
    }
    scene.committee.daemons[0].start()?;
    scene.state_is_right()?;
    scene.stop_and_audit()
}
