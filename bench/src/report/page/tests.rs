//! The page is well-formed, needs nothing from elsewhere, lets nothing from outside be markup, and is made whatever a run lacks.

use super::super::{RunReport, sample};
use super::{Broken, PipelinePart, page};
use crate::generator::Outcome;
use crate::pipeline::StageTimes;

fn searched() -> RunReport {
    RunReport::new(&sample::searched(), &sample::setting())
}

fn committee() -> RunReport {
    let mut report = sample::report();
    "committee".clone_into(&mut report.scenario);
    report.packet_io = Default::default();
    report
}

fn pipeline() -> PipelinePart {
    let cpu_us_per_settled =
        StageTimes { receive: 1.0, orders: 6.5, journal: 2.5, total: 10.0, ..StageTimes::default() };
    PipelinePart { settled_per_second: 90_000.0, cpu_us_per_settled, commit: "fedcba".to_owned() }
}

/// Checks that elements nest, that attributes are quoted and single, and that every `&` begins an entity. The style sheet is passed over.
fn assert_well_formed(page: &str) {
    let (before, rest) = page.split_once("<style>").expect("a style sheet");
    let (style, after) = rest.split_once("</style>").expect("an end of it");
    assert!(!style.contains(['<', '&']), "the style sheet would end early");
    let text = format!("{before}{after}");
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text.strip_prefix("<!DOCTYPE html>").expect("a document type");
    while let Some((words, tail)) = rest.split_once('<') {
        assert_entities(words);
        assert!(!words.contains('>'), "a bare > in {words:?}");
        let (tag, after) = tail.split_once('>').expect("a tag ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closes what is open");
            continue;
        }
        let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut names = Vec::new();
        while !attributes.trim().is_empty() {
            let (name, value) = attributes.split_once("=\"").unwrap_or_else(|| panic!("not quoted: {tag}"));
            let (value, after) = value.split_once('"').unwrap_or_else(|| panic!("no end of quotes: {tag}"));
            assert_entities(value);
            assert!(!names.contains(&name.trim()), "twice: {tag}");
            names.push(name.trim());
            attributes = after;
        }
        if !is_empty {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0], "everything is closed");
}

