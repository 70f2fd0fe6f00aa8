//! `label pull`: what labellers said in a project, as a table of judgments.
//!
//! Tasks come page by page and are read by the reader of `label ingest`. With the table of items that was pushed, each judgment gets back what was kept
//! from the labellers: authors, the conversation as it was, group, the order of the answers, why the item was chosen.

use super::client::{Client, StudioError};
use super::tasks::Items;
use super::{PullArgs, project};
use crate::exit::input;
use crate::ingest::store::Store;
use crate::ingest::{Sink, label_studio};
use anyhow::{Context, Result};
use data::config::Quarantine;
use data::error::SourceError;
use data::labels::{Judgment, Kind, flag};
use data::quarantine::Reason;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Fields of tasks that are read: all, since `include` would cut the annotations down to their numbers.
const FIELDS: &str = "all";
/// Units allowed that are no judgments: a share of all, and always a few.
const LIMITS: Quarantine = Quarantine { max_fraction: 0.05, always_allow: 10 };

/// What a pull read: every unit is a judgment, rejected, or a task that nobody has judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Tasks of the project.
    pub tasks: u64,
    /// Tasks without an annotation.
    pub open: u64,
    /// Judgments by kind.
    pub kinds: BTreeMap<Kind, u64>,
    /// Units in the quarantine.
    pub rejected: u64,
    /// Judges.
    pub judges: usize,
    /// Judgments of items that are not in `--items`, or whose texts were changed.
    pub strangers: u64,
}

/// Reads a project's judgments into the table.
pub async fn pull(args: &PullArgs, client: &Client) -> Result<Pulled> {
    let items = args.items.as_deref().map(Items::read).transpose()?;
    let Some(found) = project::find(client, &args.project).await? else {
        return Err(input(format!("{} has no project named {:?}", client.base(), args.project)));
    };
    let people = people(client).await?;
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} tasks, {eta} left")?);
    // Sorted by number, so that the table is the same however the server orders its pages.
    let mut tasks: BTreeMap<u64, Map<String, Value>> = BTreeMap::new();
    project::each_task(client, found.id, FIELDS, args.page_size.max(1), &mut |task, total| {
        bar.set_length(total);
        bar.inc(1);
        tasks.insert(task["id"].as_u64().unwrap_or_default(), named(task, &people));
        Ok(())
    })
    .await?;
    bar.finish_and_clear();
    let origin = format!("{}/projects/{}", client.base(), found.id);
    let annotated = |task: &Map<String, Value>| task.get("annotations").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    let open = tasks.values().filter(|task| !annotated(task)).count() as u64;
    if open as usize == tasks.len() {
        return Err(input(format!("{origin}: nobody has judged any of the {open} tasks yet")));
    }
    let quarantine = args.quarantine.clone().unwrap_or_else(|| args.out.with_extension("quarantine.jsonl"));
    let mut store = Store::create(&args.out, &quarantine, ProgressBar::hidden())?;
    store.begin(Path::new(&origin), "label-studio", 0)?;
    let mut pulled = Pulled { tasks: tasks.len() as u64, open, ..Pulled::default() };
    let mut judges = std::collections::BTreeSet::new();
    for (id, task) in tasks.iter().filter(|(_, task)| annotated(task)) {
        let item = items.as_ref().and_then(|items| items.find(task.get("data")?.get("item")?.as_str()?));
        let mut restore = Restore { store: &mut store, item, strict: items.is_some(), pulled: &mut pulled, judges: &mut judges };
        label_studio::task(task, *id, &args.buckets, &mut restore).with_context(|| format!("task {id} of {origin}"))?;
    }
    pulled.judges = judges.len();
    store.finish(&LIMITS, None)?;
    say(args, &origin, &pulled, &quarantine);
    Ok(pulled)
}

/// E-mail addresses by users' numbers; where the token's owner may not list the users, their numbers do.
async fn people(client: &Client) -> Result<HashMap<u64, String>, StudioError> {
    let list = match client.get("api/users/").await {
        Err(StudioError::Forbidden { .. } | StudioError::NotFound { .. }) => return Ok(HashMap::new()),
        other => other?,
    };
    let users = list.as_array().into_iter().flatten();
    let named = users.filter_map(|user| Some((user["id"].as_u64()?, user["email"].as_str().filter(|e| !e.is_empty())?.to_string())));
    Ok(named.collect())
}

/// The task as an export has it: annotations in the order of their numbers, with the addresses of those who made them.
fn named(task: &Map<String, Value>, people: &HashMap<u64, String>) -> Map<String, Value> {
    let mut task = task.clone();
    if let Some(Value::Array(annotations)) = task.get_mut("annotations") {
        annotations.sort_by_key(|annotation| annotation["id"].as_u64());
        for annotation in annotations {
            if let Some(email) = annotation["completed_by"].as_u64().and_then(|id| people.get(&id)) {
                annotation["completed_by"] = json!({ "email": email });
            }
        }
    }
    task
}

/// A sink that gives judgments back what their item has, on the way to the table.
struct Restore<'a> {
    store: &'a mut Store,
    /// The task's item, where it is known.
    item: Option<Judgment>,
    /// There is a table of items, so that an unknown one is worth counting.
    strict: bool,
    pulled: &'a mut Pulled,
    judges: &'a mut std::collections::BTreeSet<String>,
}

