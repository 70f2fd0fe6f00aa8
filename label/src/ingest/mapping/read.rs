//! From rows to judgments, as the mapping says.

use super::cells::{Cell, Column, Values};
use super::template::Template;
use super::{Better, Judged, Mapping, Meaning, Verdict, form, kind_of, template};
use crate::ingest::fields::{self, Fault};
use crate::ingest::times::{self, Form};
use crate::ingest::{Sink, ranked, rows};
use data::chat::Message;
use data::error::SourceError;
use data::labels::{Judgment, Kind, flag, text_of};
use data::quarantine::Reason;
use data::rankings::ranks_of;
use data::source::Record;
use serde_json::Value;
use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// A checked mapping.
#[derive(Debug)]
pub(super) struct Plan {
    prompt: Option<Template>,
    messages: Option<Column>,
    system: Option<Template>,
    answers: Values,
    authors: Values,
    item: Option<Template>,
    group: Option<Template>,
    skip: Vec<(Column, Vec<String>, String)>,
    judgments: Vec<Asked>,
}

/// A checked judgment.
#[derive(Debug)]
struct Asked {
    kind: Option<Kind>,
    aspect: Option<String>,
    scores: Option<Values>,
    ranks: Option<Values>,
    better: Option<Better>,
    choice: Option<Choice>,
    judge: Option<Template>,
    judge_name: Option<String>,
    started: Option<Column>,
    ended: Option<Column>,
    times: Form,
    seconds: Option<Column>,
    confidence: Option<(Column, [f64; 2])>,
    weight: Option<Column>,
    comment: Option<Template>,
    flags: Vec<Template>,
}

#[derive(Debug)]
struct Choice {
    column: Column,
    values: Vec<(String, Verdict)>,
    begins: bool,
    first: u32,
}

/// What the judgments of a row have in common.
struct Item<'a> {
    prompt: Vec<Message>,
    /// None where the row has no answer in that place.
    answers: Vec<Option<Cow<'a, str>>>,
    authors: Option<Vec<String>>,
    key: Option<String>,
    group: Option<String>,
    skipped: Option<&'a str>,
}

/// An order of some of the answers.
#[derive(Default)]
struct Order {
    /// Places of the answers that were judged; all where None.
    places: Option<Vec<usize>>,
    ranks: Option<Vec<u32>>,
    scores: Option<Vec<f32>>,
    confidence: Option<f32>,
    flags: Vec<String>,
    skipped: bool,
}

impl Plan {
    pub(super) fn new(mapping: &Mapping) -> Result<Plan, String> {
        match (&mapping.prompt, &mapping.messages) {
            (None, None) => return Err("prompt (or messages) is missing: what was asked?".to_string()),
            (Some(_), Some(_)) => return Err("prompt and messages are both there: one of them".to_string()),
            _ => {}
        }
        let all = [("answers", &mapping.answers), ("authors", &mapping.authors)];
        if let Some((key, _)) = all.iter().find(|(_, names)| names.iter().any(|name| name.contains(['{', '}']))) {
            return Err(format!("{key} takes names of columns, no templates"));
        }
        if mapping.authors.len() > 1 && mapping.authors.len() != mapping.answers.len() {
            return Err(format!("{} authors for {} answers", mapping.authors.len(), mapping.answers.len()));
        }
        let skip = mapping.skip.iter().map(|skip| match skip.is.is_empty() {
            true => Err(format!("skip of column {:?}: `is` has no values", skip.column)),
            false => Ok((Column::new(&skip.column), skip.is.clone(), skip.reason.clone())),
        });
        // Without judgments the rows are items.
        let items = [Judged::default()];
        let judged = if mapping.judgments.is_empty() { &items[..] } else { &mapping.judgments };
        let numbered = judged.iter().enumerate();
        let judgments =
            numbered.map(|(i, judged)| Asked::new(judged, mapping.answers.len()).map_err(|why| format!("judgment {}: {why}", i + 1)));
        Ok(Plan {
            prompt: template("prompt", &mapping.prompt)?,
            messages: mapping.messages.as_deref().map(Column::new),
            system: template("system", &mapping.system)?,
            answers: Values::new(&mapping.answers),
            authors: Values::new(&mapping.authors),
            item: template("item", &mapping.item)?,
            group: template("group", &mapping.group)?,
            skip: skip.collect::<Result<_, _>>()?,
            judgments: judgments.collect::<Result<_, _>>()?,
        })
    }

