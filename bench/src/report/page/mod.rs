//! The report as a page: one file, no script, nothing from elsewhere, drawings inline; light, dark, on a phone, on paper.
//!
//! What always holds: it is made of what `report.json` holds (and of the pipeline's report, if there is one), so it can be made
//! again from there; a part that a run does not have is left out or said to be missing, and never keeps the page from being made.
//!
//! | file | what |
//! |---|---|
//! | `headline` | verdict, settled per second and CPU per payment against floor and goal |
//! | `load_curve` | offered against settled, and the 99th percentile of finality |
//! | `latency` | percentiles at each load, as curves and as a table, and the promise |
//! | `budget` | where a payment's microseconds go |
//! | `signatures` | ours beside a library's |
//! | `ground` | packet I/O, machine, conditions, what is measured and what is not |
//! | `axis`, `markup`, `words` | axes; text into HTML and SVG; figures and dates as people read them |

mod axis;
mod budget;
mod ground;
mod headline;
mod latency;
mod load_curve;
mod markup;
mod signatures;
#[cfg(test)]
mod tests;
mod words;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub(super) use self::markup::escape;
use super::RunReport;
use crate::pipeline::StageTimes;

/// The style, which is part of the page.
const STYLE: &str = include_str!("style.css");

/// What the page takes from a report of `meshpay-bench pipeline --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelinePart {
    /// Payments settled a second by all workers together.
    pub settled_per_second: f64,
    /// Microseconds of CPU per settled payment, by stage.
    pub cpu_us_per_settled: StageTimes,
    /// Source tree.
    pub commit: String,
}

impl PipelinePart {
    /// Reads it; nothing where there is none, or none that this version understands.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
    }
}

/// A scenario that came to no end, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// "single" or "committee".
    pub scenario: String,
    /// Why.
    pub reason: String,
}

/// The page of all runs.
pub fn page(reports: &[&RunReport], broken: Option<&Broken>, pipeline: Option<&PipelinePart>) -> String {
    let mut body = headline::masthead(reports);
    body.push_str("<div class=\"cards\">\n");
    for report in reports {
        body.push_str(&headline::card(report));
    }
    if let Some(broken) = broken {
        body.push_str(&headline::broken_card(broken));
    }
    body.push_str("</div>\n");
    for report in reports {
        body.push_str(&scenario(report, pipeline));
    }
    body.push_str(&match reports.iter().find_map(|report| report.signature_us.as_ref()) {
        Some(times) => signatures::section(times),
        None => signatures::missing(),
    });
    body.push_str(&ground::machine(reports));
    body.push_str(&ground::method(reports));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(&headline::title(reports))
    )
}

/// In place of a load curve.
const ONE_RATE: &str = "<p class=\"dim\">One rate only was run; without <code>--rate</code> the search for the highest rate, and loads below it, draw a curve of offered and settled.</p>\n";

/// Everything about one run below the headline.
fn scenario(report: &RunReport, pipeline: Option<&PipelinePart>) -> String {
    let name = escape(&report.scenario);
    let mut out = format!("<section id=\"{name}\">\n<h2>{name}</h2>\n");
    match load_curve::figure(report) {
        Some(curve) => {
            out.push_str("<div class=\"pair\">\n");
            out.push_str(&curve);
            out.push_str(&latency::figure(report));
            out.push_str("</div>\n");
        }
        None => {
            out.push_str(&latency::figure(report));
            out.push_str(ONE_RATE);
        }
    }
    out.push_str(&latency::table(report));
    // The pipeline drives one authority alone.
    out.push_str(&budget::section(report, pipeline.filter(|_| report.scenario == "single")));
    out.push_str(&ground::packet_io(report));
    out.push_str("</section>\n");
    out
}
