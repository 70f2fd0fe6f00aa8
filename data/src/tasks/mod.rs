//! Tasks that a language model solves by likelihood: rows become a context and what may follow it, with K solved examples before.
//!
//! A prompt is what lm-evaluation-harness builds: description, then for each example its text, `target_delimiter`, its target and `example_delimiter`, then the
//! item's text; what follows begins with `target_delimiter` (`cloze`: as the template has it).

mod template;

use crate::config::{Draw, Source, TaskConfig, TaskKind};
use crate::error::DataError;
use crate::quarantine::Quarantine;
use crate::source::{self, Row};
use serde_json::Value;
use std::collections::BTreeMap;
use template::Template;

/// A row of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What the model is given.
    pub text: String,
    /// What is right, in words.
    pub target: String,
    /// The choices; empty unless the kind is `choice`.
    pub choices: Vec<String>,
    /// Which choice is right.
    pub right: usize,
    /// Value of the task's group field.
    group: String,
    /// Its place among the examples, if it is one itself.
    own: Option<usize>,
}

/// A task with its rows.
#[derive(Debug)]
pub struct Task {
    /// Name in the results.
    pub name: String,
    /// The configuration.
    pub config: TaskConfig,
    /// The rows to be scored, in the order of the files.
    pub items: Vec<Item>,
    /// Rows that examples are drawn from.
    examples: Vec<Item>,
    /// Examples by group.
    groups: BTreeMap<String, Vec<usize>>,
}

impl Task {
    /// Reads the rows. `limit` takes the first so many items (0: all). A row that the templates do not fit is an error: a measure over fewer rows would be another
    /// measure.
    pub fn load(name: &str, config: TaskConfig, limit: usize) -> Result<Task, DataError> {
        let templates = Templates::new(&config)?;
        let own = config.examples.path.is_empty();
        let mut items = templates.read(&config.source)?;
        let mut examples = if own { items.clone() } else { templates.read(&config.examples)? };
        for (i, item) in items.iter_mut().enumerate() {
            item.own = if own { Some(i) } else { None };
        }
        if config.kind == TaskKind::Perplexity {
            examples.clear();
        }
        if limit > 0 {
            items.truncate(limit);
        }
        if items.is_empty() {
            let detail = "the task has nothing to score".to_string();
            return Err(DataError::Empty { what: "task", sources: config.source.path.clone(), detail });
        }
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (i, example) in examples.iter().enumerate() {
            groups.entry(example.group.clone()).or_default().push(i);
        }
        let name = if config.name.is_empty() { name } else { &config.name }.to_string();
        Ok(Task { name, config, items, examples, groups })
    }

    /// The context of item `i` after `shots` examples, drawn by `seed`.
    pub fn context(&self, i: usize, shots: usize, seed: u64) -> Result<String, DataError> {
        let item = &self.items[i];
        let mut context = self.config.description.clone();
        for at in self.draw(i, shots, seed)? {
            let example = &self.examples[at];
            context.extend(
                [&example.text, &self.config.target_delimiter, &example.target, &self.config.example_delimiter].map(String::as_str),
            );
        }
        Ok(context + &item.text)
    }

    /// What may follow the context of item `i`; for `cloze` the target alone.
    pub fn continuations(&self, i: usize) -> Vec<String> {
        let item = &self.items[i];
        match self.config.kind {
            TaskKind::Choice => item.choices.iter().map(|choice| self.config.target_delimiter.clone() + choice).collect(),
            TaskKind::Cloze => vec![item.target.clone()],
            TaskKind::Perplexity => vec![],
        }
    }

    /// Places of `shots` different examples for item `i`, never the item itself nor a row that reads the same.
    fn draw(&self, i: usize, shots: usize, seed: u64) -> Result<Vec<usize>, DataError> {
        let item = &self.items[i];
        if shots == 0 {
            return Ok(vec![]);
        }
        let same = |e: &Item| e.text == item.text && e.target == item.target && e.choices == item.choices;
        let pool = self.groups.get(&item.group).map_or(&[] as &[usize], Vec::as_slice);
        let mut pool: Vec<usize> = pool.iter().copied().filter(|&at| Some(at) != item.own && !same(&self.examples[at])).collect();
        if pool.len() < shots {
            let of = if self.config.group.is_empty() { String::new() } else { format!(" with {} = {:?}", self.config.group, item.group) };
            let detail = format!("item {i} of task {}: {shots} examples asked for, there are {}{of}; ask for fewer", self.name, pool.len());
            return Err(DataError::Config { key: "examples".into(), detail });
        }
        if self.config.draw == Draw::Random {
            let (mut by_seed, mut by_item) = (seed, !(i as u64));
            let mut state = next(&mut by_seed) ^ next(&mut by_item).rotate_left(32);
            for place in 0..shots {
                let left = pool.len() - place;
                let other = place + ((u128::from(next(&mut state)) * left as u128) >> 64) as usize;
                pool.swap(place, other);
            }
        }
        pool.truncate(shots);
        Ok(pool)
    }
}

