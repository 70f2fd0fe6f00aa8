//! OpenAI's comparisons: summaries of posts and articles (arXiv 2009.01325: comparisons, and ratings by axes) and WebGPT's answers
//! (arXiv 2112.09332), in the shape of the published files.

use super::fields::{self, Fault, Fields, asked, missing, name, number, present};
use super::{Head, Reader, Sink};
use data::error::SourceError;
use data::labels::{Judgment, Kind};
use data::quarantine::Reason;
use data::rankings::ranks_of;
use serde_json::Value;
use std::path::Path;

/// The reader of OpenAI's comparisons.
pub struct OpenAi;

/// The highest mark of a labeller's confidence.
const SUREST: f64 = 9.0;

impl Reader for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn about(&self) -> &'static str {
        "OpenAI summarize-from-feedback (comparisons and axis ratings) and WebGPT comparisons"
    }

    fn detect(&self, head: &Head) -> u8 {
        let has = |name: &str| head.first.get(name).is_some();
        let rated = head.first.get("summary").is_some_and(|s| s.get("axes").is_some());
        if has("info") && (has("summaries") && has("choice") || rated) || has("question") && has("answer_0") && has("score_0") {
            97
        } else {
            0
        }
    }

    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        fields::each_row(file, sink, &|fields| {
            if fields.contains_key("summaries") {
                comparison(fields)
            } else if fields.contains_key("summary") {
                rating(fields)
            } else {
                webgpt(fields)
            }
        })
    }
}

fn object<'a>(fields: &'a Fields, name: &str) -> Result<&'a Fields, Fault> {
    present(fields, name).and_then(Value::as_object).ok_or_else(|| missing(fields, name))
}

/// What is to be summarized, in the words that the summarizing models were given; and the post's own key.
fn task(fields: &Fields) -> Result<(String, Option<String>), Fault> {
    let info = object(fields, "info")?;
    let part = |names: &[&'static str]| name(info, names);
    let mut lines = Vec::new();
    lines.extend(part(&["subreddit"]).map(|name| format!("SUBREDDIT: r/{name}")));
    lines.extend(part(&["title"]).map(|title| format!("TITLE: {title}")));
    match (part(&["post"]), part(&["article"])) {
        (Some(post), _) => lines.push(format!("POST: {post}")),
        (None, Some(article)) => lines.push(format!("ARTICLE: {article}")),
        (None, None) => return Err((Reason::MissingField, "`info` has neither `post` nor `article`".to_string())),
    }
    lines.push("TL;DR:".to_string());
    Ok((lines.join("\n\n"), part(&["id"])))
}

/// A judgment of summaries with what is common to comparisons and ratings.
fn summaries(kind: Kind, fields: &Fields, summaries: &[&Fields]) -> Result<Judgment, Fault> {
    let (prompt, id) = task(fields)?;
    let text =
        |s: &&Fields| present(s, "text").and_then(fields::scalar).map(|text| text.trim().to_string()).ok_or_else(|| missing(s, "text"));
    let answers = summaries.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let authors: Option<Vec<String>> = summaries.iter().map(|s| name(s, &["policy"])).collect();
    let marks = ["batch", "split"].iter().filter_map(|key| Some(format!("{key}={}", name(fields, &[key])?)));
    let notes: Vec<String> = summaries.iter().copied().chain([fields]).filter_map(|of| name(of, &["note"])).collect();
    let judgment = Judgment::new(kind, asked(&prompt), answers);
    Ok(Judgment {
        group: id.unwrap_or_else(|| judgment.group.clone()),
        authors,
        judge: name(fields, &["worker"]),
        flags: fields::marks(&judgment.answers)?.into_iter().chain(marks).collect(),
        comment: (!notes.is_empty()).then(|| notes.join("\n")),
        ..judgment
    })
}

fn comparison(fields: &Fields) -> Result<Judgment, Fault> {
    let list = present(fields, "summaries").and_then(Value::as_array).ok_or_else(|| missing(fields, "summaries"))?;
    let texts: Vec<&Fields> = list.iter().filter_map(Value::as_object).collect();
    if texts.len() < 2 || texts.len() != list.len() {
        return Err((Reason::BadRanking, format!("{} summaries in the list; a comparison has two", texts.len())));
    }
    let choice = present(fields, "choice").ok_or_else(|| missing(fields, "choice"))?;
    let choice = number(choice).filter(|at| at.fract() == 0.0 && (0.0..texts.len() as f64).contains(at));
    let best = choice.ok_or_else(|| (Reason::BadRanking, format!("choice {} is the place of no summary", fields["choice"])))? as usize;
    let extra = present(fields, "extra").and_then(Value::as_object);
    let sure = match extra {
        Some(extra) => fields::number_in(extra, "confidence")?,
        None => None,
    };
    let judgment = summaries(Kind::Ranking, fields, &texts)?;
    Ok(Judgment {
        ranks: Some((0..texts.len()).map(|i| if i == best { 1 } else { 2 }).collect()),
        confidence: sure.map(|mark| (mark / SUREST).clamp(0.0, 1.0) as f32),
        ..judgment
    })
}

/// A summary rated by axes, 1 to 7: `overall` is the score, the others are kept as marks.
fn rating(fields: &Fields) -> Result<Judgment, Fault> {
    let summary = object(fields, "summary")?;
    let axes = object(summary, "axes")?;
    let overall =
        fields::number_in(axes, "overall")?.ok_or_else(|| (Reason::MissingField, "`summary.axes` has no `overall`".to_string()))?;
    let mut judgment = summaries(Kind::Rating, fields, &[summary])?;
    judgment.scores = Some(vec![overall as f32]);
    let others = axes.iter().filter(|(axis, value)| *axis != "overall" && !value.is_null());
    judgment.flags.extend(others.filter_map(|(axis, value)| Some(format!("{axis}={}", fields::scalar(value)?))));
    Ok(judgment)
}

/// Two answers to a question; their scores sum to 0, and 0 is a tie.
fn webgpt(fields: &Fields) -> Result<Judgment, Fault> {
    let question = present(fields, "question").ok_or_else(|| missing(fields, "question"))?;
    let about = question.as_object();
    let prompt = match about {
        Some(question) => fields::visible(question, "full_text")?,
        None => fields::visible(fields, "question")?,
    };
    let answers = ["answer_0", "answer_1"].map(|name| fields::visible(fields, name).map(|text| text.trim().to_string()));
    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    let score = |name: &str| fields::number_in(fields, name)?.map(|score| score as f32).ok_or_else(|| missing(fields, name));
    let scores = vec![score("score_0")?, score("score_1")?];
    let judgment = Judgment::new(Kind::Ranking, asked(prompt), answers);
    Ok(Judgment {
        group: about.and_then(|question| name(question, &["id"])).unwrap_or_else(|| judgment.group.clone()),
        flags: about.and_then(|question| name(question, &["dataset"])).map(|set| format!("dataset={set}")).into_iter().collect(),
        ranks: Some(ranks_of(&scores)),
        scores: Some(scores),
        ..judgment
    })
}