    /// Reads a file; every judgment of a row is a unit, kept or rejected.
    pub(super) fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        let checked = AtomicBool::new(false);
        rows::records(file, sink, &|line, record, sink| {
            let record = &record;
            if let (Record::Cells(row), false) = (record, checked.load(Ordering::Relaxed)) {
                // A table lacks a column in all its rows or in none: better one error than a quarantine full of them.
                let absent = self.columns().into_iter().find(|column| row.header.place(column.name()).is_none());
                if let Some(column) = absent {
                    let detail = format!("the mapping asks for {:?}: {}", column.name(), column.missing(record).1);
                    return Err(SourceError::Columns { path: file.to_path_buf(), detail });
                }
                checked.store(true, Ordering::Relaxed);
            }
            let item = match self.item(record) {
                Ok(item) => item,
                Err((reason, detail)) => {
                    let raw = fields::raw(record);
                    return self.judgments.iter().try_for_each(|_| sink.reject(line, reason, detail.clone(), &raw));
                }
            };
            let last = self.judgments.len() - 1;
            let mut item = Some(item);
            for (i, asked) in self.judgments.iter().enumerate() {
                // The last judgment takes what the others copy.
                let made = if i == last {
                    item.take().map(|item| asked.take(item, record))
                } else {
                    item.as_ref().map(|item| asked.make(item, record))
                };
                match made {
                    Some(Ok(judgment)) => sink.keep(Judgment { row: line, ..judgment })?,
                    Some(Err((reason, detail))) => sink.reject(line, reason, detail, &fields::raw(record))?,
                    None => {}
                }
            }
            Ok(())
        })
    }

    /// All columns that a table must have.
    fn columns(&self) -> Vec<&Column> {
        let mut names: Vec<&Column> =
            self.messages.iter().chain(&self.answers.0).chain(&self.authors.0).chain(self.skip.iter().map(|s| &s.0)).collect();
        for template in self.prompt.iter().chain(&self.system).chain(&self.item).chain(&self.group) {
            template.all(&mut names);
        }
        for asked in &self.judgments {
            let lists = asked.scores.iter().chain(&asked.ranks).flat_map(|values| &values.0);
            let single = asked.started.iter().chain(&asked.ended).chain(&asked.seconds).chain(&asked.weight);
            names.extend(
                lists.chain(single).chain(asked.confidence.iter().map(|(column, _)| column)).chain(asked.choice.iter().map(|c| &c.column)),
            );
            for template in asked.judge.iter().chain(&asked.comment).chain(&asked.flags) {
                template.all(&mut names);
            }
        }
        names
    }

    fn item<'a>(&'a self, record: &'a Record) -> Result<Item<'a>, Fault> {
        let mut prompt = Vec::new();
        if let Some(system) = self.system.as_ref().map(|template| template.filled(record)).transpose()?.flatten() {
            prompt.push(Message::new("system", &system));
        }
        if let Some(template) = &self.prompt {
            let text = template.text(record)?;
            if text.trim().is_empty() {
                return Err((Reason::Empty, "the prompt is empty".to_string()));
            }
            prompt.push(Message { role: "user".to_string(), content: text.into_owned(), rest: Default::default() });
        }
        if let Some(column) = &self.messages {
            prompt.extend(match column.need(record)? {
                Cell::Text(text) => fields::conversation(&Value::String(text.to_string()))?,
                Cell::Json(value) => fields::conversation(value)?,
            });
        }
        let answers = match self.answers.0.as_slice() {
            [] => Vec::new(),
            // K columns: the texts stay where they are.
            columns if columns.len() > 1 => {
                let mut answers = Vec::with_capacity(columns.len());
                for column in columns {
                    answers.push(column.get(record).map(|cell| cell.text(column.name())).transpose()?);
                }
                answers
            }
            _ => {
                let list = self.answers.each(record, |cell, name| cell.text(name).map(|text| Some(text.into_owned())))?;
                list.into_iter().map(|text| text.map(Cow::Owned)).collect()
            }
        };
        let authors = match self.authors.0.is_empty() {
            true => None,
            false => Some(self.authors.each(record, |cell, name| cell.text(name).map(|text| Some(text.into_owned())))?),
        };
        if let Some(authors) = authors.as_ref().filter(|authors| authors.len() != answers.len()) {
            return Err((Reason::BadRanking, format!("{} authors for {} answers", authors.len(), answers.len())));
        }
        let filled = |template: &Option<Template>| -> Result<Option<String>, Fault> {
            Ok(template.as_ref().map(|template| template.filled(record)).transpose()?.flatten().map(|text| text.trim().to_string()))
        };
        let mut skipped = None;
        for (column, is, reason) in &self.skip {
            let cell = column.get(record).map(|cell| cell.text(column.name())).transpose()?.unwrap_or_default();
            if is.iter().any(|value| same(value, cell.trim())) {
                skipped = Some(reason.as_str());
                break;
            }
        }
        Ok(Item {
            prompt,
            answers,
            authors: authors.map(|list| list.into_iter().map(Option::unwrap_or_default).collect()),
            key: filled(&self.item)?,
            group: filled(&self.group)?,
            skipped,
        })
    }
}

