//! The wallet's key file: an age file under a passphrase, and the seed inside.
//!
//! Promised: no file panics; a key comes out only of a seed of the right form, and then it is that seed's key.
//!
//! The first byte says whether what follows is the file itself, or the text that is put into a right one. Files that ask for much work are
//! left out: how much is accepted is fixed (`SCRYPT_LOG_N_MAX`), and the work is age's own. Encryption draws a salt; nothing here depends on it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use meshpay_client::wallet::{KeyError, KeyFile, Secret};
use meshpay_crypto::SigningKey;

/// Whether the rest is a text that is encrypted, or a file.
pub const TEXT: u8 = 1;
/// The passphrase of every file.
pub const PASSPHRASE: &str = "fuzz";
/// Work that a run may cost, as a power of two; as little as a file can ask for.
const LOG_N: u8 = 1;
const PREFIX: &[u8] = b"meshpay-seed-v1 ";

/// A folder that goes with the run, in memory where there is such a place.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("meshpay-fuzz-key-").tempdir_in(parent).expect("a folder for a key file")
}

/// A text under the passphrase.
pub fn encrypted(text: &[u8]) -> Vec<u8> {
    let mut recipient = age::scrypt::Recipient::new(PASSPHRASE.to_owned().into());
    recipient.set_work_factor(LOG_N);
    age::encrypt(&recipient, text).expect("encryption needs memory only")
}

/// Whether an age file asks for more work than a fuzzer has the time for: `-> scrypt SALT LOG_N`.
fn asks_for_work(file: &[u8]) -> bool {
    file.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"-> scrypt ")).any(|line| {
        let factor = line.rsplit(|byte| *byte == b' ').next().and_then(|factor| std::str::from_utf8(factor).ok());
        factor.and_then(|factor| factor.trim().parse::<u32>().ok()).is_some_and(|factor| factor > u32::from(LOG_N))
    })
}

pub fn open(bytes: &[u8]) {
    let Some((how, content)) = bytes.split_first() else { return };
    let text = *how == TEXT;
    let file = if text { encrypted(content) } else { content.to_vec() };
    if asks_for_work(&file) {
        return;
    }
    let folder = folder();
    let mut create = OpenOptions::new();
    create.write(true).create_new(true).mode(0o600);
    let mut written = create.open(folder.path().join("key")).expect("a file of our own");
    written.write_all(&file).expect("memory has room");
    drop(written);
    let seed = content.strip_prefix(PREFIX).map(<[u8]>::trim_ascii_end).and_then(|digits| hex::decode(digits).ok());
    let (key, passphrase) = (KeyFile::of_wallet(folder.path()), Secret::new(PASSPHRASE.to_owned()));
    match key.restore_address(&passphrase) {
        Ok(account) => {
            assert_eq!(key.open(&passphrase).expect("it was opened just now").public_key(), account);
            if text {
                let seed: [u8; 32] = seed.and_then(|seed| seed.try_into().ok()).expect("a key out of no seed");
                assert_eq!(account, SigningKey::from_seed(&seed).public_key());
            }
        }
        Err(KeyError::Passphrase(_)) if text => panic!("the right passphrase is called wrong"),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(!text || seed.is_none_or(|seed| seed.len() != 32), "a right file is refused: {error}");
        }
    }
}
