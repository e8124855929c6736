//! The fixed header of every message, readable by a packet filter at constant offsets.

use core::mem::offset_of;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Digest, GenesisDigest, PublicKey};

/// First four bytes of every message.
pub const MAGIC: [u8; 4] = *b"MPAY";

/// Version of the wire format that this crate speaks.
pub const VERSION: u8 = 1;

/// Length of [`Header`] in bytes.
pub const HEADER_LENGTH: usize = 88;

/// First 8 bytes of the genesis digest: enough to tell networks apart cheaply. Signatures cover all 32.
pub type Network = [u8; 8];

/// The header of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// [`VERSION`].
    pub version: u8,
    /// Traffic class, see [`Class`].
    pub class: u8,
    /// What the message is, see [`Kind`].
    pub kind: u8,
    /// No flag is defined: zero.
    pub flags: u8,
    /// Length of the whole message in bytes: header, body and padding.
    pub length: U16,
    /// Zero.
    pub reserved: U16,
    /// Epoch of the committee that is addressed.
    pub epoch: U32,
    /// First 8 bytes of the genesis digest.
    pub network: Network,
    /// The account that the message is about: the sender of an order or certificate, or the account asked for.
    pub account: PublicKey,
    /// Sequence of the order, of the certificate, or asked for; zero in an account query.
    pub sequence: U64,
    /// First 8 bytes of the order's digest; zero in queries.
    pub order_tag: [u8; 8],
    /// Chosen afresh by the client for every transmission; echoed in the answer. Not signed.
    pub request_id: [u8; 8],
    /// What the last answer gave to this client, zero at first; in an answer, the token to send next time. Not signed.
    pub return_token: [u8; 8],
}

const _: () = assert!(size_of::<Header>() == HEADER_LENGTH && align_of::<Header>() == 1);
const _: () = assert!(offset_of!(Header, class) == 5 && offset_of!(Header, kind) == 6);
const _: () = assert!(offset_of!(Header, length) == 8 && offset_of!(Header, epoch) == 12);
const _: () = assert!(offset_of!(Header, network) == 16 && offset_of!(Header, account) == 24);
const _: () = assert!(offset_of!(Header, sequence) == 56 && offset_of!(Header, order_tag) == 64);
const _: () = assert!(offset_of!(Header, request_id) == 72 && offset_of!(Header, return_token) == 80);

impl Header {
    /// Byte offset of the account, whose first byte names the shard: what a kernel steers by.
    pub const ACCOUNT_OFFSET: usize = offset_of!(Header, account);

    /// Whether the header's order tag is that of `digest`. Userspace refuses a message where it is not.
    pub fn tag_matches(&self, digest: &Digest) -> bool {
        self.order_tag == digest.0[..8]
    }

    /// The kind, if this version knows it.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_byte(self.kind)
    }

    /// The network that a genesis digest stands for in headers.
    pub fn network_of(genesis: &GenesisDigest) -> Network {
        let mut network = [0; 8];
        network.copy_from_slice(&genesis.0[..8]);
        network
    }
}

/// Traffic classes, from the customer's integration plan: the lower number has priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// `CLASS_0_FASTPAY_BCB`: orders, votes, certificates and their refusals.
    Bcb = 0,
    /// `CLASS_1_PAYMENT_DATA`: queries and their answers.
    PaymentData = 1,
    /// `CLASS_2_BEST_EFFORT`: everything else.
    BestEffort = 2,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $class:ident;)*) => {
        /// What a message is. Reserved kinds have numbers so that later versions can use them; this version counts and drops them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $value,)* }

        impl Kind {
            /// The kind of a byte, if it has a number here.
            pub fn from_byte(byte: u8) -> Option<Kind> {
                match byte { $($value => Some(Kind::$name),)* _ => None }
            }

            /// The class that a message of this kind must carry. A refusal carries the class of what it refuses.
            pub fn class(self) -> Class {
                match self { $(Kind::$name => Class::$class,)* }
            }
        }
    };
}

kinds! {
    /// `TRANSFER_REQUEST`: a signed order asks for a vote.
    TransferRequest = 1, Bcb;
    /// `TRANSFER_RESPONSE`: the authority's vote.
    TransferResponse = 2, Bcb;
    /// `CONFIRMATION_REQUEST`: a certificate to execute.
    ConfirmationRequest = 3, Bcb;
    /// `CONFIRMATION_RESPONSE`: what this authority has executed at that sequence.
    ConfirmationResponse = 4, Bcb;
    /// Asks for an account's state.
    AccountQuery = 5, PaymentData;
    /// An account's state.
    AccountAnswer = 6, PaymentData;
    /// Asks for an executed certificate of an account.
    CertificateQuery = 7, PaymentData;
    /// An executed certificate with its links.
    CertificateAnswer = 8, PaymentData;
    /// A typed refusal of any request.
    Refusal = 9, Bcb;
    /// `WITHDRAWAL_REQUEST`, reserved.
    WithdrawalRequest = 16, Bcb;
    /// `WITHDRAWAL_RESPONSE`, reserved.
    WithdrawalResponse = 17, Bcb;
    /// Withdrawal certificate, reserved.
    WithdrawalConfirmation = 18, Bcb;
    /// Answer to a withdrawal certificate, reserved.
    WithdrawalConfirmationResponse = 19, Bcb;
    /// `SYNC_REQUEST`, reserved.
    SyncRequest = 24, PaymentData;
    /// `SYNC_RESPONSE`, reserved.
    SyncResponse = 25, PaymentData;
    /// `PEER_DISCOVERY`, reserved.
    PeerDiscovery = 32, BestEffort;
    /// `SERVICE_ANNOUNCEMENT`, reserved.
    ServiceAnnouncement = 33, BestEffort;
    /// `HEARTBEAT`, reserved.
    Heartbeat = 40, PaymentData;
    /// Closing record of an epoch, reserved.
    EpochClose = 48, Bcb;
    /// Account handoff between merchants, reserved.
    Handoff = 56, Bcb;
    /// Control writes signed by a quorum, reserved.
    Control = 64, PaymentData;
}
