//! Runs in pairs: both sides of a pair next to each other, the order drawn, and more pairs while a judged figure is undecided.

use super::measure::{Figure, Part};
use super::sides::{Side, Sides};
use super::statistics::{self, First, Ratio, Verdict};
use anyhow::{Context, Result, bail};

/// What to run.
pub struct Plan {
    /// Pairs at first.
    pub pairs: usize,
    /// Pairs at most.
    pub pairs_max: usize,
    /// By how much a figure may be worse, 0.05 for 5 percent.
    pub tolerance: f64,
    /// Seed of orders and intervals.
    pub seed: u64,
    /// What is measured.
    pub parts: Vec<Part>,
    /// Whether the first figure that is worse ends it, whatever is undecided besides.
    pub stops_at_worse: bool,
}

/// A figure on both sides.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: &'static str,
    /// Whether it is judged.
    pub is_judged: bool,
    /// Values of the base, in the order of the pairs.
    pub base: Vec<f64>,
    /// Values of the new side.
    pub new: Vec<f64>,
    /// How they compare; nothing where only one side has it, or too few pairs were measured.
    pub ratio: Option<Ratio>,
    /// What is made of it, where it is judged.
    pub verdict: Option<Verdict>,
}

impl Compared {
    /// Whether more pairs would tell: the interval holds the tolerance, or runs that failed have left too few pairs.
    fn is_undecided(&self) -> bool {
        let lacks_pairs = self.is_judged && self.ratio.is_none() && !self.base.is_empty() && !self.new.is_empty();
        self.verdict == Some(Verdict::Open) || lacks_pairs
    }
}

/// Pairs taken at a time: a balanced block of orders, and one more.
const BLOCK: usize = 2;
/// Of the runs of a side, at most one in so many may fail.
const FAILURES_SHARE: usize = 3;

/// Runs everything and compares.
///
/// # Errors
/// If the new side cannot be measured, or if a side that could be measured at first fails again and again.
pub fn run(sides: &Sides, plan: &Plan, tell: &mut dyn FnMut(&str)) -> Result<Vec<Compared>> {
    let mut results = Vec::new();
    for part in &plan.parts {
        let mut runs = Runs::default();
        let has_base = part.is_built(&sides.base) && first_run(*part, &sides.base, tell);
        // Not counted: it also warms caches and finds what cannot work before much time is spent.
        part.measure(&sides.new).with_context(|| format!("{} cannot be measured", part.name()))?;
        let orders = statistics::schedule(plan.pairs_max, plan.seed);
        let mut compared = Vec::new();
        let mut wanted = plan.pairs;
        for (at, first) in orders.iter().enumerate() {
            if at == wanted {
                compared = runs.compare(plan);
                let open = compared.iter().filter(|it| it.is_undecided()).count();
                let found = compared.iter().any(|it| it.verdict == Some(Verdict::Worse));
                if open == 0 || (found && plan.stops_at_worse) {
                    break;
                }
                tell(&format!("== {}: {open} undecided after {at} pairs, going on", part.name()));
                wanted += BLOCK;
            }
            tell(&format!("== {}: pair {} of {wanted}", part.name(), at + 1));
            let mut measure = |side: &Side| match part.measure(side) {
                Ok(figures) => Some(figures),
                Err(error) => {
                    tell(&format!("note: a run is left out: {error:#}"));
                    None
                }
            };
            let mut base = None;
            if has_base && *first == First::Base {
                base = measure(&sides.base);
            }
            let new = measure(&sides.new);
            if has_base && *first == First::New {
                base = measure(&sides.base);
            }
            runs.failed += usize::from(new.is_none()) + usize::from(has_base && base.is_none());
            runs.pairs.push(Pair { base, new });
            if runs.failed * FAILURES_SHARE > 2 * (at + 1).max(3) {
                bail!("{}: {} of {} runs failed; the notes above say why", part.name(), runs.failed, 2 * (at + 1));
            }
            if at + 1 == orders.len() {
                compared = runs.compare(plan);
            }
        }
        if compared.is_empty() {
            compared = runs.compare(plan);
        }
        results.extend(compared);
    }
    Ok(results)
}

