//! What a run leaves behind: text for people, JSON for a CI, an HdrHistogram percentile file and a plot.
//!
//! | file | what |
//! |---|---|
//! | `report.json` | an array of [`RunReport`], the stable interface, described in `bench/README.md` |
//! | `report.html` | the page: all of it with its drawings, one file without anything from elsewhere |
//! | `report.txt` | the same for people |
//! | `latency.hgrm`, and `latency-SCENARIO.hgrm` for each further run | percentiles of finality, as HdrHistogram's own tools print and plot them |
//! | `latency.svg` | the same as a picture, all runs in one |

mod goals;
mod hgrm;
mod json;
mod page;
mod plot;
#[cfg(test)]
mod sample;
mod text;

pub use hgrm::percentile_file;
pub use json::{CheckReport, CurvePoint, DropReport, LoadReport, Percentiles, RunReport, Setting};
pub use page::{Broken, PipelinePart, page};
pub use plot::{Curve, plot};
pub use text::report_text;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::scenario::Measured;

/// Beside the report: what `meshpay-bench pipeline --json` may have left there for the page.
const PIPELINE_FILE: &str = "pipeline.json";

/// The page.
const PAGE_FILE: &str = "report.html";

/// Makes the page of a `report.json` again, beside it, with the pipeline's report if that lies there too. Returns where it is.
///
/// # Errors
/// If there is no such report, it is of an unknown form, or the page cannot be written.
pub fn write_page(json: &Path) -> Result<PathBuf> {
    let text = fs::read_to_string(json).with_context(|| format!("cannot read the report {}", json.display()))?;
    let reports: Vec<RunReport> = serde_json::from_str(&text)
        .with_context(|| format!("{} is no report of this version; measure again", json.display()))?;
    let folder = json.parent().unwrap_or(Path::new(""));
    let reports: Vec<&RunReport> = reports.iter().collect();
    let path = folder.join(PAGE_FILE);
    let page = page(&reports, None, PipelinePart::read(&folder.join(PIPELINE_FILE)).as_ref());
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Writes all files of a report into `folder`; `json` names a further place for the JSON. `broken` is the scenario that came to no end after these.
///
/// # Errors
/// If a file cannot be written.
pub fn write(
    folder: &Path,
    json: Option<&Path>,
    runs: &[(RunReport, Measured)],
    broken: Option<&Broken>,
) -> Result<()> {
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
    let pipeline = PipelinePart::read(&folder.join(PIPELINE_FILE));
    write(&folder.join(PAGE_FILE), &page(&reports, broken, pipeline.as_ref()))?;
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
