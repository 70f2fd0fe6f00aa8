//! The report as text.

use super::findings::Gravity;
use super::lines::{self, HEADS};
use super::report::Report;
use std::fmt::Write;

/// Judges in the table.
const JUDGES: usize = 12;

/// Everything that fits a screen.
pub fn render(report: &Report) -> String {
    let mut out = format!("\n  {}\n", lines::lead(report));
    lines::asides(report).iter().for_each(|note| writeln!(out, "  {}", clean(note)).unwrap_or_default());
    let sections = lines::sections(report);
    let wide = |of: &dyn Fn(&lines::Line) -> usize| sections.iter().flat_map(|s| &s.lines).map(of).max().unwrap_or(0);
    let (label, value, interval) =
        (wide(&|l| l.label.chars().count()), wide(&|l| l.value.chars().count()), wide(&|l| l.interval.chars().count()));
    for section in &sections {
        let _ = writeln!(out, "\n  {}", section.title);
        for line in &section.lines {
            let text = format!("    {:<label$}  {:>value$}  {:<interval$}  {}", line.label, line.value, line.interval, line.detail);
            let _ = writeln!(out, "{}", text.trim_end());
        }
    }
    if !report.judges.is_empty() {
        out += &judges(report);
    }
    out
}

fn judges(report: &Report) -> String {
    let ordered = lines::ordered(report);
    let named: Vec<_> = ordered.iter().filter(|j| !j.findings.is_empty()).collect();
    let mut out = String::from("\n  Judges: those to look at first, then the busiest\n");
    let rows: Vec<[String; 9]> = ordered.iter().take(JUDGES).map(|j| lines::row(j).map(|cell| clean(&cell))).collect();
    let widths: Vec<usize> =
        (0..HEADS.len()).map(|c| rows.iter().map(|r| r[c].chars().count()).chain([HEADS[c].len()]).max().unwrap_or(0)).collect();
    let mut put = |mark: char, cells: &[String]| {
        let cells: String = cells
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(c, (cell, w))| if c == 0 { format!("{cell:<w$}", w = *w) } else { format!("  {cell:>w$}", w = *w) })
            .collect();
        let _ = writeln!(out, "  {mark} {}", cells.trim_end());
    };
    put(' ', &HEADS.map(String::from));
    for (judge, row) in ordered.iter().zip(&rows) {
        let mark = match judge.gravity() {
            Some(Gravity::Careless) => '!',
            Some(Gravity::Look) => '?',
            None => ' ',
        };
        put(mark, row);
    }
    if ordered.len() > rows.len() {
        let _ = writeln!(out, "    and {} more: see --html or --json", ordered.len() - rows.len());
    }
    if !named.is_empty() {
        out += "\n  What there is to look at\n";
    }
    for judge in named.iter().take(JUDGES) {
        for finding in &judge.findings {
            let mark = if finding.gravity == Gravity::Careless { '!' } else { '?' };
            let _ = writeln!(out, "  {mark} {}: {}", clean(&judge.name), finding.evidence);
        }
    }
    if named.len() > JUDGES {
        let _ = writeln!(out, "    and {} judges more: see --html or --json", named.len() - JUDGES);
    }
    if let Some(text) = lines::careless(report) {
        let _ = writeln!(out, "\n  {}", clean(&text));
    }
    out
}

/// Control characters, which could drive the reader's terminal, become spaces.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
