//! Line charts as inline SVG. Colours are CSS classes, so that a page can be light or dark.

use super::facts::number;
use super::html::escape;
use super::notes::{self, Area};

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A thin line.
    Line,
    /// A line with a dot at each point.
    Dots,
    /// Dots alone, for points without an order worth a line.
    Scatter,
    /// A dashed line to compare with, not in focus.
    Reference,
    /// Upright strokes, such as intervals: the points come in pairs, one end and the other.
    Range,
    /// Bars that stand on the axis, as wide as their distance leaves.
    Bars,
}

/// One curve.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Name in the legend.
    pub name: String,
    /// Points in the order to connect them.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub mark: Mark,
    /// Which of the page's colours, from 1.
    pub colour: usize,
    /// A word beside some points, by index.
    pub notes: Vec<(usize, String)>,
}

/// A chart with its axes.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Heading.
    pub title: String,
    /// Name of the horizontal axis.
    pub x: String,
    /// Name of the vertical axis.
    pub y: String,
    /// The curves; empty ones are left out.
    pub curves: Vec<Curve>,
    /// Fixed ranges (x, y) instead of those of the data.
    pub range: Option<[(f64, f64); 2]>,
    /// Vertical lines with a word, such as alarms.
    pub marks: Vec<(f64, String)>,
}

// Size of the drawing and of its margins, in SVG units.
const W: f64 = 460.0;
const H: f64 = 260.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;

impl Chart {
    /// The chart as `<figure>`, or nothing when there is nothing to draw.
    pub fn render(&self) -> String {
        let curves: Vec<&Curve> = self.curves.iter().filter(|c| !c.points.is_empty()).collect();
        if curves.iter().all(|c| c.mark == Mark::Reference) {
            return String::new();
        }
        let [xr, yr] = self.range.unwrap_or_else(|| {
            let all = || curves.iter().flat_map(|c| &c.points);
            [bounds(all().map(|p| p.0), 0.0), bounds(all().map(|p| p.1), 0.06)]
        });
        let px = |x: f64| LEFT + (x - xr.0) / (xr.1 - xr.0) * (W - LEFT - RIGHT);
        let py = |y: f64| H - BOTTOM - (y - yr.0) / (yr.1 - yr.0) * (H - TOP - BOTTOM);
        let mut svg = format!("<svg viewBox=\"0 0 {W} {H}\" role=\"img\" aria-label=\"{}\">", escape(&self.title));
        let (xs, ys) = (ticks(xr), ticks(yr));
        for (t, label) in ys.iter().zip(labels(&ys)) {
            let y = py(*t);
            svg += &format!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>", W - RIGHT);
            svg += &format!("<text class=\"tick\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>", LEFT - 6.0, y + 3.5);
        }
        for (t, label) in xs.iter().zip(labels(&xs)) {
            svg +=
                &format!("<text class=\"tick\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>", px(*t), H - BOTTOM + 15.0,);
        }
        let base = H - BOTTOM;
        svg += &format!("<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{base}\" y2=\"{base}\"/>", W - RIGHT);
        let middle = LEFT + (W - LEFT - RIGHT) / 2.0;
        svg += &format!("<text class=\"name\" text-anchor=\"middle\" x=\"{middle}\" y=\"{:.1}\">{}</text>", H - 6.0, escape(&self.x));
        let middle = TOP + (H - TOP - BOTTOM) / 2.0;
        svg += &format!(
            "<text class=\"name\" text-anchor=\"middle\" transform=\"translate(12 {middle}) rotate(-90)\">{}</text>",
            escape(&self.y)
        );
        for (x, word) in self.marks.iter().filter(|m| m.0 >= xr.0 && m.0 <= xr.1) {
            let (x, y) = (px(*x), TOP + 9.0);
            svg += &format!("<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{base}\"/>");
            let (anchor, dx) = if x > W * 0.7 { ("end", -4.0) } else { ("start", 4.0) };
            svg += &format!("<text class=\"mark\" text-anchor=\"{anchor}\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>", x + dx, escape(word));
        }
        for curve in &curves {
            svg += &self.curve(curve, &px, &py);
        }
        svg += &words(&curves, &px, &py);
        svg += "</svg>";
        let mut legend = String::new();
        if curves.len() > 1 {
            for c in &curves {
                let dashed = if c.mark == Mark::Reference { " dashed" } else { "" };
                legend += &format!("<span class=\"key k{}{dashed}\">{}</span>", c.colour, escape(&c.name));
            }
            legend = format!("<div class=\"legend\">{legend}</div>");
        }
        format!("<figure><figcaption>{}</figcaption>{legend}{svg}</figure>\n", escape(&self.title))
    }

