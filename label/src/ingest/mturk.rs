//! Batch results of Amazon Mechanical Turk: one assignment a row, what was shown in `Input.*`, what was answered in `Answer.*`.
//!
//! A batch's own columns have any names, so they are told by their families: several inputs that differ in a number, a letter or an ordinal at the end
//! (`Input.First`, `Input.Second`; `Input.summary_a`, `Input.summary_b`) are the answers, another input is the prompt; numbers for each of them are
//! scores or ranks; else an answer that names one of them ("Text 2. It follows...") is the choice. Where that does not fit, a mapping does.

use super::fields::{self, Fault, Fields, name, number, present};
use super::times::{self, Form};
use super::{Head, Reader, Sink};
use data::error::SourceError;
use data::labels::{Judgment, Kind, flag};
use data::quarantine::Reason;
use data::rankings::ranks_of;
use serde_json::Value;
use std::path::Path;

/// The reader of MTurk's batch results.
pub struct Mturk;

/// Names of the prompt among the inputs, the first that is there; else the first input that is no answer.
const PROMPTS: [&str; 10] = ["prompt", "prefix", "context", "question", "instruction", "post", "article", "source", "document", "mr"];
/// Names of an input that lists the answers' authors in order, separated by commas.
const ORDERS: [&str; 4] = ["order", "models", "systems", "authors"];
const ORDINALS: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "sixth"];
/// What people call an answer before its number.
const NOUNS: [&str; 9] = ["text", "option", "answer", "response", "continuation", "summary", "completion", "choice", "output"];
const TIES: [&str; 9] = ["tie", "equal", "same", "both", "neither", "no preference", "about the same", "equally good", "draw"];
/// Marks of assignments.
const REJECTED: &str = "rejected";

impl Reader for Mturk {
    fn name(&self) -> &'static str {
        "mturk"
    }

    fn about(&self) -> &'static str {
        "Amazon Mechanical Turk batch results: HITId, AssignmentId, WorkerId, Input.*, Answer.*"
    }

    fn detect(&self, head: &Head) -> u8 {
        if head.has(&["HITId", "AssignmentId", "WorkerId"]) { 97 } else { 0 }
    }

    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        fields::each_row(file, sink, &one)
    }
}

fn one(row: &Fields) -> Result<Judgment, Fault> {
    let inputs: Vec<&str> = row.keys().filter_map(|key| key.strip_prefix("Input.")).collect();
    let places = family(&inputs).ok_or_else(|| {
        let why = format!("no Input columns that differ in a number or letter only, among {}: use a mapping", inputs.join(", "));
        (Reason::MissingField, why)
    })?;
    let rest: Vec<&str> = inputs.iter().filter(|input| !places.contains(input)).copied().collect();
    let known = PROMPTS.iter().find_map(|wanted| rest.iter().find(|input| input.eq_ignore_ascii_case(wanted)));
    let of = |input: &str| text(row, &format!("Input.{input}"));
    let order = rest.iter().find(|input| ORDERS.iter().any(|wanted| input.eq_ignore_ascii_case(wanted)));
    let first = rest.iter().find(|input| Some(**input) != order.copied());
    let asked =
        known.or(first).ok_or_else(|| (Reason::MissingField, "no Input column is left for the prompt: use a mapping".to_string()))?;
    let prompt = of(asked).filter(|text| !text.trim().is_empty()).ok_or_else(|| (Reason::Empty, format!("Input.{asked} is empty")))?;
    let answers: Vec<String> = places.iter().map(|input| of(input).unwrap_or_default().to_string()).collect();
    let said: Vec<(&str, &str)> = row
        .keys()
        .filter_map(|key| Some((key.strip_prefix("Answer.")?, text(row, key)?)))
        .filter(|(_, text)| !text.trim().is_empty())
        .collect();
    let verdict = verdict(&said, answers.len())?;
    let (started, ended) = (time(row, "AcceptTime")?, time(row, "SubmitTime")?);
    let seconds = fields::number_in(row, "WorkTimeInSeconds")?.map(|seconds| seconds as f32).or(times::between(started, ended));
    let mut flags = [verdict.flags, fields::marks(&answers)?].concat();
    if name(row, &["AssignmentStatus"]).is_some_and(|status| status.eq_ignore_ascii_case("Rejected")) {
        flags.push(REJECTED.to_string());
    }
    // What else the batch says about the item: its set, its model...
    let others = rest.iter().filter(|input| *input != asked && Some(*input) != order);
    flags.extend(others.filter_map(|input| of(input).filter(|t| !t.trim().is_empty()).map(|text| format!("{input}={}", text.trim()))));
    let authors = order.and_then(|input| of(input)).map(|list| list.split(',').map(|name| name.trim().to_string()).collect::<Vec<_>>());
    let judgment = Judgment::new(if verdict.skipped { Kind::Skipped } else { Kind::Ranking }, fields::asked(prompt), answers);
    let k = judgment.answers.len();
    Ok(Judgment {
        authors: authors.filter(|authors| authors.len() == k),
        // The page of a HIT is fixed: it shows the inputs as they are named.
        shown: Some((0..k as u32).collect()),
        ranks: verdict.ranks,
        scores: verdict.scores,
        judge: name(row, &["WorkerId"]),
        started,
        ended,
        seconds,
        flags,
        comment: verdict.comment,
        ..judgment
    })
}

