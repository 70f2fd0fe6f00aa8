//! The runs as a table in the terminal and as a page.

use super::{Run, State};
use crate::report::facts::{measured, thousands};
use crate::report::html::{FOOT, escape, head};
use std::fmt::Write as _;
use std::time::SystemTime;

const HEADS: [&str; 7] = ["run", "state", "step", "rate", "last evaluation", "written", "from"];
/// Columns of numbers, which end at the right.
const RIGHT: [usize; 2] = [2, 3];

pub fn table(runs: &[Run], now: SystemTime) -> String {
    let mut rows = vec![HEADS.map(|head| head.to_uppercase())];
    rows.extend(runs.iter().map(|run| cells(run, now)));
    let wide: Vec<usize> = (0..HEADS.len()).map(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in &rows {
        let cell = |(i, text): (usize, &String)| match RIGHT.contains(&i) {
            true => format!("{text:>0$}", wide[i]),
            false => format!("{text:<0$}", wide[i]),
        };
        let line: Vec<String> = row.iter().enumerate().map(cell).collect();
        let _ = writeln!(out, "{}", line.join("  ").trim_end()); // writing to a String cannot fail
    }
    let mut notes = String::new();
    for run in runs {
        if let Some(damage) = &run.damage {
            let _ = writeln!(notes, "{damage}");
        }
    }
    if notes.is_empty() { out } else { out + "\n" + &notes }
}

pub fn page(root: &str, runs: &[Run], now: SystemTime) -> String {
    let count = |is: fn(&State) -> bool| runs.iter().filter(|run| is(&run.state)).count();
    let mut page = head(root);
    let tiles = [
        ("done", count(|s| *s == State::Done)),
        ("running", count(|s| matches!(s, State::Running(_)))),
        ("stopped", count(|s| matches!(s, State::Stopped(_) | State::Begun))),
    ];
    page += "<div class=\"tiles\">\n";
    for (what, n) in tiles {
        let _ = writeln!(page, "<div class=\"tile\"><div class=\"big\">{n}</div><div class=\"sub\">{what}</div></div>");
    }
    page += "</div>\n<h2>Runs</h2>\n<div class=\"scroll\"><table><tr>";
    let class = |i: usize| if RIGHT.contains(&i) { " class=\"n\"" } else { "" };
    for (i, head) in HEADS.iter().enumerate() {
        let _ = write!(page, "<th{}>{head}</th>", class(i));
    }
    page += "</tr>\n";
    for run in runs {
        page += "<tr>";
        for (i, text) in cells(run, now).iter().enumerate() {
            let _ = write!(page, "<td{}>{}</td>", class(i), escape(text));
        }
        page += "</tr>\n";
    }
    page += "</table></div>\n";
    for damage in runs.iter().filter_map(|run| run.damage.as_ref()) {
        let _ = writeln!(page, "<div class=\"alarm\"><b>damaged</b> {}</div>", escape(damage));
    }
    page + FOOT
}

/// Control characters, which could drive the reader's terminal, become spaces.
fn cells(run: &Run, now: SystemTime) -> [String; 7] {
    let state = match &run.state {
        State::Done => "done".into(),
        State::Running(owner) => format!("running: {owner}"),
        State::Stopped(step) => format!("stopped, resumes at {step}"),
        State::Begun => "stopped, no checkpoint".into(),
    };
    let alarms = if run.alarms > 0 { format!("{state}, {} alarm{}", run.alarms, if run.alarms > 1 { "s" } else { "" }) } else { state };
    let step = match (run.step, run.steps) {
        (Some(step), Some(steps)) => format!("{step}/{steps}"),
        (Some(step), None) => step.to_string(),
        _ => String::new(),
    };
    let rate = run.rate.map(|(rate, unit)| format!("{} {unit}", if rate >= 100.0 { thousands(rate) } else { measured(rate) }));
    let evaluation: Vec<String> = run.evaluation.iter().map(|(name, value)| format!("{name} {}", measured(*value))).collect();
    let written = run.written.map(|at| age(now.duration_since(at).unwrap_or_default().as_secs()));
    [run.name.clone(), alarms, step, rate.unwrap_or_default(), evaluation.join(", "), written.unwrap_or_default(), run.from.join(", ")]
        .map(|cell| cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

/// How long ago, in one unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
