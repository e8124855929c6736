//! The top of the page: what was measured where, and for each run a card with its verdict and its two figures.

use std::fmt::Write as _;

use super::super::RunReport;
use super::super::goals::{Marks, of_run};
use super::super::text;
use super::markup::escape;
use super::{Broken, words};

/// The page's title.
pub fn title(reports: &[&RunReport]) -> String {
    let commit = reports.first().map_or("unknown", |report| report.commit.as_str());
    format!("MeshPay benchmark, commit {commit}")
}

/// Name, commit, machine, time, and the command that repeats it.
pub fn masthead(reports: &[&RunReport]) -> String {
    let Some(report) = reports.first() else {
        return "<header><h1>MeshPay benchmark</h1><p>No run came to an end.</p></header>\n".to_owned();
    };
    let mut facts = vec![
        format!("commit <code>{}</code>", escape(&report.commit)),
        escape(&report.machine.processor),
        format!("{} cores", report.machine.cores),
        format!("kernel {}", escape(&report.machine.kernel)),
    ];
    if report.began_unix_s > 0 {
        facts.push(words::date(report.began_unix_s));
    }
    let mut out = format!("<header>\n<h1>MeshPay benchmark</h1>\n<p class=\"facts\">{}</p>\n", facts.join(" \u{b7} "));
    if !report.command_line.is_empty() {
        let _ = writeln!(out, "<p class=\"command\"><code>{}</code></p>", escape(&report.command_line));
    }
    out.push_str("</header>\n");
    out
}

/// A run's verdict and figures.
pub fn card(report: &RunReport) -> String {
    let passed = report.failures.is_empty() && report.result == "passed";
    let mut out = format!(
        "<article class=\"card\">\n<h2><a href=\"#{name}\">{name}</a> <span class=\"{}\">{}</span></h2>\n<p class=\"dim\">{}</p>\n",
        if passed { "good" } else { "bad" },
        escape(&report.result),
        escape(&what(report)),
        name = escape(&report.scenario),
    );
    let marks = of_run(&report.scenario, report.bundle);
    out.push_str(&figure(
        "settled a second",
        &words::whole(report.settled_per_second),
        report.settled_per_second,
        marks,
    ));
    out.push_str(&figure(
        "\u{b5}s of CPU per settled payment",
        &words::us(report.cpu_us_per_settled),
        report.cpu_us_per_settled,
        marks.map(Marks::per_payment_us),
    ));
    let finality = &report.finality_us;
    let _ = writeln!(
        out,
        "<p class=\"row\">finality at this rate: p50 <b>{}</b>, p99 <b>{}</b>; {} lost, {} repeated; audit {}</p>",
        text::time(finality.p50 as f64),
        text::time(finality.p99 as f64),
        text::thousands(report.lost),
        text::thousands(report.retries),
        escape(&report.audit)
    );
    for (load, promise) in report.loads.iter().filter_map(|load| Some((load, load.promise.as_ref()?))) {
        let _ = writeln!(
            out,
            "<p class=\"row\">promise at {} load: <span class=\"{}\">{}</span></p>",
            words::percent(load.percent),
            if promise.met { "good" } else { "bad" },
            if promise.met { "met" } else { "missed" }
        );
    }
    for failure in &report.failures {
        let _ = writeln!(out, "<p class=\"row bad\">{}</p>", escape(failure));
    }
    for caution in cautions(report) {
        let _ = writeln!(out, "<p class=\"row warn\">{}</p>", escape(&caution));
    }
    out.push_str("</article>\n");
    out
}

/// In place of the card of a run that came to no end.
pub fn broken_card(broken: &Broken) -> String {
    format!(
        "<article class=\"card\">\n<h2>{} <span class=\"bad\">came to no end</span></h2>\n<p class=\"row\">{}</p>\n</article>\n",
        escape(&broken.scenario),
        escape(&broken.reason)
    )
}

fn what(report: &RunReport) -> String {
    let authorities = match report.scenario.as_str() {
        "single" => format!("one authority of {} on one core", report.committee),
        _ => format!(
            "all {} authorities on {} {}",
            report.committee,
            report.cores.of_authorities().len(),
            if report.cores.of_authorities().len() == 1 { "core" } else { "cores" }
        ),
    };
    let bundle =
        if report.bundle > 1 { format!(", up to {} requests a datagram", report.bundle) } else { String::new() };
    format!("{authorities}, durability {}, {}{bundle}", report.durability, report.rung)
}

/// What makes figures doubtful that a run nevertheless passed with.
fn cautions(report: &RunReport) -> Vec<String> {
    let mut cautions = Vec::new();
    if text::is_disturbed(report) {
        cautions.push(format!(
            "other programs ran on the authorities' cores: about {} \u{b5}s of the CPU figure are theirs; repeat on a quiet machine",
            words::us(report.cpu.strangers_us_per_settled)
        ));
    }
    if report.durability != "power-loss" {
        cautions.push("this durability does not survive a power cut: not a figure for real money".to_owned());
    }
    if report.link_kind == "loopback" {
        cautions.push("on loopback the sender's core pays for the receiver's part of the network stack".to_owned());
    }
    cautions
}

/// A large figure, and where there are marks, a bar to the value with both of them on it.
fn figure(unit: &str, value_words: &str, value: f64, marks: Option<Marks>) -> String {
    let mut out = format!("<p class=\"figure\"><b>{value_words}</b> {unit}</p>\n");
    let Some(marks) = marks else { return out };
    let end = value.max(marks.goal).max(marks.floor) * 1.08;
    let at = |value: f64| (value / end * 100.0).clamp(0.0, 100.0);
    let class = match (marks.reaches(value, marks.goal), marks.reaches(value, marks.floor)) {
        (true, _) => "goal",
        (false, true) => "floor",
        (false, false) => "below",
    };
    let _ = writeln!(
        out,
        "<div class=\"meter {class}\"><i class=\"bar\" style=\"width:{:.1}%\"></i><i class=\"mark floor\" style=\"left:{:.1}%\"></i><i class=\"mark goal\" style=\"left:{:.1}%\"></i></div>",
        at(value),
        at(marks.floor),
        at(marks.goal)
    );
    let verdict = |mark: f64| {
        if marks.reaches(value, mark) {
            "<span class=\"good\">reached</span>".to_owned()
        } else if marks.is_cost() {
            format!("{:.2} times that", value / mark)
        } else {
            format!("{:.0} % of it", value / mark * 100.0)
        }
    };
    let word = |mark: f64| if mark < 100.0 { format!("{mark:.1}") } else { words::whole(mark) };
    let _ = writeln!(
        out,
        "<p class=\"marks\"><span><i class=\"key floor\"></i>floor {}: {}</span> <span><i class=\"key goal\"></i>goal {}: {}</span></p>",
        word(marks.floor),
        verdict(marks.floor),
        word(marks.goal),
        verdict(marks.goal)
    );
    out
}