/// A value of the mapping and one of the data: equal as text, as numbers (`1` and `1.0`), or but for capitals (`True` and `true`).
fn same(wanted: &str, found: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    wanted == found || wanted.eq_ignore_ascii_case(found) || number(wanted).is_some_and(|wanted| Some(wanted) == number(found))
}

impl Asked {
    fn new(judged: &Judged, answers: usize) -> Result<Asked, String> {
        let sources = [!judged.scores.is_empty(), !judged.ranks.is_empty(), judged.choice.is_some()];
        if sources.iter().filter(|there| **there).count() > 1 {
            return Err("scores, ranks and choice: at most one of them".to_string());
        }
        for (what, columns) in [("scores", &judged.scores), ("ranks", &judged.ranks)] {
            if columns.len() > 1 && columns.len() != answers {
                return Err(format!("{} columns of {what} for {answers} columns of answers", columns.len()));
            }
        }
        if judged.choice.is_none() && (!judged.values.is_empty() || judged.begins || judged.first.is_some()) {
            return Err("values, begins and first belong to choice".to_string());
        }
        if judged.judge.is_some() && judged.judge_name.is_some() {
            return Err("judge and judge_name: one of them".to_string());
        }
        let range = judged.confidence_range.unwrap_or([0.0, 1.0]);
        if !(range[0] < range[1] && range.iter().all(|end| end.is_finite())) {
            return Err(format!("confidence_range {range:?} has no width"));
        }
        let mut values: Vec<(String, Verdict)> = judged.values.clone().into_iter().collect();
        for (value, verdict) in &values {
            let why = match verdict {
                Verdict::Word(word) if !["skip", "reject-all"].contains(&word.as_str()) => {
                    format!("{word:?} is neither skip nor reject-all")
                }
                Verdict::Table(Meaning { ranks, scores, .. }) if ranks.is_empty() == scores.is_empty() => {
                    "ranks or scores are needed".to_string()
                }
                Verdict::Ranks(ranks) | Verdict::Table(Meaning { ranks, .. }) if !ranks.is_empty() && !dense(ranks) => {
                    format!("ranks {ranks:?} do not count from 1 without gaps")
                }
                _ => continue,
            };
            return Err(format!("value {value:?} of choice: {why}"));
        }
        // The longest first, for `begins`.
        values.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        let column = |name: &Option<String>| name.as_deref().map(Column::new);
        let some = |names: &[String]| (!names.is_empty()).then(|| Values::new(names));
        Ok(Asked {
            kind: judged.kind.as_deref().map(kind_of).transpose()?,
            aspect: judged.aspect.clone(),
            scores: some(&judged.scores),
            ranks: some(&judged.ranks),
            better: judged.better,
            choice: judged.choice.as_deref().map(|name| Choice {
                column: Column::new(name),
                values,
                begins: judged.begins,
                first: judged.first.unwrap_or(1),
            }),
            judge: template("judge", &judged.judge)?,
            judge_name: judged.judge_name.clone(),
            started: column(&judged.started),
            ended: column(&judged.ended),
            times: form(&judged.times)?,
            seconds: column(&judged.seconds),
            confidence: column(&judged.confidence).map(|column| (column, range)),
            weight: column(&judged.weight),
            comment: template("comment", &judged.comment)?,
            flags: judged
                .flags
                .iter()
                .map(|text| Template::literal(text).map_err(|why| format!("flags: {why}")))
                .collect::<Result<_, _>>()?,
        })
    }

    fn make(&self, item: &Item, record: &Record) -> Result<Judgment, Fault> {
        let copy = Item {
            prompt: item.prompt.clone(),
            answers: item.answers.clone(),
            authors: item.authors.clone(),
            key: item.key.clone(),
            group: item.group.clone(),
            skipped: item.skipped,
        };
        self.take(copy, record)
    }

