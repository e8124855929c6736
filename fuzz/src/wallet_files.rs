//! Files that wallets keep and hand to each other: certificates, evidence, orders.
//!
//! Promised: no file panics; what is read and written again has the same bytes.
//!
//! The first byte says of which kind and network the file is made, and whether its check is put right again. Signatures all count as good here,
//! so that the fuzzer reaches what lies behind them.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use meshpay_client::wallet::{
    FileError, certificate_file, evidence_file, order_file, read_certificate, read_evidence, read_order,
};
use meshpay_client::{SignatureChecks, Verifier};
use meshpay_protocol::{SenderCheck, VoteCheck};
use meshpay_wire::truncate_sha512;

use crate::network::NETWORK;

const LENGTH_AT: usize = 12;
const GENESIS_AT: usize = 16;
const HEAD_BYTES: usize = 48;
const CHECK_BYTES: usize = 32;

/// What the first byte asks to be put right.
pub mod repair {
    pub const LENGTH: u8 = 1;
    pub const NETWORK: u8 = 2;
    pub const CHECK: u8 = 4;
}

#[derive(Debug)]
struct Trusting;

impl SignatureChecks for Trusting {
    fn sender_is_valid(&self, _check: &SenderCheck<'_>) -> bool {
        true
    }
    fn check_votes(&self, _checks: &[VoteCheck<'_>], valid: &mut [bool]) {
        valid.fill(true);
    }
}

static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::with_signatures(NETWORK.rules.clone(), Arc::new(Trusting)));

/// Bytes as a file that can be opened by a path, without a disk.
fn as_file(bytes: &[u8]) -> (std::fs::File, PathBuf) {
    let descriptor = rustix::fs::memfd_create("fuzz", rustix::fs::MemfdFlags::CLOEXEC).expect("a file in memory");
    let mut file = std::fs::File::from(descriptor);
    file.write_all(bytes).expect("memory has room");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    (file, path)
}

pub fn read(bytes: &[u8]) {
    let Some((repairs, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if bytes.len() >= HEAD_BYTES + CHECK_BYTES {
        let body_bytes = bytes.len() - HEAD_BYTES - CHECK_BYTES;
        if repairs & repair::LENGTH != 0 {
            bytes[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&(body_bytes as u32).to_le_bytes());
        }
        if repairs & repair::NETWORK != 0 {
            bytes[GENESIS_AT..GENESIS_AT + 32].copy_from_slice(&NETWORK.rules.genesis.0);
        }
        if repairs & repair::CHECK != 0 {
            let (covered, check) = bytes.split_at_mut(HEAD_BYTES + body_bytes);
            check.copy_from_slice(&truncate_sha512(covered));
        }
    }
    let genesis = &NETWORK.rules.genesis;
    let (_file, path) = as_file(&bytes);
    let mut kinds = 0;
    let mut readable = |again: Result<Vec<u8>, FileError>| match again {
        Ok(again) => {
            assert_eq!(again, bytes);
            kinds += 1;
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    };
    readable(read_certificate(&path, &VERIFIER).map(|certificate| certificate_file(genesis, &certificate)));
    readable(read_evidence(&path, genesis).map(|proof| evidence_file(genesis, &proof)));
    readable(read_order(&path, genesis).map(|order| order_file(genesis, &order)));
    assert!(kinds <= 1, "a file is of one kind");
}
