//! The E2E score against what people wrote (`s08-e2e-nlg-sft`) and how they judged (`r02-e2e-rankme-k5`). Needs the data: `RLHF_DATA`, or
//! `../shared/data` beside the repository.

use recipes::e2e::{Score, score};
use std::collections::HashMap;
use std::path::PathBuf;

fn read(file: &str) -> Option<Vec<HashMap<String, String>>> {
    let root = std::env::var_os("RLHF_DATA").map(PathBuf::from);
    let root = root.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    let path = root.join(file);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(table(&text)),
        Err(e) => {
            eprintln!("SKIPPED: {} because {e} (set RLHF_DATA to the folder of data sets)", path.display());
            None
        }
    }
}

/// CSV with a header; quoted fields may hold commas, line ends and doubled quotes.
fn table(text: &str) -> Vec<HashMap<String, String>> {
    let (mut rows, mut row, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            c => field.push(c),
        }
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    let header = rows.remove(0);
    rows.into_iter().map(|r| header.iter().cloned().zip(r).collect()).collect()
}

/// Coverage over all slots given, slot error rate, share of rows without any error.
fn summary(scores: &[Score]) -> (f64, f64, f64) {
    let sum = |f: &dyn Fn(&Score) -> usize| scores.iter().map(f).sum::<usize>() as f64;
    let given = sum(&|s| s.given);
    let faults = sum(&|s| s.missing.len() + s.hallucinated);
    (sum(&|s| s.right) / given, faults / given, sum(&|s| usize::from(s.slot_error == 0.0)) / scores.len() as f64)
}

fn references(file: &str) -> Option<(f64, f64, f64)> {
    let rows = read(&format!("s08-e2e-nlg-sft/{file}"))?;
    let scores: Vec<Score> = rows.iter().map(|r| score(&r["mr"], &r["ref"]).unwrap()).collect();
    let (coverage, errors, clean) = summary(&scores);
    println!("{file}: {} rows, coverage {coverage:.4}, slot error rate {errors:.4}, rows without error {clean:.4}", rows.len());
    Some((coverage, errors, clean))
}

#[test]
fn human_references_say_what_the_corrected_meanings_give() {
    let (Some(fixed), Some(raw)) = (references("devel-fixed.no-ol.csv"), references("devset.csv")) else { return };
    // The meanings of the first were corrected to fit their texts; those of the second were not, and are known to be said incompletely.
    assert!(fixed.0 > 0.99 && fixed.1 < 0.035, "{fixed:?}");
    assert!(raw.0 > 0.90 && raw.0 < 0.95 && raw.1 > 0.06 && raw.1 < 0.10, "{raw:?}");
}

#[test]
fn people_prefer_answers_that_say_more_slots() {
    let mut shares = Vec::new();
    for (file, column) in [("quality", "quality"), ("naturalness", "natur")] {
        let Some(rows) = read(&format!("r02-e2e-rankme-k5/{file}.csv")) else { return };
        let (mut won, mut decided) = (0usize, 0usize);
        for row in &rows {
            let answers: Vec<(f64, f64)> = (1..=5)
                .filter_map(|k| {
                    let judged: f64 = row[&format!("{column}{k}")].parse().ok()?;
                    Some((judged, -score(&row["mr"], &row[&format!("ref{k}")]).unwrap().slot_error))
                })
                .collect();
            for (i, a) in answers.iter().enumerate() {
                for b in answers[i + 1..].iter().filter(|b| a.0 != b.0 && a.1 != b.1) {
                    decided += 1;
                    won += usize::from((a.0 > b.0) == (a.1 > b.1));
                }
            }
        }
        let share = won as f64 / decided as f64;
        println!("{file}: of {decided} judged pairs with unequal slot error rates, people prefer the lower in {share:.4}");
        shares.push(share);
    }
    // Quality was asked with the meaning in view; naturalness was not.
    assert!(shares[0] > 0.77 && shares[1] < 0.55, "{shares:?}");
}