impl Sink for Restore<'_> {
    fn keep(&mut self, judgment: Judgment) -> Result<(), SourceError> {
        let whole = self.item.as_ref().and_then(|item| restored(&judgment, item));
        if self.strict && whole.is_none() && matches!(judgment.kind, Kind::Ranking | Kind::Skipped) {
            self.pulled.strangers += 1;
        }
        let judgment = whole.unwrap_or(judgment);
        *self.pulled.kinds.entry(judgment.kind).or_default() += 1;
        self.judges.extend(judgment.judge.clone());
        self.store.keep(judgment)
    }

    fn reject(&mut self, row: u64, reason: Reason, detail: String, raw: &str) -> Result<(), SourceError> {
        self.pulled.rejected += 1;
        self.store.reject(row, reason, detail, raw)
    }

    fn units(&self) -> u64 {
        self.store.units()
    }
}

/// The judgment with the conversation, group, authors and order of answers of its item, if its answers are the item's. The item's scores are a model's
/// and stay there: a ranking's scores are what it was made from.
fn restored(judgment: &Judgment, item: &Judgment) -> Option<Judgment> {
    if !matches!(judgment.kind, Kind::Ranking | Kind::Skipped) {
        return None;
    }
    // Where each of the item's answers stands in the judgment; a partial ranking has fewer.
    let mut free: Vec<usize> = (0..judgment.answers.len()).collect();
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (i, answer) in item.answers.iter().enumerate() {
        if let Some(at) = free.iter().position(|&j| judgment.answers[j] == *answer) {
            places.push((i, free.remove(at)));
        }
    }
    if !free.is_empty() {
        return None;
    }
    fn picked<T: Clone>(list: &Option<Vec<T>>, places: &[(usize, usize)]) -> Option<Vec<T>> {
        list.as_ref().map(|list| places.iter().map(|&(_, j)| list[j].clone()).collect())
    }
    let whole = places.len() == item.answers.len();
    // Gold is the order that the *item's* row has; a labeller's word on it is not.
    let marks = item.flags.iter().filter(|f| *f != flag::GOLD && !judgment.flags.contains(f));
    Some(Judgment {
        item: if whole { item.item.clone() } else { judgment.item.clone() },
        group: item.group.clone(),
        prompt: item.prompt.clone(),
        answers: places.iter().map(|&(i, _)| item.answers[i].clone()).collect(),
        authors: item.authors.as_ref().map(|authors| places.iter().map(|&(i, _)| authors[i].clone()).collect()),
        shown: picked(&judgment.shown, &places),
        ranks: picked(&judgment.ranks, &places),
        scores: picked(&judgment.scores, &places),
        flags: judgment.flags.iter().chain(marks).cloned().collect(),
        ..judgment.clone()
    })
}

fn say(args: &PullArgs, origin: &str, pulled: &Pulled, quarantine: &Path) {
    let kinds: Vec<String> = pulled.kinds.iter().map(|(kind, n)| format!("{n} {}", kind.name())).collect();
    eprintln!(
        "label: {origin}: {} tasks, {} of them not judged yet; {} judges gave {} in {}",
        pulled.tasks,
        pulled.open,
        pulled.judges,
        if kinds.is_empty() { "nothing".to_string() } else { kinds.join(", ") },
        args.out.display()
    );
    if pulled.rejected > 0 {
        eprintln!("label: {} units are no judgments; they are in {}", pulled.rejected, quarantine.display());
    }
    if pulled.strangers > 0 {
        eprintln!("label: {} judgments are of items that --items does not have: their authors are unknown", pulled.strangers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::chat::Message;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|t| t.to_string()).collect()
    }

    #[test]
    fn a_judgment_gets_back_what_was_kept_from_the_labeller() {
        let prompt = vec![Message::new("system", "be short"), Message::new("user", "q")];
        let mut item = Judgment::new(Kind::Open, prompt, texts(&["a", "b", "b"]));
        (item.group, item.authors) = ("g".into(), Some(texts(&["m1", "m2", "m3"])));
        (item.scores, item.flags) = (Some(vec![9.0, 8.0, 7.0]), texts(&["chosen:random", flag::GOLD]));
        let mut said = Judgment::new(Kind::Ranking, vec![Message::new("user", "system: be short\n\nq")], texts(&["b", "a", "b"]));
        (said.ranks, said.shown, said.judge) = (Some(vec![2, 1, 3]), Some(vec![0, 1, 2]), Some("j".into()));
        let whole = restored(&said, &item).unwrap();
        assert_eq!((&whole.prompt, &whole.answers, &whole.item), (&item.prompt, &item.answers, &item.item));
        assert_eq!((whole.ranks, whole.shown), (Some(vec![1, 2, 3]), Some(vec![1, 0, 2])));
        assert_eq!((whole.authors, whole.scores, whole.judge), (item.authors.clone(), None, Some("j".into())));
        assert_eq!((whole.flags, whole.group), (texts(&["chosen:random"]), "g".to_string()));
        // Two of the three: the item is another one, the authors are right all the same.
        let mut partial = Judgment::new(Kind::Ranking, said.prompt.clone(), texts(&["b", "a"]));
        partial.ranks = Some(vec![1, 2]);
        let two = restored(&partial, &item).unwrap();
        assert_eq!((two.answers, two.ranks, two.authors), (texts(&["a", "b"]), Some(vec![2, 1]), Some(texts(&["m1", "m2"]))));
        assert_ne!(two.item, item.item);
        said.answers[0] = "changed".into();
        assert!(restored(&said, &item).is_none());
    }
}
