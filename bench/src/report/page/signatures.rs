//! What signatures cost here, beside the library that a reader would otherwise reach for.

use std::fmt::Write as _;

use super::super::goals::{KNOWN_KEY_US, Marks, SIGN_US, VERIFY_US};
use super::markup::escape;
use super::words;
use crate::signatures::SignatureTimes;

/// The section.
pub fn section(times: &SignatureTimes) -> String {
    let rows = [
        ("verify", times.verify_us, times.library_verify_us, VERIFY_US),
        ("verify, key known", times.known_key_us, times.library_verify_us, KNOWN_KEY_US),
        ("sign", times.sign_us, times.library_sign_us, SIGN_US),
    ];
    let end = rows.iter().flat_map(|row| [row.1, row.2]).fold(f64::MIN_POSITIVE, f64::max);
    let library = escape(&times.library);
    let mut out = format!(
        "<section id=\"signatures\">\n<h2>signatures</h2>\n\
         <p class=\"over dim\">\u{b5}s of a core per signature: ours ({}) in groups of {}, {library} one at a time; medians, in this process before the runs</p>\n\
         <div class=\"scroll\"><table class=\"figures\">\n\
         <thead><tr><th></th><th>ours</th><th>{library}</th><th>ratio</th><th>floor</th><th>goal</th><th class=\"bars\"></th></tr></thead>\n<tbody>\n",
        escape(&times.implementation),
        times.group
    );
    for (name, ours, theirs, marks) in rows {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{name}</th><td>{}</td><td>{}</td><td>{:.1}\u{d7}</td><td class=\"{}\">{:.1}</td><td class=\"{}\">{:.1}</td>\
             <td class=\"bars\"><i class=\"ours\" style=\"width:{:.1}%\"></i><i class=\"theirs\" style=\"width:{:.1}%\"></i></td></tr>",
            words::us(ours),
            words::us(theirs),
            theirs / ours.max(f64::MIN_POSITIVE),
            reached(&marks, ours, marks.floor),
            marks.floor,
            reached(&marks, ours, marks.goal),
            marks.goal,
            ours / end * 100.0,
            theirs / end * 100.0
        );
    }
    out.push_str(
        "</tbody></table></div>\n<p class=\"dim\">The library refuses signatures that ZIP 215 accepts; it stands here for its speed alone. \
         <code>cargo bench -p meshpay-crypto</code> compares more libraries, with statistics.</p>\n</section>\n",
    );
    out
}

/// In its place where signatures were not measured.
pub fn missing() -> String {
    "<section id=\"signatures\">\n<h2>signatures</h2>\n<p class=\"dim\">Not measured with these runs; <code>cargo bench -p meshpay-crypto</code> \
     compares them with other libraries.</p>\n</section>\n"
        .to_owned()
}

fn reached(marks: &Marks, value: f64, mark: f64) -> &'static str {
    if marks.reaches(value, mark) { "good" } else { "bad" }
}
