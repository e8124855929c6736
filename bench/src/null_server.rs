//! A server that does nothing but answer: what the generator and the link can do without an authority.
//!
//! Orders get a packet of a vote's size, certificates one of an acknowledgement's, both with the request's header and
//! zeros for a body as far as the format allows. Nothing is verified and nothing is remembered.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshpay_net::{PacketPort as _, UdpConfig, UdpPort, Waitable as _};
use meshpay_wire::{
    DATAGRAM_MAX, Digest, Executed, ExecutionStatus, Message, Vote, confirmation_response, messages, transfer_response,
};

use crate::generator::{GeneratorPort, Rings};

/// Answers on a port until `stop` is set.
///
/// # Errors
/// Where the port fails for good.
pub fn serve(port: &mut GeneratorPort, stop: &AtomicBool) -> io::Result<()> {
    let mut buffer = [0; DATAGRAM_MAX];
    while !stop.load(Ordering::Relaxed) {
        let count = port.receive()?;
        for index in 0..count {
            let (bytes, peer) = port.packet(index);
            let mut length = 0;
            // No answer is longer than its request, so those to a bundle fit where it did.
            for message in messages(bytes).map_while(Result::ok) {
                length += answer(&message, &mut buffer[length..]).unwrap_or(0);
            }
            if length > 0 {
                port.queue(&peer, &[&buffer[..length]]);
            }
        }
        let _ = port.flush()?;
        if count == 0 {
            port.wait(Duration::from_millis(20), &[])?;
        }
    }
    Ok(())
}

/// Opens a port for [`serve`], and says where it listens: by rings of `interface`, which must have no other program, or else by a socket.
///
/// # Errors
/// When the kernel refuses.
pub fn open(address: SocketAddr, interface: Option<&str>) -> anyhow::Result<(GeneratorPort, SocketAddr)> {
    Ok(match interface {
        Some(interface) => (GeneratorPort::Rings(Box::new(Rings::open(interface, address.port())?)), address),
        None => {
            let port = UdpPort::open(&UdpConfig::new(address))?;
            let address = port.local_address();
            (GeneratorPort::Socket(Box::new(port)), address)
        }
    })
}

fn answer(message: &Message<'_>, buffer: &mut [u8]) -> Option<usize> {
    // A return token that is not zero, so that clients have one to echo.
    const TOKEN: [u8; 8] = *b"nullnull";
    match message {
        Message::TransferRequest(header, _) => {
            let vote = Vote { authority: 0, reserved: [0; 3], order: Digest::default(), signature: [0; 64] };
            Some(transfer_response(buffer, header, TOKEN, &vote))
        }
        Message::ConfirmationRequest(header, _) => {
            let status = ExecutionStatus::Now as u8;
            let executed = Executed { order: Digest::default(), next_sequence: 0.into(), status, reserved: [0; 7] };
            Some(confirmation_response(buffer, header, TOKEN, &executed))
        }
        _ => None,
    }
}
