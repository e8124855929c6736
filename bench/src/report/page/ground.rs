//! What the figures stand on: packet I/O, machine, conditions; what was measured and what was not.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::RunReport;
use super::super::text::{self, thousands};
use super::markup::escape;
use super::words;

/// How packets came and went in a run.
pub fn packet_io(report: &RunReport) -> String {
    let found = &report.packet_io;
    let mode = found.mode.as_ref().map(|mode| format!(" ({mode} XDP)")).unwrap_or_default();
    let mut out = format!(
        "<h3>Packet I/O</h3>\n<p><b>{}</b>{}; {}</p>\n",
        escape(&report.rung),
        escape(&mode),
        escape(&report.link)
    );
    if !found.not_higher.is_empty() {
        out.push_str("<p class=\"dim\">On no better rung, since</p>\n<ul class=\"reasons\">\n");
        for reason in &found.not_higher {
            let _ = writeln!(out, "<li>{}</li>", escape(reason));
        }
        out.push_str("</ul>\n");
    }
    let drops = &report.drops;
    let dropped: BTreeMap<String, u64> = [
        ("link to authorities", drops.link_to_authorities),
        ("link to generator", drops.link_to_generator),
        ("generator's sockets", drops.generator_socket),
        ("not sent", drops.generator_refused),
    ]
    .map(|(name, count)| (name.to_owned(), count))
    .into();
    out.push_str("<div class=\"trio\">\n");
    for (heading, counts, none) in [
        ("Filter's verdicts", &found.outcomes, "no filter"),
        ("AF_XDP rings", &found.rings, "no rings, or nothing to count"),
        ("Packets dropped", &dropped, ""),
    ] {
        let _ = writeln!(out, "<table class=\"counts\"><caption>{heading}</caption><tbody>");
        if counts.is_empty() {
            let _ = writeln!(out, "<tr><td class=\"dim\">{none}</td></tr>");
        }
        for (name, count) in counts {
            let _ = writeln!(
                out,
                "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
                escape(&name.replace('_', " ")),
                thousands(*count)
            );
        }
        out.push_str("</tbody></table>\n");
    }
    out.push_str("</div>\n");
    out
}

/// The machine, and the conditions of each run.
pub fn machine(reports: &[&RunReport]) -> String {
    let Some(first) = reports.first() else { return String::new() };
    let machine = &first.machine;
    let is_virtual = if machine.is_virtual { ", a virtual machine" } else { "" };
    let mut rows = vec![
        ("processor", format!("{}, {} cores{is_virtual}", machine.processor, machine.cores)),
        ("memory", format!("{} MiB", thousands(machine.memory_mib))),
        ("kernel", machine.kernel.clone()),
        ("journals on", first.filesystem.clone()),
        (
            "disk before the runs",
            format!(
                "fdatasync of 64 KiB p50 {}, p99 {}",
                text::time(first.fdatasync_us.p50 as f64),
                text::time(first.fdatasync_us.p99 as f64)
            ),
        ),
        ("signatures", first.signatures.clone()),
        ("accounts", thousands(first.accounts as u64)),
    ];
    for report in reports {
        let check = &report.generator_check;
        let refusals: Vec<String> = report.refusals.iter().map(|(code, count)| format!("{count} {code}")).collect();
        rows.push((
            if report.scenario == "single" { "single" } else { "committee" },
            format!(
                "{} payments, measured for {:.1} s; authorities on cores {:?}, generator on core {} with {} address-port pairs, {} wrong answers{}; \
                 generator late by p99 {}, and {} with a null server at {} a second; audited {} records, {} locks, {} executions{}",
                thousands(report.payments),
                report.measured_seconds,
                report.cores.of_authorities(),
                report.cores.generator,
                thousands(report.sources as u64),
                thousands(report.wrong_answers),
                if refusals.is_empty() { String::new() } else { format!(", refusals: {}", refusals.join(", ")) },
                text::time(report.generator_lateness_us.p99 as f64),
                if check.passed { "keeps up" } else { "CANNOT KEEP UP" },
                words::whole(check.offered_per_second),
                thousands(report.audit_figures.records),
                thousands(report.audit_figures.locks),
                thousands(report.audit_figures.executions),
                if report.audit_figures.balances_compared { ", every balance compared" } else { "" }
            ),
        ));
    }
    let mut out = String::from("<section id=\"machine\">\n<h2>machine and conditions</h2>\n<dl>\n");
    for (name, value) in rows {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    out.push_str("</dl>\n</section>\n");
    out
}

/// How to read it: what counts, what is left out.
pub fn method(reports: &[&RunReport]) -> String {
    let mut out =
        String::from("<section id=\"method\">\n<h2>what is measured, and what is not</h2>\n<ul class=\"notes\">\n");
    for note in text::notes(reports) {
        let _ = writeln!(out, "<li>{}</li>", with_code(&note));
    }
    out.push_str("</ul>\n</section>\n");
    out
}

/// Text in which what stands between backticks is code.
fn with_code(text: &str) -> String {
    let part = |(at, part): (usize, &str)| {
        if at % 2 == 1 { format!("<code>{}</code>", escape(part)) } else { escape(part) }
    };
    text.split('`').enumerate().map(part).collect()
}
