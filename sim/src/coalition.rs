//! Clients that cheat, together and with the lying authorities' keys: two orders for one sequence to different halves, forged and stolen
//! certificates, replays, overdrafts, floods.
//!
//! What always holds: they sign with their own keys and the liars' only.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use meshpay_wire::{
    CertificateHead, CertificateQuery, CertificateView, DIRECTION_CREDIT, DIRECTION_DEBIT, Envelope, Message,
    OPERATION_TRANSFER, OrderBody, PublicKey, RefusalCode, Signature, SignedOrder, account_query, certificate_query,
    confirmation_request, messages, order_digest, transfer_request, vote_digest,
};
use zerocopy::IntoBytes;

use crate::dice::Dice;
use crate::setting::{FUNDS, Setting};
use crate::signing::Signer;

/// Datagrams that are kept for replays.
const REPLAYS_MAX: usize = 256;
/// How long votes are gathered before a campaign counts as stuck, microseconds.
const CAMPAIGN_US: u64 = 4_000_000;
/// Campaigns under way at once.
const CAMPAIGNS_MAX: usize = 8;

/// A datagram to an authority.
pub struct Shot {
    /// To whom.
    pub authority: usize,
    /// What.
    pub datagram: Vec<u8>,
}

struct Account {
    signer: Signer,
    next: u64,
    /// Two of its orders block each other for good.
    stuck: bool,
}

struct Campaign {
    account: usize,
    sequence: u64,
    orders: Vec<SignedOrder>,
    votes: Vec<BTreeMap<usize, Signature>>,
    /// To which authorities each order is shown, as bits.
    sides: Vec<u32>,
    began_us: u64,
    again_us: u64,
}

/// The cheats.
pub struct Coalition {
    setting: Rc<Setting>,
    dice: Dice,
    accounts: Vec<Account>,
    campaigns: Vec<Campaign>,
    replays: VecDeque<(usize, Vec<u8>)>,
    certificates: Vec<Vec<u8>>,
    made: Vec<Vec<u8>>,
    equivocates: bool,
}

impl Coalition {
    /// All accounts of the cheats.
    pub fn new(setting: Rc<Setting>, dice: Dice) -> Self {
        let accounts = setting.cheats.iter().map(|signer| Account { signer: signer.clone(), next: 0, stuck: false });
        Self {
            accounts: accounts.collect(),
            setting,
            dice,
            campaigns: Vec::new(),
            replays: VecDeque::new(),
            certificates: Vec::new(),
            made: Vec::new(),
            equivocates: true,
        }
    }