    fn curve(&self, curve: &Curve, px: &dyn Fn(f64) -> f64, py: &dyn Fn(f64) -> f64) -> String {
        let points: Vec<String> = curve.points.iter().map(|p| format!("{:.1},{:.1}", px(p.0), py(p.1))).collect();
        let dashed = if curve.mark == Mark::Reference { " dashed" } else { "" };
        let mut svg = match curve.mark {
            Mark::Scatter => String::new(),
            Mark::Range => {
                let stroke = |ends: &[String]| format!("<polyline class=\"curve thin s{}\" points=\"{}\"/>", curve.colour, ends.join(" "));
                points.chunks_exact(2).map(stroke).collect()
            }
            Mark::Bars => curve.points.iter().map(|p| self.bar(curve, *p, px, py)).collect(),
            _ => format!("<polyline class=\"curve s{}{dashed}\" points=\"{}\"/>", curve.colour, points.join(" ")),
        };
        if matches!(curve.mark, Mark::Dots | Mark::Scatter) || (curve.points.len() == 1 && curve.mark != Mark::Bars) {
            let radius = if curve.mark == Mark::Scatter { 2.2 } else { 3.2 };
            for (i, &(x, y)) in curve.points.iter().enumerate() {
                let note = curve.notes.iter().find(|(at, _)| *at == i).map_or(String::new(), |(_, note)| format!("{}: ", escape(note)));
                let title = format!("{note}{} {}, {} {}", escape(&self.x), number(x), escape(&curve.name), number(y));
                svg += &format!(
                    "<circle class=\"f{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"><title>{title}</title></circle>",
                    curve.colour,
                    px(x),
                    py(y)
                );
            }
        }
        svg
    }

    /// A bar from the axis to a point; neighbours leave a fifth of their distance free.
    fn bar(&self, curve: &Curve, (x, y): (f64, f64), px: &dyn Fn(f64) -> f64, py: &dyn Fn(f64) -> f64) -> String {
        let nearest = curve.points.windows(2).map(|w| (px(w[1].0) - px(w[0].0)).abs()).fold(40.0, f64::min);
        let (wide, top) = (0.8 * nearest, py(y));
        format!(
            "<rect class=\"f{}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{:.1}\"><title>{} {}, {} {}</title></rect>",
            curve.colour,
            px(x) - wide / 2.0,
            (H - BOTTOM - top).max(0.0),
            escape(&self.x),
            number(x),
            escape(&curve.name),
            number(y)
        )
    }
}

/// The words beside points, which leave one another and the dots room.
fn words(curves: &[&Curve], px: &dyn Fn(f64) -> f64, py: &dyn Fn(f64) -> f64) -> String {
    let place = |p: &(f64, f64)| (px(p.0), py(p.1));
    let dotted = curves.iter().filter(|c| matches!(c.mark, Mark::Dots | Mark::Scatter));
    let dots: Vec<(f64, f64)> = dotted.flat_map(|c| c.points.iter().map(place)).collect();
    let mut notes: Vec<((f64, f64), &str)> = Vec::new();
    for curve in curves {
        notes.extend(curve.notes.iter().filter_map(|(i, note)| Some((place(curve.points.get(*i)?), note.as_str()))));
    }
    notes::draw(&notes, &dots, Area { left: LEFT, top: TOP, right: W - RIGHT, bottom: H - BOTTOM })
}

