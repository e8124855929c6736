//! The plot of latency percentiles as SVG: the percentile on a scale that gives each further nine the same width, the latency on a
//! logarithmic one.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::page::escape;
use super::text::time;

/// One curve.
pub struct Curve<'a> {
    /// What it is, for the legend.
    pub name: String,
    /// Its values in microseconds.
    pub histogram: &'a Histogram<u64>,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 540.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 78.0;
const BOTTOM: f64 = 64.0;

/// Colours that people with any kind of sight tell apart.
const COLOURS: [&str; 4] = ["#0b62a4", "#c8540a", "#3d8c40", "#7a3e9d"];

/// Percentiles that are marked and labelled.
const MARKS: [(f64, &str); 6] =
    [(0.0, "0%"), (0.5, "50%"), (0.9, "90%"), (0.99, "99%"), (0.999, "99.9%"), (0.9999, "99.99%")];

/// Draws curves under a title and a line of facts.
pub fn plot(title: &str, facts: &str, curves: &[Curve<'_>]) -> String {
    let scale = Scale::of(curves);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"18\" font-weight=\"bold\">{}</text>\n\
         <text x=\"{LEFT}\" y=\"48\" font-size=\"12\" fill=\"#555\">{}</text>\n",
        escape(title),
        escape(facts)
    );
    grid(&mut svg, &scale);
    for (at, curve) in curves.iter().enumerate() {
        draw(&mut svg, &scale, curve, COLOURS[at % COLOURS.len()], at);
    }
    for quantile in [0.5, 0.99, 0.999] {
        mark(&mut svg, &scale, curves, quantile);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where values and percentiles lie on the page.
struct Scale {
    low_us: f64,
    high_us: f64,
    nines: f64,
}

impl Scale {
    /// Whole decades that hold all values, and as many nines as there are values for.
    fn of(curves: &[Curve<'_>]) -> Self {
        let filled = || curves.iter().filter(|curve| !curve.histogram.is_empty());
        let low = filled().map(|curve| curve.histogram.min().max(1)).min().unwrap_or(100) as f64;
        let high = filled().map(|curve| curve.histogram.max()).max().unwrap_or(10_000) as f64;
        let low_us = 10f64.powf(low.log10().floor());
        let high_us = 10f64.powf(high.log10().ceil()).max(low_us * 10.0);
        let count = filled().map(|curve| curve.histogram.len()).max().unwrap_or(1) as f64;
        Self { low_us, high_us, nines: count.log10().clamp(2.2, 6.0) }
    }

    fn x(&self, quantile: f64) -> f64 {
        let nines = if quantile >= 1.0 { self.nines } else { -(1.0 - quantile).log10() };
        LEFT + (WIDTH - LEFT - RIGHT) * (nines / self.nines).min(1.0)
    }

    fn y(&self, us: f64) -> f64 {
        let part = (us.max(self.low_us) / self.low_us).log10() / (self.high_us / self.low_us).log10();
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part.min(1.0)
    }
}

fn grid(svg: &mut String, scale: &Scale) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut decade = scale.low_us;
    while decade <= scale.high_us * 1.001 {
        let y = scale.y(decade);
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(svg, "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#bbb\"/>");
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 4.5,
            time(decade)
        );
        for part in 2..10 {
            let us = decade * f64::from(part);
            if us < scale.high_us {
                let y = scale.y(us);
                let _ =
                    writeln!(svg, "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#eee\"/>");
            }
        }
        decade *= 10.0;
    }
    for (quantile, label) in MARKS {
        if -(1.0f64 - quantile).log10() > scale.nines {
            continue;
        }
        let x = scale.x(quantile);
        let _ = writeln!(svg, "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#bbb\"/>");
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>", bottom + 20.0);
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">percentile of payments</text>",
        (LEFT + right) / 2.0,
        bottom + 44.0
    );
}

fn draw(svg: &mut String, scale: &Scale, curve: &Curve<'_>, colour: &str, at: usize) {
    let mut points = String::new();
    for point in curve.histogram.iter_quantiles(10) {
        let (x, y) = (scale.x(point.quantile_iterated_to()), scale.y(point.value_iterated_to() as f64));
        let _ = write!(points, "{x:.1},{y:.1} ");
    }
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\" stroke-linejoin=\"round\"/>",
        points.trim_end()
    );
    let y = TOP + 18.0 + 20.0 * at as f64;
    let x = LEFT + 16.0;
    let _ = writeln!(
        svg,
        "<line x1=\"{x}\" y1=\"{:.1}\" x2=\"{}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"2.5\"/>",
        y - 4.0,
        x + 28.0,
        y - 4.0
    );
    let _ = writeln!(svg, "<text x=\"{}\" y=\"{y:.1}\">{}</text>", x + 36.0, escape(&curve.name));
}

/// Puts a dot on each curve at a quantile. The uppermost one's value stands above it to the left, the lowest one's below it to the
/// right, so that they never meet; those between have no room.
fn mark(svg: &mut String, scale: &Scale, curves: &[Curve<'_>], quantile: f64) {
    if -(1.0 - quantile).log10() > scale.nines {
        return;
    }
    let mut marks: Vec<(f64, &str)> = curves
        .iter()
        .enumerate()
        .filter(|(_, curve)| !curve.histogram.is_empty())
        .map(|(at, curve)| (curve.histogram.value_at_quantile(quantile) as f64, COLOURS[at % COLOURS.len()]))
        .collect();
    marks.sort_by(|a, b| b.0.total_cmp(&a.0));
    let x = scale.x(quantile);
    for (at, (us, colour)) in marks.iter().enumerate() {
        let y = scale.y(*us);
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>");
        let (label_x, label_y, anchor) = match at {
            0 => (x - 6.0, y - 10.0, "end"),
            at if at + 1 == marks.len() => (x + 8.0, y + 20.0, "start"),
            _ => continue,
        };
        let _ = writeln!(
            svg,
            "<text x=\"{label_x:.1}\" y=\"{label_y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\" font-weight=\"bold\">{}</text>",
            time(*us)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::histogram;

    #[test]
    fn all_points_lie_on_the_page_and_rise_to_the_right() {
        let mut values = histogram();
        (0..20_000u64).for_each(|at| values.saturating_record(200 + at * at / 10_000));
        let curves = [Curve { name: "a <b> & c".to_owned(), histogram: &values }];
        let svg = plot("title", "facts", &curves);
        assert!(svg.contains("a &lt;b&gt; &amp; c"));
        let points = svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a curve");
        let points: Vec<(f64, f64)> = points
            .split(' ')
            .map(|pair| pair.split_once(',').expect("x,y"))
            .map(|(x, y)| (x.parse().expect("x"), y.parse().expect("y")))
            .collect();
        assert!(points.len() > 20);
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 >= pair[1].1));
        assert!(points.iter().all(|(x, y)| (LEFT..=WIDTH - RIGHT).contains(x) && (TOP..=HEIGHT - BOTTOM).contains(y)));
    }

    #[test]
    fn nothing_measured_is_an_empty_plot() {
        let values = histogram();
        let svg = plot("t", "f", &[Curve { name: "none".to_owned(), histogram: &values }]);
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"));
    }
}
