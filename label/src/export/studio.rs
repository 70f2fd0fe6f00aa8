//! Tasks for Label Studio: a Ranker over each item's answers, with the judgments as annotations, and the labelling interface that shows them.
//!
//! Without ties the Ranker has no buckets. With a tie anywhere it has as many buckets (`1` is best) as the longest list has answers, since only a bucket
//! holds two answers side by side. What Label Studio has no place for (the judge's name, item, flags, weight, times...) stands in `meta.judgment` of
//! the first result, of an item that nobody has judged in that of the task: Label Studio keeps both through import and export.

use super::{Whole, Written, plain};
use data::labels::table::LabelTable;
use data::labels::{Judgment, Kind, flag, places_of};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;

/// Fields of a judgment that an annotation has a place for; all others go into `meta.judgment`.
const NATIVE: [&str; 6] = ["kind", "prompt", "answers", "authors", "ranks", "comment"];

/// Writes the tasks, and beside them the interface.
pub fn write(table: &LabelTable, out: &Path) -> anyhow::Result<Written> {
    let mut written = Written { judgments: table.len(), what: "tasks", ..Written::default() };
    // Rows of one item with the same answers are annotations of one task.
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    let mut tasks: Vec<Vec<u64>> = Vec::new();
    let (mut ties, mut longest, mut texts) = (false, 2, true);
    for (row, judgment) in table.iter().enumerate() {
        let judgment = judgment?;
        let fits = matches!(judgment.kind, Kind::Ranking | Kind::Open | Kind::Skipped) && judgment.answers.len() > 1;
        if !fits || (judgment.kind == Kind::Ranking && judgment.ranks.is_none()) {
            written.leave(format!("judgments of the kind {} without a ranking of answers", judgment.kind.name()), 1);
            continue;
        }
        texts &= matches!(&judgment.prompt[..], [] | [_]) && judgment.prompt.iter().all(|turn| turn.role == "user" && turn.rest.is_empty());
        longest = longest.max(judgment.answers.len());
        ties |= judgment.ranks.as_ref().is_some_and(|ranks| has_tie(ranks));
        let key = (judgment.item.clone(), data::labels::item_key(&judgment.prompt, &judgment.answers));
        let place = *places.entry(key).or_insert(tasks.len());
        match tasks.get_mut(place) {
            Some(rows) => rows.push(row as u64),
            None => tasks.push(vec![row as u64]),
        }
    }
    if tasks.is_empty() {
        return Err(crate::exit::input("no judgment of the table is about two answers or more: there is no task to write"));
    }
    let mut file = Whole::create(out)?;
    for (i, rows) in tasks.iter().enumerate() {
        file.text(if i == 0 { "[" } else { "," })?;
        let judgments = rows.iter().map(|row| table.get(*row)).collect::<Result<Vec<_>, _>>()?;
        file.line(&task(&judgments, texts, ties))?;
    }
    file.text("]\n")?;
    file.finish()?;
    let config = out.with_extension("xml");
    let mut file = Whole::create(&config)?;
    file.text(&interface(texts, ties.then_some(longest)))?;
    file.finish()?;
    written.rows = tasks.len() as u64;
    written.notes.push(format!("the labelling interface of the project: {}", config.display()));
    Ok(written)
}

fn has_tie(ranks: &[u32]) -> bool {
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).any(|two| two[0] == two[1])
}

/// Label Studio's labelling interface for the tasks; `buckets` if there are ties, as many as the longest list has answers.
fn interface(texts: bool, buckets: Option<usize>) -> String {
    let prompt = match texts {
        true => "<Text name=\"prompt\" value=\"$prompt\"/>",
        false => "<Paragraphs name=\"prompt\" value=\"$prompt\" layout=\"dialogue\" nameKey=\"role\" textKey=\"content\"/>",
    };
    let buckets: String = (1..=buckets.unwrap_or(0)).map(|n| format!("\n    <Bucket name=\"{n}\" title=\"{n}\"/>")).collect();
    let ranker = match buckets.is_empty() {
        true => "<Ranker name=\"rank\" toName=\"answers\"/>".to_string(),
        false => format!("<Ranker name=\"rank\" toName=\"answers\">{buckets}\n  </Ranker>"),
    };
    format!(
        "<View>\n  {prompt}\n  <List name=\"answers\" value=\"$items\" title=\"Answers\"/>\n  {ranker}\n  \
         <TextArea name=\"comment\" toName=\"prompt\" maxSubmissions=\"1\" placeholder=\"Comment\"/>\n</View>\n"
    )
}

