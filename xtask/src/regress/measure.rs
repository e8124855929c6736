//! One run of one part on one side, as named figures.

use super::fresh_directory;
use super::sides::Side;
use super::statistics::Better;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Signatures, by criterion
    Kernels,
    /// The whole worker loop in process
    Stages,
    /// Packets, daemon, disk: `meshpay-bench run --scenario single` at a fixed rate
    Wire,
}

/// A number that one run gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Part and name, such as `stages/orders`.
    pub name: String,
    /// Its unit.
    pub unit: &'static str,
    /// Which way it is good.
    pub better: Better,
    /// Whether it is judged; else it is reported only.
    pub is_judged: bool,
    /// The number.
    pub value: f64,
}

/// Signatures of these groups are measured: the size of the must-show table, on both paths.
const KERNELS: &str = "^(verify_many|verify_many_known_keys|sign_many)/(ifma-x8|portable path)(, 3 keys)?/64$";
const PAYMENTS: &str = "40000";
const ACCOUNTS: &str = "20000";
/// Payments a second of the wire: well below what one core settles, so that both sides do the same work.
const RATE: &str = "8000";
const SECONDS: &str = "4";
/// A stage that is a smaller part of the whole is reported only: its noise is larger than anything that it could cost.
const STAGE_SHARE_MIN: f64 = 0.08;
/// By which the benches slow themselves down on command.
const SLOWDOWN: &str = "MESHPAY_BENCH_SLOWDOWN_PERCENT";

impl Part {
    /// All, cheapest first.
    pub const ALL: [Part; 3] = [Part::Kernels, Part::Stages, Part::Wire];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Part::Kernels => "kernels",
            Part::Stages => "stages",
            Part::Wire => "wire",
        }
    }

    /// Whether a side has the programs for it.
    pub fn is_built(self, side: &Side) -> bool {
        match self {
            Part::Kernels => side.kernels.is_some(),
            Part::Stages => side.bench.is_some(),
            Part::Wire => side.bench.is_some() && side.authority.is_some(),
        }
    }

    /// Runs it once.
    ///
    /// # Errors
    /// If the program fails, with what it said; or leaves no figures.
    pub fn measure(self, side: &Side) -> Result<Vec<Figure>> {
        let directory = fresh_directory(self.name())?;
        match self {
            Part::Kernels => {
                let program = side.kernels.as_ref().context("the benches of crypto are not built")?;
                let mut command = Command::new(program);
                command.args(["--bench", "--noplot", "--sample-size", "10", "--warm-up-time", "0.1"]);
                command.args(["--measurement-time", "0.4", KERNELS]).env("CRITERION_HOME", &directory);
                finish(command, side)?;
                kernels(&directory)
            }
            Part::Stages => {
                let json = directory.join("pipeline.json");
                let mut command = Command::new(side.bench.as_ref().context("meshpay-bench is not built")?);
                // Not synced: what the disk does between two runs is no property of the code. The wire syncs.
                command.args(["pipeline", "--payments", PAYMENTS, "--accounts", ACCOUNTS, "--durability", "process"]);
                command.arg("--work").arg(&directory).arg("--json").arg(&json);
                finish(command, side)?;
                stages(&read(&json)?)
            }
            Part::Wire => {
                let json = directory.join("run.json");
                let mut command = Command::new(side.bench.as_ref().context("meshpay-bench is not built")?);
                command.args(["run", "--scenario", "single", "--rate", RATE, "--seconds", SECONDS]);
                command.args(["--accounts", ACCOUNTS, "--work"]).arg(directory.join("work"));
                command.arg("--report").arg(directory.join("report")).arg("--json").arg(&json);
                command.env("MESHPAY_AUTHORITY", side.authority.as_ref().context("the daemon is not built")?);
                finish(command, side)?;
                wire(&read(&json)?)
            }
        }
    }
}

fn finish(mut command: Command, side: &Side) -> Result<()> {
    if side.slowdown_percent > 0 {
        command.env(SLOWDOWN, side.slowdown_percent.to_string());
    }
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(4).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        bail!("{program} of {} failed with {}: {}", side.name, output.status, last.join(" / "));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("there is no {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

/// Criterion leaves a folder for each bench with its id and its estimates in nanoseconds.
fn kernels(directory: &Path) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        let (id, estimates) = (folder.join("new/benchmark.json"), folder.join("new/estimates.json"));
        if id.is_file() && estimates.is_file() {
            let (id, estimates) = (read(&id)?, read(&estimates)?);
            let name = id["full_id"].as_str().context("criterion named no bench")?;
            let median = number(&estimates["median"]["point_estimate"], name)?;
            let elements = id["throughput"]["Elements"].as_f64().unwrap_or(1.0);
            figures.push(Figure {
                name: format!("kernels/{name}"),
                unit: "us per signature",
                better: Better::Lower,
                is_judged: true,
                value: median / 1e3 / elements,
            });
            continue;
        }
        let entries: Result<Vec<PathBuf>, std::io::Error> =
            std::fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect();
        folders.extend(entries?.into_iter().filter(|path| path.is_dir()));
    }
    figures.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(!figures.is_empty(), "no bench matches {KERNELS}");
    Ok(figures)
}

