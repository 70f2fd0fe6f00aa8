//! The report as one page: style and drawings inside, nothing fetched, every word from outside escaped.

use super::findings::Gravity;
use super::interval::Estimate;
use super::lines::{self, HEADS};
use super::report::{JudgeReport, Report};
use figures::report::facts::percent;
use figures::report::html::{FOOT, escape, grid, head};
use figures::report::svg::{Chart, Curve, Mark};
use std::fmt::Write;

/// Judges in the table at most; those with findings stand first.
const JUDGES: usize = 400;
/// Names written into a drawing.
const NAMES: usize = 8;

/// The page.
pub fn render(report: &Report, title: &str) -> String {
    let mut page = head(&format!("{title}: judges"));
    let _ = writeln!(page, "<p class=\"lead\">{}</p>", escape(&lines::lead(report)));
    for note in lines::asides(report) {
        let _ = writeln!(page, "<p class=\"small\">{}</p>", escape(&note));
    }
    page += &tiles(report);
    page += &careless(report);
    page += &grid("The judges", &draw(&judge_charts(report)));
    page += &grid("The judgments", &draw(&crowd_charts(report)));
    page += &figures(report);
    page += &table(report);
    page += "<p class=\"small\">Intervals are at 95%: bootstrap over the groups of prompts for the figures of the crowd, Wilson for shares of one judge, \
             normal approximation for reliabilities. Reliability 1 is the typical judgment, 0 clicks at random, below 0 orders the wrong way \
             round.</p>\n";
    page + FOOT
}

/// All figures of the crowd in one table, so that its columns stand under one another.
fn figures(report: &Report) -> String {
    let mut html = String::from("<h2>Figures</h2>\n<div class=\"scroll\"><table>\n");
    for section in lines::sections(report) {
        let _ = writeln!(html, "<tr><th colspan=\"4\"><br>{}</th></tr>", escape(section.title));
        for line in section.lines {
            let [label, value, interval, detail] = [&line.label, &line.value, &line.interval, &line.detail].map(|text| escape(text));
            let _ = writeln!(
                html,
                "<tr><td>{label}</td><td class=\"n\">{value}</td><td class=\"n\">{interval}</td><td class=\"detail\">{detail}</td></tr>"
            );
        }
    }
    html + "</table></div>\n"
}

fn draw(charts: &[Chart]) -> String {
    charts.iter().map(Chart::render).collect()
}

fn tiles(report: &Report) -> String {
    let careless = report.judges.iter().filter(|j| j.gravity() == Some(Gravity::Careless)).count();
    let share = |e: &Option<Estimate>| e.map(|e| (percent(e.value), format!("{} to {}", percent(e.ci[0]), percent(e.ci[1]))));
    let alpha = report.agreement.alpha_ranks.or(report.agreement.alpha_pairs);
    let tiles = [
        ("two judges agree, ties apart", share(&report.agreement.strict)),
        ("Krippendorff's alpha of ranks", alpha.map(|e| (format!("{:.2}", e.value), format!("{:.2} to {:.2}", e.ci[0], e.ci[1])))),
        ("no reward model agrees more often", share(&report.ceiling.bound)),
        ("gold pairs right", share(&report.care.gold)),
        ("judges look careless", Some((careless.to_string(), format!("of {}", report.judges.len())))),
    ];
    let mut html = String::from("<div class=\"tiles\">\n");
    for (what, value) in tiles {
        let Some((value, detail)) = value else { continue };
        let _ = writeln!(
            html,
            "<div class=\"tile\"><div class=\"big\">{value}</div><div class=\"sub\">{what}</div><div class=\"sub\">{detail}</div></div>"
        );
    }
    html + "</div>\n"
}

/// Who looks careless and why.
fn careless(report: &Report) -> String {
    let mut html = String::new();
    if let Some(text) = lines::careless(report) {
        let _ = writeln!(html, "<h2>To look at</h2>\n<p class=\"answer\">{}</p>", escape(&text));
    }
    let (grave, light): (Vec<_>, Vec<_>) =
        lines::ordered(report).into_iter().filter(|j| !j.findings.is_empty()).partition(|j| j.gravity() == Some(Gravity::Careless));
    let alarm = |judge: &&JudgeReport| format!("<div class=\"alarm\"><b>{}</b> {}</div>\n", escape(&judge.name), sentences(judge));
    html.extend(grave.iter().take(NAMES).map(alarm));
    if grave.len() > NAMES {
        let rest: String = grave.iter().skip(NAMES).map(alarm).collect();
        let _ = writeln!(html, "<details><summary>{} more</summary>{rest}</details>", grave.len() - NAMES);
    }
    if !light.is_empty() {
        let _ = writeln!(html, "<details><summary>{} more that may have an innocent reason</summary>", light.len());
        for judge in light {
            let _ = writeln!(html, "<div class=\"pair\"><b>{}</b> {}</div>", escape(&judge.name), sentences(judge));
        }
        html += "</details>\n";
    }
    html
}

fn sentences(judge: &JudgeReport) -> String {
    let all: Vec<String> = judge.findings.iter().map(|f| escape(&f.evidence)).collect();
    all.join("; also ") + "."
}

fn curve(name: &str, points: Vec<(f64, f64)>, mark: Mark, colour: usize) -> Curve {
    Curve { name: name.into(), points, mark, colour, notes: vec![] }
}

fn chart(title: &str, x: &str, y: &str, curves: Vec<Curve>) -> Chart {
    Chart { title: title.into(), x: x.into(), y: y.into(), curves, range: None, marks: vec![] }
}

