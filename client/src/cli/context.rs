//! What commands need around them: the wallet directory, the genesis, the passphrase.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meshpay_client::Verifier;
use meshpay_client::wallet::{KeyFile, Secret, Store, Wallet, authority_addresses, write_durably};
use meshpay_crypto::KnownKey;
use meshpay_protocol::{Genesis, Token};
use meshpay_wire::PublicKey;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::{Common, exit_code};

/// The common flags, resolved.
pub struct Context {
    common: Common,
}

impl Context {
    pub fn new(common: Common) -> Self {
        Self { common }
    }

    /// The wallet directory; it need not exist.
    pub fn directory(&self) -> Result<PathBuf, Failure> {
        if let Some(directory) = &self.common.wallet {
            return Ok(directory.clone());
        }
        if let Some(directory) = std::env::var_os("MESHPAY_WALLET").filter(|value| !value.is_empty()) {
            return Ok(directory.into());
        }
        let home = std::env::var_os("HOME").filter(|value| !value.is_empty());
        let home =
            home.ok_or_else(|| Failure::usage("there is no HOME to keep a wallet in; name it with --wallet DIR"))?;
        Ok(Path::new(&home).join(".meshpay"))
    }

    pub fn key_file(&self) -> Result<KeyFile, Failure> {
        Ok(KeyFile::of_wallet(&self.directory()?))
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.common.timeout_ms)
    }

    fn read_genesis(path: &Path) -> Result<(Genesis, String), Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new("genesis", exit_code::FAILED, format!("genesis {}: {error}", path.display()))
        };
        let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
        let genesis = Genesis::parse(&text).map_err(|error| failed(&error))?;
        Ok((genesis, text))
    }

    /// The genesis: the file that was named, else the wallet's copy, if there is either.
    pub fn genesis_if_known(&self) -> Result<Option<Genesis>, Failure> {
        if let Some(path) = &self.common.genesis {
            return Ok(Some(Self::read_genesis(path)?.0));
        }
        let copy = self.directory()?.join("genesis.toml");
        if copy.exists() { Ok(Some(Self::read_genesis(&copy)?.0)) } else { Ok(None) }
    }

    /// The genesis, without touching the wallet: for what is checked offline.
    pub fn genesis(&self) -> Result<Genesis, Failure> {
        self.genesis_if_known()?
            .ok_or_else(|| Failure::usage("no genesis is known yet; pass the network's file with --genesis FILE"))
    }

    /// Copies the genesis that was named into the wallet. A wallet belongs to one network; a file of the same network may bring
    /// new addresses.
    pub fn keep_genesis(&self, directory: &Path) -> Result<(), Failure> {
        let Some(path) = &self.common.genesis else { return Ok(()) };
        let (genesis, text) = Self::read_genesis(path)?;
        let copy = directory.join("genesis.toml");
        if copy.exists() {
            let (kept, kept_text) = Self::read_genesis(&copy)?;
            if kept.digest()? != genesis.digest()? {
                return Err(Failure::new(
                    "other_network",
                    exit_code::FAILED,
                    format!(
                        "this wallet belongs to the network {:?} (genesis {}), but {} is of {:?} (genesis {}); use another --wallet for it",
                        kept.name,
                        hex::encode(kept.digest()?.0),
                        path.display(),
                        genesis.name,
                        hex::encode(genesis.digest()?.0)
                    ),
                ));
            }
            if kept_text == text {
                return Ok(());
            }
        }
        write_durably(&copy, text.as_bytes()).map_err(|error| {
            Failure::new("wallet_directory", exit_code::FAILED, format!("{}: {error}", copy.display()))
        })
    }

    pub fn verifier(&self) -> Result<Arc<Verifier>, Failure> {
        Ok(Arc::new(Verifier::new(&self.genesis()?)?))
    }

    /// Opens the wallet and a socket.
    pub fn wallet(&self) -> Result<Wallet, Failure> {
        let directory = self.directory()?;
        let account = self.key_file()?.account()?;
        let genesis = self.genesis()?;
        let verifier = Arc::new(Verifier::new(&genesis)?);
        let store = Store::open(&directory, verifier.clone(), account)?;
        self.keep_genesis(&directory)?;
        let addresses = authority_addresses(&genesis, &self.common.authority)?;
        Ok(Wallet::new(store, verifier, &addresses, self.timeout())?)
    }

    /// The passphrase: from the file, the environment, or the terminal, where `confirm` asks twice.
    pub fn passphrase(&self, confirm: bool) -> Result<Secret, Failure> {
        let failed = |message: String| Failure::new("passphrase", exit_code::FAILED, message);
        let secret = if let Some(path) = &self.common.passphrase_file {
            let metadata = fs::metadata(path).map_err(|error| failed(format!("{}: {error}", path.display())))?;
            let mode = metadata.mode() & 0o777;
            if metadata.is_file() && mode & 0o077 != 0 {
                return Err(failed(format!(
                    "the passphrase file {0} has mode {mode:03o}, so others can read it; run `chmod 600 {0}`",
                    path.display()
                )));
            }
            let text = fs::read_to_string(path).map(Zeroizing::new);
            let text = text.map_err(|error| failed(format!("{}: {error}", path.display())))?;
            Secret::new(text.lines().next().unwrap_or("").to_owned())
        } else if let Ok(text) = std::env::var("MESHPAY_PASSPHRASE") {
            Secret::new(text)
        } else {
            let ask = |prompt: &str| {
                rpassword::prompt_password(prompt).map(Secret::new).map_err(|error| {
                    failed(format!(
                        "no passphrase could be read from the terminal ({error}); use --passphrase-file FILE"
                    ))
                })
            };
            let secret = ask("Passphrase: ")?;
            if confirm && !secret.same_as(&ask("Passphrase again: ")?) {
                return Err(failed("the two passphrases differ; try again".to_owned()));
            }
            secret
        };
        if secret.is_empty() {
            return Err(failed(
                "the passphrase is empty; whoever finds the key file could spend your money".to_owned(),
            ));
        }
        Ok(secret)
    }
}

/// Reads an account as 64 hex digits. Digits that no key can have are refused, which finds half of all typing errors.
pub fn parse_account(text: &str) -> Result<PublicKey, Failure> {
    let mut account = [0; 32];
    hex::decode_to_slice(text.trim(), &mut account).map_err(|_| {
        Failure::usage(format!("{text:?} is no account: an account is 64 hex digits, as `meshpay address` shows them"))
    })?;
    KnownKey::new(&account).map_err(|error| {
        Failure::usage(format!("{text:?} is no account: {error}. Was it copied without a mistake?"))
    })?;
    Ok(account)
}

/// The token that was named, or the only one.
pub fn choose_token<'a>(verifier: &'a Verifier, name: Option<&str>) -> Result<&'a Token, Failure> {
    let tokens = &verifier.rules().tokens;
    let symbols = || tokens.iter().map(|token| token.symbol.as_str()).collect::<Vec<_>>().join(", ");
    match (name, tokens.as_slice()) {
        (Some(name), _) => verifier
            .token(name)
            .ok_or_else(|| Failure::usage(format!("the network has no token {name:?}; it has {}", symbols()))),
        (None, [only]) => Ok(only),
        (None, _) => {
            Err(Failure::usage(format!("the network has several tokens; choose one with --token: {}", symbols())))
        }
    }
}
