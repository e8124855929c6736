//! The key file: the account's secret seed, encrypted with a passphrase in the age format (<https://age-encryption.org/v1>, scrypt).
//!
//! `age -d DIR/key` opens it too, so that nobody depends on this program to get at his money. Inside is one line:
//! `meshpay-seed-v1 ` and the 32-byte Ed25519 seed in hex. Secrets are erased from memory when dropped and never printed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use age::secrecy::{ExposeSecret, SecretString};
use meshpay_crypto::SigningKey;
use meshpay_wire::PublicKey;
use zeroize::Zeroizing;

use super::durable::write_durably;

/// Largest scrypt work factor that is accepted, as a power of two: 2^22 needs 4 GiB of memory.
pub const SCRYPT_LOG_N_MAX: u8 = 22;

const PREFIX: &str = "meshpay-seed-v1 ";
/// Longest key file that is read.
const KEY_FILE_MAX: u64 = 8_192;

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key file.
    #[error("there is no key at {path}; make one with `meshpay keygen`, or name the wallet with --wallet", path = .0.display())]
    Missing(PathBuf),
    /// There is a key already.
    #[error("there is a key at {path} already, and it may hold money; choose another --wallet directory", path = .0.display())]
    Exists(PathBuf),
    /// Others can read it.
    #[error("the key file {path} has mode {mode:03o}, so others can read it; run `chmod 600 {path}`", path = path.display())]
    Readable {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Reading or writing failed.
    #[error("the key file {path}: {source}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The public half is gone.
    #[error("{path} is missing; run `meshpay address`, which restores it from the key", path = .0.display())]
    AddressMissing(PathBuf),
    /// Decryption failed.
    #[error("the passphrase does not open {path}; try again, caps lock off", path = .0.display())]
    Passphrase(PathBuf),
    /// Not a key file of ours.
    #[error("{path} is damaged or no MeshPay key: {what}; restore it from a backup", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A work factor that would not end, or protect nothing.
    #[error("the scrypt work factor must be 1 to {SCRYPT_LOG_N_MAX}, not {0}")]
    WorkFactor(u8),
    /// No entropy.
    #[error("the system gives no randomness for a key: {0}")]
    Entropy(String),
    /// Encryption failed.
    #[error("the key could not be encrypted: {0}")]
    Encrypt(String),
}

/// A passphrase. It is erased when dropped and has no printable form.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes a passphrase.
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// Whether it has no characters at all.
    pub fn is_empty(&self) -> bool {
        self.0.expose_secret().is_empty()
    }

    /// Whether both are the same.
    pub fn same_as(&self, other: &Secret) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// Where an account's key lies, and beside it its public key in clear.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
    address_path: PathBuf,
}

