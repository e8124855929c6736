//! Certificates: a quorum's votes for one order. Execute only on a certificate; a certificate beats a lock (DESIGN 5.7).

use meshpay_wire::{BUNDLE_MAX, CertificateView, Digest, OPERATION_TRANSFER, RefusalCode, SIGNERS_MAX};

use crate::{Accounts, Refusal, Rules, SenderCheck, Signatures, VoteCheck};

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
    // Enough certificates at once that votes fill their lanes; all on the stack.
    const GROUP: usize = 16;
    for (group_at, group) in pending.chunks(GROUP).enumerate() {
        let first = &group[0];
        let order = &first.certificate.head.order;
        let sender = SenderCheck { key: &order.body.sender, message: &first.digest.0, signature: &order.signature };
        let vote = VoteCheck { place: 0, message: &first.vote_digest, signature: &order.signature };
        let (mut senders, mut sender_of, mut sender_count) = ([sender; GROUP], [0usize; GROUP], 0);
        let (mut votes, mut vote_of, mut vote_count) = ([vote; GROUP * SIGNERS_MAX], [0usize; GROUP * SIGNERS_MAX], 0);
        let mut bad: [Option<Refusal>; GROUP] = [None; GROUP];
        for (at, item) in group.iter().enumerate() {
            // Whoever made the pending certificate may not have screened it; a verified one must be a quorum of members all the same.
            if let Err(refusal) = check_signers(rules, &item.certificate) {
                bad[at] = Some(refusal);
                continue;
            }
            let order = &item.certificate.head.order;
            if !item.sender_known {
                senders[sender_count] =
                    SenderCheck { key: &order.body.sender, message: &item.digest.0, signature: &order.signature };
                sender_of[sender_count] = at;
                sender_count += 1;
            }
            for (place, signature) in item.certificate.votes() {
                if item.own_vote == Some(place) {
                    continue;
                }
                votes[vote_count] = VoteCheck { place, message: &item.vote_digest, signature };
                vote_of[vote_count] = at;
                vote_count += 1;
            }
        }
        let mut sender_valid = [true; GROUP];
        signatures.verify_senders(&senders[..sender_count], &mut sender_valid[..sender_count]);
        let mut vote_valid = [true; GROUP * SIGNERS_MAX];
        signatures.verify_votes(&votes[..vote_count], &mut vote_valid[..vote_count]);
        for (at, valid) in sender_of[..sender_count].iter().zip(&sender_valid) {
            if !valid {
                bad[*at] = Some(Refusal::new(RefusalCode::BadSignature));
            }
        }
        for (at, valid) in vote_of[..vote_count].iter().zip(&vote_valid) {
            if !valid {
                bad[*at] = Some(Refusal::new(RefusalCode::BadVote));
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

/// Decides on a verified certificate, after everything before it in its burst was applied.
///
/// # Errors
/// A gap: the refusal names the missing sequence.
pub fn decide_certificate(
    accounts: &impl Accounts,
    verified: &VerifiedCertificate<'_>,
) -> Result<CertificateDecision, Refusal> {
    let body = &verified.certificate.head.order.body;
    let next = accounts.account(&body.sender).map_or(0, |account| account.next_sequence.get());
    match body.sequence.get() {
        sequence if sequence < next => Ok(CertificateDecision::ExecutedBefore),
        sequence if sequence > next => Err(Refusal::new(RefusalCode::MissingCertificate).sequence(next)),
        _ => Ok(CertificateDecision::Execute),
    }
}
