//! What a run leaves behind: text for people, JSON for a CI, an HdrHistogram percentile file and a plot.
//!
//! | file | what |
//! |---|---|
//! | `report.json` | an array of [`RunReport`], the stable interface, described in `bench/README.md` |
//! | `report.txt` | the same for people |
//! | `latency.hgrm`, and `latency-SCENARIO.hgrm` for each further run | percentiles of finality, as HdrHistogram's own tools print and plot them |
//! | `latency.svg` | the same as a picture, all runs in one |

mod hgrm;
mod json;
mod plot;
#[cfg(test)]
mod sample;
mod text;

pub use hgrm::percentile_file;
pub use json::{CheckReport, DropReport, Percentiles, RunReport};
pub use plot::{Curve, plot};
pub use text::report_text;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::scenario::Measured;

/// Writes all files of a report into `folder`; `json` names a further place for the JSON.
///
/// # Errors
/// If a file cannot be written.
pub fn write(folder: &Path, json: Option<&Path>, runs: &[(RunReport, Measured)]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let write =
        |path: &Path, text: &str| fs::write(path, text).with_context(|| format!("cannot write {}", path.display()));
    let reports: Vec<&RunReport> = runs.iter().map(|(report, _)| report).collect();
    let array = serde_json::to_string_pretty(&reports)? + "\n";
    write(&folder.join("report.json"), &array)?;
    if let Some(path) = json {
        write(path, &array)?;
    }
    write(&folder.join("report.txt"), &report_text(&reports))?;
    let mut curves = Vec::new();
    for (at, (report, measured)) in runs.iter().enumerate() {
        let name =
            if at == 0 { "latency.hgrm".to_owned() } else { format!("latency-{}.hgrm", measured.scenario.name()) };
        let histogram = &measured.outcome.finality_us;
        write(&folder.join(name), &percentile_file(histogram))?;
        let name = format!(
            "{}: finality at {} payments/s",
            measured.scenario.name(),
            text::thousands(report.offered_per_second.round() as u64)
        );
        curves.push(Curve { name, histogram });
    }
    let facts = runs.first().map_or_else(String::new, |(report, _)| text::one_line(report));
    write(&folder.join("latency.svg"), &plot("Time to finality, from the intended send time", &facts, &curves))
}
