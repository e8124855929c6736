//! Axes: where values lie on a drawing, and which of them are written beside it.
//!
//! What always holds: a value off the axis lies on its nearer end, and so does what is no number; every tick lies on the axis.

/// An axis from one end of a drawing to another, linear or logarithmic.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
    is_log: bool,
}

impl Axis {
    /// From 0 to a little above `highest`.
    pub fn linear(highest: f64, start: f64, end: f64) -> Self {
        let high = if highest.is_finite() && highest > 0.0 { highest * 1.04 } else { 1.0 };
        Self { low: 0.0, high, start, end, is_log: false }
    }

    /// Over all values above zero, to the next of 1, 2 and 5 on both sides, and at least a decade.
    pub fn log(values: impl IntoIterator<Item = f64>, start: f64, end: f64) -> Self {
        let (mut lowest, mut highest) = (f64::INFINITY, 0.0f64);
        for value in values.into_iter().filter(|value| value.is_finite() && *value > 0.0) {
            (lowest, highest) = (lowest.min(value), highest.max(value));
        }
        if !lowest.is_finite() {
            (lowest, highest) = (100.0, 1_000.0);
        }
        let low = steps_of(lowest).into_iter().rev().find(|step| *step <= lowest).unwrap_or(lowest);
        let high = steps_of(highest).into_iter().find(|step| *step >= highest).unwrap_or(highest);
        Self { low, high: high.max(low * 10.0), start, end, is_log: true }
    }

    /// Where a value lies.
    pub fn at(&self, value: f64) -> f64 {
        let value = if value.is_nan() { self.low } else { value.clamp(self.low, self.high) };
        let part = if self.is_log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.start + (self.end - self.start) * part
    }

    /// Values to be written beside it: about `most` of them, of the kind that people count in.
    pub fn ticks(&self, most: usize) -> Vec<f64> {
        if self.is_log { self.log_ticks(most) } else { self.linear_ticks(most) }
    }

    /// Values for fainter lines between the ticks of a logarithmic axis: every digit of every decade.
    pub fn digits(&self) -> Vec<f64> {
        let mut digits = Vec::new();
        let mut decade = 10f64.powf(self.low.log10().floor());
        while self.is_log && decade <= self.high {
            digits.extend((1..10).map(|digit| decade * f64::from(digit)).filter(|value| self.holds(*value)));
            decade *= 10.0;
        }
        digits
    }

    fn holds(&self, value: f64) -> bool {
        value >= self.low * 0.999_999 && value <= self.high * 1.000_001
    }

    fn linear_ticks(&self, most: usize) -> Vec<f64> {
        let rough = self.high / most.max(1) as f64;
        let decade = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * decade).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..).map(|at| step * f64::from(at)).take_while(|value| self.holds(*value)).collect()
    }

    /// Of 1, 2, 5 where there is room, else of 1 only.
    fn log_ticks(&self, most: usize) -> Vec<f64> {
        let with = |factors: &[f64]| -> Vec<f64> {
            let mut ticks = Vec::new();
            let mut decade = 10f64.powf(self.low.log10().floor());
            while decade <= self.high * 1.001 {
                ticks.extend(factors.iter().map(|factor| decade * factor).filter(|value| self.holds(*value)));
                decade *= 10.0;
            }
            ticks
        };
        let fine = with(&[1.0, 2.0, 5.0]);
        if fine.len() <= most { fine } else { with(&[1.0]) }
    }
}

/// 1, 2 and 5 times the powers of ten around a value, rising.
fn steps_of(value: f64) -> [f64; 7] {
    let decade = 10f64.powf(value.log10().floor());
    [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0].map(|factor| factor * decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_on_the_axis() {
        let axis = Axis::linear(46_000.0, 0.0, 500.0);
        assert_eq!(axis.ticks(5), [0.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0]);
        let axis = Axis::log([230.0, 47_000.0], 300.0, 0.0);
        assert_eq!(axis.ticks(10), [200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0]);
        assert_eq!(axis.ticks(4), [1_000.0, 10_000.0]);
        assert_eq!((axis.at(200.0), axis.at(50_000.0)), (300.0, 0.0));
    }

    #[test]
    fn what_is_off_the_axis_lies_on_its_end() {
        let axis = Axis::log([100.0, 900.0], 0.0, 10.0);
        assert_eq!([0.0, -1.0, f64::NAN, 1e9].map(|value| axis.at(value)), [0.0, 0.0, 0.0, 10.0]);
    }

    #[test]
    fn axes_of_nothing_still_have_two_ends() {
        for axis in [
            Axis::linear(0.0, 0.0, 1.0),
            Axis::linear(f64::NAN, 0.0, 1.0),
            Axis::log([], 0.0, 1.0),
            Axis::log([5.0], 0.0, 1.0),
        ] {
            assert!(axis.at(f64::INFINITY) == 1.0 && axis.at(0.0) == 0.0 && !axis.ticks(5).is_empty(), "{axis:?}");
        }
    }
}