fn assert_entities(text: &str) {
    for after in text.split('&').skip(1) {
        assert!(["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|entity| after.starts_with(entity)), "&{after:.20}");
    }
}

#[test]
fn has_every_part_in_its_order() {
    let (single, committee) = (searched(), committee());
    let page = page(&[&single, &committee], None, Some(&pipeline()));
    assert_well_formed(&page);
    let mut rest = page.as_str();
    for part in [
        "<title>MeshPay benchmark, commit 0123456789ab</title>",
        "an imaginary processor \u{b7} 2 cores \u{b7} kernel 6.18 \u{b7} 2026-09-21 14:13 UTC",
        "<code>meshpay-bench run</code>",
        "<a href=\"#single\">single</a> <span class=\"good\">passed</span>",
        "<b>14,990</b> settled a second",
        "floor 45,000: 33 % of it",
        "<b>41.50</b>",
        "floor 22.2: 1.87 times that",
        "promise at 10 % load: <span class=\"good\">met</span>",
        "<a href=\"#committee\">committee</a>",
        "<section id=\"single\">",
        "Settled against offered",
        "Time to finality by percentile",
        "<i class=\"stroke s0\"></i>10 %</th><td>1,500</td>",
        "<i class=\"stroke run\"></i>the run</th><td>15,000</td><td>14,990</td><td>500</td>",
        "Promise at 10 % load",
        "CPU budget",
        "worker-0",
        "<code>pipeline</code>, commit fedcba, 90,000 settled a second",
        "Packet I/O",
        "no memory may be locked",
        "<th scope=\"row\">delivered</th><td>40,000</td>",
        "<section id=\"committee\">",
        "no filter",
        "<section id=\"signatures\">",
        "<th scope=\"row\">verify</th><td>3.50</td><td>24.00</td><td>6.9\u{d7}</td>",
        "<section id=\"machine\">",
        "<section id=\"method\">",
        "by the one authority in <code>single</code>",
        "Excluded:",
    ] {
        let at = rest
            .find(part)
            .unwrap_or_else(|| panic!("{part:?} is missing, or stands before another part, in:\n{page}"));
        rest = &rest[at..];
    }
    // The pipeline drives one authority: it does not belong to the committee's budget.
    assert_eq!(page.matches("in process, without").count(), 1);
    assert!(!page.contains("meshpay-bench pipeline --json"), "it is there");
}

#[test]
fn every_drawing_stays_within_its_frame() {
    let single = searched();
    let page = page(&[&single], None, None);
    let mut drawings = 0;
    for svg in page.split("<svg viewBox=\"0 0 ").skip(1) {
        let svg = svg.split("</svg>").next().expect("an end");
        let mut size =
            svg.split('"').next().expect("a size").split(' ').map(|word| word.parse::<f64>().expect("a number"));
        let (width, height) = (size.next().expect("a width"), size.next().expect("a height"));
        for (attribute, most) in [
            ("x1", width),
            ("x2", width),
            ("x", width),
            ("cx", width),
            ("y1", height),
            ("y2", height),
            ("y", height),
            ("cy", height),
        ] {
            for value in svg.split(&format!(" {attribute}=\"")).skip(1) {
                let value: f64 = value.split('"').next().expect("a value").parse().expect("a number");
                assert!((0.0..=most).contains(&value), "{attribute}={value} of {width} x {height}");
            }
        }
        drawings += 1;
    }
    assert_eq!(drawings, 4, "two figures, each for wide and narrow screens");
    assert!(!page.contains("NaN") && !page.contains("inf\"") && !page.contains("inf,"));
}

#[test]
fn needs_nothing_from_elsewhere() {
    let (single, committee) = (searched(), committee());
    let page = page(&[&single, &committee], None, Some(&pipeline()));
    for elsewhere in
        ["http:", "https:", "//", "src=", "url(", "@import", "<script", "<link", "<img", "<iframe", "onload"]
    {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn nothing_from_outside_is_markup() {
    const HOSTILE: &str = "</code></title></style><script>alert(\"1\")</script>'&\u{1}";
    let mut report = searched();
    for field in [
        &mut report.command_line,
        &mut report.commit,
        &mut report.machine.processor,
        &mut report.machine.kernel,
        &mut report.link,
        &mut report.link_kind,
        &mut report.rung,
        &mut report.filesystem,
        &mut report.durability,
        &mut report.audit,
        &mut report.result,
        &mut report.scenario,
        &mut report.signatures,
        &mut report.cpu.threads[0].thread,
    ] {
        HOSTILE.clone_into(field);
    }
    report.failures = vec![HOSTILE.to_owned()];
    report.packet_io.mode = Some(HOSTILE.to_owned());
    report.packet_io.not_higher = vec![HOSTILE.to_owned()];
    report.packet_io.outcomes = [(HOSTILE.to_owned(), 1)].into();
    report.packet_io.rings = [(HOSTILE.to_owned(), 1)].into();
    report.refusals = [(HOSTILE.to_owned(), 1)].into();
    if let Some(times) = &mut report.signature_us {
        HOSTILE.clone_into(&mut times.library);
        HOSTILE.clone_into(&mut times.implementation);
    }
    let broken = Broken { scenario: HOSTILE.to_owned(), reason: HOSTILE.to_owned() };
    let pipeline = PipelinePart { commit: HOSTILE.to_owned(), ..pipeline() };
    let page = page(&[&report], Some(&broken), Some(&pipeline));
    assert_well_formed(&page);
    assert!(!page.contains("<script") && !page.contains('\u{1}'));
}

#[test]
fn a_run_without_parts_still_has_its_page() {
    // A rate that was given, no loads, nothing of signatures or time.
    let mut bare = committee();
    bare.signature_us = None;
    bare.journal_sync_us = None;
    bare.command_line.clear();
    bare.began_unix_s = 0;
    let text = page(&[&bare], None, None);
    assert_well_formed(&text);
    assert!(text.contains("<code>cargo bench -p meshpay-crypto</code>"));
    assert!(text.contains("One rate only was run") && text.contains("<td>\u{2013}</td>") && !text.contains("1970"));

    // Nothing was settled, and nobody used a core.
    let mut measured = sample::measured();
    measured.outcome = Outcome::new(0);
    measured.cpu = Default::default();
    measured.failures = vec!["no payment was settled".to_owned()];
    let empty = RunReport::new(&measured, &sample::setting());
    let text = page(&[&empty], None, None);
    assert_well_formed(&text);
    assert!(text.contains("Nothing became final") && text.contains("<span class=\"bad\">failed</span>"));
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");

    let broken = Broken { scenario: "committee".to_owned(), reason: "authority 2 ended during the run".to_owned() };
    let text = page(&[&searched()], Some(&broken), None);
    assert_well_formed(&text);
    assert!(text.contains("came to no end") && text.contains("authority 2 ended during the run"));
    assert_well_formed(&page(&[], Some(&broken), None));
}

#[test]
fn a_report_from_before_there_were_loads_has_its_page() {
    let mut value = serde_json::to_value(sample::report()).expect("plain data");
    let fields = value.as_object_mut().expect("an object");
    for field in ["loads", "journal_sync_us", "finality_curve_us", "signature_us", "command_line", "began_unix_s"] {
        assert!(fields.remove(field).is_some(), "{field}");
    }
    let old: RunReport = serde_json::from_value(value).expect("what is new has a default");
    assert_well_formed(&page(&[&old], None, None));
}

#[test]
fn a_pipeline_report_is_read_and_anything_else_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pipeline.json");
    assert_eq!(PipelinePart::read(&path), None);
    std::fs::write(&path, "{\"settled_per_second\": 1}").expect("room");
    assert_eq!(PipelinePart::read(&path), None);
    std::fs::write(&path, serde_json::to_string(&pipeline()).expect("plain data")).expect("room");
    assert_eq!(PipelinePart::read(&path), Some(pipeline()));
}
