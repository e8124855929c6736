//! A mesh of phones and gateways in the plane: who reaches whom over how many hops, while the phones walk; and what payments cost there.
//!
//! What always holds: a phone reaches an authority by the fewest hops between parties in radio range of each other, phones being relays too.
//! Each hop takes time and may lose the packet. The air itself is not shared: what is reported holds below saturation.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::air::AirCounters;
use crate::dice::Dice;

/// Radio range, metres.
const RANGE_M: f64 = 60.0;
/// Neighbours that a party has on average.
const NEIGHBOURS: f64 = 9.0;
/// Walking speed, metres a second.
const SPEED_M_S: f64 = 1.4;
/// Time between two looks at who is where, microseconds.
pub const MOVE_US: u64 = 500_000;
/// One hop: medium access and transmission, microseconds.
const HOP_LEAST_US: u64 = 1_500;
/// Added at most for contention, microseconds.
const HOP_JITTER_US: u64 = 4_000;
/// Packets lost on one hop after the link's own retries, per million.
const HOP_LOSS: u64 = 5_000;
/// No way.
const UNREACHABLE: u16 = u16::MAX;

#[derive(Clone, Copy)]
struct Point {
    x: f64,
    y: f64,
}

impl Point {
    fn distance(self, other: Point) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }
}

/// Where everybody is.
pub struct Mesh {
    authorities: usize,
    side: f64,
    at: Vec<Point>,
    to: Vec<Point>,
    /// Hops from each authority to each party.
    hops: Vec<Vec<u16>>,
    dice: Dice,
    /// Datagrams times hops.
    pub transmissions: u64,
    /// Bytes times hops.
    pub hop_bytes: u64,
    /// Datagrams that had no way to go.
    pub unreachable: u64,
}

impl Mesh {
    /// Authorities on a loose grid, clients anywhere.
    pub fn new(authorities: usize, clients: usize, mut dice: Dice) -> Self {
        let parties = authorities + clients;
        let side = RANGE_M * (parties as f64 * std::f64::consts::PI / NEIGHBOURS).sqrt();
        let columns = (authorities as f64).sqrt().ceil() as usize;
        let rows = authorities.div_ceil(columns);
        let unit = |dice: &mut Dice| dice.below(1_000_000) as f64 / 1e6;
        let at: Vec<Point> = (0..parties)
            .map(|party| {
                if party < authorities {
                    let (column, row) = (party % columns, party / columns);
                    let x = (column as f64 + 0.25 + unit(&mut dice) / 2.0) / columns as f64 * side;
                    let y = (row as f64 + 0.25 + unit(&mut dice) / 2.0) / rows as f64 * side;
                    Point { x, y }
                } else {
                    Point { x: unit(&mut dice) * side, y: unit(&mut dice) * side }
                }
            })
            .collect();
        let mut mesh = Self {
            authorities,
            side,
            to: at.clone(),
            at,
            hops: Vec::new(),
            dice,
            transmissions: 0,
            hop_bytes: 0,
            unreachable: 0,
        };
        mesh.find_ways();
        mesh
    }

    /// Time passes: phones walk towards where they want to be, and ways change.
    pub fn step(&mut self) {
        let stride = SPEED_M_S * MOVE_US as f64 / 1e6;
        for party in self.authorities..self.at.len() {
            let (here, there) = (self.at[party], self.to[party]);
            let distance = here.distance(there);
            if distance <= stride {
                let (x, y) = (self.dice.below(1_000_000) as f64 / 1e6, self.dice.below(1_000_000) as f64 / 1e6);
                self.to[party] = Point { x: x * self.side, y: y * self.side };
                continue;
            }
            let part = stride / distance;
            self.at[party] = Point { x: here.x + (there.x - here.x) * part, y: here.y + (there.y - here.y) * part };
        }
        self.find_ways();
    }

