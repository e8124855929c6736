//! The series as a picture: a panel for each figure, commits from left to right, the middle half of the runs around each point.
//!
//! Drawn by hand as SVG, in colours that follow the reader's light or dark setting.

use super::series::{Point, PointFigure};
use std::fmt::Write as _;

const COLUMNS: usize = 3;
const PANEL_WIDTH: f64 = 400.0;
const PANEL_HEIGHT: f64 = 220.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 40.0;
const HEAD: f64 = 64.0;
/// Most commits that are shown, the newest.
const COMMITS_MAX: usize = 60;
/// Labels of commits under a panel.
const LABELS_MAX: usize = 4;

const STYLE: &str = "\
.page{fill:#fff}.text{fill:#1c2024}.soft{fill:#5a6470}.grid{stroke:#dfe3e8}.line{stroke:#0b62a4;fill:none}\
.dot{fill:#0b62a4}.spread{stroke:#0b62a4;stroke-opacity:.4}\
@media(prefers-color-scheme:dark){.page{fill:#14181c}.text{fill:#e8ecf0}.soft{fill:#98a4b0}.grid{stroke:#2c343c}\
.line{stroke:#5fb0f0}.dot{fill:#5fb0f0}.spread{stroke:#5fb0f0}}";

/// Draws commits, oldest first.
pub fn draw(points: &[Point]) -> String {
    let points = &points[points.len().saturating_sub(COMMITS_MAX)..];
    let mut names: Vec<&str> = Vec::new();
    for figure in points.iter().flat_map(|point| &point.figures) {
        if !names.contains(&figure.name.as_str()) {
            names.push(&figure.name);
        }
    }
    let rows = names.len().div_ceil(COLUMNS).max(1);
    let width = PANEL_WIDTH * COLUMNS.min(names.len().max(1)) as f64;
    let height = HEAD + PANEL_HEIGHT * rows as f64;
    // Writing to a string cannot fail, here and below.
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"11\">\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"text\" x=\"16\" y=\"28\" font-size=\"17\" font-weight=\"bold\">MeshPay, commit by commit</text>\n\
         <text class=\"soft\" x=\"16\" y=\"46\">medians; bars hold the middle half of the runs; less is better unless it is payments/s</text>\n"
    );
    for (at, name) in names.iter().enumerate() {
        let (x, y) = ((at % COLUMNS) as f64 * PANEL_WIDTH, HEAD + (at / COLUMNS) as f64 * PANEL_HEIGHT);
        let values: Vec<(usize, &PointFigure)> = points
            .iter()
            .enumerate()
            .filter_map(|(at, point)| point.figures.iter().find(|it| it.name == *name).map(|figure| (at, figure)))
            .collect();
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">");
        panel(&mut svg, name, &values, points);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, name: &str, values: &[(usize, &PointFigure)], points: &[Point]) {
    let unit = values.first().map_or("", |(_, figure)| figure.unit.as_str());
    // As a printed page writes it.
    let unit = unit.strip_prefix("us").map_or_else(|| unit.to_owned(), |rest| format!("\u{b5}s{rest}"));
    let scale = Scale::of(values);
    let (right, bottom) = (PANEL_WIDTH - RIGHT, PANEL_HEIGHT - BOTTOM);
    let x = |at: usize| {
        let gaps = points.len().saturating_sub(1);
        // A single commit stands in the middle.
        let part = if gaps == 0 { 0.5 } else { at as f64 / gaps as f64 };
        LEFT + 10.0 + (right - LEFT - 20.0) * part
    };
    let y = |value: f64| bottom - (bottom - TOP) * (value - scale.low) / (scale.high - scale.low);
    let _ = writeln!(
        svg,
        "<text class=\"text\" x=\"16\" y=\"20\" font-size=\"12\" font-weight=\"bold\">{}</text>\n\
         <text class=\"soft\" x=\"16\" y=\"36\">{}</text>",
        escape(name),
        escape(&unit)
    );
    for tick in scale.ticks() {
        let (at, label) = (y(tick), scale.label(tick));
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\n\
             <text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    let line: Vec<String> =
        values.iter().map(|(at, figure)| format!("{:.1},{:.1}", x(*at), y(figure.median))).collect();
    let _ = writeln!(svg, "<polyline class=\"line\" stroke-width=\"1.8\" points=\"{}\"/>", line.join(" "));
    for (at, figure) in values {
        let (x, low, high) = (x(*at), y(figure.low), y(figure.high));
        let _ = writeln!(
            svg,
            "<line class=\"spread\" stroke-width=\"4\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{low:.1}\" y2=\"{high:.1}\"/>\n\
             <circle class=\"dot\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3\"><title>{}: {} {}</title></circle>",
            y(figure.median),
            short(&points[*at].commit),
            figure.median,
            escape(&unit)
        );
    }
    for at in labelled(points.len()) {
        let anchor = match at {
            _ if points.len() == 1 => "middle",
            0 => "start",
            at if at + 1 == points.len() => "end",
            _ => "middle",
        };
        let _ = writeln!(
            svg,
            "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            x(at),
            bottom + 16.0,
            short(&points[at].commit)
        );
    }
    let _ = writeln!(
        svg,
        "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">commit</text>",
        (LEFT + right) / 2.0,
        bottom + 31.0
    );
}

/// Which commits are named: first, last, and some between, evenly.
fn labelled(count: usize) -> Vec<usize> {
    if count <= LABELS_MAX {
        return (0..count).collect();
    }
    (0..LABELS_MAX).map(|label| label * (count - 1) / (LABELS_MAX - 1)).collect()
}

/// The range of a panel's values, in round steps.
struct Scale {
    low: f64,
    high: f64,
    step: f64,
}

impl Scale {
    /// Holds all values with some room, and never less than a tenth around them: noise shall not look like a mountain.
    fn of(values: &[(usize, &PointFigure)]) -> Self {
        let low = values.iter().map(|(_, figure)| figure.low.min(figure.median)).fold(f64::INFINITY, f64::min);
        let high = values.iter().map(|(_, figure)| figure.high.max(figure.median)).fold(0.0, f64::max);
        let (low, high) = if low.is_finite() && high > 0.0 { (low, high) } else { (0.0, 1.0) };
        let middle = (low + high) / 2.0;
        let half = ((high - low) * 0.6).max(middle * 0.1);
        let rough = half / 2.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|part| part * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let floor = (((middle - half) / step).floor() * step).max(0.0);
        Self { low: floor, high: ((middle + half) / step).ceil() * step, step }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        let count = ((self.high - self.low) / self.step).round() as usize;
        (0..=count).map(|at| self.low + self.step * at as f64)
    }

    fn label(&self, value: f64) -> String {
        let digits = (-self.step.log10().floor()).clamp(0.0, 9.0) as usize;
        format!("{value:.digits$}")
    }
}

fn short(commit: &str) -> String {
    commit.chars().take(7).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::series::point;
    use super::*;

    #[test]
    fn every_point_lies_in_its_panel() {
        let figures = |at: f64| [("stages/total", 30.0 - at), ("stages/<sign>", 0.02), ("wire/settled", 80_000.0 + at)];
        let points: Vec<Point> =
            (0..70_u8).map(|at| point(&format!("{at:08x}"), at.into(), &figures(f64::from(at) / 10.0))).collect();
        let svg = draw(&points);
        assert!(svg.contains("stages/&lt;sign&gt;") && !svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(svg.matches("<circle").count(), 3 * COMMITS_MAX);
        for part in svg.split("<circle").skip(1) {
            let number = |name: &str| -> f64 {
                part.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
            };
            assert!((LEFT..=PANEL_WIDTH - RIGHT).contains(&number("cx")), "{part}");
            assert!((TOP..=PANEL_HEIGHT - BOTTOM).contains(&number("cy")), "{part}");
        }
    }

    #[test]
    fn one_commit_and_none_are_drawn_too() {
        for points in [vec![], vec![point("aaaaaaaa", 1, &[("a", 0.0)])]] {
            let svg = draw(&points);
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn labels_are_few_and_hold_both_ends() {
        assert_eq!(labelled(3), [0, 1, 2]);
        assert_eq!(labelled(60), [0, 19, 39, 59]);
    }
}
