//! The line by which a server says that it answers: `ready listen=ADDR:PORT key=value ...`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What a server said when it was ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyLine {
    /// Where it really listens.
    pub listen: SocketAddr,
    /// Everything it said, by key.
    pub facts: BTreeMap<String, String>,
}

impl ReadyLine {
    /// Reads the line; nothing where it is another one.
    pub fn parse(line: &str) -> Option<Self> {
        let facts: BTreeMap<String, String> = line
            .trim()
            .strip_prefix("ready ")?
            .split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Some(Self { listen: facts.get("listen")?.parse().ok()?, facts })
    }

    /// One fact, or a word for its absence.
    pub fn fact<'a>(&'a self, key: &str, otherwise: &'a str) -> &'a str {
        self.facts.get(key).map_or(otherwise, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_contract_and_nothing_else() {
        let line = ReadyLine::parse("ready listen=127.0.0.1:7450 metrics=127.0.0.1:9450 durability=power-loss\n");
        let line = line.expect("as in the contract");
        assert_eq!(line.listen, SocketAddr::from(([127, 0, 0, 1], 7450)));
        assert_eq!((line.fact("durability", "?"), line.fact("rung", "udp")), ("power-loss", "udp"));
        for other in ["", "ready", "ready listen=nowhere", "listen=127.0.0.1:1"] {
            assert_eq!(ReadyLine::parse(other), None, "{other:?}");
        }
    }
}
