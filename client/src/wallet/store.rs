//! The wallet directory.
//!
//! | in it | what |
//! |---|---|
//! | `key`, `address` | see [`super::KeyFile`] |
//! | `genesis.toml` | the network this wallet belongs to |
//! | `lock` | held while a process works with the directory |
//! | `orders/SEQUENCE-N.order` | signed orders that are not known to be settled; more than one N only where an order had been forgotten |
//! | `sent/SEQUENCE.certificate` | what the account paid |
//! | `incoming/PAYER-SEQUENCE.certificate` | what was imported and is not known to be executed by a quorum |
//! | `received/PAYER-SEQUENCE.certificate` | what the account was paid |
//! | `evidence/*.evidence` | proofs of equivocation |
//!
//! What always holds:
//! - a [`PersistedOrder`] comes into being only here, after its file and the directory were synced;
//! - no order is written for a sequence at or below one that has an order or a certificate, except by [`Store::adopt_order`], for orders that
//!   were signed before and come back from an authority;
//! - there is no second truth: what is pending and which sequence comes next follow from the files alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meshpay_protocol::Equivocation;
use meshpay_wire::{PublicKey, SignedOrder};
use rustix::fs::{FlockOperation, flock};

use super::durable::{make_directory, remove_durably, rename_durably, sweep, write_durably};
use super::file_format::{FileError, certificate_file, evidence_file, order_file, read_certificate, read_order};
use crate::machine::PersistedOrder;
use crate::{Certificate, CertificateBook, MemoryBook, Verifier};

/// Why the wallet directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds it.
    #[error("another meshpay process is using {path}; wait until it ends", path = .0.display())]
    Busy(PathBuf),
    /// Reading or writing failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An order's file cannot be read, so nobody knows what was signed.
    #[error(
        "{0}. An order that was signed is in it, so nothing else is signed meanwhile. Restore the file from a backup, or remove it \
         and run `meshpay resume`, which asks the authorities for the order they hold"
    )]
    DamagedOrder(FileError),
    /// The sequence has an order or a certificate.
    #[error("sequence {0} has an order already; run `meshpay resume` to finish it")]
    SequenceTaken(u64),
    /// The order is not this account's.
    #[error("the order belongs to another account or network")]
    ForeignOrder,
}

/// Orders for one sequence that has no certificate yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingPayment {
    /// The sequence.
    pub sequence: u64,
    /// The one that was wanted, first; then orders that had been forgotten.
    pub orders: Vec<PersistedOrder>,
}

/// An open wallet directory. It is locked until this is dropped.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    verifier: Arc<Verifier>,
    account: PublicKey,
    _lock: File,
    /// What was read, and what belongs to others and need not be kept on disk.
    memory: RefCell<MemoryBook>,
    warnings: RefCell<Vec<String>>,
}

const ORDERS: &str = "orders";
const SENT: &str = "sent";
const INCOMING: &str = "incoming";
const RECEIVED: &str = "received";
const EVIDENCE: &str = "evidence";

impl Store {
    /// Locks the directory against other processes, for what needs no account yet.
    ///
    /// # Errors
    /// Where another process holds it.
    pub fn lock(directory: &Path) -> Result<File, StoreError> {
        let failed = |path: &Path, source| StoreError::Io { path: path.to_owned(), source };
        make_directory(directory).map_err(|error| failed(directory, error))?;
        let path = directory.join("lock");
        let file =
            File::options().create(true).append(true).mode(0o600).open(&path).map_err(|error| failed(&path, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Busy(directory.to_owned())),
            Err(error) => Err(failed(&path, error.into())),
        }
    }

    /// Opens the directory of an account and locks it.
    ///
    /// # Errors
    /// Where another process holds it, or the disk refuses.
    pub fn open(directory: &Path, verifier: Arc<Verifier>, account: PublicKey) -> Result<Self, StoreError> {
        let lock = Self::lock(directory)?;
        for name in [ORDERS, SENT, INCOMING, RECEIVED, EVIDENCE] {
            let path = directory.join(name);
            make_directory(&path)
                .and_then(|()| sweep(&path))
                .map_err(|source| StoreError::Io { path: path.clone(), source })?;
        }
        Ok(Self {
            directory: directory.to_owned(),
            verifier,
            account,
            _lock: lock,
            memory: RefCell::default(),
            warnings: RefCell::default(),
        })
    }

