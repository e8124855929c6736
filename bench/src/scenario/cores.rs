//! Who runs where. The generator has a core of its own; an authority's core is charged with everything that runs on it.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::Scenario;

/// Cores of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cores {
    /// The core of each authority, by place.
    pub authority: Vec<usize>,
    /// The generator's, and that of the thread that receives for it.
    pub generator: usize,
}

impl Cores {
    /// Shares out `count` cores: the first for the generator, one of the others for the single authority; a committee of `authorities`
    /// takes the others in turn.
    ///
    /// # Errors
    /// On a machine with one core, where nothing could be told apart.
    pub fn share(count: usize, scenario: Scenario, authorities: usize) -> Result<Self> {
        ensure!(
            count >= 2,
            "a benchmark needs two cores, one of them for the generator; this machine lets us use {count}"
        );
        let authority = match scenario {
            Scenario::Single => vec![1],
            Scenario::Committee => (0..authorities).map(|place| 1 + place % (count - 1)).collect(),
        };
        Ok(Self { authority, generator: 0 })
    }

    /// The authorities' cores, each once.
    pub fn of_authorities(&self) -> Vec<usize> {
        let mut cores = self.authority.clone();
        cores.sort_unstable();
        cores.dedup();
        cores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_alone() {
        assert!(Cores::share(1, Scenario::Single, 4).is_err());
        assert_eq!(Cores::share(2, Scenario::Single, 4).expect("two").authority, [1]);
        let cores = Cores::share(2, Scenario::Committee, 4).expect("two");
        assert_eq!((cores.authority.as_slice(), cores.of_authorities().as_slice()), (&[1, 1, 1, 1][..], &[1][..]));
        let cores = Cores::share(4, Scenario::Committee, 4).expect("four");
        assert_eq!(cores.authority, [1, 2, 3, 1]);
        assert!(!cores.authority.contains(&cores.generator));
    }
}
