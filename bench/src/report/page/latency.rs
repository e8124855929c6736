//! Finality at each load: curves over the percentile, each further nine as wide as the one before, on a logarithmic axis of time; a
//! table; and what became of the promise.

use std::fmt::Write as _;

use super::super::text::{self, promise_words, thousands};
use super::super::{CurvePoint, Percentiles, RunReport};
use super::axis::Axis;
use super::markup::{self, Anchor, Svg, escape};
use super::words;
use crate::daemons::SyncTimes;

/// One curve.
struct Series<'a> {
    class: String,
    name: String,
    curve: &'a [CurvePoint],
}

/// Colours of the style sheet for loads, from the lightest to the heaviest; further loads begin again.
const COLOURS: usize = 5;

fn series(report: &RunReport) -> Vec<Series<'_>> {
    let loads = report.loads.iter().enumerate().map(|(at, load)| Series {
        class: format!("s{}", at % COLOURS),
        name: words::percent(load.percent),
        curve: &load.finality_curve_us,
    });
    let run = Series { class: "run".to_owned(), name: "the run".to_owned(), curve: &report.finality_curve_us };
    loads.chain(std::iter::once(run)).filter(|series| !series.curve.is_empty()).collect()
}

/// The figure.
pub fn figure(report: &RunReport) -> String {
    let series = series(report);
    if series.is_empty() {
        return "<figure><figcaption>Time to finality</figcaption><p class=\"dim\">Nothing became final.</p></figure>\n".to_owned();
    }
    let promised = report.loads.iter().find_map(|load| load.promise.as_ref());
    let limits: Vec<CurvePoint> =
        promised.iter().flat_map(|promise| [(0.5, promise.p50_limit_us), (0.99, promise.p99_limit_us)]).collect();
    let mut legend: Vec<(String, String)> =
        series.iter().map(|series| (format!("stroke {}", series.class), series.name.clone())).collect();
    if !limits.is_empty() {
        legend.push(("limit".to_owned(), "promised at most, at 10 %".to_owned()));
    }
    markup::figure("Time to finality by percentile, at shares of the rate", &legend, |width| {
        draw(&series, &limits, width)
    })
}

const TOP: f64 = 12.0;
const HEIGHT: f64 = 270.0;
const BOTTOM: f64 = 38.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 20.0;

/// Percentiles that have a line and a label.
const MARKS: [(f64, &str); 6] =
    [(0.0, "0"), (0.5, "50"), (0.9, "90"), (0.99, "99"), (0.999, "99.9"), (0.9999, "99.99")];

/// How many nines a quantile has.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

