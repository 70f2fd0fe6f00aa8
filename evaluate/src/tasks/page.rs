//! What tasks gave, as a page: a table, and a curve over K where there are several.

use super::Outcome;
use crate::report::html::{FOOT, escape, grid, head};
use crate::report::svg::{Chart, Curve, Mark};
use std::fmt::Write;

/// Outcomes of one model, a task's in the order of K, as one HTML page that needs nothing else.
pub fn page(title: &str, outcomes: &[Outcome]) -> String {
    let mut page = head(title);
    page += "<div class=\"scroll\"><table><tr><th>task</th><th class=\"n\">examples</th><th>figure</th><th class=\"n\">value</th><th>95%</th><th>baselines</th></tr>\n";
    for outcome in outcomes {
        for metric in &outcome.metrics {
            let ci = metric.ci.map(|[lo, hi]| format!("{lo:.4} to {hi:.4}")).unwrap_or_default();
            let baselines = match (outcome.chance, outcome.majority) {
                (Some(chance), Some(majority)) => format!("chance {chance:.4}, majority {majority:.4}; {} items", outcome.items),
                _ => format!("{} items", outcome.items),
            };
            let _ = writeln!(
                page,
                "<tr><td>{}</td><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{:.4}</td><td>{ci}</td><td class=\"detail\">{baselines}</td></tr>",
                escape(&outcome.task),
                outcome.shots,
                metric.name,
                metric.value,
            );
        }
    }
    page += "</table></div>\n";
    let mut drawn = String::new();
    let mut rest = outcomes;
    while let Some(first) = rest.first() {
        let (one, later) = rest.split_at(rest.iter().take_while(|o| o.task == first.task).count());
        rest = later;
        if one.len() > 1 {
            first
                .metrics
                .iter()
                .enumerate()
                .filter(|(_, metric)| metric.ci.is_some())
                .for_each(|(at, metric)| drawn += &curve(one, at, metric.name).render());
        }
    }
    page += &grid("Examples in the prompt", &drawn);
    page + "<p class=\"small\">Nothing was trained: the same weights score every prompt. Intervals are at 95%.</p>\n" + FOOT
}

/// Figure number `at` against K, with intervals and the baseline.
fn curve(outcomes: &[Outcome], at: usize, name: &str) -> Chart {
    let line = |name: &str, mark, colour, points| Curve { name: name.into(), points, mark, colour, notes: vec![] };
    let k = |o: &Outcome| o.shots as f64;
    let values = outcomes.iter().map(|o| (k(o), o.metrics[at].value)).collect();
    let ends = |o: &Outcome| o.metrics[at].ci.map(|ci| ci.map(|end| (k(o), end)));
    let intervals = outcomes.iter().filter_map(ends).flatten().collect();
    let guessing = if name.starts_with("acc") { outcomes.iter().filter_map(|o| Some((k(o), o.chance?))).collect() } else { vec![] };
    Chart {
        title: format!("{}: {name}", outcomes[0].task),
        x: "examples in the prompt".into(),
        y: name.into(),
        curves: vec![
            line(name, Mark::Dots, 1, values),
            line("95%", Mark::Range, 1, intervals),
            line("chance", Mark::Reference, 2, guessing),
        ],
        range: None,
        marks: vec![],
    }
}