    fn find_ways(&mut self) {
        let cells = (self.side / RANGE_M).ceil() as usize;
        let cell_of = |point: Point| {
            let cell = |value: f64| ((value / RANGE_M) as usize).min(cells - 1);
            (cell(point.x), cell(point.y))
        };
        let mut grid: Vec<Vec<usize>> = vec![Vec::new(); cells * cells];
        for (party, point) in self.at.iter().enumerate() {
            let (column, row) = cell_of(*point);
            grid[row * cells + column].push(party);
        }
        let neighbours: Vec<Vec<usize>> = (0..self.at.len())
            .map(|party| {
                let (column, row) = cell_of(self.at[party]);
                let rows = row.saturating_sub(1)..=(row + 1).min(cells - 1);
                let columns = column.saturating_sub(1)..=(column + 1).min(cells - 1);
                rows.flat_map(|row| columns.clone().map(move |column| row * cells + column))
                    .flat_map(|cell| grid[cell].iter().copied())
                    .filter(|other| *other != party && self.at[party].distance(self.at[*other]) <= RANGE_M)
                    .collect()
            })
            .collect();
        self.hops = (0..self.authorities)
            .map(|authority| {
                let mut hops = vec![UNREACHABLE; neighbours.len()];
                hops[authority] = 0;
                let mut queue = VecDeque::from([authority]);
                while let Some(party) = queue.pop_front() {
                    for other in &neighbours[party] {
                        if hops[*other] == UNREACHABLE {
                            hops[*other] = hops[party] + 1;
                            queue.push_back(*other);
                        }
                    }
                }
                hops
            })
            .collect();
    }

    fn way(&self, from: usize, to: usize) -> Option<u16> {
        let (authority, party) = if from < self.authorities { (from, to) } else { (to, from) };
        let hops = *self.hops.get(authority)?.get(party)?;
        (hops != UNREACHABLE).then_some(hops)
    }

    /// Carries a datagram: how long it takes, if it arrives.
    pub fn carry(&mut self, from: usize, to: usize, bytes: usize) -> Option<u64> {
        let Some(hops) = self.way(from, to) else {
            self.unreachable += 1;
            return None;
        };
        let mut delay_us = 0;
        for _ in 0..hops.max(1) {
            self.transmissions += 1;
            self.hop_bytes += bytes as u64;
            if self.dice.chance(HOP_LOSS) {
                return None;
            }
            delay_us += HOP_LEAST_US + self.dice.below(HOP_JITTER_US);
        }
        Some(delay_us)
    }

    /// Hops to the farthest authority of the nearest quorum, which the votes must come from.
    pub fn hops_to_quorum(&self, party: usize, quorum: usize) -> Option<u16> {
        let mut hops: Vec<u16> = (0..self.authorities).filter_map(|authority| self.way(authority, party)).collect();
        hops.sort_unstable();
        hops.get(quorum - 1).copied()
    }
}

/// A payment that became final.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When the order was first sent, microseconds.
    pub began_us: u64,
    /// From there to the certificate, microseconds.
    pub final_us: u64,
    /// From there to the acknowledgements of a quorum, if they came, microseconds.
    pub settled_us: Option<u64>,
    /// Hops to the farthest authority of the nearest quorum at that time.
    pub hops: u16,
}

/// What a mesh run shall be.
#[derive(Clone, Copy, Debug)]
pub struct MeshRequest {
    /// Phones.
    pub clients: usize,
    /// Merchants' gateways.
    pub authorities: usize,
    /// How long, simulated microseconds.
    pub for_us: u64,
    /// When an authority is lost.
    pub lost_us: u64,
    /// When it comes back.
    pub back_us: u64,
}

impl MeshRequest {
    /// So many phones and 20 gateways, for a minute, one gateway being away from second 20 to second 40.
    pub fn of(clients: usize) -> Self {
        Self { clients, authorities: 20, for_us: 60_000_000, lost_us: 20_000_000, back_us: 40_000_000 }
    }
}

/// What a mesh run came to.
#[derive(Clone, Debug, Default)]
pub struct MeshReport {
    /// Payments that became final.
    pub samples: Vec<Sample>,
    /// Orders that were signed.
    pub signed: u64,
    /// Orders that were signed early enough to become final before the end: the others are not counted as failures.
    pub ripe: u64,
    /// Of those, final.
    pub ripe_final: u64,
    /// Certificates that the lost authority lacked when it came back.
    pub lacked: usize,
    /// How long it took until it had them, microseconds.
    pub caught_up_us: Option<u64>,
    /// Datagrams times hops.
    pub transmissions: u64,
    /// Bytes times hops.
    pub hop_bytes: u64,
    /// Datagrams that had no way to go.
    pub unreachable: u64,
}

fn percentile(values: &[u64], percent: usize) -> f64 {
    let at = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(0) as f64 / 1_000.0
}

