//! Where the microseconds of a settled payment go: a bar of the threads on the authorities' cores, and one of the worker loop's stages where
//! the pipeline was measured too, both on one scale.

use std::fmt::Write as _;

use super::super::RunReport;
use super::super::goals::of_run;
use super::PipelinePart;
use super::markup::escape;
use super::words;

/// A part of a bar.
struct Part {
    name: String,
    us: f64,
    class: String,
}

/// Colours of the style sheet; what is left over is grey.
const COLOURS: usize = 7;

/// Threads below this share of the whole are added up.
const SHARE_MIN: f64 = 0.01;

/// How to get the stages.
const NO_PIPELINE: &str = "<p class=\"dim\">For the stages of the worker loop: <code>meshpay-bench pipeline --json bench-report/pipeline.json</code>, then <code>meshpay-bench page</code>.</p>\n";

/// The section.
pub fn section(report: &RunReport, pipeline: Option<&PipelinePart>) -> String {
    let threads = threads(report);
    let marks = of_run(&report.scenario, report.bundle).map(|marks| marks.per_payment_us());
    let sum = |parts: &[Part]| parts.iter().map(|part| part.us).sum::<f64>();
    let end = marks.map_or(0.0, |marks| marks.floor).max(sum(&threads)).max(f64::MIN_POSITIVE) * 1.03;
    let mut out = String::from("<h3>CPU budget, \u{b5}s of a core per settled payment</h3>\n");
    let caption = format!(
        "<b>{}</b> over the wire: {} user, {} kernel, {} taken by the hypervisor; cores busy {:.0} %",
        words::us(report.cpu_us_per_settled),
        words::us(report.cpu.user_us_per_settled),
        words::us(report.cpu.system_us_per_settled),
        words::us(report.cpu.steal_us_per_settled),
        report.cpu.busy * 100.0
    );
    out.push_str(&bar(&caption, &threads, end, marks.map(|marks| [marks.floor, marks.goal])));
    if let Some(pipeline) = pipeline {
        let stages: Vec<Part> = pipeline
            .cpu_us_per_settled
            .entries()
            .into_iter()
            .enumerate()
            .map(|(at, (name, us))| Part { name: name.to_owned(), us, class: format!("c{}", at % COLOURS) })
            .collect();
        let caption = format!(
            "<b>{}</b> in process, without the kernel's packets (<code>pipeline</code>, commit {}, {} settled a second)",
            words::us(sum(&stages)),
            escape(&pipeline.commit),
            words::whole(pipeline.settled_per_second)
        );
        out.push_str(&bar(&caption, &stages, end, None));
    } else if report.scenario == "single" {
        out.push_str(NO_PIPELINE);
    }
    if marks.is_some() {
        out.push_str("<p class=\"marks\"><span><i class=\"key floor\"></i>floor</span> <span><i class=\"key goal\"></i>goal</span></p>\n");
    }
    out
}

/// Threads by their share; strangers; and what no thread accounts for: interrupts, the hypervisor, and the difference between the measured part and
/// the whole batch, over which threads are accounted.
fn threads(report: &RunReport) -> Vec<Part> {
    let total = report.cpu_us_per_settled;
    let mut parts = Vec::new();
    let mut small = 0.0;
    for share in &report.cpu.threads {
        if share.us_per_settled < total * SHARE_MIN || parts.len() == COLOURS {
            small += share.us_per_settled;
            continue;
        }
        let count = if share.count > 1 { format!(" ({} threads)", share.count) } else { String::new() };
        let class = format!("c{}", parts.len());
        parts.push(Part { name: format!("{}{count}", share.thread), us: share.us_per_settled, class });
    }
    if small >= 0.005 {
        parts.push(Part { name: "smaller threads".to_owned(), us: small, class: "rest".to_owned() });
    }
    let strangers = report.cpu.strangers_us_per_settled;
    if strangers >= total * SHARE_MIN {
        parts.push(Part { name: "other programs".to_owned(), us: strangers, class: "alien".to_owned() });
    }
    let left = total - parts.iter().map(|part| part.us).sum::<f64>();
    if left >= total * SHARE_MIN {
        parts.push(Part { name: "interrupts, hypervisor, unaccounted".to_owned(), us: left, class: "rest".to_owned() });
    }
    parts
}

/// `caption` is markup.
fn bar(caption: &str, parts: &[Part], end: f64, marks: Option<[f64; 2]>) -> String {
    let mut out = format!("<p class=\"caption\">{caption}</p>\n<div class=\"stack\">");
    for part in parts {
        let _ = write!(
            out,
            "<i class=\"{}\" style=\"width:{:.2}%\" title=\"{} {}\"></i>",
            part.class,
            (part.us / end * 100.0).clamp(0.0, 100.0),
            escape(&part.name),
            words::us(part.us)
        );
    }
    for (class, mark) in [("floor", 0), ("goal", 1)].into_iter().filter_map(|(class, at)| Some((class, marks?[at]))) {
        let _ = write!(out, "<i class=\"mark {class}\" style=\"left:{:.2}%\"></i>", mark / end * 100.0);
    }
    out.push_str("</div>\n<ul class=\"parts\">\n");
    let sum: f64 = parts.iter().map(|part| part.us).sum();
    for part in parts {
        let _ = writeln!(
            out,
            "<li><i class=\"{}\"></i><span>{}</span><b>{}</b><em>{:.0} %</em></li>",
            part.class,
            escape(&part.name),
            words::us(part.us),
            part.us / sum.max(f64::MIN_POSITIVE) * 100.0
        );
    }
    out.push_str("</ul>\n");
    out
}