    /// Certificates that they have made since this was asked last.
    pub fn take_made(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.made)
    }

    /// Certificates of others that a liar was shown.
    pub fn steal(&mut self, bytes: Vec<u8>) {
        if self.certificates.len() < REPLAYS_MAX {
            self.certificates.push(bytes);
        } else {
            let at = self.dice.index(REPLAYS_MAX);
            self.certificates[at] = bytes;
        }
    }

    /// Time has passed: what they send now.
    pub fn act(&mut self, now_us: u64) -> Vec<Shot> {
        let mut shots = Vec::new();
        match self.dice.below(100) {
            0..=24 if self.campaigns.len() < CAMPAIGNS_MAX => self.begin(now_us),
            25..=34 => self.replay(&mut shots),
            35..=49 => self.forge(&mut shots),
            50..=52 => self.flood(&mut shots),
            53..=62 => self.query(&mut shots),
            63..=69 => self.nonsense(&mut shots),
            70..=79 => self.steal_receipt(&mut shots),
            _ => {}
        }
        self.press(now_us, &mut shots);
        for shot in &shots {
            if self.replays.len() == REPLAYS_MAX {
                self.replays.pop_front();
            }
            self.replays.push_back((shot.authority, shot.datagram.clone()));
        }
        shots
    }

    /// An authority has answered one of them.
    pub fn receive(&mut self, authority: usize, datagram: &[u8]) -> Vec<Shot> {
        let mut shots = Vec::new();
        for message in messages(datagram).flatten() {
            let header = *message.header();
            match message {
                Message::TransferResponse(_, vote) => self.voted(&header.account, vote, &mut shots),
                Message::Refusal(_, body, _) => {
                    let code = RefusalCode::from_number(body.code.get());
                    if code == Some(RefusalCode::SequenceTooHigh) && !self.setting.lies(authority) {
                        let known = self.accounts.iter_mut().find(|account| account.signer.key() == header.account);
                        if let Some(account) = known {
                            account.next = account.next.max(body.sequence.get());
                        }
                    }
                }
                _ => {}
            }
        }
        shots
    }

    fn members(&self) -> usize {
        self.setting.members()
    }

    fn envelope(&mut self) -> Envelope {
        let rules = &self.setting.rules;
        let return_token = if self.dice.chance(100_000) { self.dice.bytes() } else { [0; 8] };
        Envelope { network: rules.network, epoch: rules.epoch, request_id: self.dice.bytes(), return_token }
    }

    fn order_datagram(&mut self, order: &SignedOrder) -> Vec<u8> {
        let mut buffer = vec![0; 1400];
        let digest = order_digest(&self.setting.rules.genesis, &order.body);
        let length = transfer_request(&mut buffer, &self.envelope(), order, &digest);
        buffer.truncate(length);
        buffer
    }

    fn certificate_datagram(&mut self, view: &CertificateView<'_>) -> Vec<u8> {
        let mut buffer = vec![0; 1400];
        let digest = order_digest(&self.setting.rules.genesis, &view.head.order.body);
        let length = confirmation_request(&mut buffer, &self.envelope(), view, &digest);
        buffer.truncate(length);
        buffer
    }

    fn some_recipient(&mut self) -> PublicKey {
        match self.dice.below(10) {
            0..=5 => {
                let at = self.dice.index(self.setting.wallets.len());
                self.setting.wallets[at].key()
            }
            6..=7 => {
                let at = self.dice.index(self.accounts.len());
                self.accounts[at].signer.key()
            }
            _ => {
                let mut key: PublicKey = self.dice.bytes();
                if self.setting.crowded {
                    key[0] = self.setting.wallets[0].key()[0];
                }
                key
            }
        }
    }

    fn some_order(&mut self, account: usize, sequence: u64) -> SignedOrder {
        let amount = match self.dice.below(20) {
            0 => 0,
            1 => u64::MAX,
            2 => self.dice.between(1, 20),
            3 | 4 => FUNDS + self.dice.below(FUNDS),
            5..=7 => FUNDS - self.dice.below(1_000),
            _ => self.dice.between(10, 5_000),
        };
        let tokens = self.setting.rules.tokens.len() as u64;
        let body = OrderBody {
            sender: self.accounts[account].signer.key(),
            sequence: sequence.into(),
            expiry_ms: if self.dice.chance(50_000) {
                (crate::node::EPOCH_MS + self.dice.below(60_000)).into()
            } else {
                0.into()
            },
            token: (1 + self.dice.below(tokens) as u32).into(),
            epoch: 0.into(),
            operation: OPERATION_TRANSFER,
            reserved: [0; 7],
            recipient: self.some_recipient(),
            amount: amount.into(),
            memo: self.dice.bytes(),
        };
        let digest = order_digest(&self.setting.rules.genesis, &body);
        SignedOrder { body, signature: self.accounts[account].signer.sign(&digest.0) }
    }

    /// A new order, or two or three that exclude each other.
    fn begin(&mut self, now_us: u64) {
        let free = |campaigns: &[Campaign], at: usize| campaigns.iter().all(|campaign| campaign.account != at);
        let alive: Vec<usize> =
            (0..self.accounts.len()).filter(|at| !self.accounts[*at].stuck && free(&self.campaigns, *at)).collect();
        if alive.is_empty() {
            return;
        }
        let account = alive[self.dice.index(alive.len())];
        let sequence = self.accounts[account].next;
        let chance = if alive.len() > 8 { 400_000 } else { 50_000 };
        let count = if self.equivocates && self.dice.chance(chance) { self.dice.between(2, 3) } else { 1 };
        let all = (1u32 << self.members()) - 1;
        let (mut orders, mut sides) = (Vec::new(), Vec::new());
        let mut left = all;
        for number in 0..count {
            orders.push(self.some_order(account, sequence));
            let side = if count == 1 || self.dice.chance(200_000) {
                all
            } else if number + 1 == count {
                left
            } else {
                self.dice.word() as u32 & left
            };
            left &= !side;
            sides.push(side);
        }
        let mut votes: Vec<BTreeMap<usize, Signature>> = vec![BTreeMap::new(); orders.len()];
        let rules = Rc::clone(&self.setting);
        for place in (0..self.members()).filter(|place| rules.lies(*place)) {
            for (order, votes) in orders.iter().zip(&mut votes) {
                let digest = order_digest(&rules.rules.genesis, &order.body);
                let message = vote_digest(&rules.rules.genesis, rules.rules.epoch, &digest);
                votes.insert(place, rules.authorities[place].sign(&message));
            }
        }
        self.campaigns.push(Campaign { account, sequence, orders, votes, sides, began_us: now_us, again_us: 0 });
    }

    /// Repeats what is not answered yet, and gives up what is stuck.
    fn press(&mut self, now_us: u64, shots: &mut Vec<Shot>) {
        let mut ended = Vec::new();
        for at in 0..self.campaigns.len() {
            if now_us < self.campaigns[at].again_us {
                continue;
            }
            self.campaigns[at].again_us = now_us + self.dice.between(60_000, 400_000);
            if now_us > self.campaigns[at].began_us + CAMPAIGN_US {
                ended.push(at);
                continue;
            }
            for number in 0..self.campaigns[at].orders.len() {
                let (order, side) = (self.campaigns[at].orders[number], self.campaigns[at].sides[number]);
                for authority in (0..self.members()).filter(|place| side >> place & 1 == 1) {
                    if !self.campaigns[at].votes[number].contains_key(&authority) {
                        let datagram = self.order_datagram(&order);
                        shots.push(Shot { authority, datagram });
                    }
                }
            }
            // Later everybody gets to see everything.
            if now_us > self.campaigns[at].began_us + CAMPAIGN_US / 2 && self.dice.chance(500_000) {
                let all = (1u32 << self.members()) - 1;
                self.campaigns[at].sides.fill(all);
            }
        }
        for at in ended.into_iter().rev() {
            let campaign = self.campaigns.remove(at);
            self.accounts[campaign.account].stuck = true;
        }
    }

    fn voted(&mut self, account: &PublicKey, vote: &meshpay_wire::Vote, shots: &mut Vec<Shot>) {
        let genesis = self.setting.rules.genesis;
        let place = usize::from(vote.authority);
        let Some(member) = self.setting.rules.committee.members().get(place) else { return };
        let message = vote_digest(&genesis, self.setting.rules.epoch, &vote.order);
        if !self.setting.scribe.is_valid(&member.key, &message, &vote.signature) {
            return;
        }
        let accounts = &self.accounts;
        let found = self.campaigns.iter_mut().enumerate().find_map(|(at, campaign)| {
            let ours = accounts[campaign.account].signer.key() == *account;
            let number = campaign.orders.iter().position(|order| order_digest(&genesis, &order.body) == vote.order)?;
            ours.then(|| {
                campaign.votes[number].insert(place, vote.signature);
                (at, number)
            })
        });
        let Some((at, number)) = found else { return };
        let votes = self.campaigns[at].votes[number].clone();
        let order = self.campaigns[at].orders[number];
        if let Some(bytes) = self.assemble(&order, &votes) {
            self.campaigns[at].sides[number] = 0;
            self.made.push(bytes.clone());
            self.steal(bytes.clone());
            self.publish(&bytes, shots);
            let account = self.campaigns[at].account;
            self.accounts[account].next = self.accounts[account].next.max(self.campaigns[at].sequence + 1);
            // With two orders they go on trying for a second certificate until the time is up.
            if self.campaigns[at].orders.len() == 1 {
                self.campaigns.remove(at);
            }
        }
    }

    fn assemble(&mut self, order: &SignedOrder, votes: &BTreeMap<usize, Signature>) -> Option<Vec<u8>> {
        let bits = votes.keys().fold(0u32, |bits, place| bits | 1 << place);
        let signers = self.setting.rules.committee.minimal_quorum_of(bits)?;
        let signatures: Vec<Signature> =
            votes.iter().filter(|(place, _)| signers >> **place & 1 == 1).map(|(_, signature)| *signature).collect();
        Some(certificate_bytes(order, signers, &signatures))
    }

    /// A certificate goes to some authorities only.
    fn publish(&mut self, bytes: &[u8], shots: &mut Vec<Shot>) {
        let some = if self.dice.chance(600_000) { u32::MAX } else { self.dice.word() as u32 };
        let Some((view, _)) = CertificateView::parse(bytes) else { return };
        for authority in (0..self.members()).filter(|place| some >> place & 1 == 1) {
            let datagram = self.certificate_datagram(&view);
            shots.push(Shot { authority, datagram });
            // Whether it was executed is asked at once, to hear what may still be lost.
            let mut buffer = vec![0; 1400];
            let body = &view.head.order.body;
            let length = account_query(&mut buffer, &self.envelope(), &body.sender, body.token.get());
            buffer.truncate(length);
            shots.push(Shot { authority, datagram: buffer });
        }
    }

    fn replay(&mut self, shots: &mut Vec<Shot>) {
        for _ in 0..self.dice.between(1, 6) {
            if self.replays.is_empty() {
                return;
            }
            let at = self.dice.index(self.replays.len());
            let (to, datagram) = self.replays[at].clone();
            let authority = if self.dice.chance(500_000) { to } else { self.dice.index(self.members()) };
            shots.push(Shot { authority, datagram });
        }
    }

    /// Certificates that are none: votes of liars in places of others, too few, wrong bits, votes for something else.
    fn forge(&mut self, shots: &mut Vec<Shot>) {
        let account = self.dice.index(self.accounts.len());
        let sequence = self.accounts[account].next;
        let order = self.some_order(account, sequence);
        let digest = order_digest(&self.setting.rules.genesis, &order.body);
        let message = vote_digest(&self.setting.rules.genesis, self.setting.rules.epoch, &digest);
        let liars: Vec<usize> = (0..self.members()).filter(|place| self.setting.lies(*place)).collect();
        let own: Signature = match liars.first() {
            Some(place) => self.setting.authorities[*place].sign(&message),
            None => self.dice.bytes(),
        };
        let all = (1u32 << self.members()) - 1;
        let mut signers = self.setting.rules.committee.minimal_quorum_of(all).unwrap_or(all);
        if self.dice.chance(200_000) {
            signers = self.dice.word() as u32;
        }
        let count = (signers.count_ones() as usize).min(16);
        let mut signatures = vec![own; count];
        if self.dice.chance(300_000) {
            signatures.iter_mut().for_each(|signature| *signature = self.dice.bytes());
        }
        if signatures.is_empty() {
            return;
        }
        if signatures.len() != signers.count_ones() as usize {
            return;
        }
        let bytes = certificate_bytes(&order, signers, &signatures);
        let Some((view, _)) = CertificateView::parse(&bytes) else { return };
        for authority in 0..self.members() {
            let datagram = self.certificate_datagram(&view);
            shots.push(Shot { authority, datagram });
        }
    }

    /// Orders in somebody's name with signatures that are none.
    fn flood(&mut self, shots: &mut Vec<Shot>) {
        let victim = self.dice.index(self.setting.wallets.len());
        let authority = self.dice.index(self.members());
        for _ in 0..self.dice.between(10, 80) {
            let sequence = self.dice.below(6);
            let mut order = self.some_order(0, sequence);
            order.body.sender = self.setting.wallets[victim].key();
            order.signature = self.dice.bytes();
            let datagram = self.order_datagram(&order);
            shots.push(Shot { authority, datagram });
        }
    }

    fn query(&mut self, shots: &mut Vec<Shot>) {
        let account = match self.dice.below(2) {
            0 => self.setting.wallets[self.dice.index(self.setting.wallets.len())].key(),
            _ => self.accounts[self.dice.index(self.accounts.len())].signer.key(),
        };
        let signers = self.setting.rules.committee.largest_minimal_quorum();
        for _ in 0..self.dice.between(1, 5) {
            let mut buffer = vec![0; 1400];
            let envelope = self.envelope();
            let length = match self.dice.below(3) {
                0 => account_query(&mut buffer, &envelope, &account, 1),
                1 => {
                    let query = CertificateQuery { direction: DIRECTION_DEBIT, reserved: [0; 7], locator: 0.into() };
                    certificate_query(&mut buffer, &envelope, &account, self.dice.below(20), &query, signers)
                }
                _ => {
                    let locator = if self.dice.chance(500_000) { 0 } else { self.dice.below(2_000_000) };
                    let query =
                        CertificateQuery { direction: DIRECTION_CREDIT, reserved: [0; 7], locator: locator.into() };
                    certificate_query(&mut buffer, &envelope, &account, 0, &query, signers)
                }
            };
            buffer.truncate(length);
            shots.push(Shot { authority: self.dice.index(self.members()), datagram: buffer });
        }
    }

    /// Bytes that are no message, of another network, or cut off.
    fn nonsense(&mut self, shots: &mut Vec<Shot>) {
        let authority = self.dice.index(self.members());
        let mut datagram = match self.replays.back() {
            // One that was cut off to nothing cannot be cut or changed again.
            Some((_, datagram)) if self.dice.chance(700_000) && !datagram.is_empty() => datagram.clone(),
            _ => self.dice.bytes::<320>().to_vec(),
        };
        let at = self.dice.index(datagram.len());
        match self.dice.below(3) {
            0 => datagram.truncate(at),
            1 => datagram[at] = self.dice.word() as u8,
            _ => datagram.extend(self.dice.bytes::<64>()),
        }
        shots.push(Shot { authority, datagram });
    }

    /// Somebody else's certificate, as it is or as if it paid a cheat.
    fn steal_receipt(&mut self, shots: &mut Vec<Shot>) {
        if self.certificates.is_empty() {
            return;
        }
        let at = self.dice.index(self.certificates.len());
        let bytes = self.certificates[at].clone();
        let Some((view, _)) = CertificateView::parse(&bytes) else { return };
        let mut head = *view.head;
        if self.dice.chance(500_000) {
            match self.dice.below(3) {
                0 => head.order.body.recipient = self.accounts[0].signer.key(),
                1 => head.order.body.amount = (head.order.body.amount.get() / 2 + 1).into(),
                _ => head.order.body.sequence = (head.order.body.sequence.get() + 1).into(),
            }
        }
        let stolen = CertificateView { head: &head, signatures: view.signatures };
        let authority = self.dice.index(self.members());
        let datagram = self.certificate_datagram(&stolen);
        shots.push(Shot { authority, datagram });
    }
}

fn certificate_bytes(order: &SignedOrder, signers: u32, signatures: &[Signature]) -> Vec<u8> {
    let head = CertificateHead { order: *order, signers: signers.into(), reserved: 0.into() };
    [head.as_bytes(), signatures.as_bytes()].concat()
}