fn text<'a>(row: &'a Fields, column: &str) -> Option<&'a str> {
    present(row, column)?.as_str()
}

fn time(row: &Fields, column: &str) -> Result<Option<i64>, Fault> {
    let Some(text) = text(row, column).filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    let found = Form::Mturk.parse(text).or_else(|| Form::Iso.parse(text));
    found.map(Some).ok_or_else(|| (Reason::WrongType, format!("{text:?} in {column:?} is no time that Mechanical Turk writes")))
}

/// The largest family of two or more names that differ in the number, letter or ordinal at their end, in its order; of equals the first.
fn family<'a>(names: &[&'a str]) -> Option<Vec<&'a str>> {
    let split: Vec<(String, usize, &str)> = names.iter().filter_map(|name| place(name).map(|(stem, at)| (stem, at, *name))).collect();
    let mut best: Option<Vec<&str>> = None;
    for (stem, ..) in &split {
        let mut members: Vec<(usize, &str)> = split.iter().filter(|(other, ..)| other == stem).map(|(_, at, name)| (*at, *name)).collect();
        members.sort_unstable();
        members.dedup_by_key(|(at, _)| *at);
        let counts = members.len() >= 2 && members.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0) && members[0].0 <= 1;
        if counts && members.len() > best.as_ref().map_or(1, Vec::len) {
            best = Some(members.into_iter().map(|(_, name)| name).collect());
        }
    }
    best
}

/// The stem of a column's name and the place that its end says: `summary_b` is place 1 of `summary`, with letters and ordinals from 0 and numbers as
/// they are (a family begins at 0 or 1).
fn place(name: &str) -> Option<(String, usize)> {
    let lower = name.to_lowercase();
    if let Some((at, word)) = ORDINALS.iter().enumerate().find(|(_, word)| lower.starts_with(**word) || lower.ends_with(**word)) {
        return Some((format!("{}#ordinal", lower.replacen(word, "", 1)), at));
    }
    let stem = lower.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.len() < lower.len() {
        return Some((format!("{}#number", stem.trim_end_matches(['_', '-', ' '])), lower[stem.len()..].parse().ok()?));
    }
    // A letter counts only where it stands apart: `prompta` is a word.
    let letter = *name.as_bytes().last()?;
    let before = name.len().checked_sub(2).map(|i| name.as_bytes()[i]);
    let apart = match before {
        None => true,
        Some(b) => matches!(b, b'_' | b'-' | b' ' | b'.') || (b.is_ascii_lowercase() && letter.is_ascii_uppercase()),
    };
    let at = letter.to_ascii_lowercase().checked_sub(b'a').filter(|at| *at < 8)?;
    apart.then(|| (format!("{}#letter", lower[..lower.len() - 1].trim_end_matches(['_', '-', ' ', '.'])), usize::from(at)))
}

#[derive(Default)]
struct Verdict {
    ranks: Option<Vec<u32>>,
    scores: Option<Vec<f32>>,
    flags: Vec<String>,
    comment: Option<String>,
    skipped: bool,
}

