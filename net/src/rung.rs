//! The ladder: by which means packets come and go, from plain sockets up to zero-copy AF_XDP, and why not by a better one.
//!
//! What always holds: the choice is never silent. Whoever climbs gets, for every better rung, what stood in the way and what to do
//! about it; and a rung that was required is reached or the climb fails. This file tries nothing itself: attaching programs and
//! opening sockets are handed in, so it depends on no loader.

use std::fmt;
use std::str::FromStr;

/// A way for packets to come and go, worst first, so that a better one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// Sockets, and no filter in the kernel.
    Udp,
    /// The filter runs in the kernel (natively or, on mac80211, generically), and what it lets pass comes by sockets.
    XdpUdp,
    /// The filter runs in the kernel, requests come by sockets, answers leave by AF_XDP.
    XdpUdpXskOut,
    /// AF_XDP both ways; the kernel copies packets.
    XskCopy,
    /// AF_XDP both ways; the driver writes into our memory.
    XskZeroCopy,
}

impl Rung {
    /// All, the best first: the sequence in which they are tried unless somebody knows better.
    pub const BEST_FIRST: [Rung; 5] = [Rung::XskZeroCopy, Rung::XskCopy, Rung::XdpUdpXskOut, Rung::XdpUdp, Rung::Udp];

    /// The name on command lines, in logs and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Rung::Udp => "udp",
            Rung::XdpUdp => "xdp-udp",
            Rung::XdpUdpXskOut => "xdp-udp-xsk-out",
            Rung::XskCopy => "xsk-copy",
            Rung::XskZeroCopy => "xsk-zero-copy",
        }
    }

    /// One line for people.
    pub fn description(self) -> &'static str {
        match self {
            Rung::Udp => "UDP sockets, no filter in the kernel",
            Rung::XdpUdp => "XDP filter, UDP sockets",
            Rung::XdpUdpXskOut => "XDP filter, requests by UDP sockets, answers by AF_XDP",
            Rung::XskCopy => "XDP filter, AF_XDP in copy mode",
            Rung::XskZeroCopy => "XDP filter, AF_XDP without copying",
        }
    }

    /// Whether the filter runs in the kernel.
    pub fn has_filter(self) -> bool {
        self > Rung::Udp
    }

    /// A number for a gauge: 0 for sockets alone, more for better.
    pub fn level(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// No rung has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no rung {0:?}; there are udp, xdp-udp, xdp-udp-xsk-out, xsk-copy, xsk-zero-copy")]
pub struct UnknownRung(String);

impl FromStr for Rung {
    type Err = UnknownRung;

    fn from_str(name: &str) -> Result<Self, UnknownRung> {
        Rung::BEST_FIRST.into_iter().find(|rung| rung.name() == name).ok_or_else(|| UnknownRung(name.to_owned()))
    }
}

/// Why a rung was not reached, in words for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What stands in the way: "the driver has no zero-copy".
    pub why: String,
    /// What to do about it; empty if nothing can be done.
    pub remedy: String,
}

impl Obstacle {
    /// An obstacle of these words.
    pub fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: remedy.into() }
    }
}

/// A rung that was tried and not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Which.
    pub rung: Rung,
    /// Why.
    pub obstacle: Obstacle,
}

impl fmt::Display for Missed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.rung, self.obstacle.why)?;
        if !self.obstacle.remedy.is_empty() {
            write!(formatter, "; {}", self.obstacle.remedy)?;
        }
        Ok(())
    }
}

/// A rung that was reached.
#[derive(Debug)]
pub struct Climbed<T> {
    /// Which.
    pub rung: Rung,
    /// What was opened there.
    pub opened: T,
    /// Those tried before.
    pub missed: Vec<Missed>,
}

/// No rung that would do was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRung {
    /// What was required.
    pub required: Option<Rung>,
    /// All that was tried.
    pub missed: Vec<Missed>,
}

impl std::error::Error for NoRung {}

impl fmt::Display for NoRung {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.required {
            Some(required) => write!(formatter, "{required} or better was required and is not to be had")?,
            None => write!(formatter, "there is no way to exchange packets")?,
        }
        for missed in &self.missed {
            write!(formatter, "\n  {missed}")?;
        }
        Ok(())
    }
}

/// Tries the rungs in the sequence given, usually [`Rung::BEST_FIRST`], and takes the first that `attempt` reaches. Those below
/// `required` are left out.
///
/// # Errors
/// If none was reached; says of each why.
pub fn climb<T>(
    sequence: &[Rung],
    required: Option<Rung>,
    mut attempt: impl FnMut(Rung) -> Result<T, Obstacle>,
) -> Result<Climbed<T>, NoRung> {
    let mut missed = Vec::new();
    for rung in sequence.iter().copied().filter(|rung| required.is_none_or(|required| *rung >= required)) {
        match attempt(rung) {
            Ok(opened) => return Ok(Climbed { rung, opened, missed }),
            Err(obstacle) => missed.push(Missed { rung, obstacle }),
        }
    }
    Err(NoRung { required, missed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_from(highest: Rung) -> impl FnMut(Rung) -> Result<Rung, Obstacle> {
        move |rung| if rung <= highest { Ok(rung) } else { Err(Obstacle::new(format!("no {rung} here"), "buy one")) }
    }

    #[test]
    fn names_are_read_back_and_better_is_greater() {
        for rung in Rung::BEST_FIRST {
            assert_eq!(rung.name().parse(), Ok(rung));
        }
        assert!(Rung::BEST_FIRST.is_sorted_by(|better, worse| better > worse));
        assert!("dpdk".parse::<Rung>().expect_err("no such rung").to_string().contains("dpdk"));
    }

    #[test]
    fn the_best_rung_that_can_be_reached_is_taken_and_the_better_ones_say_why_not() {
        let climbed = climb(&Rung::BEST_FIRST, None, only_from(Rung::XdpUdp)).expect("a rung");
        assert_eq!((climbed.rung, climbed.opened), (Rung::XdpUdp, Rung::XdpUdp));
        let missed: Vec<Rung> = climbed.missed.iter().map(|missed| missed.rung).collect();
        assert_eq!(missed, [Rung::XskZeroCopy, Rung::XskCopy, Rung::XdpUdpXskOut]);
        assert_eq!(climbed.missed[1].to_string(), "xsk-copy: no xsk-copy here; buy one");
    }

    #[test]
    fn a_required_rung_is_reached_or_the_climb_fails_with_all_reasons() {
        let climbed = climb(&Rung::BEST_FIRST, Some(Rung::XskCopy), only_from(Rung::XskCopy)).expect("a rung");
        assert_eq!(climbed.rung, Rung::XskCopy);
        let failed = climb(&Rung::BEST_FIRST, Some(Rung::XskCopy), only_from(Rung::XdpUdp)).expect_err("too low");
        assert_eq!(failed.missed.len(), 2);
        let words = failed.to_string();
        assert!(words.contains("xsk-copy or better") && words.contains("xsk-zero-copy: no"), "{words}");
    }
}
