//! Why a command failed: kind for programs, message for people, exit code for shells.

use meshpay_client::AmountError;
use meshpay_client::wallet::{DriverError, FileError, KeyError, StoreError, WalletError};
use meshpay_protocol::GenesisError;

use super::exit_code;

/// A failure as the command reports it.
#[derive(Debug)]
pub struct Failure {
    kind: &'static str,
    message: String,
    exit_code: u8,
}

impl Failure {
    pub fn new(kind: &'static str, exit_code: u8, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), exit_code }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new("usage", exit_code::USAGE, message)
    }

    pub fn kind(&self) -> &'static str {
        self.kind
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let kind = match error {
            KeyError::Missing(_) => "no_key",
            KeyError::Exists(_) => "key_exists",
            KeyError::Passphrase(_) => "wrong_passphrase",
            _ => "key",
        };
        Self::new(kind, exit_code::FAILED, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy(_) => Self::new("busy", exit_code::BUSY, error.to_string()),
            StoreError::SequenceTaken(_) => Self::new("pending", exit_code::UNFINISHED, error.to_string()),
            StoreError::DamagedOrder(_) => Self::new("damaged_order", exit_code::FAILED, error.to_string()),
            _ => Self::new("wallet_directory", exit_code::FAILED, error.to_string()),
        }
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::UnknownAuthority(..) => Self::usage(error.to_string()),
            _ => Self::new("network", exit_code::FAILED, error.to_string()),
        }
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        if error.is_disproof() {
            Self::new("disproved", exit_code::DISPROVED, error.to_string())
        } else {
            Self::new("file", exit_code::FAILED, error.to_string())
        }
    }
}

impl From<GenesisError> for Failure {
    fn from(error: GenesisError) -> Self {
        Self::new("genesis", exit_code::FAILED, error.to_string())
    }
}

impl From<AmountError> for Failure {
    fn from(error: AmountError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<WalletError> for Failure {
    fn from(error: WalletError) -> Self {
        let text = error.to_string();
        match error {
            WalletError::Store(error) => error.into(),
            WalletError::Driver(error) => error.into(),
            WalletError::PendingFirst(_) => Self::new("pending", exit_code::UNFINISHED, text),
            WalletError::NoQuorum { .. } => Self::new("no_quorum", exit_code::NO_QUORUM, text),
            WalletError::Unproven { .. } => Self::new("unproven", exit_code::NO_QUORUM, text),
            WalletError::Insufficient { .. } => Self::new("insufficient", exit_code::INSUFFICIENT, text),
            WalletError::BelowFirstCredit { .. } => Self::new("below_first_credit", exit_code::INSUFFICIENT, text),
            WalletError::NotForUs(_) => Self::new("not_for_this_wallet", exit_code::FAILED, text),
            WalletError::Certificate(_) => Self::new("disproved", exit_code::DISPROVED, text),
            WalletError::Entropy(_) | WalletError::OtherKey => Self::new("key", exit_code::FAILED, text),
        }
    }
}