    /// The judgment of a row.
    fn take(&self, item: Item, record: &Record) -> Result<Judgment, Fault> {
        let mut order = if item.skipped.is_some() { Order { skipped: true, ..Order::default() } } else { self.order(&item, record)? };
        let (mut answers, mut authors) = (Vec::with_capacity(item.answers.len()), item.authors);
        let total = item.answers.len();
        match &order.places {
            Some(places) if places.len() < total => {
                let mut all = item.answers;
                answers.extend(places.iter().filter_map(|&i| all[i].take().map(Cow::into_owned)));
                authors = authors.map(|authors| places.iter().map(|&i| authors[i].clone()).collect());
                order.flags.push(ranked::PARTIAL.to_string());
            }
            _ => {
                for (i, answer) in item.answers.into_iter().enumerate() {
                    let absent = || (Reason::MissingField, format!("answer {} is absent", i + 1));
                    answers.push(answer.ok_or_else(absent)?.into_owned());
                }
            }
        }
        if !answers.is_empty() && fields::silent(&answers)? {
            order.flags.push(fields::SILENT.to_string());
        }
        let kind = match (order.skipped, self.kind, &order.ranks, answers.len()) {
            (true, ..) => Kind::Skipped,
            (_, Some(kind), ..) => kind,
            (_, _, None, _) => Kind::Open,
            (_, _, Some(_), 1) if order.scores.is_some() => Kind::Rating,
            (_, _, Some(_), n) if n < 2 => return Err((Reason::BadRanking, format!("{n} judged answers; a ranking needs two"))),
            _ => Kind::Ranking,
        };
        let text = |template: &Option<Template>| -> Result<Option<String>, Fault> {
            Ok(template.as_ref().map(|template| template.filled(record)).transpose()?.flatten().map(|text| text.trim().to_string()))
        };
        let mut flags = order.flags;
        for template in &self.flags {
            flags.extend(template.filled(record)?.map(Cow::into_owned));
        }
        let comment = text(&self.comment)?.or_else(|| item.skipped.filter(|reason| !reason.is_empty()).map(str::to_string));
        let (started, ended) = (self.time(&self.started, record)?, self.time(&self.ended, record)?);
        let seconds = match &self.seconds {
            Some(column) => column.number(record)?.map(|seconds| seconds as f32),
            None => times::between(started, ended),
        };
        let weight = self.weight.as_ref().map(|column| column.number(record)).transpose()?.flatten();
        let mut key = match item.key {
            Some(key) => key,
            None => data::labels::item_key(&item.prompt, &answers),
        };
        if let Some(aspect) = &self.aspect {
            key.reserve_exact(aspect.len() + 1);
            key.push('#');
            key.push_str(aspect);
        }
        Ok(Judgment {
            kind,
            item: key,
            group: item.group.unwrap_or_else(|| text_of(&item.prompt)),
            prompt: item.prompt,
            answers,
            authors,
            shown: None,
            ranks: order.ranks.filter(|_| kind == Kind::Ranking),
            scores: order.scores,
            worth: None,
            judge: text(&self.judge)?.or_else(|| self.judge_name.clone()),
            started,
            ended,
            seconds,
            confidence: order.confidence.or(self.sure(record)?),
            weight: fields::weight(weight)?,
            flags,
            comment,
            file: Default::default(),
            row: 0,
        })
    }

    fn time(&self, column: &Option<Column>, record: &Record) -> Result<Option<i64>, Fault> {
        let Some(column) = column else { return Ok(None) };
        let Some(text) = column.text(record)? else { return Ok(None) };
        let wrong = || (Reason::WrongType, format!("{text:?} in column {:?} is no time of the form that the mapping says", column.name()));
        self.times.parse(&text).map(Some).ok_or_else(wrong)
    }

    fn sure(&self, record: &Record) -> Result<Option<f32>, Fault> {
        let Some((column, [least, most])) = &self.confidence else { return Ok(None) };
        let Some(found) = column.number(record)? else { return Ok(None) };
        if (*least..=*most).contains(&found) {
            return Ok(Some(((found - least) / (most - least)) as f32));
        }
        Err((Reason::WrongType, format!("confidence {found} in column {:?} is not between {least} and {most}", column.name())))
    }

