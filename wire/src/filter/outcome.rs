//! What a frame can come to: one counter each. Numbers are stable, since counters of a running program are read by them.

/// What the kernel does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Goes on to the network stack, untouched.
    Pass,
    /// Ends here.
    Drop,
    /// Goes to the worker that owns the account: to its AF_XDP socket, or to the stack where there is none.
    Deliver,
}

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $action:ident, $text:literal;)*) => {
        /// Why a frame passed or ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Outcome { $($(#[$doc])* $name = $value,)* }

        impl Outcome {
            /// Every outcome, by its number.
            pub const ALL: &'static [Outcome] = &[$(Outcome::$name,)*];

            /// How many there are: the length of the counters' table.
            pub const COUNT: usize = Self::ALL.len();

            /// What happens to the frame.
            #[inline(always)]
            pub fn action(self) -> Action {
                match self { $(Outcome::$name => Action::$action,)* }
            }

            /// Its name in metrics.
            pub fn name(self) -> &'static str {
                match self { $(Outcome::$name => $text,)* }
            }

            /// The outcome of a number, if there is one.
            pub fn from_number(number: u8) -> Option<Outcome> {
                Self::ALL.get(usize::from(number)).copied()
            }
        }
    };
}

outcomes! {
    /// The filter is switched off, or its tables are not there: everything passes.
    Off = 0, Pass, "off";
    /// A link, IP or UDP header that is cut off or contradicts itself.
    MalformedFrame = 1, Drop, "malformed_frame";
    /// More than six IPv6 extension headers, addressed to us.
    DeepHeaders = 2, Drop, "deep_headers";
    /// The first of several fragments, for our port: no message needs fragments.
    Fragmented = 3, Drop, "fragmented";
    /// Not for our MAC address: multicast, broadcast, or somebody else's.
    OtherMac = 4, Pass, "other_mac";
    /// A VLAN that was not permitted, or more than two tags.
    OtherVlan = 5, Pass, "other_vlan";
    /// Neither IPv4 nor IPv6: ARP and the like.
    OtherNetwork = 6, Pass, "other_network";
    /// IP, and not UDP: TCP, ICMP, neighbour discovery, routing.
    OtherProtocol = 7, Pass, "other_protocol";
    /// A fragment that is not the first: it has no port.
    LaterFragment = 8, Pass, "later_fragment";
    /// UDP to an address that is not ours: forwarded by us at most.
    OtherDestination = 9, Pass, "other_destination";
    /// UDP to another port of ours.
    OtherPort = 10, Pass, "other_port";
    /// Best-effort traffic of others on this interface, which the operator asked us to shed under load.
    ShedForeign = 11, Drop, "shed_foreign";
    /// Our port, and no message of this wire format.
    MalformedMessage = 12, Drop, "malformed_message";
    /// No message of the datagram is of a class and kind that this port serves.
    WrongClass = 13, Drop, "wrong_class";
    /// Every message of the datagram is of a class that is shed at present.
    Shed = 14, Drop, "shed";
    /// Sources without a return token have together sent more than their rate.
    OverSharedRate = 15, Drop, "over_shared_rate";
    /// The source has sent more than its own rate.
    OverRate = 16, Drop, "over_rate";
    /// IPv6 sources that have not earned a rate have together sent more than theirs.
    OverNewcomerRate = 17, Drop, "over_newcomer_rate";
    /// An order of a penalised sender.
    Penalised = 18, Drop, "penalised";
    /// Below the account's verified next sequence, and its allowance is spent.
    Stale = 19, Drop, "stale";
    /// Below it and within its allowance, but all stale messages together are over their budget.
    StaleOverBudget = 20, Drop, "stale_over_budget";
    /// An order other than the one that is locked, and its source's allowance is spent.
    Conflict = 21, Drop, "conflict";
    /// The same bytes from the same source within the echo window.
    Echo = 22, Drop, "echo";
    /// To the owning worker.
    Delivered = 23, Deliver, "delivered";
    /// To the owning worker although stale, so that a lost acknowledgement is given again.
    DeliveredStale = 24, Deliver, "delivered_stale";
    /// To the owning worker although in conflict, so that a forgetful wallet gets the locked order back.
    DeliveredConflict = 25, Deliver, "delivered_conflict";
}

const _: () = {
    let mut at = 0;
    while at < Outcome::COUNT {
        assert!(Outcome::ALL[at] as usize == at, "numbers are places");
        at += 1;
    }
};
