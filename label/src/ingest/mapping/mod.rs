//! Any rows, by a small TOML file that says which columns hold what.
//!
//! ```toml
//! prompt = "{instruction}[[\n\n{input}]]"          # a column, or a template of columns; what stands in [[ ]] goes where one of its columns is empty
//! answers = ["response1", "response2"]             # K columns, or one that holds a list
//! authors = ["model_a", "model_b"]
//!
//! [[judgments]]                                    # each gives one judgment a row; without any the rows are items to be judged
//! choice = "preference"
//! values = { a = [1, 2], b = [2, 1], tie = [1, 1] } # the ranks that each value means
//! judge = "evaluator"
//! ```
//!
//! [`Mapping`] has all the keys.

mod cells;
mod read;
mod template;

use super::times::Form;
use super::{Head, Reader, Sink};
use anyhow::Context;
use data::error::SourceError;
use data::labels::Kind;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use template::Template;

/// One line for the help and the documentation.
pub const ABOUT: &str = "any rows, with --mapping FILE.toml that says which columns hold what";

/// The reader that the file describes. It knows every file as its own ([`Reader::detect`] is 100).
pub fn load(path: &Path) -> anyhow::Result<Box<dyn Reader>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading the mapping {}", path.display()))?;
    let wrong = |why: String| crate::exit::input(format!("the mapping {}: {why}", path.display()));
    let mapping: Mapping = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    Ok(Box::new(ByMapping { plan: read::Plan::new(&mapping).map_err(wrong)? }))
}

struct ByMapping {
    plan: read::Plan,
}

impl Reader for ByMapping {
    fn name(&self) -> &'static str {
        "mapping"
    }

    fn about(&self) -> &'static str {
        ABOUT
    }

    fn detect(&self, _: &Head) -> u8 {
        100
    }

    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        self.plan.read(file, sink)
    }
}

/// A mapping file. Columns of nested JSON are reached with dots (`completions.0.text`). Wherever a template is allowed, a text without braces is a
/// column's name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mapping {
    /// What was asked: a template. Either this or `messages`.
    pub prompt: Option<String>,
    /// What was asked: a column that holds a conversation.
    pub messages: Option<String>,
    /// What stands before the prompt as the system's turn: a template.
    pub system: Option<String>,
    /// The answers: K columns, or one that holds a list of texts.
    pub answers: Vec<String>,
    /// Who wrote each answer: K columns, or one that holds a list.
    pub authors: Vec<String>,
    /// The item's key: a template. A hash of prompt and answers where absent.
    pub item: Option<String>,
    /// Rows that stay together in a split: a template. The prompt where absent.
    pub group: Option<String>,
    /// Rows that the judge passed on.
    pub skip: Vec<Skip>,
    /// The judgments of a row, one each.
    pub judgments: Vec<Judged>,
}

/// A row on which the judge passed; its judgments are of the kind `skipped`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Skip {
    /// The column to look at.
    pub column: String,
    /// Any of these values. An empty text is an empty cell.
    pub is: Vec<String>,
    /// Why, for the judgment's comment.
    pub reason: String,
}

/// One judgment of a row. At most one of `scores`, `ranks` and `choice`; with none of them the row is an item to be judged, or of the `kind` said.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Judged {
    /// `demonstration`, `rating`, `open`: where it does not follow from the rest.
    pub kind: Option<String>,
    /// What was judged, where a source judges several things: `quality`. It becomes part of the item's key, so that judgments of different things
    /// are not taken for contradictions.
    pub aspect: Option<String>,
    /// A score for each answer: K columns, or one that holds a list. Answers with an empty score are left out.
    pub scores: Vec<String>,
    /// A rank for each answer.
    pub ranks: Vec<String>,
    /// Whether the `higher` or the `lower` number is better. Higher for scores, lower for ranks where absent.
    pub better: Option<Better>,
    /// A column that says which answer is best.
    pub choice: Option<String>,
    /// What the values of `choice` mean. Where there are none, the value is the number of the best answer.
    pub values: BTreeMap<String, Verdict>,
    /// `choice` may go on after the value ("Text 2, because..."): the longest value that it begins with counts.
    pub begins: bool,
    /// The number of the first answer, where `choice` is a number: 1 or 0.
    pub first: Option<u32>,
    /// Who judged: a template.
    pub judge: Option<String>,
    /// Who judged, where no column says so.
    pub judge_name: Option<String>,
    /// Column of the time at which the judging began.
    pub started: Option<String>,
    /// Column of the time at which it ended.
    pub ended: Option<String>,
    /// How times are written: `iso`, `unix`, `unix-ms`, `mturk`, or strptime's pattern (UTC where it has no zone).
    pub times: Option<String>,
    /// Column of the seconds that it took; the time between both ends where absent.
    pub seconds: Option<String>,
    /// Column that says how sure the judge was.
    pub confidence: Option<String>,
    /// Its least and its greatest value.
    pub confidence_range: Option<[f64; 2]>,
    /// Column of the weight.
    pub weight: Option<String>,
    /// What the judge wrote beside it: a template.
    pub comment: Option<String>,
    /// Marks: texts with columns in braces. One with an empty column is left out; one without braces is a mark of every judgment, such as `gold`.
    pub flags: Vec<String>,
}

/// Which number is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// The higher.
    Higher,
    /// The lower.
    Lower,
}

/// What a value of `choice` means.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Verdict {
    /// The ranks of the answers, 1 is best.
    Ranks(Vec<u32>),
    /// `skip`, or `reject-all`.
    Word(String),
    /// Scores (the ranks follow from them, and a loss with margins sees how strong the preference is), or ranks with a confidence.
    Table(Meaning),
}

/// A verdict in full.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Meaning {
    /// The ranks of the answers.
    pub ranks: Vec<u32>,
    /// Their scores, higher is better.
    pub scores: Vec<f32>,
    /// From 0 to 1.
    pub confidence: Option<f32>,
    /// Marks.
    pub flags: Vec<String>,
}

/// The kind of a name, for messages about `kind`.
fn kind_of(name: &str) -> Result<Kind, String> {
    let allowed = [Kind::Demonstration, Kind::Rating, Kind::Ranking, Kind::Open];
    allowed
        .into_iter()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| format!("kind {name:?} is none of demonstration, rating, ranking, open"))
}

/// The template of an optional key.
fn template(key: &str, text: &Option<String>) -> Result<Option<Template>, String> {
    text.as_deref().map(|text| Template::new(text).map_err(|why| format!("{key}: {why}"))).transpose()
}

/// The form of time of an optional key.
fn form(text: &Option<String>) -> Result<Form, String> {
    text.as_deref().map_or(Ok(Form::Iso), |text| Form::of(text).map_err(|why| format!("times: {why}")))
}
