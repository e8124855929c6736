//! The committee behind real UDP sockets, so that the command can be tested before and without the daemon.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::TestCommittee;
use super::authority::TestAuthority;

/// Authorities on loopback, each with a socket and a thread. All end when this is dropped.
pub struct UdpCommittee {
    pub addresses: Vec<SocketAddr>,
    pub authorities: Vec<Arc<Mutex<TestAuthority>>>,
    pub genesis: meshpay_protocol::Genesis,
    pub verifier: Arc<meshpay_client::Verifier>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl UdpCommittee {
    pub fn start(committee: TestCommittee) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut genesis = committee.genesis;
        let mut addresses = Vec::new();
        let mut threads = Vec::new();
        let authorities: Vec<_> =
            committee.authorities.into_iter().map(|authority| Arc::new(Mutex::new(authority))).collect();
        for (place, authority) in authorities.iter().enumerate() {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            genesis.committee[place].address = Some(address);
            addresses.push(address);
            let (authority, stop) = (authority.clone(), stop.clone());
            threads.push(std::thread::spawn(move || serve(&socket, &authority, &stop)));
        }
        Self { addresses, authorities, genesis, verifier: committee.verifier, stop, threads }
    }

    pub fn with<R>(&self, place: usize, act: impl FnOnce(&mut TestAuthority) -> R) -> R {
        act(&mut self.authorities[place].lock().unwrap())
    }
}

fn serve(socket: &UdpSocket, authority: &Mutex<TestAuthority>, stop: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = [0; 2_048];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        if let Some(answer) = authority.lock().unwrap().answer(&buffer[..length], 0) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

impl Drop for UdpCommittee {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has failed an assertion about what the wallet sent.
            if thread.join().is_err() && !std::thread::panicking() {
                panic!("an authority's thread panicked, see above");
            }
        }
    }
}
