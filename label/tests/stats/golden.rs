//! Every statistic beside what pandas, scipy and the package krippendorff make of the same rows (scripts/reference/labels.py).

use super::panel;
use data::chat::Message;
use data::labels::{Judgment, Kind};
use data::rankings::ranks_of;
use judges::fit;
use label::stats::interval::Estimate;
use label::stats::report;
use serde_json::Value;

fn rows() -> (Vec<Judgment>, Value) {
    let file: Value = serde_json::from_str(include_str!("../golden/labels.json")).expect("fixture");
    let text = |v: &Value| v.as_str().expect("text").to_string();
    let list = |v: &Value| v.as_array().expect("list").clone();
    let listed = list(&file["rows"]);
    let rows = listed.iter().map(|row| {
        let answers: Vec<String> = list(&row["answers"]).iter().map(text).collect();
        let scores: Vec<f32> = list(&row["scores"]).iter().map(|s| s.as_f64().expect("score") as f32).collect();
        Judgment {
            item: text(&row["item"]),
            group: text(&row["group"]),
            ranks: Some(ranks_of(&scores)),
            scores: Some(scores),
            shown: Some(list(&row["shown"]).iter().map(|s| s.as_u64().expect("place") as u32).collect()),
            judge: Some(text(&row["judge"])),
            seconds: row["seconds"].as_f64().map(|s| s as f32),
            ..Judgment::new(Kind::Ranking, vec![Message::new("user", row["prompt"].as_str().expect("prompt"))], answers)
        }
    });
    (rows.collect(), file["expected"].clone())
}

#[test]
fn every_figure_is_the_references() {
    let (rows, expected) = rows();
    let panel = panel(&rows);
    let fit = fit::fit(&panel, &fit::Options::default(), |_, _| {});
    let report = report::build(&panel, &fit, 1, Vec::new());
    let number = |v: &Value| v.as_f64().unwrap_or_else(|| panic!("{v} is no number"));
    // The references compute in float64 as we do; what differs is the order of sums.
    let same = |name: &str, ours: &Option<Estimate>, theirs: f64| {
        let ours = ours.unwrap_or_else(|| panic!("{name} is missing"));
        assert!((ours.value - theirs).abs() < 1e-9, "{name}: {} here, {theirs} there", ours.value);
        assert!(ours.ci[0] < ours.value && ours.value < ours.ci[1], "{name}: {ours:?}");
    };
    let a = &report.agreement;
    for (name, ours) in [
        ("strict", &a.strict),
        ("with_ties", &a.with_ties),
        ("alpha_pairs", &a.alpha_pairs),
        ("alpha_ranks", &a.alpha_ranks),
        ("alpha_scores", &a.alpha_scores),
        ("tau_b", &a.tau_b),
        ("w", &a.w),
    ] {
        same(name, ours, number(&expected[name]["value"]));
        if let Some(n) = expected[name]["n"].as_u64() {
            assert_eq!(ours.map(|e| e.n), Some(n), "{name}");
        }
        // Two bootstraps of 1000 and of 400 to 2000 resamples over 30 groups: their ends differ by a tenth of the width (the standard error of a
        // 2.5% quantile from 400 draws is 0.18 standard deviations of the statistic, a width has 3.9).
        if let Some(ci) = expected[name]["ci"].as_array() {
            let [lo, hi] = [number(&ci[0]), number(&ci[1])];
            let ours = ours.expect("checked above").ci;
            let wide = hi - lo;
            assert!((ours[0] - lo).abs() < 0.15 * wide && (ours[1] - hi).abs() < 0.15 * wide, "{name}: {ours:?} here, {lo} to {hi} there");
        }
    }
    assert_eq!(Some(a.tau_b_undefined), expected["tau_b"]["undefined"].as_u64());
    same("tied", &a.tied, number(&expected["tied"]));
    let b = &report.bias;
    for (name, ours) in [("longer", &b.longer), ("longer_majority", &b.longer_majority), ("earlier", &b.earlier)] {
        let [yes, n] = [&expected[name][0], &expected[name][1]].map(number);
        same(name, ours, yes / n);
        assert_eq!(ours.map(|e| e.n as f64), Some(n), "{name}");
    }
    let time = report.time.expect("times");
    // Seconds are stored as f32.
    for (ours, theirs) in [time.lower, time.median, time.upper].into_iter().zip(expected["seconds"].as_array().expect("quartiles")) {
        assert!((ours - number(theirs)).abs() < 1e-4, "{ours} {theirs}");
    }
    assert!((time.too_fast - number(&expected["too_fast"])).abs() < 1e-9);
}

#[test]
fn the_order_of_rows_and_answers_changes_nothing() {
    let (rows, _) = rows();
    let straight = panel(&rows);
    // Without rows of the same judge and item: of those the first counts, so their order may matter.
    let mut once = Vec::new();
    for row in rows {
        if once.iter().all(|r: &Judgment| (&r.item, &r.judge) != (&row.item, &row.judge)) {
            once.push(row);
        }
    }
    let turned: Vec<Judgment> = once
        .iter()
        .rev()
        .map(|row| {
            let mut row = row.clone();
            row.answers.reverse();
            [row.ranks.as_mut(), row.shown.as_mut()].into_iter().flatten().for_each(|list| list.reverse());
            row.scores.as_mut().into_iter().for_each(|list| list.reverse());
            row
        })
        .collect();
    assert!(straight.votes.len() > once.len(), "the fixture has judges who saw an item twice");
    let build = |rows: &[Judgment]| {
        let panel = panel(rows);
        let fit = fit::fit(&panel, &fit::Options::default(), |_, _| {});
        report::build(&panel, &fit, 1, Vec::new())
    };
    let (a, b) = (build(&once), build(&turned));
    let value = |e: &Option<Estimate>| e.map(|e| e.value).unwrap_or(f64::NAN);
    let figures = |r: &report::Report| {
        let [a, b, c] = [&r.agreement, &r.agreement, &r.agreement];
        [&a.strict, &a.with_ties, &b.alpha_pairs, &b.alpha_ranks, &c.alpha_scores, &c.tau_b, &c.w, &r.bias.longer, &r.bias.earlier]
            .map(value)
    };
    for (x, y) in figures(&a).into_iter().zip(figures(&b)) {
        assert!((x - y).abs() < 1e-9, "{x} {y}");
    }
    for judge in &a.judges {
        let other = b.judges.iter().find(|j| j.name == judge.name).expect("the same judges");
        let [x, y] = [judge, other].map(|j| j.reliability.expect("all share items").value);
        assert!((x - y).abs() < 1e-6, "{}: {x} {y}", judge.name);
    }
}
