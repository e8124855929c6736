//! The clients' side of the network: many addresses on few ports, and the return token that each was last given.
//!
//! By rings (see `port`) one port serves all addresses. Without them, each socket is bound to the wildcard address and a port of its own, sends from as many local addresses as are wanted by
//! IP_PKTINFO, and learns the same way to which of them an answer came. To an authority that is as many sources as address-port
//! pairs, each with its own return token; to us it is a few descriptors whose packets come and go in bursts. Two thousand sockets
//! would cost a system call each, and an epoll beside: more than the packets themselves.

use std::net::Ipv4Addr;

use meshpay_net::{LinkData, Peer, WAIT_OTHERS_MAX};

use super::Target;

/// Sockets that the generator sends from without rings. Each costs one more system call in every pass of the loop, so they are few.
pub const PORTS: usize = 4;
const _: () = assert!(PORTS <= WAIT_OTHERS_MAX + 1);

/// Addresses that each port sends from.
pub const ADDRESSES: usize = 512;

/// Addresses that each port sends from where requests are bundled: merchants' relays, each for thousands of phones.
pub const RELAYS: usize = 16;

/// Sources, and each one's return tokens.
pub struct Clients {
    addresses: Vec<Ipv4Addr>,
    ports: usize,
    tokens: Vec<[u8; 8]>,
    places: usize,
    link: LinkData,
}

impl Clients {
    /// Clients at every pair of these addresses and so many ports, of a committee of `places`.
    pub fn new(addresses: Vec<Ipv4Addr>, ports: usize, places: usize) -> Self {
        assert!(!addresses.is_empty() && ports > 0, "payments come from somewhere");
        let tokens = vec![[0; 8]; addresses.len() * ports * places];
        Self { addresses, ports, tokens, places, link: LinkData::default() }
    }

    /// The same clients, who send to the authorities by this way below IP.
    pub fn by_link(self, link: LinkData) -> Self {
        Self { link, ..self }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.addresses.len() * self.ports
    }

    /// The client at which an account lives.
    pub fn of_account(&self, account: u32) -> usize {
        account as usize % self.count()
    }

    /// The port that a client sends from, by number.
    pub fn port(&self, client: usize) -> usize {
        client % self.ports
    }

    /// A target as seen from a client.
    pub fn peer(&self, client: usize, target: &Target) -> Peer {
        let peer = Peer::new(target.address).from_local(self.addresses[client / self.ports].into());
        Peer { link: self.link, ..peer }
    }

    /// The token that the authority at `place` gave to a client last, or zero.
    pub fn token(&self, client: usize, place: usize) -> [u8; 8] {
        self.tokens[client * self.places + place]
    }

    /// Remembers a token.
    pub fn keep_token(&mut self, client: usize, place: usize, token: [u8; 8]) {
        self.tokens[client * self.places + place] = token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::net::SocketAddr;

    #[test]
    fn every_client_is_a_pair_of_its_own_and_keeps_its_own_tokens() {
        let addresses: Vec<Ipv4Addr> = (0..ADDRESSES).map(|at| Ipv4Addr::from(0x7f12_8001 + at as u32)).collect();
        let mut clients = Clients::new(addresses, PORTS, 4);
        assert!(clients.count() >= 2_000);
        let target = Target { place: 0, address: SocketAddr::from(([127, 0, 0, 1], 7450)) };
        let pairs: HashSet<_> =
            (0..clients.count()).map(|client| (clients.port(client), clients.peer(client, &target).local)).collect();
        assert_eq!(pairs.len(), clients.count());
        clients.keep_token(7, 3, [1; 8]);
        assert_eq!((clients.token(7, 3), clients.token(7, 2), clients.token(8, 3)), ([1; 8], [0; 8], [0; 8]));
    }
}
