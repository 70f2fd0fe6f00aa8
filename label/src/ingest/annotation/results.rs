//! What one annotation says: its results, from one control each, become judgments.
//!
//! | results of an annotation | judgments |
//! |---|---|
//! | Pairwise; Ranker; a ranking of fields; Choices whose one label names a side (`left`, `B is better`, `tie`) | a ranking each |
//! | Ratings of two or more answers (by `toName`, or `rating_1` beside `answer_1`) | one ranking by score |
//! | any other Rating or Number | a rating of the one answer, else of the text shown |
//! | any other Choices | a choice: the labels are the answers, the labelled text the prompt |
//! | TextArea beside one of these | its comment, unless its name speaks of an answer |
//! | TextArea otherwise | a demonstration for each text |
//! | cancelled | one skip, its TextArea the reason |
//! | anything else (regions, spans, chats) | the quarantine, one unit for all of them |

use super::buckets::{self, Order};
use super::layout::{Layout, marked};
use super::{Annotation, Said, What, speaks_of_answer};
use crate::ingest::values;
use data::labels::{Judgment, Kind, flag, item_key, text_of};
use data::quarantine::Reason;
use data::rankings::ranks_of;
use serde_json::{Map, Value};

/// A judgment, or what is wrong with the unit.
pub type Unit = Result<Judgment, (Reason, String)>;

/// The units of an annotation of a task; never none.
pub fn units(data: &Map<String, Value>, layout: &Layout, annotation: &Annotation, buckets: &[String]) -> Vec<Unit> {
    let mut units =
        if annotation.cancelled { vec![Ok(skipped(data, layout, annotation))] } else { said(data, layout, annotation, buckets) };
    for judgment in units.iter_mut().flatten() {
        judgment.judge = annotation.judge.clone();
        judgment.started = annotation.started;
        judgment.ended = annotation.ended;
        judgment.seconds = annotation.seconds;
        if annotation.gold {
            judgment.flags.push(flag::GOLD.to_string());
        }
    }
    units
}

fn skipped(data: &Map<String, Value>, layout: &Layout, annotation: &Annotation) -> Judgment {
    let reasons: Vec<&str> = annotation
        .said
        .iter()
        .filter_map(|s| if let What::Text(t) = &s.what { Some(t) } else { None })
        .flatten()
        .map(String::as_str)
        .collect();
    Judgment { comment: (!reasons.is_empty()).then(|| reasons.join("\n")), ..shown(data, layout, Kind::Skipped) }
}

/// The task as it was shown, with nothing said about it.
pub fn shown(data: &Map<String, Value>, layout: &Layout, kind: Kind) -> Judgment {
    let list = items(data);
    let (answers, authors): (Vec<String>, _) = match list {
        Some(items) => (items.iter().map(|item| item.text.clone()).collect(), authors(items.iter().map(|item| item.author.clone()))),
        None if layout.answers.is_empty() => (layout.single.iter().map(|(_, text)| text.clone()).collect(), None),
        None => (layout.answers.iter().map(|(_, text)| text.clone()).collect(), layout.authors.clone()),
    };
    Judgment { authors, ..Judgment::new(kind, layout.prompt.clone(), answers) }
}