impl KeyFile {
    /// The key file of a wallet directory; nothing is read yet.
    pub fn of_wallet(directory: &Path) -> Self {
        Self { path: directory.join("key"), address_path: directory.join("address") }
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    fn file_error(&self, source: std::io::Error) -> KeyError {
        KeyError::File { path: self.path.clone(), source }
    }

    /// Makes a new key and writes it; returns the account. `work_factor` is scrypt's log2 N; nothing means what takes about a second.
    ///
    /// # Errors
    /// Where there is a key already, or no entropy or disk.
    pub fn create(&self, passphrase: &Secret, work_factor: Option<u8>) -> Result<PublicKey, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|error| KeyError::Entropy(error.to_string()))?;
        self.create_from_seed(&seed, passphrase, work_factor)
    }

    /// As [`KeyFile::create`], with a seed that exists: for whoever restores one.
    ///
    /// # Errors
    /// Where there is a key already, or no disk.
    pub fn create_from_seed(
        &self,
        seed: &[u8; 32],
        passphrase: &Secret,
        work_factor: Option<u8>,
    ) -> Result<PublicKey, KeyError> {
        if self.exists() {
            return Err(KeyError::Exists(self.path.clone()));
        }
        let mut recipient = age::scrypt::Recipient::new(passphrase.0.clone());
        if let Some(log_n) = work_factor {
            if !(1..=SCRYPT_LOG_N_MAX).contains(&log_n) {
                return Err(KeyError::WorkFactor(log_n));
            }
            recipient.set_work_factor(log_n);
        }
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 65));
        text.push_str(PREFIX);
        let mut digits = Zeroizing::new([0u8; 64]);
        hex::encode_to_slice(seed, &mut *digits).map_err(|error| KeyError::Encrypt(error.to_string()))?;
        text.extend(digits.iter().map(|digit| *digit as char));
        text.push('\n');
        let encrypted =
            age::encrypt(&recipient, text.as_bytes()).map_err(|error| KeyError::Encrypt(error.to_string()))?;
        let public = SigningKey::from_seed(seed).public_key();
        write_durably(&self.path, &encrypted).map_err(|error| self.file_error(error))?;
        self.write_address(&public)?;
        Ok(public)
    }

    /// The account, without its key.
    ///
    /// # Errors
    /// Where there is none.
    pub fn account(&self) -> Result<PublicKey, KeyError> {
        if !self.exists() {
            return Err(KeyError::Missing(self.path.clone()));
        }
        self.refuse_readable()?;
        let text = fs::read_to_string(&self.address_path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => KeyError::AddressMissing(self.address_path.clone()),
            _ => KeyError::File { path: self.address_path.clone(), source },
        })?;
        let mut account = [0; 32];
        hex::decode_to_slice(text.trim(), &mut account).map_err(|_| KeyError::Damaged {
            path: self.address_path.clone(),
            what: "it is not 64 hex digits".to_owned(),
        })?;
        Ok(account)
    }

    fn refuse_readable(&self) -> Result<(), KeyError> {
        let mode = fs::metadata(&self.path).map_err(|error| self.file_error(error))?.mode() & 0o777;
        if mode & 0o077 != 0 { Err(KeyError::Readable { path: self.path.clone(), mode }) } else { Ok(()) }
    }

    /// Decrypts the key.
    ///
    /// # Errors
    /// Where the passphrase is wrong or the file is not as it was written.
    pub fn open(&self, passphrase: &Secret) -> Result<SigningKey, KeyError> {
        let account = self.account()?;
        let key = self.decrypt(passphrase)?;
        if key.public_key() != account {
            return Err(KeyError::Damaged {
                path: self.address_path.clone(),
                what: "it names another account than the key".to_owned(),
            });
        }
        Ok(key)
    }

    /// Writes the public half again, for a wallet of which only the key was kept.
    ///
    /// # Errors
    /// As [`KeyFile::open`].
    pub fn restore_address(&self, passphrase: &Secret) -> Result<PublicKey, KeyError> {
        if !self.exists() {
            return Err(KeyError::Missing(self.path.clone()));
        }
        self.refuse_readable()?;
        let public = self.decrypt(passphrase)?.public_key();
        self.write_address(&public)?;
        Ok(public)
    }

    fn write_address(&self, public: &PublicKey) -> Result<(), KeyError> {
        write_durably(&self.address_path, format!("{}\n", hex::encode(public)).as_bytes())
            .map_err(|source| KeyError::File { path: self.address_path.clone(), source })
    }

    fn decrypt(&self, passphrase: &Secret) -> Result<SigningKey, KeyError> {
        let length = fs::metadata(&self.path).map_err(|error| self.file_error(error))?.len();
        let damaged = |what: &str| KeyError::Damaged { path: self.path.clone(), what: what.to_owned() };
        if length > KEY_FILE_MAX {
            return Err(damaged("it is too long"));
        }
        let encrypted = fs::read(&self.path).map_err(|error| self.file_error(error))?;
        let mut identity = age::scrypt::Identity::new(passphrase.0.clone());
        identity.set_max_work_factor(SCRYPT_LOG_N_MAX);
        let text = age::decrypt(&identity, &encrypted).map_err(|error| match error {
            age::DecryptError::DecryptionFailed | age::DecryptError::KeyDecryptionFailed => {
                KeyError::Passphrase(self.path.clone())
            }
            other => damaged(&other.to_string()),
        })?;
        let text = Zeroizing::new(text);
        let digits = text.strip_prefix(PREFIX.as_bytes()).ok_or_else(|| damaged("it holds no MeshPay seed"))?;
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits.trim_ascii_end(), &mut *seed)
            .map_err(|_| damaged("its seed is not 64 hex digits"))?;
        Ok(SigningKey::from_seed(&seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn opens_with_its_passphrase_only() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::of_wallet(directory.path());
        assert!(matches!(file.account(), Err(KeyError::Missing(_))));
        let account = file.create(&secret("right"), Some(2)).unwrap();
        assert_eq!(file.account().unwrap(), account);
        assert_eq!(file.open(&secret("right")).unwrap().public_key(), account);
        assert!(matches!(file.open(&secret("wrong")), Err(KeyError::Passphrase(_))));
        assert!(matches!(file.create(&secret("right"), Some(2)), Err(KeyError::Exists(_))));
    }

    #[test]
    fn is_refused_when_others_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::of_wallet(directory.path());
        file.create(&secret("right"), Some(2)).unwrap();
        let path = directory.path().join("key");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(file.account(), Err(KeyError::Readable { mode: 0o640, .. })));
        assert!(matches!(file.open(&secret("right")), Err(KeyError::Readable { .. })));
    }

    #[test]
    fn any_change_of_the_file_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::of_wallet(directory.path());
        file.create_from_seed(&[5; 32], &secret("right"), Some(1)).unwrap();
        let path = directory.path().join("key");
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert!(file.open(&secret("right")).is_err(), "byte {at}");
        }
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(file.open(&secret("right")).is_err());
    }

    #[test]
    fn the_clear_text_holds_no_seed() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::of_wallet(directory.path());
        file.create_from_seed(&[5; 32], &secret("right"), Some(1)).unwrap();
        for name in ["key", "address"] {
            let bytes = fs::read(directory.path().join(name)).unwrap();
            assert!(!bytes.windows(32).any(|window| window == [5; 32]));
            assert!(!bytes.windows(64).any(|window| window == "05".repeat(32).as_bytes()));
        }
        assert_eq!(format!("{:?}", secret("right")), "Secret(..)");
    }
}
