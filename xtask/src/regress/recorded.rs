//! Samples of real runs, taken by `cargo xtask regress`: what the statistics must make of a machine as it is, not as one makes it up.

use super::statistics::Verdict;

/// A figure's pairs and what was made of them.
pub struct Sample {
    /// From its head line.
    pub name: String,
    /// Base and new, microseconds per payment.
    pub pairs: Vec<(f64, f64)>,
    /// The verdict that they must get.
    pub verdict: Verdict,
}

/// The file has a line for each sample: its verdict, its name without spaces, and the pairs as `base,new`.
pub fn samples() -> Vec<Sample> {
    let lines = include_str!("recorded.txt").lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let samples: Vec<Sample> = lines.map(sample).collect();
    assert!(samples.len() >= 4, "samples were recorded");
    samples
}

fn sample(line: &str) -> Sample {
    let mut words = line.split_whitespace();
    let verdict = match words.next() {
        Some("same") => Verdict::Same,
        Some("worse") => Verdict::Worse,
        Some("better") => Verdict::Better,
        Some("open") => Verdict::Open,
        other => panic!("no verdict: {other:?}"),
    };
    let name = words.next().expect("a name").to_owned();
    let number = |text: &str| text.parse::<f64>().expect("a number");
    let pairs = words.map(|pair| pair.split_once(',').expect("a pair")).map(|(a, b)| (number(a), number(b))).collect();
    Sample { name, pairs, verdict }
}
