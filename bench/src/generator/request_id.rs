//! What a request id of the generator says, so that an answer finds its payment without a table.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0..4 | number of the payment in its batch, little-endian |
//! | 4 | committee place that was asked |
//! | 5 | bit 7: a certificate, not an order; bits 0 to 6: how often this was sent before |
//! | 6..8 | number of the batch in this run, little-endian |
//!
//! So every transmission has an id of its own, as `docs/wire.md` demands.

/// Most times that one request is repeated; after that it is left to the end of the run and counted as lost.
pub const ATTEMPTS_MAX: u8 = 127;

/// What is being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A vote for an order.
    Vote,
    /// The execution of a certificate.
    Execute,
}

/// One transmission of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// Number of the payment in its batch.
    pub payment: u32,
    /// Committee place that is asked.
    pub place: u8,
    /// What is asked.
    pub step: Step,
    /// How often it was asked before, at most `ATTEMPTS_MAX`.
    pub attempt: u8,
    /// Number of the batch.
    pub batch: u16,
}

impl RequestId {
    /// As it goes into a header.
    pub fn to_bytes(self) -> [u8; 8] {
        let [a, b, c, d] = self.payment.to_le_bytes();
        let [e, f] = self.batch.to_le_bytes();
        let step = match self.step {
            Step::Vote => 0,
            Step::Execute => 0x80,
        };
        [a, b, c, d, self.place, step | self.attempt & ATTEMPTS_MAX, e, f]
    }

    /// What a header's bytes say. Any bytes mean something; whether that makes sense is for the caller to see.
    pub fn from_bytes([a, b, c, d, place, step, e, f]: [u8; 8]) -> Self {
        Self {
            payment: u32::from_le_bytes([a, b, c, d]),
            place,
            step: if step & 0x80 == 0 { Step::Vote } else { Step::Execute },
            attempt: step & ATTEMPTS_MAX,
            batch: u16::from_le_bytes([e, f]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_and_differs_in_every_field() {
        let id = RequestId { payment: 70_000, place: 19, step: Step::Execute, attempt: 127, batch: 513 };
        assert_eq!(RequestId::from_bytes(id.to_bytes()), id);
        let others = [
            RequestId { payment: 70_001, ..id },
            RequestId { place: 3, ..id },
            RequestId { step: Step::Vote, ..id },
            RequestId { attempt: 0, ..id },
            RequestId { batch: 2, ..id },
        ];
        for other in others {
            assert_ne!(other.to_bytes(), id.to_bytes());
        }
    }
}