fn said(data: &Map<String, Value>, layout: &Layout, annotation: &Annotation, buckets: &[String]) -> Vec<Unit> {
    let (mut units, mut texts, mut others, mut ratings) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut rankings: Vec<(&Said, Unit)> = Vec::new();
    for said in &annotation.said {
        match &said.what {
            What::Pairwise(side) => rankings.push((said, pairwise(data, layout, said, side))),
            What::Ranker(value) => rankings.push((said, ranker(data, layout, said, value, buckets))),
            What::Ranked(places) => rankings.push((said, ranked(data, layout, places))),
            What::Choices(labels) => match side_of(data, layout, labels) {
                Some(judgment) => rankings.push((said, Ok(judgment))),
                None => units.push(Ok(choice(data, layout, said, labels))),
            },
            What::Rating(score) => ratings.push((said, *score)),
            What::Text(written) => texts.push((said, written)),
            What::Other(kind) => others.push(kind.as_str()),
        }
    }
    let rated = rated(data, layout, ratings, &mut rankings);
    // Several rankings of one annotation are about different things (helpful, harmless): different items.
    let several = rankings.len() > 1;
    let rankings = rankings.into_iter().map(|(said, mut unit)| {
        if let (true, Ok(judgment)) = (several, &mut unit) {
            of_control(judgment, &said.control);
        }
        unit
    });
    units = rankings.chain(rated).chain(units).collect();
    let beside = !units.is_empty();
    let mut comments = Vec::new();
    for (said, written) in texts {
        if beside && !speaks_of_answer(&said.control) {
            comments.extend(written.iter().map(String::as_str));
            continue;
        }
        units.extend(written.iter().map(|text| demonstration(data, layout, said, text)));
    }
    if let (false, Some(Ok(first))) = (comments.is_empty(), units.iter_mut().find(|unit| unit.is_ok())) {
        first.comment = Some(comments.join("\n"));
    }
    if !others.is_empty() {
        let count = others.len();
        others.sort_unstable();
        others.dedup();
        let detail = format!("{count} results of type {} are no judgments", others.join(", "));
        units.push(Err((Reason::NoJudgment, detail)));
    }
    if units.is_empty() {
        units.push(Err((Reason::NoJudgment, "submitted without a result".to_string())));
    }
    units
}

/// Marks a judgment as that of one control among several.
fn of_control(judgment: &mut Judgment, control: &str) {
    judgment.item = format!("{}:{control}", judgment.item);
    judgment.flags.push(format!("control={control}"));
}

fn missing(what: &str, data: &Map<String, Value>) -> (Reason, String) {
    let names: Vec<&str> = data.keys().map(String::as_str).take(20).collect();
    (Reason::MissingField, format!("{what}; the task has {}", names.join(", ")))
}

/// A ranking of two texts as they stood on the page, left and right.
fn ranking_of_two(layout: &Layout, pair: [(String, String); 2], ranks: [u32; 2]) -> Judgment {
    let answers = pair.into_iter().map(|(_, text)| text).collect();
    Judgment {
        ranks: Some(ranks.to_vec()),
        shown: Some(vec![0, 1]),
        authors: layout.authors.clone(),
        ..Judgment::new(Kind::Ranking, layout.prompt.clone(), answers)
    }
}

fn pairwise(data: &Map<String, Value>, layout: &Layout, said: &Said, side: &str) -> Unit {
    let pair = layout.pair(data, &said.to).ok_or_else(|| missing("which two fields were compared cannot be told", data))?;
    let ranks = match side {
        "left" => [1, 2],
        "right" => [2, 1],
        other => return Err((Reason::BadRanking, format!("selected is {other:?}, neither left nor right"))),
    };
    Ok(ranking_of_two(layout, pair, ranks))
}

/// An item of a List.
struct Item {
    id: String,
    text: String,
    author: Option<String>,
}

/// The list of `{id, title, body}` that a Ranker orders.
fn items(data: &Map<String, Value>) -> Option<Vec<Item>> {
    data.values().find_map(|value| {
        let value = values::unpacked(value);
        let list = value.as_array().filter(|list| list.len() > 1)?;
        list.iter()
            .map(|item| {
                let item = item.as_object()?;
                let text = ["body", "html", "text", "content", "title"].iter().find_map(|key| item.get(*key)?.as_str())?;
                let author = ["author", "model"].iter().find_map(|key| values::text(item, key));
                Some(Item { id: values::name(item.get("id")?)?, text: text.to_string(), author: author.map(str::to_string) })
            })
            .collect()
    })
}

fn authors(authors: impl Iterator<Item = Option<String>>) -> Option<Vec<String>> {
    authors.collect::<Option<Vec<String>>>().filter(|authors| !authors.is_empty())
}

