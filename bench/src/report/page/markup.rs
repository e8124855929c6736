//! Text into HTML and SVG.
//!
//! What always holds: what came from outside (host names, command lines, reasons) passes through [`escape`]; every element is closed, so
//! that the page is well-formed XML too.

use std::fmt::Write as _;

/// Text as it may stand in an element or in a quoted attribute. Control characters, which XML cannot hold, become spaces.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A drawing whose size in units is its size in pixels where there is room.
pub struct Svg {
    body: String,
    width: f64,
    height: f64,
}

/// Where a text is held.
#[derive(Clone, Copy)]
pub enum Anchor {
    /// At its beginning.
    Start,
    /// In its middle.
    Middle,
    /// At its end.
    End,
}

impl Svg {
    /// An empty one.
    pub fn new(width: f64, height: f64) -> Self {
        Self { body: String::new(), width, height }
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    /// A line through points.
    pub fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(self.body, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
    }

    /// A dot, with words for who points at it.
    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64, words: &str) {
        let _ = writeln!(
            self.body,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"><title>{}</title></circle>",
            escape(words)
        );
    }

    /// A text.
    pub fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escape(text)
        );
    }

    /// The element; `label` says to who cannot see it what it shows.
    pub fn finish(self, label: &str) -> String {
        let Self { body, width, height } = self;
        format!(
            "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">\n{body}</svg>\n",
            escape(label)
        )
    }
}

/// Two drawings of the same, for screens with room and for phones; the style sheet shows one of them.
pub fn for_both(draw: impl Fn(f64) -> String) -> String {
    format!("<div class=\"wide\">{}</div><div class=\"narrow\">{}</div>\n", draw(520.0), draw(340.0))
}

/// A figure with its heading, what explains its marks, and a drawing for each kind of screen.
pub fn figure(heading: &str, legend: &[(String, String)], draw: impl Fn(f64) -> String) -> String {
    let mut out = format!("<figure>\n<figcaption>{}</figcaption>\n", escape(heading));
    if !legend.is_empty() {
        out.push_str("<p class=\"legend\">");
        for (class, words) in legend {
            let _ = write!(out, "<span><i class=\"{class}\"></i>{}</span> ", escape(words));
        }
        out.push_str("</p>\n");
    }
    out.push_str(&for_both(draw));
    out.push_str("</figure>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        let hostile = "</title><script>alert('1' & \"2\")</script>\u{0}\u{1b}[31m";
        let safe = "&lt;/title&gt;&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)&lt;/script&gt;  [31m";
        assert_eq!(escape(hostile), safe);
        let mut svg = Svg::new(10.0, 10.0);
        svg.text("x", (0.0, 0.0), Anchor::Start, hostile);
        svg.dot("x", (0.0, 0.0), 1.0, hostile);
        assert!(!svg.finish(hostile).contains("<script"));
    }
}