    fn order(&self, item: &Item, record: &Record) -> Result<Order, Fault> {
        if let Some(choice) = &self.choice {
            return choice.order(item.answers.len(), record);
        }
        let (values, scored) = match (&self.scores, &self.ranks) {
            (Some(values), _) => (values, true),
            (_, Some(values)) => (values, false),
            _ => return Ok(Order::default()),
        };
        let marks = values.each(record, |cell, name| cell.number(name))?;
        if marks.len() != item.answers.len() {
            return Err((Reason::BadRanking, format!("{} answers, but {} judged", item.answers.len(), marks.len())));
        }
        // An answer that nobody judged is not compared with the others; nor is a place that holds no answer.
        let judged = |i: &usize| marks[*i].is_some() && item.answers[*i].is_some();
        let all = (0..marks.len()).all(|i| judged(&i));
        let places: Option<Vec<usize>> = (!all).then(|| (0..marks.len()).filter(judged).collect());
        if places.as_ref().is_some_and(Vec::is_empty) {
            return Err((Reason::MissingField, "no answer is judged: its columns are empty".to_string()));
        }
        let mut found = Vec::with_capacity(marks.len());
        match &places {
            None => found.extend(marks.iter().flatten()),
            Some(places) => found.extend(places.iter().filter_map(|&i| marks[i])),
        }
        if scored {
            let sign = if self.better == Some(Better::Lower) { -1.0 } else { 1.0 };
            let scores: Vec<f32> = found.iter().map(|mark| (sign * mark) as f32).collect();
            return Ok(Order { ranks: Some(ranks_of(&scores)), scores: Some(scores), places, ..Order::default() });
        }
        let mut ranks = found;
        if self.better == Some(Better::Higher) {
            let most = ranks.iter().copied().fold(0.0, f64::max);
            ranks.iter_mut().for_each(|rank| *rank = most - *rank);
        }
        Ok(Order { ranks: Some(fields::dense(&ranks)?), places, ..Order::default() })
    }
}

impl Choice {
    fn order(&self, answers: usize, record: &Record) -> Result<Order, Fault> {
        let name = self.column.name();
        let found = self.column.need(record)?.text(name)?;
        let found = found.trim();
        if self.values.is_empty() {
            let number = found.parse::<f64>().ok().map(|number| number - f64::from(self.first));
            let best = number.filter(|at| at.fract() == 0.0 && (0.0..answers as f64).contains(at));
            let wrong = || (Reason::BadRanking, format!("{found:?} in column {name:?} is the number of no answer"));
            let best = best.ok_or_else(wrong)? as usize;
            return Ok(Order { ranks: Some((0..answers).map(|i| if i == best { 1 } else { 2 }).collect()), ..Order::default() });
        }
        let begins = |value: &str| found.get(..value.len()).is_some_and(|head| head.eq_ignore_ascii_case(value)) && !value.is_empty();
        let matching = self.values.iter().find(|(value, _)| same(value, found) || (self.begins && begins(value)));
        let Some((_, verdict)) = matching else {
            let known: Vec<&str> = self.values.iter().map(|(value, _)| value.as_str()).collect();
            let shown: String = found.chars().take(60).collect();
            return Err((
                Reason::BadRanking,
                format!("{shown:?} in column {name:?} is none of the mapping's values: {}", known.join(", ")),
            ));
        };
        let order = match verdict {
            Verdict::Word(word) if word == "skip" => return Ok(Order { skipped: true, ..Order::default() }),
            Verdict::Word(_) => Order { ranks: Some(vec![1; answers]), flags: vec![flag::REJECT_ALL.to_string()], ..Order::default() },
            Verdict::Ranks(ranks) => Order { ranks: Some(ranks.clone()), ..Order::default() },
            Verdict::Table(meaning) => {
                let scores = (!meaning.scores.is_empty()).then(|| meaning.scores.clone());
                let ranks = scores.as_ref().map_or_else(|| meaning.ranks.clone(), |scores| ranks_of(scores));
                Order { ranks: Some(ranks), scores, confidence: meaning.confidence, flags: meaning.flags.clone(), ..Order::default() }
            }
        };
        match order.ranks.as_ref().map(Vec::len).filter(|n| *n != answers) {
            Some(n) => Err((Reason::BadRanking, format!("the mapping's value for {found:?} ranks {n} answers, the row has {answers}"))),
            None => Ok(order),
        }
    }
}

/// True if the ranks count from 1 without gaps.
fn dense(ranks: &[u32]) -> bool {
    (1..=ranks.iter().copied().max().unwrap_or(0)).all(|rank| ranks.contains(&rank)) && !ranks.contains(&0)
}
