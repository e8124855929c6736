//! The stage of most tests: one real authority, three puppets who make a quorum without it, and two accounts.

use anyhow::{Context, Result, ensure};
use meshpay_tests::client::{Answer, Client};
use meshpay_tests::committee::{Committee, Plan};
use meshpay_tests::ledger::Ledger;
use meshpay_tests::network::{Actor, Certificate, EURO};
use meshpay_wire::{RefusalBody, RefusalCode, SignedOrder, Vote};
use std::net::SocketAddr;

/// One authority under test, and what its accounts must hold.
pub struct Scene {
    pub committee: Committee,
    pub client: Client,
    pub ledger: Ledger,
    pub alice: Actor,
    pub bob: Actor,
}

/// What Alice holds at first, in cents; Bob holds nothing and has no account.
pub const ALICE: u64 = 1_000;

/// The puppets, who are a quorum of the four.
pub const PUPPETS: [usize; 3] = [1, 2, 3];

impl Scene {
    /// Starts the authority with Alice's euros.
    pub fn start() -> Result<Self> {
        Self::of(Plan::single())
    }

    /// Starts the authority of a plan, with Alice's euros besides what the plan says.
    pub fn of(plan: Plan) -> Result<Self> {
        Self::with(plan, Actor::account(0), Actor::account(1))
    }

    /// Starts the authority of a plan, with these two as Alice and Bob.
    pub fn with(plan: Plan, alice: Actor, bob: Actor) -> Result<Self> {
        let committee = plan.fund(&alice, ALICE).start()?;
        let client = committee.client()?;
        let ledger = Ledger::new(&committee.allocations);
        Ok(Self { committee, client, ledger, alice, bob })
    }

    /// Where the authority answers.
    pub fn address(&self) -> SocketAddr {
        self.committee.daemons[0].address
    }

    /// Alice's order to pay Bob.
    pub fn alice_pays(&self, sequence: u64, amount: u64) -> SignedOrder {
        self.committee.network.order(&self.alice, &self.bob, sequence, amount)
    }

    /// A certificate by the puppets.
    pub fn certified(&self, order: SignedOrder) -> Certificate {
        self.committee.network.certificate(order, &PUPPETS)
    }

    /// Sends an order and returns what comes back.
    pub fn order(&mut self, order: &SignedOrder) -> Result<Answer> {
        self.client.order(self.address(), &self.committee.network.rules, order)
    }

    /// Sends an order that must be refused with this code.
    pub fn refused(&mut self, order: &SignedOrder, code: RefusalCode) -> Result<(RefusalBody, Option<SignedOrder>)> {
        let refusal = self.order(order)?.refusal(code)?;
        self.state_is_right()?;
        Ok(refusal)
    }

    /// Sends an order that must be voted for.
    pub fn voted(&mut self, order: &SignedOrder) -> Result<Vote> {
        let vote = self.order(order)?.vote()?;
        ensure!(vote.authority == 0, "the vote names another authority");
        ensure!(vote.order == self.committee.network.digest(&order.body), "the vote is for another order");
        let valid = self.committee.network.is_vote_of(0, &order.body, &vote.signature);
        ensure!(valid, "the vote's signature does not verify");
        Ok(vote)
    }

    /// Brings a certificate and returns what comes back.
    pub fn confirm(&mut self, certificate: &Certificate) -> Result<Answer> {
        self.client.confirm(self.address(), &self.committee.network.rules, certificate)
    }

    /// Brings a certificate that must be executed now.
    pub fn executed(&mut self, certificate: &Certificate) -> Result<()> {
        let executed = self.confirm(certificate)?.executed()?;
        ensure!(executed.status == 1, "executed before, though it was never sent");
        ensure!(executed.order == self.committee.network.digest(&certificate.order.body), "another order was executed");
        ensure!(executed.next_sequence.get() == certificate.order.body.sequence.get() + 1, "wrong next sequence");
        self.ledger.execute(&certificate.order);
        self.state_is_right()
    }

    /// Brings a certificate that must be refused with this code.
    pub fn certificate_refused(&mut self, certificate: &Certificate, code: RefusalCode) -> Result<RefusalBody> {
        let (body, _) = self.confirm(certificate)?.refusal(code)?;
        self.state_is_right()?;
        Ok(body)
    }

    /// Alice pays Bob as a wallet would: order, vote, certificate with that vote in it, execution.
    pub fn pay(&mut self, amount: u64) -> Result<Certificate> {
        let order = self.alice_pays(self.ledger.next_sequence(&self.alice.public), amount);
        let vote = self.voted(&order)?;
        let votes = [
            (0, vote.signature),
            self.committee.network.puppet_vote(2, &order.body),
            self.committee.network.puppet_vote(3, &order.body),
        ];
        let certificate = Certificate::assemble(order, &votes);
        self.executed(&certificate)?;
        Ok(certificate)
    }

    /// Every account that was ever named holds at the authority what it must.
    pub fn state_is_right(&mut self) -> Result<()> {
        let address = self.address();
        let accounts: Vec<_> =
            self.ledger.balances().map(|(account, token, balance)| (*account, token, balance)).collect();
        for (account, token, balance) in accounts {
            let answer = self.client.account(address, &account, token)?;
            let name = hex::encode(&account[..4]);
            ensure!(answer.balance.get() == balance, "{name} holds {} of token {token}, not {balance}", answer.balance);
            let next = self.ledger.next_sequence(&account);
            ensure!(answer.next_sequence.get() == next, "{name} is at sequence {}, not {next}", answer.next_sequence);
        }
        Ok(())
    }

    /// Stops the authority cleanly and audits its journal: every balance and sequence as it must be.
    pub fn stop_and_audit(&mut self) -> Result<()> {
        let status = self.committee.daemons[0].stop()?;
        ensure!(status.code() == Some(0), "a clean stop ended with {status}: {}", self.committee.daemons[0].log_end());
        self.audit()
    }

    /// Audits the stopped authority's journal.
    pub fn audit(&mut self) -> Result<()> {
        self.committee.daemons[0].audit()?;
        let found = self.committee.daemons[0].audited_accounts()?;
        for (account, token, balance) in self.ledger.balances() {
            let (sequence, held) = found
                .get(&(hex::encode(account), token))
                .copied()
                .or((balance == 0).then(|| (self.ledger.next_sequence(account), 0)))
                .with_context(|| format!("the audit has no account {}", hex::encode(account)))?;
            ensure!(held == balance, "the audit finds {held} where {balance} must be");
            ensure!(sequence == self.ledger.next_sequence(account), "the audit finds another sequence");
        }
        let held: i128 = found.iter().filter(|((_, token), _)| *token == EURO).map(|(_, (_, balance))| balance).sum();
        ensure!(held == self.ledger.total(EURO), "money is not conserved: {held}");
        Ok(())
    }
}
