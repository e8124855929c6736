//! Making and signing orders.

use meshpay_crypto::SigningKey;
use meshpay_protocol::Rules;
use meshpay_wire::{OPERATION_TRANSFER, OrderBody, PublicKey, SignedOrder, order_digest};

/// What a payer decides about a transfer; epoch and network come from the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The account's sequence.
    pub sequence: u64,
    /// Token number.
    pub token: u32,
    /// Who receives.
    pub recipient: PublicKey,
    /// Minor units, at least 1.
    pub amount_minor: u64,
    /// 32 bytes that mean something to payer and payee only.
    pub memo: [u8; 32],
    /// Milliseconds since 1970 after which nobody gives a first vote; 0 for never, which is what wallets use until a lock
    /// can be recovered (DESIGN 5.8).
    pub expiry_ms: u64,
}

impl Transfer {
    /// A transfer with an empty memo and without expiry.
    pub fn new(sequence: u64, token: u32, recipient: PublicKey, amount_minor: u64) -> Self {
        Self { sequence, token, recipient, amount_minor, memo: [0; 32], expiry_ms: 0 }
    }

    /// The body to be signed.
    pub fn body(&self, rules: &Rules, sender: PublicKey) -> OrderBody {
        OrderBody {
            sender,
            sequence: self.sequence.into(),
            expiry_ms: self.expiry_ms.into(),
            token: self.token.into(),
            epoch: rules.epoch.into(),
            operation: OPERATION_TRANSFER,
            reserved: [0; 7],
            recipient: self.recipient,
            amount: self.amount_minor.into(),
            memo: self.memo,
        }
    }

    /// Signs it. Whoever sends the result to anybody must have it on disk before (see [`crate::machine::PersistedOrder`]): a second order
    /// for the same sequence locks the account.
    pub fn sign(&self, rules: &Rules, key: &SigningKey) -> SignedOrder {
        sign_order(rules, key, self.body(rules, key.public_key()))
    }
}

/// Signs a body as it is, so that tests can also sign what no wallet would.
pub fn sign_order(rules: &Rules, key: &SigningKey, body: OrderBody) -> SignedOrder {
    SignedOrder { body, signature: key.sign(&order_digest(&rules.genesis, &body).0) }
}
