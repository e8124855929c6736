//! Certificates: a quorum's votes for one order. Execute only on a certificate; a certificate beats a lock (DESIGN 5.7).

use arrayvec::ArrayVec;
use meshpay_wire::{BUNDLE_MAX, CertificateView, Digest, OPERATION_TRANSFER, RefusalCode};

use crate::{Accounts, Refusal, Rules, SEQUENCE_MAX, SenderCheck, Signatures, VoteCheck};

/// Certificates that are looked at together, and votes that are checked at once: however many signers a certificate has, only the last
/// lanes of a group stay empty. All on the stack.
const GROUP: usize = 64;

/// A certificate whose signatures are still to be checked.
#[derive(Clone, Copy, Debug)]
pub struct PendingCertificate<'a> {
    /// The certificate as it came.
    pub certificate: CertificateView<'a>,
    /// Digest of its order, computed from the body.
    pub digest: Digest,
    /// What every signer has signed, computed from `digest`.
    pub vote_digest: [u8; 32],
    /// The sender's signature is byte-equal to the locked one, which was verified when it was locked.
    pub sender_known: bool,
    /// Committee place whose signature is byte-equal to the vote that this authority made, so it needs no check.
    pub own_vote: Option<usize>,
}

/// A certificate all of whose signatures verified. Only [`verify_certificates`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedCertificate<'a> {
    certificate: CertificateView<'a>,
    digest: Digest,
}

impl<'a> VerifiedCertificate<'a> {
    /// The certificate.
    pub fn certificate(&self) -> CertificateView<'a> {
        self.certificate
    }

    /// Digest of its order.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// What screening says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateScreen {
    /// Its signatures must be checked; the sender's is already known where true.
    Verify {
        /// The sender's signature equals the locked one.
        sender_known: bool,
    },
    /// Its sequence was executed before; say what was executed there.
    ExecutedBefore,
}

/// What a verified certificate comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateDecision {
    /// Execute it.
    Execute,
    /// Its sequence was executed before.
    ExecutedBefore,
}

/// Everything about a certificate that needs no signature. Lock, balance and penalty are not looked at (DESIGN 5.7).
///
/// # Errors
/// The refusal to answer with.
pub fn screen_certificate(
    rules: &Rules,
    accounts: &impl Accounts,
    certificate: &CertificateView<'_>,
    digest: &Digest,
) -> Result<CertificateScreen, Refusal> {
    let body = &certificate.head.order.body;
    check_signers(rules, certificate)?;
    let account = accounts.account(&body.sender);
    let next = account.map_or(0, |account| account.next_sequence.get());
    let sequence = body.sequence.get();
    if sequence < next {
        return Ok(CertificateScreen::ExecutedBefore);
    }
    // A bundle may bring the missing ones in the same burst, so a small gap is judged after they were applied.
    if sequence - next > BUNDLE_MAX as u64 {
        return Err(Refusal::new(RefusalCode::MissingCertificate).sequence(next));
    }
    let sender_known = account.is_some_and(|account| {
        account.is_locked()
            && account.lock_digest == *digest
            && account.lock_signature == certificate.head.order.signature
    });
    Ok(CertificateScreen::Verify { sender_known })
}

/// The rules on a certificate's face: epoch, operation, token, members, quorum, minimality. Distinctness needs no check: signers
/// are bits of one word.
///
/// # Errors
/// The refusal to answer with.
pub fn check_signers(rules: &Rules, certificate: &CertificateView<'_>) -> Result<(), Refusal> {
    let body = &certificate.head.order.body;
    if body.epoch.get() != rules.epoch {
        return Err(Refusal::new(RefusalCode::WrongEpoch).value(rules.epoch));
    }
    if body.operation != OPERATION_TRANSFER {
        return Err(Refusal::new(RefusalCode::UnknownOperation));
    }
    if rules.token(body.token.get()).is_none() {
        return Err(Refusal::new(RefusalCode::UnknownToken));
    }
    let signers = certificate.head.signers.get();
    if !rules.committee.all_members(signers) {
        return Err(Refusal::new(RefusalCode::NotAMember));
    }
    if !rules.committee.is_quorum(signers) {
        return Err(Refusal::new(RefusalCode::BelowQuorum));
    }
    if !rules.committee.is_minimal_quorum(signers) {
        return Err(Refusal::new(RefusalCode::NotMinimal));
    }
    Ok(())
}

