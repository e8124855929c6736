//! A refusal with what the client needs to recover.

use meshpay_wire::{RefusalBody, RefusalCode};

/// Why a request is refused, and the facts that help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub code: RefusalCode,
    /// See [`RefusalBody::value`].
    pub value: u32,
    /// See [`RefusalBody::sequence`].
    pub sequence: u64,
    /// See [`RefusalBody::amount`].
    pub amount: u64,
}

impl Refusal {
    /// A refusal that says no more than its code.
    pub fn new(code: RefusalCode) -> Self {
        Self { code, value: 0, sequence: 0, amount: 0 }
    }

    /// With the account's next sequence.
    pub fn sequence(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }

    /// With an amount.
    pub fn amount(self, amount: u64) -> Self {
        Self { amount, ..self }
    }

    /// With a value.
    pub fn value(self, value: u32) -> Self {
        Self { value, ..self }
    }

    /// As it goes over the wire.
    pub fn body(&self) -> RefusalBody {
        RefusalBody {
            code: (self.code as u16).into(),
            reserved: 0.into(),
            value: self.value.into(),
            sequence: self.sequence.into(),
            amount: self.amount.into(),
        }
    }
}
