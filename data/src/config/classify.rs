//! What a classifier is asked: the input shapes of GPT-1 (Radford et al. 2018, section 3.3) and the kind of answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a row with `objective = "classify"` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifyTask {
    /// How a row becomes the input.
    pub kind: InputShape,
    /// What the response is.
    pub target: Target,
}

/// How a row becomes the sequences that a classifier reads. An encoder takes the first two alone, in its own frame of begin and end tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InputShape {
    /// Start, prompt, extract; where the row has `second`, as entailment.
    #[default]
    Classification,
    /// Start, prompt (the premise), delimiter, `second` (the hypothesis), extract.
    Entailment,
    /// Prompt and `second` in both orders; the two states at the extract token are added.
    Similarity,
    /// Start, prompt (the context), delimiter, choice, extract: a sequence and a score for each of the choices (columns `answers`), softmax over them. The
    /// response is the right choice's number from 0, or its text.
    Choice,
}

/// What the response of a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The name of a class.
    #[default]
    Class,
    /// A number, predicted by one output with squared error. Not for choices.
    Number,
}
