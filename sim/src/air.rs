//! The network between authorities' sockets and clients: what is lost, doubled, late, flipped, and who hears whom.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use meshpay_net::Peer;

use crate::dice::Dice;
use crate::mesh::Mesh;
use crate::setting::Air;

/// Somebody with an address: authorities by place, then clients.
pub type Party = usize;

/// Which way a partition keeps packets from going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both ways.
    Both,
    /// From the first side to the second only.
    OneWay,
}

/// A split of the parties in two.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Whether each party is on the second side.
    pub second: Vec<bool>,
    /// Which way is cut.
    pub cut: Cut,
    /// Half of a period in which it is there and is not, microseconds; 0: it stays.
    pub flaps_us: u64,
    /// When it ends.
    pub until_us: u64,
}

impl Partition {
    fn stops(&self, from: Party, to: Party, now_us: u64) -> bool {
        if now_us >= self.until_us || (self.flaps_us > 0 && now_us / self.flaps_us % 2 == 1) {
            return false;
        }
        match (self.second[from], self.second[to]) {
            (false, true) => true,
            (true, false) => self.cut == Cut::Both,
            _ => false,
        }
    }
}

/// What happened to datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub struct AirCounters {
    /// Sent.
    pub sent: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Kept back by a partition.
    pub cut: u64,
    /// Delivered more than once.
    pub doubled: u64,
    /// Delivered with flipped bits.
    pub flipped: u64,
}

/// The network of a run.
pub struct Network {
    /// How bad it is. Nothing goes wrong once it is [`Network::heal`]ed.
    pub air: Air,
    partitions: Vec<Partition>,
    /// Where everybody is, in a mesh.
    pub mesh: Option<Mesh>,
    dice: Dice,
    /// Totals.
    pub counters: AirCounters,
}

impl Network {
    /// A network in these conditions.
    pub fn new(air: Air, dice: Dice) -> Self {
        Self { air, partitions: Vec::new(), mesh: None, dice, counters: AirCounters::default() }
    }

    /// Splits the parties.
    pub fn split(&mut self, partition: Partition) {
        self.partitions.push(partition);
    }

    /// From now on packets only take time.
    pub fn heal(&mut self) {
        self.partitions.clear();
        let Air { delay_least_us, jitter_us, .. } = self.air;
        self.air = Air { loss: 0, duplication: 0, corruption: 0, straggling: 0, delay_least_us, jitter_us };
    }

    /// Sends a datagram; returns when each copy arrives, and what it is then. Where the receiver checks UDP checksums, as every host's kernel
    /// does, a copy with flipped bits is lost; an authority behind AF_XDP gets it as it is.
    pub fn send(
        &mut self,
        from: Party,
        to: Party,
        checksummed: bool,
        datagram: Vec<u8>,
        now_us: u64,
    ) -> Vec<(u64, Vec<u8>)> {
        self.counters.sent += 1;
        if let Some(mesh) = &mut self.mesh {
            return mesh
                .carry(from, to, datagram.len())
                .map(|delay_us| (now_us + delay_us, datagram))
                .into_iter()
                .collect();
        }
        self.partitions.retain(|partition| now_us < partition.until_us);
        if self.partitions.iter().any(|partition| partition.stops(from, to, now_us)) {
            self.counters.cut += 1;
            return Vec::new();
        }
        if self.dice.chance(self.air.loss) {
            self.counters.lost += 1;
            return Vec::new();
        }
        let mut copies = 1;
        while copies < 4 && self.dice.chance(self.air.duplication) {
            copies += 1;
            self.counters.doubled += 1;
        }
        let mut arrivals = Vec::with_capacity(copies);
        for _ in 0..copies {
            let mut delay = self.air.delay_least_us + self.dice.below(self.air.jitter_us + 1);
            if self.dice.chance(self.air.straggling) {
                delay += self.dice.below(3_000_000);
            }
            let mut bytes = datagram.clone();
            if self.dice.chance(self.air.corruption) && !bytes.is_empty() {
                self.counters.flipped += 1;
                if checksummed {
                    continue;
                }
                for _ in 0..self.dice.between(1, 4) {
                    let at = self.dice.index(bytes.len());
                    bytes[at] ^= 1 << self.dice.below(8);
                }
            }
            arrivals.push((now_us + delay, bytes));
        }
        arrivals
    }
}

/// The address of a client, which changes each time it comes back somewhere else.
pub fn address_of(client: usize, place: u32) -> Peer {
    let octets = [10, (place % 200) as u8, (client >> 8) as u8, client as u8];
    Peer::new(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(octets)), 4_000))
}

/// The client with an address, and where it was then.
pub fn client_at(peer: &Peer) -> (usize, u32) {
    match peer.address.ip() {
        IpAddr::V4(address) => {
            let [_, place, high, low] = address.octets();
            (usize::from(high) << 8 | usize::from(low), u32::from(place))
        }
        IpAddr::V6(_) => (usize::MAX, 0),
    }
}
