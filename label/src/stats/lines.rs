//! Which figures a reader sees, in which order and words: the terminal and the page print the same list.

use super::findings::Gravity;
use super::interval::Estimate;
use super::report::{JudgeReport, Report};
use figures::report::facts::{measured, number, percent};

/// Figures under one heading.
#[derive(Debug)]
pub struct Section {
    /// The heading.
    pub title: &'static str,
    /// The figures.
    pub lines: Vec<Line>,
}

/// One figure.
#[derive(Debug)]
pub struct Line {
    /// What it is.
    pub label: String,
    /// The number.
    pub value: String,
    /// Its interval, or nothing.
    pub interval: String,
    /// Of what, and what to compare it with.
    pub detail: String,
}

/// All sections that have anything to say.
pub fn sections(report: &Report) -> Vec<Section> {
    let mut all = vec![agreement(report), ceiling(report), bias(report), care(report), model(report)];
    all.retain(|s| !s.lines.is_empty());
    all
}

/// One sentence: how much there is.
pub fn lead(report: &Report) -> String {
    let c = &report.counts;
    let several: u64 = c.overlap.iter().skip(2).sum();
    let mut text = format!(
        "{} comparisons by {} judges: {} items of {} prompts, {} of them judged by two or more.",
        number(c.comparisons as f64),
        number(c.judges as f64),
        number(c.items as f64),
        number(c.prompts as f64),
        number(several as f64)
    );
    if c.unnamed > 0 {
        text += &format!(" {} comparisons name no judge: each counts as one of its own.", number(c.unnamed as f64));
    }
    text
}

/// What was met besides comparisons, in a sentence each.
pub fn asides(report: &Report) -> Vec<String> {
    let c = &report.counts;
    let mut notes = Vec::new();
    let mut note = |n: u64, text: &str| {
        if n > 0 {
            notes.push(format!("{} {text}", number(n as f64)));
        }
    };
    note(c.gold, "rows are keys of gold items, not judgments");
    note(c.kinds.iter().filter(|(k, _)| k == "skipped").map(|k| k.1).sum(), "rows were skipped by their judges");
    note(
        c.kinds.iter().filter(|(k, _)| matches!(k.as_str(), "choice" | "demonstration" | "open")).map(|k| k.1).sum(),
        "rows compare nothing by their kind",
    );
    note(c.empty, "rankings or ratings have neither ranks nor scores");
    note(c.partial, "comparisons are of a part of their item's answers: rank correlations leave them out");
    for (name, rows) in &c.dropped {
        notes.push(format!("{} rows of {name} are left out everywhere, as you said", number(*rows as f64)));
    }
    if c.overlap.iter().skip(2).sum::<u64>() == 0 && report.model.compared == 0 {
        notes.push("no prompt has two judges: nothing can be said of agreement or reliability".into());
    }
    notes
}

/// Judges with findings, the gravest first, then those of most comparisons.
pub fn ordered(report: &Report) -> Vec<&JudgeReport> {
    let mut judges: Vec<&JudgeReport> = report.judges.iter().collect();
    judges.sort_by_key(|j| std::cmp::Reverse(j.gravity())); // stable
    judges
}

