//! The load curve: above, payments settled against payments offered; below, on the same axis, the 99th percentile of finality.

use super::super::RunReport;
use super::super::text;
use super::axis::Axis;
use super::markup::{self, Anchor, Svg};
use super::words;

/// One measurement of the curve.
struct Point {
    offered: f64,
    settled: f64,
    p99_us: f64,
    class: &'static str,
    what: String,
}

/// The figure; nothing where only one rate was ever tried.
pub fn figure(report: &RunReport) -> Option<String> {
    let points = points(report);
    if points.len() < 2 {
        return None;
    }
    let mut legend = vec![("dot run".to_owned(), "the run".to_owned())];
    for (class, words) in [("load", "a load of its own"), ("trial", "trial, sustained"), ("failed", "not sustained")] {
        if points.iter().any(|point| point.class == class) {
            legend.push((format!("dot {class}"), words.to_owned()));
        }
    }
    Some(markup::figure("Settled against offered, and the tail of finality", &legend, |width| draw(&points, width)))
}

fn points(report: &RunReport) -> Vec<Point> {
    let trials = report.search.iter().flat_map(|search| &search.trials).chain(&report.stepped_down);
    let trials = trials.map(|trial| Point {
        offered: trial.offered_per_second,
        settled: trial.settled_per_second,
        p99_us: trial.finality_p99_us as f64,
        class: if trial.sustained { "trial" } else { "failed" },
        what: if trial.sustained { "trial".to_owned() } else { "trial, not sustained".to_owned() },
    });
    let loads = report.loads.iter().map(|load| Point {
        offered: load.offered_per_second,
        settled: load.settled_per_second,
        p99_us: load.finality_us.p99 as f64,
        class: "load",
        what: format!("{} load", words::percent(load.percent)),
    });
    let run = Point {
        offered: report.offered_per_second,
        settled: report.settled_per_second,
        p99_us: report.finality_us.p99 as f64,
        class: "run",
        what: "the run".to_owned(),
    };
    // The run last, so that it lies on top.
    trials.chain(loads).chain(std::iter::once(run)).collect()
}

const TOP: f64 = 12.0;
const SETTLED_HEIGHT: f64 = 150.0;
const GAP: f64 = 30.0;
const TAIL_HEIGHT: f64 = 90.0;
const BOTTOM: f64 = 38.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;

fn draw(points: &[Point], width: f64) -> String {
    let highest = |value: fn(&Point) -> f64| points.iter().map(value).fold(0.0, f64::max);
    let right = width - RIGHT;
    let x = Axis::linear(highest(|point| point.offered), LEFT, right);
    let settled = Axis::linear(highest(|point| point.settled), TOP + SETTLED_HEIGHT, TOP);
    let (tail_top, tail_bottom) = (TOP + SETTLED_HEIGHT + GAP, TOP + SETTLED_HEIGHT + GAP + TAIL_HEIGHT);
    let tail = Axis::log(points.iter().map(|point| point.p99_us), tail_bottom, tail_top);
    let mut svg = Svg::new(width, tail_bottom + BOTTOM);

    for value in settled.ticks(4) {
        let y = settled.at(value);
        svg.line("grid", (LEFT, y), (right, y));
        svg.text("tick", (LEFT - 7.0, y + 4.0), Anchor::End, &words::whole(value));
    }
    for value in tail.ticks(4) {
        let y = tail.at(value);
        svg.line("grid", (LEFT, y), (right, y));
        svg.text("tick", (LEFT - 7.0, y + 4.0), Anchor::End, &text::time(value));
    }
    for value in x.ticks(if width < 400.0 { 4 } else { 6 }) {
        svg.line("grid", (x.at(value), TOP), (x.at(value), TOP + SETTLED_HEIGHT));
        svg.line("grid", (x.at(value), tail_top), (x.at(value), tail_bottom));
        svg.text("tick", (x.at(value), tail_bottom + 17.0), Anchor::Middle, &words::whole(value));
    }
    svg.text("label", ((LEFT + right) / 2.0, tail_bottom + 34.0), Anchor::Middle, "payments offered a second");
    svg.text("label", (LEFT + 6.0, TOP + 10.0), Anchor::Start, "settled a second");
    svg.text("label", (LEFT + 6.0, tail_top - 7.0), Anchor::Start, "finality, p99");

    // Where all that is offered would be settled.
    let most = highest(|point| point.offered).min(highest(|point| point.settled) * 1.04);
    svg.line("reference", (x.at(0.0), settled.at(0.0)), (x.at(most), settled.at(most)));
    for point in points {
        let words = format!(
            "{}: {} offered, {} settled a second, p99 {}",
            point.what,
            words::whole(point.offered),
            words::whole(point.settled),
            text::time(point.p99_us)
        );
        let (class, radius) = (format!("dot {}", point.class), if point.class == "run" { 5.5 } else { 4.0 });
        svg.dot(&class, (x.at(point.offered), settled.at(point.settled)), radius, &words);
        svg.dot(&class, (x.at(point.offered), tail.at(point.p99_us)), radius, &words);
    }
    svg.finish("Payments settled a second, and the 99th percentile of finality, against payments offered a second")
}