/// Whether the base can be measured at all: an older revision may not know the command.
fn first_run(part: Part, base: &Side, tell: &mut dyn FnMut(&str)) -> bool {
    match part.measure(base) {
        Ok(_) => true,
        Err(error) => {
            tell(&format!("note: the base has no {}, so that is reported and not judged: {error:#}", part.name()));
            false
        }
    }
}

/// What two runs next to each other gave. A run that failed left nothing.
struct Pair {
    base: Option<Vec<Figure>>,
    new: Option<Vec<Figure>>,
}

/// What was measured of one part.
#[derive(Default)]
struct Runs {
    pairs: Vec<Pair>,
    failed: usize,
}

impl Runs {
    fn compare(&self, plan: &Plan) -> Vec<Compared> {
        let mut names: Vec<&Figure> = Vec::new();
        let all = self.pairs.iter().flat_map(|pair| pair.new.iter().chain(&pair.base));
        for figure in all.flatten() {
            if !names.iter().any(|known| known.name == figure.name) {
                names.push(figure);
            }
        }
        names.iter().map(|figure| self.compare_one(figure, plan)).collect()
    }

    fn compare_one(&self, figure: &Figure, plan: &Plan) -> Compared {
        let found = |figures: &Option<Vec<Figure>>| figures.as_ref()?.iter().find(|it| it.name == figure.name).cloned();
        let base: Vec<Option<Figure>> = self.pairs.iter().map(|pair| found(&pair.base)).collect();
        let new: Vec<Option<Figure>> = self.pairs.iter().map(|pair| found(&pair.new)).collect();
        let both: Vec<(f64, f64)> =
            base.iter().zip(&new).filter_map(|(base, new)| Some((base.as_ref()?.value, new.as_ref()?.value))).collect();
        // A stage at the border of being judged is judged if it mostly is.
        let votes = base.iter().chain(&new).flatten();
        let (mut yes, mut no) = (0, 0);
        votes.for_each(|figure| *(if figure.is_judged { &mut yes } else { &mut no }) += 1);
        let ratio = statistics::compare(&both, figure.better, plan.seed);
        let is_judged = yes > no;
        let verdict = ratio.filter(|_| is_judged).map(|ratio| statistics::judge(&ratio, plan.tolerance));
        Compared {
            name: figure.name.clone(),
            unit: figure.unit,
            is_judged,
            base: base.into_iter().flatten().map(|figure| figure.value).collect(),
            new: new.into_iter().flatten().map(|figure| figure.value).collect(),
            ratio,
            verdict,
        }
    }
}

/// A result made by hand, for tests.
#[cfg(test)]
pub fn made_up(name: &str, base: &[f64], new: &[f64]) -> Compared {
    let wrap = |value: f64| {
        Some(vec![Figure {
            name: name.to_owned(),
            unit: "us",
            better: statistics::Better::Lower,
            is_judged: true,
            value,
        }])
    };
    let count = base.len().max(new.len());
    let at = |values: &[f64], at: usize| values.get(at).copied().and_then(wrap);
    let runs =
        Runs { pairs: (0..count).map(|pair| Pair { base: at(base, pair), new: at(new, pair) }).collect(), failed: 0 };
    let plan =
        Plan { pairs: count, pairs_max: count, tolerance: 0.05, seed: 1, parts: Vec::new(), stops_at_worse: false };
    runs.compare(&plan).remove(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_of_one_side_is_reported_and_not_judged() {
        let alone = made_up("stages/new", &[], &[1.0; 10]);
        assert_eq!((alone.ratio, alone.verdict, alone.new.len()), (None, None, 10));
        assert!(!alone.is_undecided(), "no number of pairs would bring a base");
    }

    #[test]
    fn both_sides_are_judged_and_pairs_with_a_hole_are_left_out() {
        let worse = made_up("stages/orders", &[1.0; 10], &[1.2; 10]);
        assert_eq!(worse.verdict, Some(Verdict::Worse));
        let few = made_up("stages/orders", &[1.0; 4], &[1.2; 10]);
        assert_eq!((few.verdict, few.base.len(), few.new.len()), (None, 4, 10));
        assert!(few.is_undecided() && !worse.is_undecided());
    }
}