fn stages(report: &Value) -> Result<Vec<Figure>> {
    let stages = report["cpu_us_per_settled"].as_object().context("the report holds no stages")?;
    let total = number(&report["cpu_us_per_settled"]["total"], "total")?;
    let mut figures = vec![figure("stages", "total", "us CPU per payment", Better::Lower, true, total)];
    for (name, value) in stages.iter().filter(|(name, _)| *name != "total") {
        let value = number(value, name)?;
        // The journal without syncing is the page cache, whose pace is not ours.
        let is_judged = value >= STAGE_SHARE_MIN * total && name != "journal";
        figures.push(figure("stages", name, "us CPU per payment", Better::Lower, is_judged, value));
    }
    if let Some(quiet) = report["quiet_cpu_us_per_settled"].as_f64() {
        figures.push(figure("stages", "worker when quiet", "us CPU per payment", Better::Lower, true, quiet));
    }
    let allocations = report["allocations_per_settled"].as_f64();
    if let Some(allocations) = allocations {
        figures.push(figure("stages", "allocations", "allocations per payment", Better::Lower, true, allocations));
    }
    Ok(figures)
}

fn wire(report: &Value) -> Result<Vec<Figure>> {
    let run = &report[0];
    let cpu = number(&run["cpu_us_per_settled"], "cpu_us_per_settled")?;
    let settled = number(&run["settled_per_second"], "settled_per_second")?;
    let p50 = number(&run["finality_us"]["p50"], "finality_us")?;
    let p99 = number(&run["finality_us"]["p99"], "finality_us")?;
    Ok(vec![
        figure("wire", "CPU", "us CPU per payment", Better::Lower, true, cpu),
        figure("wire", "settled", "payments/s", Better::Higher, true, settled),
        // The disk's share is the larger one, so these are for the eye.
        figure("wire", "finality p50", "us", Better::Lower, false, p50),
        figure("wire", "finality p99", "us", Better::Lower, false, p99),
    ])
}

fn figure(part: &str, name: &str, unit: &'static str, better: Better, is_judged: bool, value: f64) -> Figure {
    Figure { name: format!("{part}/{name}"), unit, better, is_judged, value }
}

fn number(value: &Value, name: &str) -> Result<f64> {
    value.as_f64().with_context(|| format!("the report holds no number `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criterions_folders_become_figures() {
        let directory = tempfile::tempdir().unwrap();
        for (folder, id, nanoseconds) in
            [("a/64", "verify_many/ifma-x8/64", 256_000.0), ("b/64", "sign_many/x/64", 64e3)]
        {
            let new = directory.path().join(folder).join("new");
            std::fs::create_dir_all(&new).unwrap();
            let named = serde_json::json!({"full_id": id, "throughput": {"Elements": 64}});
            std::fs::write(new.join("benchmark.json"), named.to_string()).unwrap();
            let estimated = serde_json::json!({"median": {"point_estimate": nanoseconds}, "slope": null});
            std::fs::write(new.join("estimates.json"), estimated.to_string()).unwrap();
        }
        let figures = kernels(directory.path()).unwrap();
        let short: Vec<(&str, f64)> = figures.iter().map(|figure| (figure.name.as_str(), figure.value)).collect();
        assert_eq!(short, [("kernels/sign_many/x/64", 1.0), ("kernels/verify_many/ifma-x8/64", 4.0)]);
        assert!(kernels(&directory.path().join("a/64/new")).is_err());
    }

    #[test]
    fn large_stages_are_judged_and_small_ones_shown() {
        let report = serde_json::json!({
            "cpu_us_per_settled": {"orders": 10.0, "reply": 0.5, "journal": 3.0, "total": 13.5},
            "allocations_per_settled": 0.0, "quiet_cpu_us_per_settled": 9.9,
        });
        let figures = stages(&report).unwrap();
        let judged: Vec<&str> = figures.iter().filter(|it| it.is_judged).map(|it| it.name.as_str()).collect();
        assert_eq!(
            (figures.len(), judged),
            (6, vec!["stages/total", "stages/orders", "stages/worker when quiet", "stages/allocations"])
        );
        assert!(stages(&serde_json::json!({})).is_err());
    }

    #[test]
    fn the_wire_report_is_read() {
        let run = serde_json::json!({
            "cpu_us_per_settled": 40.9, "settled_per_second": 8000.0, "finality_us": {"p50": 1400, "p99": 20000},
        });
        let figures = wire(&serde_json::json!([run])).unwrap();
        assert_eq!((figures[0].value, figures[1].better, figures[2].value), (40.9, Better::Higher, 1400.0));
        assert!(wire(&serde_json::json!([])).is_err());
    }
}