/// Checks many certificates at once: the rules on their face again, then all signatures. `verified` gets each certificate's place and
/// either the certificate or the refusal: [`RefusalCode::BadVote`], [`RefusalCode::BadSignature`], or one of [`check_signers`].
pub fn verify_certificates<'a>(
    rules: &Rules,
    signatures: &mut impl Signatures,
    pending: &[PendingCertificate<'a>],
    mut verified: impl FnMut(usize, Result<VerifiedCertificate<'a>, Refusal>),
) {
    for (group_at, group) in pending.chunks(GROUP).enumerate() {
        let mut bad: [Option<Refusal>; GROUP] = [None; GROUP];
        let mut senders: ArrayVec<SenderCheck<'_>, GROUP> = ArrayVec::new();
        let mut sender_of: ArrayVec<usize, GROUP> = ArrayVec::new();
        let mut votes: ArrayVec<VoteCheck<'_>, GROUP> = ArrayVec::new();
        let mut vote_of: ArrayVec<usize, GROUP> = ArrayVec::new();
        for (at, item) in group.iter().enumerate() {
            // Whoever made the pending certificate may not have screened it; a verified one must be a quorum of members all the same.
            if let Err(refusal) = check_signers(rules, &item.certificate) {
                bad[at] = Some(refusal);
                continue;
            }
            let order = &item.certificate.head.order;
            if !item.sender_known {
                let (key, message) = (&order.body.sender, &item.digest.0);
                senders.push(SenderCheck { key, message, signature: &order.signature });
                sender_of.push(at);
            }
            for (place, signature) in item.certificate.votes() {
                if item.own_vote == Some(place) {
                    continue;
                }
                votes.push(VoteCheck { place, message: &item.vote_digest, signature });
                vote_of.push(at);
                if votes.is_full() {
                    check_votes(signatures, &votes, &vote_of, &mut bad);
                    votes.clear();
                    vote_of.clear();
                }
            }
        }
        check_votes(signatures, &votes, &vote_of, &mut bad);
        // What nobody has said to be valid is not.
        let mut valid = [false; GROUP];
        if !senders.is_empty() {
            signatures.verify_senders(&senders, &mut valid[..senders.len()]);
        }
        for (at, valid) in sender_of.iter().zip(&valid) {
            // A bad vote is named before a bad sender.
            if !valid && bad[*at].is_none() {
                bad[*at] = Some(Refusal::new(RefusalCode::BadSignature));
            }
        }
        for (at, item) in group.iter().enumerate() {
            let result = match bad[at] {
                None => Ok(VerifiedCertificate { certificate: item.certificate, digest: item.digest }),
                Some(refusal) => Err(refusal),
            };
            verified(group_at * GROUP + at, result);
        }
    }
}

/// Checks votes at once and notes the certificates that one of them spoils; `vote_of[i]` is that of `votes[i]`.
fn check_votes(
    signatures: &mut impl Signatures,
    votes: &[VoteCheck<'_>],
    vote_of: &[usize],
    bad: &mut [Option<Refusal>; GROUP],
) {
    if votes.is_empty() {
        return;
    }
    // What nobody has said to be valid is not.
    let mut valid = [false; GROUP];
    signatures.verify_votes(votes, &mut valid[..votes.len()]);
    for (at, valid) in vote_of.iter().zip(&valid) {
        if !valid {
            bad[*at] = Some(Refusal::new(RefusalCode::BadVote));
        }
    }
}

/// Decides on a verified certificate, after everything before it in its burst was applied.
///
/// # Errors
/// A gap: the refusal names the missing sequence. Or the account is used up, see [`SEQUENCE_MAX`].
pub fn decide_certificate(
    accounts: &impl Accounts,
    verified: &VerifiedCertificate<'_>,
) -> Result<CertificateDecision, Refusal> {
    let body = &verified.certificate.head.order.body;
    let next = accounts.account(&body.sender).map_or(0, |account| account.next_sequence.get());
    match body.sequence.get() {
        sequence if sequence < next => Ok(CertificateDecision::ExecutedBefore),
        sequence if sequence > next => Err(Refusal::new(RefusalCode::MissingCertificate).sequence(next)),
        // No honest authority has voted for it.
        sequence if sequence > SEQUENCE_MAX => Err(Refusal::new(RefusalCode::SequenceTooHigh).sequence(next)),
        _ => Ok(CertificateDecision::Execute),
    }
}