/// Least and greatest, widened by `margin` of their distance; never an empty range.
fn bounds(values: impl Iterator<Item = f64>, margin: f64) -> (f64, f64) {
    let (lo, hi) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
    if hi > lo {
        let pad = (hi - lo) * margin;
        (lo - pad, hi + pad)
    } else {
        let pad = if lo == 0.0 { 1.0 } else { lo.abs() * 0.1 };
        (lo - pad, lo + pad)
    }
}

/// Round numbers inside a range: steps of 1, 2 or 5 times a power of ten, about five of them.
fn ticks((lo, hi): (f64, f64)) -> Vec<f64> {
    let rough = (hi - lo) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(power * 10.0);
    let first = (lo / step).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|t| *t <= hi + step * 1e-6).take(12).collect()
}

/// The ticks of an axis as text, all in the unit that its greatest needs.
fn labels(ticks: &[f64]) -> Vec<String> {
    let greatest = ticks.iter().fold(0.0f64, |m, t| m.max(t.abs()));
    let label = |t: &f64| match greatest {
        m if m >= 1e6 => format!("{}M", trim(t / 1e6)),
        m if m >= 1e4 => format!("{}k", trim(t / 1e3)),
        m if m >= 0.01 || m == 0.0 => trim(*t),
        _ if t.abs() < greatest * 1e-6 => "0".into(),
        m => {
            let power = m.log10().floor() as i32; // one power of ten for the whole axis, so that it compares
            format!("{}e{power}", trim(t / 10f64.powi(power)))
        }
    };
    ticks.iter().map(label).map(|text| if text == "0k" || text == "0M" { "0".into() } else { text }).collect()
}

/// Up to four decimals without trailing zeros.
fn trim(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let trimmed = |r| labels(&ticks(r));
        assert_eq!(trimmed((0.0, 1.0)), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(trimmed((-3.2, 7.9)), ["0", "5"]);
        assert_eq!(trimmed((0.0, 50_000.0)), ["0", "10k", "20k", "30k", "40k", "50k"]);
        assert_eq!(trimmed((0.0, 1e-4)), ["0", "0.2e-4", "0.4e-4", "0.6e-4", "0.8e-4", "1e-4"]);
        assert_eq!(trimmed((0.0, 8000.0)), ["0", "2000", "4000", "6000", "8000"]);
        assert!(bounds([2.0, 2.0].into_iter(), 0.1).0 < 2.0);
    }

    #[test]
    fn names_are_escaped_and_emptiness_draws_nothing() {
        let curve = |points| Curve { name: "<b>".into(), points, mark: Mark::Line, colour: 1, notes: vec![] };
        let mut chart =
            Chart { title: "a & b".into(), x: "x".into(), y: "y".into(), curves: vec![curve(vec![])], range: None, marks: vec![] };
        assert_eq!(chart.render(), "");
        chart.curves = vec![curve(vec![(0.0, 1.0), (1.0, 2.0)]), curve(vec![(0.5, 1.0)])];
        let svg = chart.render();
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;b&gt;") && !svg.contains("<b>") && !svg.contains("NaN"));
    }

    #[test]
    fn bars_stand_on_the_axis_and_ranges_are_strokes() {
        let curve = |points, mark| Curve { name: "n".into(), points, mark, colour: 1, notes: vec![] };
        let bars = curve(vec![(1.0, 2.0), (2.0, 4.0)], Mark::Bars);
        let range = curve(vec![(1.0, 1.0), (1.0, 3.0), (2.0, 2.0), (2.0, 4.0)], Mark::Range);
        let chart = Chart {
            title: "t".into(),
            x: "x".into(),
            y: "y".into(),
            curves: vec![bars, range],
            range: Some([(0.0, 3.0), (0.0, 4.0)]),
            marks: vec![],
        };
        let svg = chart.render();
        // Half and all of the height between the margins; two strokes.
        assert!(svg.contains("height=\"105.0\"") && svg.contains("height=\"210.0\""), "{svg}");
        assert_eq!((svg.matches("<rect").count(), svg.matches("<polyline").count()), (2, 2));
    }
}