/// SplitMix64 (Steele et al. 2014, doi 10.1145/2660193.2660195).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The compiled templates of a task.
struct Templates<'a> {
    config: &'a TaskConfig,
    text: Template,
    target: Template,
    choices: Vec<Template>,
}

impl Templates<'_> {
    fn new(config: &TaskConfig) -> Result<Templates<'_>, DataError> {
        let wrong = |key: &str, detail: String| DataError::Config { key: key.into(), detail };
        let compile = |key: &str, source: &str| Template::new(source).map_err(|detail| wrong(key, detail));
        if config.target.is_empty() {
            return Err(wrong("target", "is empty: a template of what is right, such as \"{{ label }}\"".into()));
        }
        let given = config.choices.len() + usize::from(!config.choice_field.is_empty());
        match config.kind {
            TaskKind::Choice if given == 0 => return Err(wrong("choices", "is empty: name two or more, or a choice_field".into())),
            TaskKind::Choice if !config.choices.is_empty() && !config.choice_field.is_empty() => {
                return Err(wrong("choice_field", "and `choices` exclude one another".into()));
            }
            TaskKind::Cloze | TaskKind::Perplexity if given > 0 => return Err(wrong("choices", "are for kind = \"choice\"".into())),
            TaskKind::Cloze | TaskKind::Choice if config.text.is_empty() => {
                return Err(wrong("text", "is empty: a template of the context".into()));
            }
            TaskKind::Perplexity if !config.text.is_empty() => {
                return Err(wrong("text", "is not for kind = \"perplexity\": use `target`".into()));
            }
            _ => {}
        }
        let choices = config.choices.iter().map(|c| compile("choices", c)).collect::<Result<_, _>>()?;
        Ok(Templates { config, text: compile("text", &config.text)?, target: compile("target", &config.target)?, choices })
    }

    fn read(&self, source: &Source) -> Result<Vec<Item>, DataError> {
        let folder = tempfile::tempdir().map_err(DataError::io("create", std::path::Path::new("a temporary folder")))?;
        let mut bad = Quarantine::new(folder.path().join("bad.jsonl"));
        let mut items = Vec::new();
        let broken = |row: &Row, detail: String| DataError::Unreadable { path: row.file.to_path_buf(), line: row.line, detail };
        for (file, format) in source::files(source)? {
            source::read_file(&file, format, &source::every_field(format, &source.columns), &mut bad, &mut |row, _| {
                items.push(self.item(&row).map_err(|detail| broken(&row, detail))?);
                Ok(())
            })?;
        }
        let read = items.len() as u64 + bad.rejected();
        if bad.rejected() > 0 {
            let detail =
                format!("{} of {read} rows cannot be read; mend them: a measure over the others would be another measure", bad.rejected());
            return Err(DataError::Empty { what: "task", sources: source.path.clone(), detail });
        }
        Ok(items)
    }

    fn item(&self, row: &Row) -> Result<Item, String> {
        let fields = &row.fields;
        let text = self.text.render(fields)?;
        let target = self.target.render(fields)?;
        let group = match fields.get(&self.config.group) {
            _ if self.config.group.is_empty() => String::new(),
            Some(Value::String(group)) => group.clone(),
            Some(group) => group.to_string(),
            None => return Err(format!("no field {:?}, which `group` names", self.config.group)),
        };
        let mut item = Item { text, target, choices: vec![], right: 0, group, own: None };
        if self.config.kind == TaskKind::Choice {
            item.choices = self.choices(row)?;
            item.right = right(&item.target, &item.choices)?;
            item.target = item.choices[item.right].clone();
        }
        Ok(item)
    }

    fn choices(&self, row: &Row) -> Result<Vec<String>, String> {
        let field = &self.config.choice_field;
        let choices: Vec<String> = if field.is_empty() {
            self.choices.iter().map(|c| c.render(&row.fields)).collect::<Result<_, _>>()?
        } else {
            let list = row.fields.get(field).and_then(Value::as_array);
            let list = list.ok_or_else(|| format!("field {field:?}, which `choice_field` names, is not a list"))?;
            let word = |v: &Value| v.as_str().map(str::to_string).ok_or_else(|| format!("field {field:?} holds {v}, which is not a text"));
            list.iter().map(word).collect::<Result<_, _>>()?
        };
        match choices.iter().position(String::is_empty) {
            Some(i) => Err(format!("choice {i} is empty")),
            None if choices.len() < 2 => Err(format!("{} choice: there must be two or more", choices.len())),
            None => Ok(choices),
        }
    }
}

/// A number is a place from 0, as in lm-evaluation-harness; anything else must be one of the choices.
fn right(target: &str, choices: &[String]) -> Result<usize, String> {
    let place = target.parse::<usize>().ok().or_else(|| choices.iter().position(|c| c == target));
    place.filter(|&at| at < choices.len()).ok_or_else(|| {
        format!(
            "the target {target:?} is neither a number from 0 to {} nor one of the choices {choices:?}",
            choices.len().saturating_sub(1)
        )
    })
}

#[cfg(test)]
mod tests;