fn ranker(data: &Map<String, Value>, layout: &Layout, said: &Said, value: &Map<String, Value>, order: &[String]) -> Unit {
    let items = items(data).ok_or_else(|| missing("no list of items with `id` and `body`", data))?;
    let all: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
    let Order { ids, ranks, scores } = buckets::order(value, &said.control, &all, order).map_err(|why| (Reason::BadRanking, why))?;
    if let Some(unknown) = ids.iter().find(|id| !all.contains(id)) {
        return Err((Reason::BadRanking, format!("{unknown:?} is ranked, but the task has no such item")));
    }
    // The answers stay in the task's order, in which the list was shown.
    let place = |item: &Item| ids.iter().position(|id| *id == item.id);
    let judged: Vec<(usize, &Item, usize)> = items.iter().enumerate().filter_map(|(at, item)| Some((at, item, place(item)?))).collect();
    let answers = judged.iter().map(|(_, item, _)| item.text.clone()).collect();
    let mut judgment = Judgment {
        ranks: Some(judged.iter().map(|(.., at)| ranks[*at]).collect()),
        scores: scores.map(|scores| judged.iter().map(|(.., at)| scores[*at]).collect()),
        shown: Some(judged.iter().map(|(at, ..)| *at as u32).collect()),
        authors: authors(judged.iter().map(|(_, item, _)| item.author.clone())),
        ..Judgment::new(Kind::Ranking, layout.prompt.clone(), answers)
    };
    if judged.len() < items.len() {
        judgment.flags.push("partial".to_string());
    }
    Ok(judgment)
}

/// A ranking of the task's fields by name.
fn ranked(data: &Map<String, Value>, layout: &Layout, places: &[(String, u32)]) -> Unit {
    // Values are mostly called as the fields that they stand for, else they end in the same mark.
    let field = |name: &str| {
        let named = layout.answers.iter().position(|(key, _)| key == name);
        let mark = marked(name).map(|(_, place)| place);
        named.or_else(|| layout.answers.iter().position(|(key, _)| mark.is_some() && marked(key).map(|(_, place)| place) == mark))
    };
    let found: Option<Vec<(usize, u32)>> = places.iter().map(|(name, rank)| Some((field(name)?, *rank))).collect();
    let names: Vec<&str> = places.iter().map(|(name, _)| name.as_str()).collect();
    let Some(mut found) = found else {
        return Err(missing(&format!("which fields the ranked values {} stand for cannot be told", names.join(", ")), data));
    };
    found.sort_unstable();
    if found.windows(2).any(|two| two[0].0 == two[1].0) {
        return Err((Reason::BadRanking, format!("of the ranked values {} two stand for one field", names.join(", "))));
    }
    // Ranks of a tool may have gaps (1, 1, 3).
    let negative: Vec<f32> = found.iter().map(|(_, rank)| -(*rank as f32)).collect();
    let authors = layout.authors.as_ref().map(|authors| found.iter().map(|(at, _)| authors[*at].clone()).collect());
    let answers = found.iter().map(|(at, _)| layout.answers[*at].1.clone()).collect();
    let mut judgment =
        Judgment { ranks: Some(ranks_of(&negative)), authors, ..Judgment::new(Kind::Ranking, layout.prompt.clone(), answers) };
    if found.len() < layout.answers.len() {
        judgment.flags.push("partial".to_string());
    }
    Ok(judgment)
}

/// A label that names one of two sides is a comparison.
fn side_of(data: &Map<String, Value>, layout: &Layout, labels: &[String]) -> Option<Judgment> {
    let [label] = labels else { return None };
    let [left, right] = &layout.answers[..] else { return None };
    let words: Vec<String> =
        label.to_lowercase().split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).map(str::to_string).collect();
    // A small "a" is an article.
    let letter = |letter: &str| *label == letter.to_lowercase() || label.split(|c: char| !c.is_alphanumeric()).any(|word| word == letter);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let names = |key: &str, place: u32| {
        let key = key.to_lowercase();
        words.iter().any(|word| {
            *word == key
                // A small "a" is an article; [`letter`] sees to the capital ones.
                || marked(word)
                    .filter(|_| word.len() > 1 || word.parse::<u32>().is_ok())
                    .is_some_and(|(stem, at)| at == place && ["", "answer", "response", "model", "option"].contains(&stem.as_str()))
        })
    };
    // Marks count from 1 or from 0, letters and sides always from 0.
    let place = |key: &str, default| marked(key).map_or(default, |(_, place)| place);
    let first = names(&left.0, place(&left.0, 0)) || has(&["left", "first"]) || letter("A");
    let second = names(&right.0, place(&right.0, 1)) || has(&["right", "second"]) || letter("B");
    let none = has(&["neither", "none"]) || (has(&["both"]) && has(&["bad"]));
    let tie = none || has(&["tie", "tied", "equal", "equally", "same", "both", "draw"]);
    let ranks = match (tie, first, second) {
        (true, ..) => [1, 1],
        (_, true, false) => [1, 2],
        (_, false, true) => [2, 1],
        _ => return None,
    };
    let mut judgment = ranking_of_two(layout, layout.pair(data, "")?, ranks);
    if none {
        judgment.flags.push(flag::REJECT_ALL.to_string());
    }
    // How much better it is stays readable.
    if words.len() > 1 {
        judgment.flags.push(format!("label={label}"));
    }
    Some(judgment)
}

