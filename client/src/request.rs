//! Requests as datagrams: what is asked of an authority, and the bytes that ask it.

use std::sync::Arc;

use meshpay_protocol::Rules;
use meshpay_wire::{
    CertificateQuery, DATAGRAM_MAX, DIRECTION_CREDIT, DIRECTION_DEBIT, Digest, Envelope, PublicKey, SignedOrder,
    account_query, certificate_query, confirmation_request, transfer_request,
};

use crate::Certificate;

/// One thing to ask of an authority.
#[derive(Clone, Debug)]
pub enum Request {
    /// A vote for an order.
    Vote {
        /// The order.
        order: SignedOrder,
        /// Its digest.
        digest: Digest,
    },
    /// To execute a certificate.
    Confirm(Arc<Certificate>),
    /// An account's state and its balance of a token.
    Account {
        /// Which account.
        account: PublicKey,
        /// Which token.
        token: u32,
    },
    /// The certificate with which an account paid at a sequence.
    Debit {
        /// Who paid.
        account: PublicKey,
        /// At which sequence.
        sequence: u64,
    },
    /// A certificate by which an account was paid.
    Credit {
        /// Who was paid.
        account: PublicKey,
        /// 0 for the newest, else `previous_credit` of an earlier answer of the same authority.
        locator: u64,
    },
}

impl Request {
    /// Account, sequence and order tag as the request's header carries them and every answer echoes them.
    pub fn echoed(&self) -> (PublicKey, u64, [u8; 8]) {
        let tag = |digest: &Digest| {
            let mut tag = [0; 8];
            tag.copy_from_slice(&digest.0[..8]);
            tag
        };
        match self {
            Request::Vote { order, digest } => (order.body.sender, order.body.sequence.get(), tag(digest)),
            Request::Confirm(certificate) => (certificate.sender(), certificate.sequence(), tag(&certificate.digest())),
            Request::Account { account, .. } | Request::Credit { account, .. } => (*account, 0, [0; 8]),
            Request::Debit { account, sequence } => (*account, *sequence, [0; 8]),
        }
    }

    /// The message that asks this, with this request id and return token.
    pub fn message(&self, rules: &Rules, request_id: [u8; 8], return_token: [u8; 8]) -> Vec<u8> {
        let envelope = Envelope { network: rules.network, epoch: rules.epoch, request_id, return_token };
        let mut buffer = vec![0; DATAGRAM_MAX];
        let signers = rules.committee.largest_minimal_quorum();
        let length = match self {
            Request::Vote { order, digest } => transfer_request(&mut buffer, &envelope, order, digest),
            Request::Confirm(certificate) => {
                confirmation_request(&mut buffer, &envelope, &certificate.view(), &certificate.digest())
            }
            Request::Account { account, token } => account_query(&mut buffer, &envelope, account, *token),
            Request::Debit { account, sequence } => {
                let query = CertificateQuery { direction: DIRECTION_DEBIT, reserved: [0; 7], locator: 0.into() };
                certificate_query(&mut buffer, &envelope, account, *sequence, &query, signers)
            }
            Request::Credit { account, locator } => {
                let locator = (*locator).into();
                let query = CertificateQuery { direction: DIRECTION_CREDIT, reserved: [0; 7], locator };
                certificate_query(&mut buffer, &envelope, account, 0, &query, signers)
            }
        };
        buffer.truncate(length);
        buffer
    }
}