    /// The account.
    pub fn account(&self) -> PublicKey {
        self.account
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What went wrong without stopping anything, such as a certificate that could not be kept; empties the list.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.borrow_mut())
    }

    fn warn(&self, text: String) {
        self.warnings.borrow_mut().push(text);
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        write_durably(path, bytes).map_err(|source| StoreError::Io { path: path.to_owned(), source })
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let path = self.directory.join(folder);
        let list = || -> io::Result<Vec<String>> {
            fs::read_dir(&path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        };
        list().map_err(|source| StoreError::Io { path: path.clone(), source })
    }

    /// Sequence and number of every order's file.
    fn order_names(&self) -> Result<Vec<(u64, u32)>, StoreError> {
        let parse = |name: String| {
            let (sequence, number) = name.strip_suffix(".order")?.split_once('-')?;
            Some((sequence.parse().ok()?, number.parse().ok()?))
        };
        let mut names: Vec<(u64, u32)> = self.names(ORDERS)?.into_iter().filter_map(parse).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn order_path(&self, sequence: u64, number: u32) -> PathBuf {
        self.directory.join(ORDERS).join(format!("{sequence:020}-{number}.order"))
    }

    fn sent_path(&self, sequence: u64) -> PathBuf {
        self.directory.join(SENT).join(format!("{sequence:020}.certificate"))
    }

    /// Where the certificate of a payment at this sequence lies, once there is one: a file to hand to the recipient.
    pub fn sent_certificate_path(&self, sequence: u64) -> PathBuf {
        self.sent_path(sequence)
    }

    fn paid_path(&self, folder: &str, payer: &PublicKey, sequence: u64) -> PathBuf {
        self.directory.join(folder).join(format!("{}-{sequence:020}.certificate", hex::encode(payer)))
    }

    /// The sequence after all that this directory knows of.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn next_sequence(&self) -> Result<u64, StoreError> {
        let ordered = self.order_names()?.last().map(|(sequence, _)| sequence + 1);
        let parse = |name: &String| name.strip_suffix(".certificate")?.parse::<u64>().ok();
        let sent = self.names(SENT)?.iter().filter_map(parse).max().map(|sequence| sequence + 1);
        Ok(ordered.max(sent).unwrap_or(0))
    }

    /// Writes an order before it goes anywhere. Whoever has the result may send it.
    ///
    /// # Errors
    /// Where the sequence is taken, or the disk refuses: the order must then not be sent.
    pub fn persist_order(&self, order: SignedOrder) -> Result<PersistedOrder, StoreError> {
        self.check_own(&order)?;
        let sequence = order.body.sequence.get();
        if sequence < self.next_sequence()? {
            return Err(StoreError::SequenceTaken(sequence));
        }
        self.write(&self.order_path(sequence, 0), &order_file(&self.verifier.rules().genesis, &order))?;
        crate::fault::reached("order-persisted");
        Ok(PersistedOrder::assume(order))
    }

    /// Writes an order of this account that was signed before and came back from an authority, beside what is there for its sequence.
    ///
    /// # Errors
    /// Where it is not this account's, or the disk refuses.
    pub fn adopt_order(&self, order: SignedOrder) -> Result<PersistedOrder, StoreError> {
        self.check_own(&order)?;
        let sequence = order.body.sequence.get();
        let known = self.pending()?.into_iter().filter(|pending| pending.sequence == sequence);
        if known.flat_map(|pending| pending.orders).any(|known| known.order().body == order.body) {
            return Ok(PersistedOrder::assume(order));
        }
        let number = self.order_names()?.iter().filter(|(other, _)| *other == sequence).count() as u32;
        self.write(&self.order_path(sequence, number), &order_file(&self.verifier.rules().genesis, &order))?;
        Ok(PersistedOrder::assume(order))
    }

    fn check_own(&self, order: &SignedOrder) -> Result<(), StoreError> {
        if order.body.sender != self.account || !self.verifier.order_is_signed(order) {
            return Err(StoreError::ForeignOrder);
        }
        Ok(())
    }

    /// Orders whose sequence has no certificate here, by rising sequence.
    ///
    /// # Errors
    /// Where one of them cannot be read.
    pub fn pending(&self) -> Result<Vec<PendingPayment>, StoreError> {
        let mut found: BTreeMap<u64, Vec<PersistedOrder>> = BTreeMap::new();
        for (sequence, number) in self.order_names()? {
            if self.certificate(&self.account, sequence).is_some() {
                continue;
            }
            let path = self.order_path(sequence, number);
            let order = read_order(&path, &self.verifier.rules().genesis).map_err(StoreError::DamagedOrder)?;
            if self.check_own(&order).is_err() || order.body.sequence.get() != sequence {
                let what = "it does not hold this account's order of that sequence";
                return Err(StoreError::DamagedOrder(FileError::Damaged { path, what }));
            }
            found.entry(sequence).or_default().push(PersistedOrder::assume(order));
        }
        Ok(found.into_iter().map(|(sequence, orders)| PendingPayment { sequence, orders }).collect())
    }

    /// Own certificates that are not known to be settled, by rising sequence.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn unsettled_sent(&self) -> Result<Vec<Arc<Certificate>>, StoreError> {
        let mut sequences: Vec<u64> = self.order_names()?.into_iter().map(|(sequence, _)| sequence).collect();
        sequences.dedup();
        Ok(sequences.into_iter().filter_map(|sequence| self.certificate(&self.account, sequence)).collect())
    }

    /// A quorum has acknowledged the account's payments up to this sequence: their orders need no more care.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn mark_sent_settled(&self, sequence: u64) -> Result<(), StoreError> {
        for (settled, number) in self.order_names()?.into_iter().filter(|(other, _)| *other <= sequence) {
            if self.sent_path(settled).exists() {
                let path = self.order_path(settled, number);
                remove_durably(&path).map_err(|source| StoreError::Io { path: path.clone(), source })?;
            }
        }
        Ok(())
    }

    /// Keeps a certificate that pays this account until a quorum has executed it.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn import(&self, certificate: &Arc<Certificate>) -> Result<(), StoreError> {
        let (payer, sequence) = (certificate.sender(), certificate.sequence());
        if !self.paid_path(RECEIVED, &payer, sequence).exists() {
            let bytes = certificate_file(&self.verifier.rules().genesis, certificate);
            self.write(&self.paid_path(INCOMING, &payer, sequence), &bytes)?;
        }
        self.memory.borrow_mut().keep(certificate);
        Ok(())
    }

    /// Imported certificates that are not known to be executed by a quorum.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn incoming(&self) -> Result<Vec<Arc<Certificate>>, StoreError> {
        Ok(self.read_folder(INCOMING)?.into_iter().map(|(_, certificate)| certificate).collect())
    }

    /// A quorum has executed a certificate that pays this account.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn mark_received_settled(&self, certificate: &Certificate) -> Result<(), StoreError> {
        let (payer, sequence) = (certificate.sender(), certificate.sequence());
        let from = self.paid_path(INCOMING, &payer, sequence);
        if !from.exists() {
            return Ok(());
        }
        let to = self.paid_path(RECEIVED, &payer, sequence);
        rename_durably(&from, &to).map_err(|source| StoreError::Io { path: from, source })
    }

    /// Saves a proof of equivocation and returns where.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn save_evidence(&self, proof: &Equivocation) -> Result<PathBuf, StoreError> {
        let digests = [&proof.first, &proof.second].map(|order| hex::encode(&self.verifier.order_digest(order).0[..4]));
        let sequence = proof.first.body.sequence.get();
        let name = format!("{sequence:020}-{}-{}.evidence", digests[0], digests[1]);
        let path = self.directory.join(EVIDENCE).join(name);
        self.write(&path, &evidence_file(&self.verifier.rules().genesis, proof))?;
        Ok(path)
    }

    fn read_file(&self, path: &Path) -> Option<Arc<Certificate>> {
        match read_certificate(path, &self.verifier) {
            Ok(certificate) => Some(Arc::new(certificate)),
            Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            // It is fetched again where it is needed.
            Err(error) => {
                self.warn(error.to_string());
                None
            }
        }
    }

    /// The certificates of a folder, newest file first, with their files' times.
    fn read_folder(&self, folder: &str) -> Result<Vec<(std::time::SystemTime, Arc<Certificate>)>, StoreError> {
        let mut found = Vec::new();
        for name in self.names(folder)? {
            let path = self.directory.join(folder).join(name);
            let time = fs::metadata(&path).and_then(|metadata| metadata.modified());
            if let (Ok(time), Some(certificate)) = (time, self.read_file(&path)) {
                found.push((time, certificate));
            }
        }
        found.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        Ok(found)
    }
}

