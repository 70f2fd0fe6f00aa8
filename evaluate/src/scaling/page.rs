//! The laws as a page: points, curves, and what they foretell.

use super::{Law, Prediction, Rung, Scaling};
use crate::report::html::{FOOT, escape, grid, head};
use crate::report::svg::{Chart, Curve, Mark};
use std::fmt::Write;

/// The page; `came` are runs that were foretold.
pub fn page(title: &str, scaling: &Scaling, came: &[Rung]) -> String {
    let mut page = head(title);
    page += "<div class=\"scroll\"><table><tr><th>run</th><th class=\"n\">weights</th><th class=\"n\">tokens</th><th class=\"n\">loss</th><th>L(N) said</th></tr>\n";
    let said = |rung: &Rung| scaling.by_parameters.iter().find(|p| p.x == rung.parameters);
    for rung in scaling.rungs.iter().chain(came) {
        let law = match said(rung) {
            Some(p) => format!("{:.4}, interval {:.4} to {:.4}", p.loss, p.interval[0], p.interval[1]),
            None => format!("{:.4}", scaling.of_parameters.at(rung.parameters)),
        };
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{:.4}</td><td class=\"detail\">{law}</td></tr>",
            escape(&rung.name),
            rung.parameters,
            rung.tokens,
            rung.loss
        );
    }
    page += "</table></div>\n";
    let points = |rungs: &[Rung]| rungs.iter().map(|r| (r.parameters, r.loss)).collect::<Vec<_>>();
    let mut drawn = chart(
        "Loss over weights",
        "log10 of weights",
        &points(&scaling.rungs),
        scaling.of_parameters,
        &scaling.by_parameters,
        &points(came),
    );
    if let Some(law) = scaling.of_compute {
        let came: Vec<(f64, f64)> = came.iter().map(|r| (r.compute(), r.loss)).collect();
        drawn += &chart("Loss over compute", "log10 of floating-point operations", &scaling.frontier, law, &scaling.by_compute, &came);
    }
    page += &grid("Laws", &drawn);
    page + "<p class=\"small\">E + A·x^(−α), fitted to the ladder alone. Intervals are at 95%, for the loss of one run.</p>\n" + FOOT
}

fn chart(title: &str, x: &str, ladder: &[(f64, f64)], law: Law, foretold: &[Prediction], came: &[(f64, f64)]) -> String {
    let log = |points: Vec<(f64, f64)>| points.into_iter().map(|(x, y)| (x.log10(), y)).collect::<Vec<_>>();
    let all = || ladder.iter().map(|p| p.0).chain(foretold.iter().map(|p| p.x));
    let (least, most) = (all().fold(f64::INFINITY, f64::min).log10(), all().fold(0.0, f64::max).log10());
    let curve = (0..=60).map(|i| 10f64.powf(least + (most - least) * f64::from(i) / 60.0)).map(|x| (x, law.at(x))).collect();
    let line = |name: &str, mark, colour, points| Curve { name: name.into(), points, mark, colour, notes: vec![] };
    let ends = foretold.iter().flat_map(|p| p.interval.map(|end| (p.x, end))).collect();
    let chart = Chart {
        title: title.into(),
        x: x.into(),
        y: "held-out loss".into(),
        curves: vec![
            line("ladder", Mark::Scatter, 1, log(ladder.to_vec())),
            line("law", Mark::Line, 2, log(curve)),
            line("foretold", Mark::Range, 3, log(ends)),
            line("came", Mark::Scatter, 4, log(came.to_vec())),
        ],
        range: None,
        marks: vec![],
    };
    chart.render()
}