/// What was answered about `k` texts.
fn verdict(said: &[(&str, &str)], k: usize) -> Result<Verdict, Fault> {
    let names: Vec<&str> = said.iter().map(|(name, _)| *name).collect();
    let value = |name: &str| said.iter().find(|(n, _)| *n == name).map(|(_, text)| *text).unwrap_or_default();
    let comment = |but: &[&str]| {
        let texts: Vec<&str> = said.iter().filter(|(name, _)| !but.contains(name)).map(|(_, text)| text.trim()).collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    };
    if let Some(members) = family(&names).filter(|members| members.len() == k) {
        let numbers: Option<Vec<f64>> = members.iter().map(|name| number(&Value::from(value(name)))).collect();
        if let Some(numbers) = numbers {
            let comment = comment(&members);
            if members[0].to_lowercase().contains("rank") {
                return Ok(Verdict { ranks: Some(fields::dense(&numbers)?), comment, ..Verdict::default() });
            }
            let scores: Vec<f32> = numbers.iter().map(|x| *x as f32).collect();
            return Ok(Verdict { ranks: Some(ranks_of(&scores)), scores: Some(scores), comment, ..Verdict::default() });
        }
    }
    // Radio buttons: `Answer.choice.A` is "true" and the others "false".
    let pressed: Vec<usize> =
        said.iter().filter(|(_, text)| text.trim() == "true").filter_map(|(name, _)| chosen(name.rsplit('.').next()?, k)).collect();
    if let [best] = pressed[..] {
        let buttons: Vec<&str> = said.iter().filter(|(_, t)| ["true", "false"].contains(&t.trim())).map(|(name, _)| *name).collect();
        return Ok(Verdict { comment: comment(&buttons), ..best_of(best, k) });
    }
    for (name, text) in said {
        let short = text.trim().trim_end_matches(['.', '!']).to_lowercase();
        if short == "skip" || short == "cannot say" {
            return Ok(Verdict { skipped: true, comment: comment(&[]), ..Verdict::default() });
        }
        if TIES.contains(&short.as_str()) {
            let flags = if short == "neither" { vec![flag::REJECT_ALL.to_string()] } else { Vec::new() };
            return Ok(Verdict { ranks: Some(vec![1; k]), flags, comment: comment(&[name]), ..Verdict::default() });
        }
        if let Some(best) = chosen(text, k) {
            // A text that goes on after the choice is kept whole.
            let bare = text.trim().len() <= 12;
            return Ok(Verdict { comment: if bare { comment(&[name]) } else { comment(&[]) }, ..best_of(best, k) });
        }
    }
    let shown: Vec<String> = said.iter().map(|(name, text)| format!("{name}: {}", text.chars().take(60).collect::<String>())).collect();
    Err((Reason::BadRanking, format!("no Answer says which text is better ({}): use a mapping", shown.join("; "))))
}

fn best_of(best: usize, k: usize) -> Verdict {
    Verdict { ranks: Some((0..k).map(|i| if i == best { 1 } else { 2 }).collect()), ..Verdict::default() }
}

/// Which of `k` texts an answer names at its beginning: "Text 2, because...", "B", "2.", "first". A bare letter or number counts only where nothing
/// or punctuation follows: "A guess, really" names nothing.
fn chosen(text: &str, k: usize) -> Option<usize> {
    let lower = text.trim().to_lowercase();
    let after_noun = NOUNS.iter().find_map(|noun| lower.strip_prefix(noun)).map(|rest| rest.trim_start_matches([' ', '#', '_', '-']));
    let rest = after_noun.unwrap_or(&lower);
    let word: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
    let next = rest[word.len()..].chars().next();
    let ends = after_noun.is_some() || next.is_none_or(|c| ".,;:!)-".contains(c));
    let at = match word.as_str() {
        "left" if k == 2 => 0,
        "right" if k == 2 => 1,
        word => match word.parse::<usize>() {
            Ok(number) => number.checked_sub(1)?,
            Err(_) => match (ORDINALS.iter().position(|ordinal| *ordinal == word), word.as_bytes()) {
                (Some(at), _) => at,
                (None, [letter @ b'a'..=b'h']) => usize::from(letter - b'a'),
                _ => return None,
            },
        },
    };
    (ends && at < k).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_choices() {
        assert_eq!(family(&["Prefix", "First", "Second", "Order"]), Some(vec!["First", "Second"]));
        assert_eq!(family(&["q", "summary_b", "summary_a", "id1"]), Some(vec!["summary_a", "summary_b"]));
        assert_eq!(family(&["response1", "response3"]), None);
        assert_eq!(family(&["A", "B", "C", "x1", "x2"]), Some(vec!["A", "B", "C"]));
        assert_eq!(family(&["textA", "textB"]), Some(vec!["textA", "textB"]));
        assert_eq!(family(&["data", "pizza"]), None);
        for (text, at) in [
            ("Text 2. It follows", Some(1)),
            ("text 1. Second text starts", Some(0)),
            ("Text 1 - very unsure", Some(0)),
            ("B", Some(1)),
            ("2)", Some(1)),
            ("second", Some(1)),
            ("A guess, really", None),
            ("Text 3", None),
            ("I prefer the first", None),
        ] {
            assert_eq!(chosen(text, 2), at, "{text}");
        }
    }
}
