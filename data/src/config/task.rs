//! Configuration of a task for `evaluate tasks`.

use super::common::Source;
use super::preset::StageConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A task that a language model solves by likelihood, untrained. Texts are Jinja templates over a row's fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskConfig {
    /// Name in the results; the file's name when empty.
    pub name: String,
    /// What is measured.
    pub kind: TaskKind,
    /// The rows to be scored.
    pub source: Source,
    /// The rows that examples are drawn from; those to be scored where its path is empty (an item is never its own example).
    pub examples: Source,
    /// A field: examples have the same value in it as the item. Empty: any row may be an example.
    pub group: String,
    /// How examples are drawn.
    pub draw: Draw,
    /// Stands once before everything else. A plain text, no template.
    pub description: String,
    /// Template of what the model is given. Not for kind `perplexity`.
    pub text: String,
    /// Template of what is right: the document (`perplexity`), the words that follow (`cloze`), the right choice's number from 0 or its text (`choice`).
    pub target: String,
    /// Templates of the choices, for kind `choice`.
    pub choices: Vec<String>,
    /// A field that holds the list of choices, instead of `choices`.
    pub choice_field: String,
    /// Stands between text and target.
    pub target_delimiter: String,
    /// Stands after each example.
    pub example_delimiter: String,
}

impl Default for TaskConfig {
    fn default() -> Self {
        TaskConfig {
            name: String::new(),
            kind: TaskKind::default(),
            source: Source::default(),
            examples: Source::default(),
            group: String::new(),
            draw: Draw::default(),
            description: String::new(),
            text: String::new(),
            target: String::new(),
            choices: vec![],
            choice_field: String::new(),
            target_delimiter: " ".into(),
            example_delimiter: "\n\n".into(),
        }
    }
}

impl StageConfig for TaskConfig {}

/// What a task measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// Perplexity of whole documents, a word and a byte.
    Perplexity,
    /// The likelihood of what follows, and whether the model would have written it greedily (LAMBADA).
    Cloze,
    /// The likeliest of several continuations, by sum and by length.
    #[default]
    Choice,
}

/// How examples are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Draw {
    /// Anew for each item, by the seed.
    #[default]
    Random,
    /// The first ones.
    First,
}
