//! The certificates that a wallet can present: a port, so that the machines know neither disk nor files.

use std::collections::HashMap;
use std::sync::Arc;

use meshpay_wire::PublicKey;

use crate::Certificate;

/// Certificates that a [`MemoryBook`] keeps at most; what comes beyond is not kept, and fetched again when it is needed.
pub const MEMORY_BOOK_MAX: usize = 16_384;

/// Certificates by who paid, and by who was paid. All of them were checked: a [`Certificate`] exists in no other way.
pub trait CertificateBook {
    /// The certificate with which an account paid at a sequence.
    fn certificate(&self, account: &PublicKey, sequence: u64) -> Option<Arc<Certificate>>;
    /// Sender and sequence of certificates that paid an account, newest first as far as known, at most `limit`.
    fn credits(&self, recipient: &PublicKey, limit: usize) -> Vec<(PublicKey, u64)>;
    /// Keeps a certificate, where there is room and need.
    fn keep(&mut self, certificate: &Arc<Certificate>);
}

impl<B: CertificateBook + ?Sized> CertificateBook for &mut B {
    fn certificate(&self, account: &PublicKey, sequence: u64) -> Option<Arc<Certificate>> {
        (**self).certificate(account, sequence)
    }
    fn credits(&self, recipient: &PublicKey, limit: usize) -> Vec<(PublicKey, u64)> {
        (**self).credits(recipient, limit)
    }
    fn keep(&mut self, certificate: &Arc<Certificate>) {
        (**self).keep(certificate);
    }
}

/// A book in memory: for simulators and tests, and for what a wallet need not remember.
#[derive(Clone, Debug, Default)]
pub struct MemoryBook {
    certificates: HashMap<(PublicKey, u64), Arc<Certificate>>,
    arrivals: Vec<(PublicKey, u64)>,
}

impl MemoryBook {
    /// An empty book.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many certificates it holds.
    pub fn len(&self) -> usize {
        self.certificates.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }
}

impl CertificateBook for MemoryBook {
    fn certificate(&self, account: &PublicKey, sequence: u64) -> Option<Arc<Certificate>> {
        self.certificates.get(&(*account, sequence)).cloned()
    }

    fn credits(&self, recipient: &PublicKey, limit: usize) -> Vec<(PublicKey, u64)> {
        let paid =
            |name: &&(PublicKey, u64)| self.certificates.get(*name).is_some_and(|held| held.recipient() == *recipient);
        self.arrivals.iter().rev().filter(paid).take(limit).copied().collect()
    }

    fn keep(&mut self, certificate: &Arc<Certificate>) {
        let name = (certificate.sender(), certificate.sequence());
        if self.certificates.len() < MEMORY_BOOK_MAX && !self.certificates.contains_key(&name) {
            self.certificates.insert(name, certificate.clone());
            self.arrivals.push(name);
        }
    }
}
