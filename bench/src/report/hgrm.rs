//! The percentile file of HdrHistogram: what its `outputPercentileDistribution` prints and its plotters read.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// Lines per halving of the distance to 100 percent.
const TICKS_PER_HALF: u32 = 5;

/// The text of the file; values are in the histogram's unit, here microseconds.
pub fn percentile_file(histogram: &Histogram<u64>) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut before = 0;
    for point in histogram.iter_quantiles(TICKS_PER_HALF) {
        let quantile = point.quantile_iterated_to();
        before += point.count_since_last_iteration();
        let value = point.value_iterated_to() as f64;
        // Writing to a string cannot fail.
        let _ = if quantile < 1.0 {
            writeln!(text, "{value:12.3} {quantile:2.12} {before:10} {:14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(text, "{value:12.3} {quantile:2.12} {before:10}")
        };
    }
    let (mean, deviation, max) = (histogram.mean(), histogram.stdev(), histogram.max() as f64);
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len());
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), 2048);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::histogram;

    #[test]
    fn has_the_columns_that_plotters_read() {
        let mut values = histogram();
        (1..=1_000u64).for_each(|value| values.saturating_record(value));
        let text = percentile_file(&values);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|field| field.parse().expect("a number")).collect())
            .collect();
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]));
        let median = rows.iter().find(|row| row[1] == 0.5).expect("the median has a row");
        assert_eq!((median[0], median[2], median[3]), (500.0, 500.0, 2.0));
        let last = rows.last().expect("rows");
        assert_eq!((last[1], last[2], last.len()), (1.0, 1000.0, 3));
        assert!(text.contains("#[Max     =     1000.000, Total count    =         1000]"), "{text}");
    }

    #[test]
    fn an_empty_histogram_is_no_accident() {
        assert!(percentile_file(&histogram()).contains("Total count    =            0"));
    }
}
