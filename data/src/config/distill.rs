//! Learning from a teacher's distribution.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A teacher whose distribution over the next token is learnt beside the text (Hinton et al., arXiv 1503.02531): the loss of a token is
/// (1 − weight)·cross-entropy + weight·T²·KL(teacher at temperature T ‖ student at T).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Distill {
    /// Run folder or Hugging Face model folder of the teacher, with the student's tokenizer; empty for none.
    pub teacher: String,
    /// Temperature T that both distributions are taken at.
    pub temperature: f64,
    /// Share of the teacher in the loss (0 to 1).
    pub weight: f64,
}

impl Default for Distill {
    fn default() -> Self {
        Distill { teacher: String::new(), temperature: 2.0, weight: 0.5 }
    }
}

impl Distill {
    /// Itself where there is a teacher.
    pub fn on(&self) -> Option<&Distill> {
        (!self.teacher.is_empty()).then_some(self)
    }
}
