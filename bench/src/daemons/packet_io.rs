//! By which means a daemon exchanged packets: its rung, why not a better one, what its filter and its AF_XDP rings counted.
//!
//! What always holds: asking never fails a run. What a daemon does not say is said to be missing, in [`PacketIo::not_higher`].

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::metrics::metrics_page;
use super::{AuthorityDirectory, ReadyLine};
use crate::link::Side;

/// Packet I/O of a daemon at the end of its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketIo {
    /// The rung that it was on.
    pub rung: String,
    /// "native" or "generic", where it has a filter.
    pub mode: Option<String>,
    /// Why it is on no better rung, a line for each.
    pub not_higher: Vec<String>,
    /// Frames at the filter by outcome, those that never came left out. Empty without a filter.
    pub outcomes: BTreeMap<String, u64>,
    /// Frames at the AF_XDP rings by what became of them, and system calls to wake the kernel, zeros left out.
    pub rings: BTreeMap<String, u64>,
}

/// The part of the daemon's answer that is shown here.
#[derive(Deserialize)]
struct Status {
    mode: String,
    not_native: Option<String>,
    rung: String,
    missed: Vec<String>,
    outcomes: Vec<(String, u64)>,
}

impl PacketIo {
    /// Packet I/O by sockets alone, for the reason given.
    pub fn sockets(reason: &str) -> Self {
        Self { rung: "udp".to_owned(), not_higher: vec![reason.to_owned()], ..Self::default() }
    }

    /// Asks a daemon that was given an interface.
    pub fn ask(directory: &AuthorityDirectory, ready: &ReadyLine, side: &Side) -> Self {
        let mut found = match directory.filter_status() {
            Ok(text) => Self::of_status(&text).unwrap_or_else(|error| Self::unknown(ready, &error)),
            Err(error) => Self::unknown(ready, &error),
        };
        match metrics_page(ready, side) {
            Ok(page) => found.rings = rings(&page),
            Err(error) => found.not_higher.push(format!("the AF_XDP rings' counters are missing: {error:#}")),
        }
        found
    }

    fn of_status(text: &str) -> Result<Self> {
        let status: Status = serde_json::from_str(text).context("the filter's status is of an unknown form")?;
        let not_native = status.not_native.map(|why| format!("not native: {why}"));
        Ok(Self {
            rung: status.rung,
            mode: Some(status.mode),
            not_higher: status.missed.into_iter().chain(not_native).collect(),
            outcomes: status.outcomes.into_iter().filter(|(_, count)| *count > 0).collect(),
            rings: BTreeMap::new(),
        })
    }

    fn unknown(ready: &ReadyLine, error: &anyhow::Error) -> Self {
        let words = format!("{error:#}");
        // The daemon's own words, without those of the command around them.
        let words = words.find("there is no filter").map_or(words.as_str(), |at| &words[at..]);
        Self { rung: ready.fact("rung", "udp").to_owned(), not_higher: vec![words.to_owned()], ..Self::default() }
    }
}

/// What the page says of the rings.
fn rings(page: &str) -> BTreeMap<String, u64> {
    let value = |line: &str| {
        let (what, count) = line.strip_prefix("meshpay_rings_total{what=\"")?.split_once("\"} ")?;
        Some((what.to_owned(), count.trim().parse().ok()?))
    };
    page.lines().filter_map(value).filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_and_its_zeros_are_left_out() {
        let text = r#"{"interface":"mesh0","mode":"native","not_native":null,"state":"filtering","rung":"xsk-copy",
            "missed":["xsk-zero-copy: the driver of mesh0 has no zero-copy"],"outcomes":[["off",0],["delivered",7],["echo",2]]}"#;
        let found = PacketIo::of_status(text).expect("a status");
        assert_eq!((found.rung.as_str(), found.mode.as_deref()), ("xsk-copy", Some("native")));
        assert_eq!(found.not_higher, ["xsk-zero-copy: the driver of mesh0 has no zero-copy"]);
        assert_eq!(found.outcomes, BTreeMap::from([("delivered".to_owned(), 7), ("echo".to_owned(), 2)]));
        assert!(PacketIo::of_status("{}").is_err());
    }

    #[test]
    fn a_daemon_without_a_filter_says_why() {
        let ready = ReadyLine::parse("ready listen=127.0.0.1:1 rung=udp").expect("a line");
        let error = anyhow::anyhow!(
            "`d filter status` failed: error: there is no filter: it runs over sockets, since xdp-udp: occupied"
        );
        let found = PacketIo::unknown(&ready, &error);
        assert_eq!(found.not_higher, ["there is no filter: it runs over sockets, since xdp-udp: occupied"]);
    }

    #[test]
    fn rings_are_found_among_the_metrics() {
        let page = "# TYPE meshpay_rings_total counter\nmeshpay_rings_total{what=\"kicks\"} 12\n\
                    meshpay_rings_total{what=\"truncated\"} 0\nmeshpay_rings_total{what=\"kernel_dropped\"} 3\nother 4\n";
        assert_eq!(rings(page), BTreeMap::from([("kicks".to_owned(), 12), ("kernel_dropped".to_owned(), 3)]));
    }
}
