//! The series: a file with a line of JSON for each commit, so that a CI can keep it, and the picture of it.
//!
//! Lines are only ever added. A commit that is measured again gets a second line, and the picture shows the last.

use super::compare::Compared;
use super::drawing;
use super::sides::{Side, Sides};
use super::statistics::quantile;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// One commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The full commit.
    pub commit: String,
    /// Its date, seconds since 1970.
    pub committed: u64,
    /// What it was compared with, if it was what was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What was measured.
    pub figures: Vec<PointFigure>,
}

/// A figure of a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointFigure {
    /// Its name, with the part before it.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Median of the runs.
    pub median: f64,
    /// A quarter of the runs were below.
    pub low: f64,
    /// A quarter of the runs were above.
    pub high: f64,
}

impl Point {
    fn of<'a>(side: &Side, base: Option<&Side>, figures: impl Iterator<Item = (&'a Compared, &'a [f64])>) -> Self {
        let figures = figures
            .filter(|(_, values)| !values.is_empty())
            .map(|(compared, values)| PointFigure {
                name: compared.name.clone(),
                unit: compared.unit.to_owned(),
                median: quantile(values, 0.5),
                low: quantile(values, 0.25),
                high: quantile(values, 0.75),
            })
            .collect();
        let base = base.map(|base| base.commit.clone());
        Self { commit: side.commit.clone(), committed: side.committed, base, figures }
    }
}

/// Adds the new side's figures, and the base's where that has no point yet; draws the picture beside the file and says where.
///
/// # Errors
/// If the file holds what is no series, or cannot be written.
pub fn add(path: &Path, sides: &Sides, results: &[Compared]) -> Result<PathBuf> {
    let mut points = read(path)?;
    let base = Point::of(&sides.base, None, results.iter().map(|it| (it, it.base.as_slice())));
    let new = Point::of(&sides.new, Some(&sides.base), results.iter().map(|it| (it, it.new.as_slice())));
    let mut added = Vec::new();
    if !base.figures.is_empty() && !points.iter().any(|point| point.commit == base.commit) {
        added.push(base);
    }
    added.push(new);
    append(path, &added)?;
    points.extend(added);
    let picture = path.with_extension("svg");
    std::fs::write(&picture, drawing::draw(&newest(points)))
        .with_context(|| format!("cannot write {}", picture.display()))?;
    Ok(picture)
}

fn append(path: &Path, points: &[Point]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut lines = String::new();
    for point in points {
        lines.push_str(&serde_json::to_string(point)?);
        lines.push('\n');
    }
    let mut file = std::fs::File::options().create(true).append(true).open(path)?;
    // One write, so that two runs at once never mix their lines.
    file.write_all(lines.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// All points of a file; none where there is no file.
fn read(path: &Path) -> Result<Vec<Point>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let line = |(at, line)| {
        serde_json::from_str(line).with_context(|| format!("{}, line {}: no point of a series", path.display(), at + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(line).collect()
}

/// The last line of each commit, by the date of the commits.
fn newest(points: Vec<Point>) -> Vec<Point> {
    let mut kept: Vec<Point> = Vec::new();
    for point in points {
        // What a later run of the commit did not measure is kept from the one before.
        match kept.iter_mut().find(|known| known.commit == point.commit) {
            Some(known) => {
                let old = std::mem::replace(known, point);
                for figure in old.figures {
                    if !known.figures.iter().any(|it| it.name == figure.name) {
                        known.figures.push(figure);
                    }
                }
            }
            None => kept.push(point),
        }
    }
    kept.sort_by_key(|point| point.committed);
    kept
}

#[cfg(test)]
pub fn point(commit: &str, committed: u64, figures: &[(&str, f64)]) -> Point {
    let figure = |(name, median): &(&str, f64)| PointFigure {
        name: (*name).to_owned(),
        unit: "us".to_owned(),
        median: *median,
        low: median * 0.97,
        high: median * 1.02,
    };
    let figures = figures.iter().map(figure).collect();
    Point { commit: commit.to_owned(), committed, base: None, figures }
}

#[cfg(test)]
mod tests {
    use super::super::compare::made_up;
    use super::*;

    #[test]
    fn lines_are_added_and_the_last_of_a_commit_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deeper/series.jsonl");
        let side = |commit: &str, committed| Side { commit: commit.to_owned(), committed, ..Side::default() };
        let sides = Sides { base: side("aaaa", 1), new: side("bbbb", 2) };
        let first = [made_up("stages/total", &[30.0; 6], &[31.0; 6])];
        let picture = add(&path, &sides, &first).unwrap();
        assert!(std::fs::read_to_string(picture).unwrap().contains("stages/total"));
        let again = [made_up("stages/total", &[30.0; 6], &[20.0; 6]), made_up("wire/CPU", &[], &[40.0; 6])];
        add(&path, &sides, &again).unwrap();

        let points = read(&path).unwrap();
        assert_eq!(points.len(), 3, "the base gets a point once");
        let newest = newest(points);
        assert_eq!(newest.iter().map(|it| it.commit.as_str()).collect::<Vec<_>>(), ["aaaa", "bbbb"]);
        assert_eq!((newest[1].figures[0].median, newest[1].figures.len()), (20.0, 2));
    }

    #[test]
    fn what_is_no_series_is_refused_by_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("series.jsonl");
        append(&path, &[point("aaaa", 1, &[("a", 1.0)])]).unwrap();
        std::fs::File::options().append(true).open(&path).unwrap().write_all(b"oops\n").unwrap();
        let error = read(&path).unwrap_err();
        assert!(format!("{error:#}").contains("line 2"), "{error:#}");
    }
}