impl CertificateBook for Store {
    fn certificate(&self, account: &PublicKey, sequence: u64) -> Option<Arc<Certificate>> {
        if let Some(known) = self.memory.borrow().certificate(account, sequence) {
            return Some(known);
        }
        let found = if *account == self.account {
            self.read_file(&self.sent_path(sequence))
        } else {
            let folders = [RECEIVED, INCOMING].into_iter();
            folders.map(|folder| self.paid_path(folder, account, sequence)).find_map(|path| self.read_file(&path))
        };
        // A file under another's name is no answer.
        let found = found.filter(|found| found.sender() == *account && found.sequence() == sequence)?;
        self.memory.borrow_mut().keep(&found);
        Some(found)
    }

    fn credits(&self, recipient: &PublicKey, limit: usize) -> Vec<(PublicKey, u64)> {
        if *recipient != self.account {
            return Vec::new();
        }
        let mut found = Vec::new();
        for folder in [INCOMING, RECEIVED] {
            match self.read_folder(folder) {
                Ok(certificates) => found.extend(certificates),
                Err(error) => self.warn(error.to_string()),
            }
        }
        found.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        found.into_iter().take(limit).map(|(_, certificate)| (certificate.sender(), certificate.sequence())).collect()
    }

    /// Own and received certificates go to disk, others stay in memory for this run. A failure to write is a warning: the
    /// payment is final without it, and the authorities hold the certificate too.
    fn keep(&mut self, certificate: &Arc<Certificate>) {
        let (sender, sequence) = (certificate.sender(), certificate.sequence());
        let path = if sender == self.account {
            Some(self.sent_path(sequence))
        } else if certificate.recipient() == self.account && !self.paid_path(INCOMING, &sender, sequence).exists() {
            Some(self.paid_path(RECEIVED, &sender, sequence))
        } else {
            None
        };
        if let Some(path) = path
            && self.certificate(&sender, sequence).is_none()
            && let Err(error) = self.write(&path, &certificate_file(&self.verifier.rules().genesis, certificate))
        {
            self.warn(format!("the certificate of sequence {sequence} could not be kept: {error}"));
        }
        self.memory.borrow_mut().keep(certificate);
        crate::fault::reached("certificate-kept");
    }
}