fn choice(data: &Map<String, Value>, layout: &Layout, said: &Said, labels: &[String]) -> Judgment {
    let prompt = layout.about(data, &said.to);
    let mut judgment = Judgment { item: item_key(&prompt, &[]), ..Judgment::new(Kind::Choice, prompt, labels.to_vec()) };
    of_control(&mut judgment, &said.control);
    judgment
}

/// Ratings of different answers are a ranking; the others stand alone.
fn rated<'a>(data: &Map<String, Value>, layout: &Layout, ratings: Vec<(&'a Said, f64)>, rankings: &mut Vec<(&'a Said, Unit)>) -> Vec<Unit> {
    let mark = |name: &str| marked(name).map(|(_, place)| place);
    // The answer that a control rates: the one that it names, else the one with the same mark.
    let rates = |said: &Said| {
        let named = layout.answers.iter().position(|(key, _)| *key == said.to.trim_start_matches('$'));
        named.or_else(|| layout.answers.iter().position(|(key, _)| mark(key).is_some() && mark(key) == mark(&said.control)))
    };
    let stem = |said: &Said| marked(&said.control).map_or(said.control.clone(), |(stem, _)| stem);
    let (mut units, mut rest) = (Vec::new(), ratings);
    while let Some((first, score)) = rest.first().cloned() {
        let alike: Vec<(usize, f64)> =
            rest.iter().filter(|(said, _)| stem(said) == stem(first)).filter_map(|(said, score)| Some((rates(said)?, *score))).collect();
        let mut distinct: Vec<usize> = alike.iter().map(|(at, _)| *at).collect();
        distinct.sort_unstable();
        distinct.dedup();
        if alike.len() > 1 && distinct.len() == alike.len() {
            let scores: Vec<f32> =
                distinct.iter().filter_map(|at| alike.iter().find(|(a, _)| a == at)).map(|(_, score)| *score as f32).collect();
            let answers = distinct.iter().map(|at| layout.answers[*at].1.clone()).collect();
            let authors = layout.authors.as_ref().map(|authors| distinct.iter().map(|at| authors[*at].clone()).collect());
            let judgment = Judgment {
                ranks: Some(ranks_of(&scores)),
                scores: Some(scores),
                authors,
                ..Judgment::new(Kind::Ranking, layout.prompt.clone(), answers)
            };
            rankings.push((first, Ok(judgment)));
            rest.retain(|(said, _)| !(stem(said) == stem(first) && rates(said).is_some()));
            continue;
        }
        units.push(rating(data, layout, first, score, rates(first)));
        rest.remove(0);
    }
    units
}

fn rating(data: &Map<String, Value>, layout: &Layout, said: &Said, score: f64, answer: Option<usize>) -> Unit {
    let answer = answer.map(|at| &layout.answers[at]).or(layout.single.as_ref());
    let (prompt, text) = match answer {
        Some((_, text)) => (layout.prompt.clone(), text.clone()),
        None => (Vec::new(), text_of(&layout.about(data, &said.to))),
    };
    if text.is_empty() {
        return Err(missing("what was rated cannot be told", data));
    }
    let mut judgment = Judgment { scores: Some(vec![score as f32]), ..Judgment::new(Kind::Rating, prompt, vec![text]) };
    of_control(&mut judgment, &said.control);
    Ok(judgment)
}

fn demonstration(data: &Map<String, Value>, layout: &Layout, said: &Said, text: &str) -> Unit {
    if text.trim().is_empty() {
        return Err((Reason::Empty, format!("the text of {:?} is empty", said.control)));
    }
    let prompt = if layout.prompt.is_empty() { layout.about(data, &said.to) } else { layout.prompt.clone() };
    Ok(Judgment { item: item_key(&prompt, &[]), ..Judgment::new(Kind::Demonstration, prompt, vec![text.to_string()]) })
}
