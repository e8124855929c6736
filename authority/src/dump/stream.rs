//! Workers' copies as an answer over HTTP: `GET /dump`, a pcapng file that goes on until the asker hangs up.
//!
//! What always holds: one asker at a time (others get 409); when it is gone the ring is off within [`LOOK_INTERVAL`]; an asker that reads slowly
//! makes copies get lost, and nothing else.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_core::Stream;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Datagram, DumpRing, LinkType, PcapngWriter, Record, Watching, lines, packet_of};

/// Where it is served.
pub const PATH: &str = "/dump";
/// How often the ring is looked into: at 50,000 packets a second its 1,024 places last for 20 ms.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Most packets in one piece of the answer.
const PIECE_MAX: usize = 256;

/// Serves the copies of `ring` at [`PATH`]. Shows who pays whom, so it belongs on the control socket, not on the metrics address.
pub fn router(ring: Arc<DumpRing>) -> Router {
    Router::new().route(PATH, get(dump)).with_state(ring)
}

async fn dump(State(ring): State<Arc<DumpRing>>) -> Response {
    let Some(watching) = ring.watch() else {
        return (StatusCode::CONFLICT, "somebody else is watching; one can at a time\n").into_response();
    };
    match Pieces::new(watching) {
        Ok(pieces) => ([(header::CONTENT_TYPE, "application/x-pcapng")], Body::from_stream(pieces)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The file in pieces, as packets come.
struct Pieces {
    watching: Watching,
    writer: PcapngWriter<Vec<u8>>,
    interface: u32,
    timer: Interval,
}

impl Pieces {
    fn new(watching: Watching) -> std::io::Result<Self> {
        let mut writer = PcapngWriter::new(Vec::new())?;
        let interface = writer.interface("workers", LinkType::Ip)?;
        let mut timer = interval(LOOK_INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { watching, writer, interface, timer })
    }

    /// Packets that wait, and what stands at the file's beginning.
    fn gather(&mut self) -> std::io::Result<Bytes> {
        for _ in 0..PIECE_MAX {
            let Some(copied) = self.watching.take() else { break };
            let packet = packet_of(copied.source, copied.destination, &copied.payload);
            let (source, destination) = (copied.source, copied.destination);
            let datagram = Datagram { source, destination, vlan: None, payload: &copied.payload };
            let headers = packet.len() - copied.payload.len();
            self.writer.packet(&Record {
                interface: self.interface,
                time_ns: copied.time_ns,
                outgoing: copied.outgoing,
                bytes: &packet,
                length: headers + copied.length,
                comment: &lines(copied.time_ns, copied.outgoing, &datagram).join("\n"),
            })?;
        }
        Ok(Bytes::from(std::mem::take(self.writer.inner_mut())))
    }
}

impl Stream for Pieces {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.gather() {
                Ok(bytes) if bytes.is_empty() => {}
                other => return Poll::Ready(Some(other)),
            }
            ready!(self.timer.poll_tick(context));
        }
    }
}