/// Names of the careless, and what can be done.
pub fn careless(report: &Report) -> Option<String> {
    let names: Vec<&str> = report.judges.iter().filter(|j| j.gravity() == Some(Gravity::Careless)).map(|j| j.name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let share = report.judges.iter().filter(|j| j.gravity() == Some(Gravity::Careless)).map(|j| j.comparisons).sum::<u64>() as f64
        / report.counts.comparisons.max(1) as f64;
    Some(format!(
        "{} of {} judges, with {} of the comparisons, look careless. Nothing was dropped: the fit gives them little weight by itself. Read their answers; \
         to leave them out, say --drop-judges {}",
        names.len(),
        report.judges.len(),
        percent(share),
        names.join(",")
    ))
}

/// A share as a line.
fn share(label: &str, estimate: &Option<Estimate>, detail: impl Fn(String) -> String) -> Option<Line> {
    let e = estimate.as_ref()?;
    let interval = format!("[{}, {}]", percent(e.ci[0]), percent(e.ci[1]));
    Some(Line { label: label.into(), value: percent(e.value), interval, detail: detail(number(e.n as f64)) })
}

/// A coefficient as a line.
fn coefficient(label: &str, estimate: &Option<Estimate>, detail: impl Fn(String) -> String) -> Option<Line> {
    let e = estimate.as_ref()?;
    let interval = format!("[{}, {}]", measured(e.ci[0]), measured(e.ci[1]));
    Some(Line { label: label.into(), value: measured(e.value), interval, detail: detail(number(e.n as f64)) })
}

fn agreement(report: &Report) -> Section {
    let a = &report.agreement;
    let undefined = a.tau_b_undefined;
    let lines = [
        share("two judges, neither tied", &a.strict, |n| format!("of {n} comparisons; chance 50%")),
        share("two judges, with ties", &a.with_ties, |n| format!("say the same of better, tied, worse, of {n}")),
        share("called tied", &a.tied, |n| format!("of {n} pairs")),
        coefficient("alpha of verdicts", &a.alpha_pairs, |n| format!("Krippendorff, ordinal, {n} values; 0 chance, 1 full")),
        coefficient("alpha of ranks", &a.alpha_ranks, |n| format!("{n} values")),
        coefficient("alpha of scores", &a.alpha_scores, |n| format!("{n} values")),
        coefficient("Kendall's tau-b", &a.tau_b, |n| {
            let rest =
                if undefined > 0 { format!("; {} more have a judge who tied everything", number(undefined as f64)) } else { String::new() };
            format!("mean over {n} comparisons of two judges{rest}")
        }),
        coefficient("Kendall's W", &a.w, |n| format!("mean over {n} items; 1 is one order for all")),
    ];
    Section { title: "How far the judges agree", lines: lines.into_iter().flatten().collect() }
}

fn ceiling(report: &Report) -> Section {
    let c = &report.ceiling;
    let lines = [
        share("another judge", &c.another_judge, |n| format!("of {n}: what one judge reaches at predicting another")),
        share("the others' majority", &c.others_majority, |n| format!("of {n} judgments, each beside the majority of the others")),
        share("no model above", &c.bound, |_| "(1 + √(2A − 1)) / 2 with A the agreement of two judges".into()),
        share("by heart", &c.by_heart, |n| format!("of these {n} verdicts, by the best choice for each pair: not to be had on new ones")),
    ];
    Section { title: "The human ceiling: agreement with single judgments, ties apart", lines: lines.into_iter().flatten().collect() }
}

fn bias(report: &Report) -> Section {
    let b = &report.bias;
    let mut lines: Vec<Line> = [
        share("longer wins", &b.longer, |n| format!("of {n} judgments of pairs")),
        share("longer has the majority", &b.longer_majority, |n| format!("of {n} pairs with a majority")),
        share("shown earlier wins", &b.earlier, |n| format!("of {n} judgments of pairs; 50% is no bias")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if b.by_place.len() > 2 {
        for (place, won) in b.by_place.iter().enumerate() {
            lines.extend(share(&format!("shown at place {}", place + 1), won, |n| format!("won, of {n} pairs told apart")));
        }
    }
    Section { title: "What else decides", lines }
}

fn care(report: &Report) -> Section {
    let c = &report.care;
    let mut lines: Vec<Line> = [
        share("gold pairs right", &c.gold, |n| format!("of {n}; ties count half")),
        share("the same said again", &c.repeated, |n| format!("of {n} times that a judge saw a pair again in another row")),
        share("same text ranked apart", &c.twins, |n| format!("of {n} pairs of equal texts in one row")),
        share("preferences in a circle", &c.circles, |n| format!("of {n} triples from several rows; chance 25%")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(t) = report.time {
        lines.push(Line {
            label: "time an item".into(),
            value: seconds(t.median),
            interval: format!("[{}, {}]", seconds(t.lower), seconds(t.upper)),
            detail: format!("median and quartiles of {}; {} took less than a third of the median", number(t.n as f64), percent(t.too_fast)),
        });
    }
    Section { title: "How much care they take", lines }
}

fn model(report: &Report) -> Section {
    let m = &report.model;
    if m.compared == 0 {
        return Section { title: "", lines: vec![] };
    }
    let plain = |label: &str, value: String, detail: String| Line { label: label.into(), value, interval: String::new(), detail };
    let rested = if m.last_change < 0.01 { String::new() } else { format!("; NOT at rest, the last moved by {}", measured(m.last_change)) };
    let lines = vec![
        plain(
            "right, typically",
            percent(m.typical_accuracy),
            "how often the typical judgment prefers the truly better of two random answers".into(),
        ),
        plain("judges differ by", measured(m.reliability_spread), "standard deviation of reliabilities about 1".into()),
        plain(
            "answers differ by",
            measured(m.worth_spread),
            format!("standard deviation of worths in logits; {} rounds{rested}", m.rounds),
        ),
    ];
    Section { title: "The judge model", lines }
}

/// Seconds as a person reads them, short.
pub fn seconds(s: f64) -> String {
    match s {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}

/// Heads of the judges' table; all but the first are numbers.
pub const HEADS: [&str; 9] = ["judge", "judged", "reliability", "95% interval", "right", "with majority", "tied", "longer wins", "time"];

/// A judge as a row under [`HEADS`].
pub fn row(judge: &JudgeReport) -> [String; 9] {
    let value = |e: &Option<Estimate>| e.map_or_else(|| "–".into(), |e| format!("{:.0}%", 100.0 * e.value));
    let (reliability, interval) = match &judge.reliability {
        Some(r) => (format!("{:.2}", r.value), format!("{:.2} to {:.2}", r.ci[0], r.ci[1])),
        None => ("–".into(), String::new()),
    };
    [
        judge.name.clone(),
        number(judge.comparisons as f64),
        reliability,
        interval,
        value(&judge.accuracy),
        value(&judge.others),
        value(&judge.tied),
        value(&judge.longer),
        judge.time.map_or_else(|| "–".into(), |t| seconds(t.median)),
    ]
}