impl MeshReport {
    /// The table.
    pub fn table(&self, request: &MeshRequest, air: &AirCounters) -> String {
        let mut text = format!(
            "{} phones, {} gateways, {} s simulated, radio range {RANGE_M} m, about {NEIGHBOURS} neighbours each, walking\n\n",
            request.clients,
            request.authorities,
            request.for_us / 1_000_000
        );
        let payments = self.samples.len().max(1) as f64;
        let settled = self.samples.iter().filter(|sample| sample.settled_us.is_some()).count();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<44} {value}");
        };
        line("orders signed", self.signed.to_string());
        line(
            "settlement success",
            format!(
                "{:.2} % final of {} signed 10 s or more before the end; {settled} of {} final acknowledged by a quorum",
                self.ripe_final as f64 * 100.0 / self.ripe.max(1) as f64,
                self.ripe,
                self.samples.len()
            ),
        );
        line("messages per payment", format!("{:.1} datagrams, each over its hops", air.sent as f64 / payments));
        line("transmissions per payment", format!("{:.0} frames on the air", self.transmissions as f64 / payments));
        line("bytes per payment", format!("{:.0} kB on the air", self.hop_bytes as f64 / payments / 1_000.0));
        line("datagrams without a way", self.unreachable.to_string());
        let _ = writeln!(text, "\n  finality               payments   hops p50   p50 ms   p90 ms   p99 ms");
        for (name, from, to) in [
            ("before the loss", 0, request.lost_us),
            ("one gateway lost", request.lost_us, request.back_us),
            ("after its return", request.back_us, u64::MAX),
        ] {
            let within: Vec<&Sample> =
                self.samples.iter().filter(|sample| (from..to).contains(&sample.began_us)).collect();
            let mut times: Vec<u64> = within.iter().map(|sample| sample.final_us).collect();
            let mut hops: Vec<u16> = within.iter().map(|sample| sample.hops).collect();
            times.sort_unstable();
            hops.sort_unstable();
            let _ = writeln!(
                text,
                "  {name:<22} {:>8} {:>10} {:>8.1} {:>8.1} {:>8.1}",
                within.len(),
                hops.get(hops.len() / 2).copied().unwrap_or(0),
                percentile(&times, 50),
                percentile(&times, 90),
                percentile(&times, 99)
            );
        }
        let _ = writeln!(
            text,
            "\n  recovery: the gateway that was lost lacked {} certificates when it came back, and {}",
            self.lacked,
            match self.caught_up_us {
                Some(us) => format!("had them all {:.0} ms later", us as f64 / 1_000.0),
                None => "had not got all of them by the end".to_owned(),
            }
        );
        let mut by_hops: Vec<(u16, Vec<u64>)> = Vec::new();
        for sample in &self.samples {
            match by_hops.iter_mut().find(|(hops, _)| *hops == sample.hops) {
                Some((_, times)) => times.push(sample.final_us),
                None => by_hops.push((sample.hops, vec![sample.final_us])),
            }
        }
        by_hops.sort_by_key(|(hops, _)| *hops);
        let _ = writeln!(text, "\n  hops to the quorum   payments   finality p50 ms   p90 ms");
        for (hops, times) in &mut by_hops {
            times.sort_unstable();
            let _ = writeln!(
                text,
                "  {hops:>18} {:>10} {:>17.1} {:>8.1}",
                times.len(),
                percentile(times, 50),
                percentile(times, 90)
            );
        }
        text
    }

    /// The plot: finality of each payment over time, as an SVG file's text.
    pub fn plot(&self, request: &MeshRequest) -> String {
        let (width, height, left, bottom) = (900.0, 420.0, 60.0, 40.0);
        let most_ms = self.samples.iter().map(|sample| sample.final_us).max().unwrap_or(1) as f64 / 1_000.0;
        let top_ms = (most_ms / 100.0).ceil().max(1.0) * 100.0;
        let x = |us: u64| left + us as f64 / request.for_us as f64 * (width - left - 20.0);
        let y = |ms: f64| height - bottom - ms / top_ms * (height - bottom - 30.0);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <rect x=\"{:.1}\" y=\"30\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#f3dede\"/>\n\
             <text x=\"{:.1}\" y=\"24\">one of {} gateways lost</text>\n",
            x(request.lost_us),
            x(request.back_us) - x(request.lost_us),
            height - bottom - 30.0,
            x(request.lost_us),
            request.authorities
        );
        for part in 0..=4 {
            let ms = top_ms * f64::from(part) / 4.0;
            let _ = writeln!(
                svg,
                "<line x1=\"{left}\" x2=\"{}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#ccc\"/><text x=\"8\" y=\"{1:.1}\">{ms:.0} ms</text>",
                width - 20.0,
                y(ms)
            );
        }
        for sample in &self.samples {
            let shade = (u32::from(sample.hops) * 12).min(255);
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\" fill=\"rgb({shade},60,{})\"/>",
                x(sample.began_us),
                y(sample.final_us as f64 / 1_000.0),
                255 - shade
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{left}\" y=\"{}\">payments by the second in which they began; colour: hops to the quorum, blue near, red far</text>\n</svg>",
            height - 12.0
        );
        svg
    }
}
