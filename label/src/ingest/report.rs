//! The counts as a person and as a program read them.

use super::Args;
use super::counts::FileCounts;
use program::say;
use serde_json::{Map, Value, json};

/// One file a row, with what is in it below.
pub fn terminal(files: &[FileCounts], args: &Args) -> anyhow::Result<()> {
    let mut rows = vec![["file", "format", "units", "= kept", "+ bad", "items", "judges", "pairs", "ties"].map(str::to_string)];
    let mut details = vec![Vec::new()];
    let total = total(files);
    let mut shown: Vec<&FileCounts> = files.iter().collect();
    if files.len() > 1 {
        shown.push(&total);
    }
    for counts in shown {
        let name = if counts.format.is_empty() { "all".to_string() } else { counts.file.display().to_string() };
        rows.push([
            name,
            counts.format.clone(),
            counts.units.to_string(),
            counts.kept_all().to_string(),
            counts.rejected_all().to_string(),
            counts.items().to_string(),
            counts.judges().to_string(),
            counts.pairs.to_string(),
            counts.ties.to_string(),
        ]);
        let list = |parts: Vec<String>, what: &str| (!parts.is_empty()).then(|| format!("{what}: {}", parts.join(", ")));
        let kept = list(counts.kept.iter().map(|(kind, n)| format!("{} {n}", kind.name())).collect(), "kept");
        let bad = list(counts.rejected.iter().map(|(reason, n)| format!("{} {n}", reason.name())).collect(), "bad");
        details.push([kept, bad].into_iter().flatten().collect());
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    for (row, details) in rows.iter().zip(&details) {
        let cell = |(i, text): (usize, &String)| match i {
            0 | 1 => format!("{text:<width$}", width = widths[i]),
            _ => format!("{text:>width$}", width = widths[i]),
        };
        say!("{}", row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end());
        details.iter().for_each(|detail| say!("    {detail}"));
    }
    say!("\n{} judgments in {}", total.kept_all(), args.out.display());
    if total.rejected_all() > 0 {
        say!("{} units are bad: {}", total.rejected_all(), quarantine(args));
    }
    Ok(())
}

/// The same as one JSON object.
pub fn json(files: &[FileCounts], args: &Args) -> anyhow::Result<()> {
    let object = |counts: &FileCounts| {
        let by_kind: Map<String, Value> = counts.kept.iter().map(|(kind, n)| (kind.name().to_string(), json!(n))).collect();
        let by_reason: Map<String, Value> = counts.rejected.iter().map(|(reason, n)| (reason.name().to_string(), json!(n))).collect();
        json!({
            "units": counts.units, "kept": counts.kept_all(), "rejected": counts.rejected_all(), "by_kind": by_kind, "by_reason": by_reason,
            "items": counts.items(), "judges": counts.judges(), "pairs": counts.pairs, "ties": counts.ties,
        })
    };
    let with_file = |counts: &FileCounts| {
        let mut value = json!({ "file": counts.file, "format": counts.format });
        if let (Some(value), Value::Object(more)) = (value.as_object_mut(), object(counts)) {
            value.extend(more);
        }
        value
    };
    let total = total(files);
    let quarantine = (total.rejected_all() > 0).then(|| quarantine(args));
    let files: Vec<Value> = files.iter().map(with_file).collect();
    say!("{}", json!({ "out": args.out, "quarantine": quarantine, "files": files, "total": object(&total) }));
    Ok(())
}

fn total(files: &[FileCounts]) -> FileCounts {
    let mut total = FileCounts::default();
    files.iter().for_each(|file| total.add(file));
    total
}

fn quarantine(args: &Args) -> String {
    args.quarantine.clone().unwrap_or_else(|| args.out.with_extension("quarantine.jsonl")).display().to_string()
}