fn draw(series: &[Series<'_>], limits: &[CurvePoint], width: f64) -> String {
    let drawn =
        |curve: &[CurvePoint]| -> Vec<CurvePoint> { curve.iter().copied().filter(|point| point.0 < 1.0).collect() };
    let most =
        series.iter().filter_map(|series| drawn(series.curve).last().map(|point| nines(point.0))).fold(2.0, f64::max);
    let right = width - RIGHT;
    let bottom = TOP + HEIGHT;
    let x = |quantile: f64| LEFT + (right - LEFT) * (nines(quantile) / most).min(1.0);
    let values = series.iter().flat_map(|series| drawn(series.curve)).map(|point| point.1 as f64);
    let y = Axis::log(values.chain(limits.iter().map(|limit| limit.1 as f64)), bottom, TOP);
    let mut svg = Svg::new(width, bottom + BOTTOM);
    for value in y.digits() {
        svg.line("grid faint", (LEFT, y.at(value)), (right, y.at(value)));
    }
    for value in y.ticks(12) {
        svg.line("grid", (LEFT, y.at(value)), (right, y.at(value)));
        svg.text("tick", (LEFT - 7.0, y.at(value) + 4.0), Anchor::End, &text::time(value));
    }
    for (quantile, label) in MARKS.into_iter().filter(|(quantile, _)| nines(*quantile) <= most * 1.001) {
        svg.line("grid", (x(quantile), TOP), (x(quantile), bottom));
        svg.text("tick", (x(quantile), bottom + 17.0), Anchor::Middle, label);
    }
    svg.text("label", ((LEFT + right) / 2.0, bottom + 34.0), Anchor::Middle, "percentile of payments, %");
    for series in series {
        let points: Vec<(f64, f64)> =
            drawn(series.curve).iter().map(|(quantile, us)| (x(*quantile), y.at(*us as f64))).collect();
        svg.path(&format!("curve {}", series.class), &points);
        for (quantile, us) in drawn(series.curve)
            .into_iter()
            .filter(|(quantile, _)| MARKS.iter().any(|mark| mark.0 == *quantile && mark.0 > 0.0))
        {
            let words = format!("{}: {} % within {}", series.name, quantile * 100.0, text::time(us as f64));
            svg.dot(&format!("point {}", series.class), (x(quantile), y.at(us as f64)), 2.6, &words);
        }
    }
    for (quantile, us) in limits {
        let at = (x(*quantile), y.at(*us as f64));
        svg.line("limit", (at.0 - 13.0, at.1), (at.0 + 13.0, at.1));
    }
    svg.finish("Percentiles of the time to finality, one curve for each load")
}

/// A row for each load and the run itself.
pub fn table(report: &RunReport) -> String {
    let mut out = String::from(
        "<p class=\"over dim\">Finality, and the journal's own fdatasync in the same seconds, in microseconds</p>\n<div class=\"scroll\"><table class=\"figures\">\n\
         <thead><tr><th rowspan=\"2\">load</th><th colspan=\"2\">a second</th><th colspan=\"5\">finality</th><th colspan=\"2\">fdatasync</th><th colspan=\"2\">authorities' cores</th></tr>\n\
         <tr><th>offered</th><th>settled</th><th>p50</th><th>p95</th><th>p99</th><th>p99.9</th><th>max</th><th>p50</th><th>p99</th><th>\u{b5}s a payment</th><th>busy</th></tr></thead>\n<tbody>\n",
    );
    for (at, load) in report.loads.iter().enumerate() {
        out.push_str(&row(
            &format!("<i class=\"stroke s{}\"></i>{}", at % COLOURS, words::percent(load.percent)),
            [load.offered_per_second, load.settled_per_second],
            &load.finality_us,
            load.journal_sync_us.as_ref(),
            [load.cpu_us_per_settled, load.busy],
        ));
    }
    out.push_str(&row(
        "<i class=\"stroke run\"></i>the run",
        [report.offered_per_second, report.settled_per_second],
        &report.finality_us,
        report.journal_sync_us.as_ref(),
        [report.cpu_us_per_settled, report.cpu.busy],
    ));
    out.push_str("</tbody></table></div>\n");
    for (load, promise) in report.loads.iter().filter_map(|load| Some((load, load.promise.as_ref()?))) {
        let _ = writeln!(
            out,
            "<p>Promise at {} load, <span class=\"{}\">{}</span>: {}.</p>",
            words::percent(load.percent),
            if promise.met { "good" } else { "bad" },
            if promise.met { "met" } else { "missed" },
            escape(&promise_words(load, promise))
        );
    }
    for load in report.loads.iter().filter(|load| load.lost > 0 || load.retries > 0) {
        let _ = writeln!(
            out,
            "<p class=\"warn\">At {} load {} payments were lost and {} requests repeated.</p>",
            words::percent(load.percent),
            thousands(load.lost),
            thousands(load.retries)
        );
    }
    out
}

/// `name` is markup.
fn row(name: &str, rates: [f64; 2], finality: &Percentiles, syncs: Option<&SyncTimes>, cpu: [f64; 2]) -> String {
    let Percentiles { p50, p95, p99, p999, max } = *finality;
    let [sync50, sync99] =
        syncs.map_or(["\u{2013}".to_owned(), "\u{2013}".to_owned()], |syncs| [syncs.p50, syncs.p99].map(thousands));
    let cells = [
        words::whole(rates[0]),
        words::whole(rates[1]),
        thousands(p50),
        thousands(p95),
        thousands(p99),
        thousands(p999),
        thousands(max),
        sync50,
        sync99,
        words::us(cpu[0]),
        format!("{:.0} %", cpu[1] * 100.0),
    ];
    format!("<tr><th scope=\"row\">{name}</th>{}</tr>\n", cells.map(|cell| format!("<td>{cell}</td>")).concat())
}
