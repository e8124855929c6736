//! A secret key, expanded once (RFC 8032, section 5.1.5).
//!
//! The secret scalar and prefix lie in one place on the heap, so that moving a key leaves no copy behind. They are erased when the key is dropped, what working with
//! them left on the stack is erased after each call, and nothing prints them.

use crate::{PublicKey, Signature, stack};
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use sha2::{Digest, Sha512};
use std::fmt;
use zeroize::Zeroizing;

/// A secret Ed25519 key.
pub struct SigningKey {
    /// Scalar and prefix; the type erases itself when dropped.
    pub(crate) secret: Box<ExpandedSecretKey>,
    pub(crate) public: VerifyingKey,
}

impl SigningKey {
    /// The key that RFC 8032 derives from a 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = Self::expand(seed);
        stack::wipe();
        key
    }

    /// Apart, so that its frame is below the caller's and can be wiped.
    #[inline(never)]
    fn expand(seed: &[u8; 32]) -> Self {
        let expanded = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(seed)));
        let secret = Box::new(ExpandedSecretKey::from_bytes(&expanded));
        let public = VerifyingKey::from(&*secret);
        Self { secret, public }
    }

    /// The public key that verifies this key's signatures.
    pub fn public_key(&self) -> PublicKey {
        self.public.to_bytes()
    }

    /// Signs one message. The signature is the one that [`crate::sign_many`] makes.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let mut signature = [[0; 64]];
        crate::sign_many(self, &[message], &mut signature);
        signature[0]
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public_key", &self.public.to_bytes()).finish_non_exhaustive()
    }
}