fn task(judgments: &[Judgment], texts: bool, ties: bool) -> Value {
    let first = &judgments[0];
    let prompt = match (&first.prompt[..], texts) {
        ([], true) => Value::from(""),
        ([only], true) => Value::from(only.content.as_str()),
        (turns, _) => plain::turns(turns),
    };
    let items: Vec<Value> = first
        .answers
        .iter()
        .enumerate()
        .map(|(i, answer)| {
            let mut item = json!({ "id": (i + 1).to_string(), "title": format!("Answer {}", i + 1), "body": answer });
            if let Some(authors) = &first.authors {
                item["author"] = Value::from(authors[i].as_str()); // not shown to labellers
            }
            item
        })
        .collect();
    let annotations: Vec<Value> = judgments.iter().filter(|j| j.kind != Kind::Open).map(|j| annotation(j, &first.answers, ties)).collect();
    let mut task = json!({ "data": { "prompt": prompt, "items": items }, "annotations": annotations });
    if judgments.iter().all(|judgment| judgment.kind == Kind::Open) {
        task["meta"] = json!({ "judgment": beside(first) });
    }
    task
}

/// The fields of a judgment that Label Studio has no place for.
fn beside(judgment: &Judgment) -> Map<String, Value> {
    let mut rest = plain::to_json(judgment);
    NATIVE.iter().for_each(|field| {
        rest.shift_remove(*field);
    });
    rest
}

/// A judgment as an annotation of the task whose answers stand in the order of `answers`.
fn annotation(judgment: &Judgment, answers: &[String], ties: bool) -> Value {
    let mut rest = beside(judgment);
    // Lists go by the task's order of answers, as all that is read from it.
    let places = places_of(answers, &judgment.answers);
    for field in ["shown", "scores", "worth"] {
        if let Some(Value::Array(list)) = rest.get_mut(field) {
            *list = places.iter().map(|at| list[*at].clone()).collect();
        }
    }
    let mut results = Vec::new();
    if let (Kind::Ranking, Some(ranks)) = (judgment.kind, &judgment.ranks) {
        let ranks: Vec<u32> = places.iter().map(|at| ranks[*at]).collect();
        results.push(result("ranker", "rank", "answers", json!({ "ranker": ranker(&ranks, ties) })));
    }
    // A skip without a comment has an empty one, to carry what is its own through Label Studio.
    if judgment.comment.is_some() || results.is_empty() {
        let texts: Vec<&String> = judgment.comment.iter().collect();
        results.push(result("textarea", "comment", "prompt", json!({ "text": texts })));
    }
    if let Some(first) = results.first_mut() {
        first["meta"] = json!({ "judgment": rest });
    }
    let time = |ms: Option<i64>| {
        ms.and_then(chrono::DateTime::from_timestamp_millis).map(|t| t.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    };
    let mut annotation = json!({
        "result": results,
        "was_cancelled": judgment.kind == Kind::Skipped,
        "ground_truth": judgment.has(flag::GOLD),
        "lead_time": judgment.seconds.map(plain::real),
    });
    if let Some(ended) = time(judgment.ended) {
        annotation["updated_at"] = Value::from(ended.as_str());
        annotation["created_at"] = Value::from(time(judgment.started).unwrap_or(ended));
    }
    annotation
}

fn result(kind: &str, from: &str, to: &str, value: Value) -> Value {
    json!({ "type": kind, "from_name": from, "to_name": to, "value": value })
}

/// `{"rank": [ids]}`, or a bucket for each rank.
fn ranker(ranks: &[u32], ties: bool) -> Value {
    let mut order: Vec<usize> = (0..ranks.len()).collect();
    order.sort_by_key(|at| ranks[*at]);
    let id = |at: &usize| Value::from((at + 1).to_string());
    if !ties {
        return json!({ "rank": order.iter().map(id).collect::<Vec<_>>() });
    }
    let buckets = order.chunk_by(|a, b| ranks[*a] == ranks[*b]);
    Value::Object(buckets.map(|same| (ranks[same[0]].to_string(), same.iter().map(id).collect())).collect::<Map<_, _>>())
}