fn judge_charts(report: &Report) -> Vec<Chart> {
    let mut judges: Vec<(&JudgeReport, Estimate)> = report.judges.iter().filter_map(|j| Some((j, j.reliability?))).collect();
    judges.sort_by(|a, b| a.1.value.total_cmp(&b.1.value));
    if judges.is_empty() {
        return vec![];
    }
    let bad = |j: &JudgeReport| j.gravity() == Some(Gravity::Careless);
    let all = || judges.iter().enumerate().map(|(i, (j, r))| (i as f64 + 1.0, *j, *r));
    let split = |careless: bool| all().filter(|(_, j, _)| bad(j) == careless).map(|(x, _, r)| (x, r.value)).collect::<Vec<_>>();
    let last = judges.len() as f64;
    let mut named = curve("careless", split(true), Mark::Scatter, 2);
    if named.points.len() <= NAMES {
        named.notes = all().filter(|(_, j, _)| bad(j)).enumerate().map(|(i, (_, j, _))| (i, j.name.clone())).collect();
    }
    let by_rank = chart(
        "reliability of each judge",
        "judges, from the least reliable",
        "reliability",
        vec![
            curve("95% interval", all().flat_map(|(x, _, r)| r.ci.map(|y| (x, y))).collect(), Mark::Range, 4),
            curve("typical judgment", vec![(1.0, 1.0), (last.max(1.5), 1.0)], Mark::Reference, 3),
            curve("random clicks", vec![(1.0, 0.0), (last.max(1.5), 0.0)], Mark::Reference, 2),
            curve("judge", split(false), Mark::Scatter, 1),
            named,
        ],
    );
    let beside = |of: &dyn Fn(&JudgeReport) -> Option<f64>, careless: bool| {
        all().filter(|(_, j, _)| bad(j) == careless).filter_map(|(_, j, r)| Some((r.value, of(j)?))).collect::<Vec<_>>()
    };
    let scatter = |title: &str, y: &str, of: &dyn Fn(&JudgeReport) -> Option<f64>| {
        let curves = vec![curve("judge", beside(of, false), Mark::Scatter, 1), curve("careless", beside(of, true), Mark::Scatter, 2)];
        chart(title, "reliability", y, curves)
    };
    vec![
        by_rank,
        scatter("reliability and agreement with the others", "with the others' majority", &|j| {
            j.others.filter(|o| o.n >= 5).map(|o| o.value)
        }),
        scatter("reliability and number of judgments", "comparisons, log10", &|j| Some((j.comparisons.max(1) as f64).log10())),
        scatter("reliability and ties", "share called tied", &|j| j.tied.map(|t| t.value)),
        scatter("reliability and time", "median seconds an item, log10", &|j| j.time.filter(|t| t.median > 0.0).map(|t| t.median.log10())),
        scatter("reliability and gold", "gold pairs right", &|j| j.gold.map(|g| g.value)),
    ]
}

fn crowd_charts(report: &Report) -> Vec<Chart> {
    let overlap: Vec<(f64, f64)> =
        report.counts.overlap.iter().enumerate().skip(1).filter(|(_, n)| **n > 0).map(|(k, n)| (k as f64, *n as f64)).collect();
    let mut charts = Vec::new();
    if let (Some(first), Some(last)) = (overlap.first(), overlap.last()) {
        let top = overlap.iter().map(|p| p.1).fold(0.0, f64::max);
        let pad = (1.6 - (last.0 - first.0) / 2.0).max(0.6); // wide enough for whole numbers on the axis
        let range = Some([(first.0 - pad, last.0 + pad), (0.0, 1.06 * top)]);
        charts.push(Chart { range, ..chart("judges an item", "judges", "items", vec![curve("items", overlap, Mark::Bars, 1)]) });
    }
    let places: Vec<(f64, Estimate)> = report.bias.by_place.iter().enumerate().filter_map(|(i, e)| Some((i as f64 + 1.0, (*e)?))).collect();
    if let (Some(first), Some(last)) = (places.first().map(|p| p.0), places.last().map(|p| p.0)) {
        let curves = vec![
            curve("no bias", vec![(first, 0.5), (last, 0.5)], Mark::Reference, 4),
            curve("95% interval", places.iter().flat_map(|(x, e)| e.ci.map(|y| (*x, y))).collect(), Mark::Range, 1),
            curve("won", places.iter().map(|(x, e)| (*x, e.value)).collect(), Mark::Scatter, 1),
        ];
        charts.push(chart("how often an answer wins, by the place it was shown at", "place", "share of pairs told apart", curves));
    }
    charts
}

/// Every judge in a row.
fn table(report: &Report) -> String {
    let ordered = lines::ordered(report);
    if ordered.is_empty() {
        return String::new();
    }
    let heads: String =
        HEADS.iter().enumerate().map(|(c, h)| format!("<th{}>{h}</th>", if c == 0 { "" } else { " class=\"n\"" })).collect();
    let mut html = format!("<h2>All judges</h2>\n<div class=\"scroll\"><table><tr><th></th>{heads}</tr>\n");
    for judge in ordered.iter().take(JUDGES) {
        let cells: String = lines::row(judge)
            .iter()
            .enumerate()
            .map(|(c, cell)| format!("<td{}>{}</td>", if c == 0 { "" } else { " class=\"n\"" }, escape(cell)))
            .collect();
        let mark = match judge.gravity() {
            Some(Gravity::Careless) => "!",
            Some(Gravity::Look) => "?",
            None => "",
        };
        let _ = writeln!(html, "<tr><td>{mark}</td>{cells}</tr>");
    }
    html += "</table></div>\n";
    if ordered.len() > JUDGES {
        let _ = writeln!(html, "<p class=\"small\">{} judges more are in --json.</p>", ordered.len() - JUDGES);
    }
    html
}
