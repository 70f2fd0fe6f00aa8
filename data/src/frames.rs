//! The input shapes of GPT-1 (Radford et al. 2018, "Improving language understanding by generative pre-training", section 3.3 and figure 1): a row becomes one
//! sequence or several, each begun by a start token and ended by an extract token, whose state the classifier reads.
//!
//! ```text
//! classification    start text extract
//! entailment        start premise delimiter hypothesis extract
//! similarity        start a delimiter b extract, start b delimiter a extract
//! multiple choice   start context delimiter choice extract, for each choice
//! ```
//!
//! Texts are tokenised apart from one another, and special tokens inside them are ordinary characters: so a row's sequences can stand end to end and be cut
//! apart again behind each extract token.

use crate::config::{InputShape, Target};
use crate::error::DataError;
use crate::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};

/// Names of the start, delimiter and extract tokens.
pub const MARKS: [&str; 3] = ["<|start|>", "<|delimiter|>", "<|extract|>"];

/// How rows become sequences, and what is read from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Input shape.
    pub kind: InputShape,
    /// What is predicted.
    pub target: Target,
    /// Begins a sequence.
    #[serde(rename = "start_token_id")]
    pub start: u32,
    /// Stands between two texts.
    #[serde(rename = "delimiter_token_id")]
    pub delimiter: u32,
    /// Ends a sequence: the classifier reads the state here.
    #[serde(rename = "extract_token_id")]
    pub extract: u32,
}

impl Frame {
    /// Of a tokenizer that has [`MARKS`]; `None` where it lacks one.
    pub fn of(tokenizer: &Tokenizer, kind: InputShape, target: Target) -> Option<Frame> {
        let [start, delimiter, extract] = MARKS.map(|name| tokenizer.token_to_id(name));
        Some(Frame { kind, target, start: start?, delimiter: delimiter?, extract: extract? })
    }

    /// Whether a row has the parts that its shape asks for; else what is missing.
    pub fn check(&self, second: Option<&str>, choices: &[String]) -> Result<(), String> {
        match self.kind {
            InputShape::Entailment | InputShape::Similarity if second.is_none() => Err("the second text is missing".into()),
            InputShape::Choice if choices.len() < 2 => Err(format!("{} choices: there must be at least two", choices.len())),
            InputShape::Choice if choices.iter().any(|c| c.trim().is_empty()) => Err("a choice is empty".into()),
            _ => Ok(()),
        }
    }

    /// The response as it is compared: a class as it stands, a number that is one, the number of a choice from 0.
    pub fn label(&self, response: &str, choices: &[String]) -> Result<String, String> {
        match (self.kind, self.target) {
            (InputShape::Choice, _) => {
                let number = response.parse::<usize>().ok().filter(|&i| i < choices.len());
                let place = number.or_else(|| choices.iter().position(|choice| choice.trim() == response));
                place
                    .map(|i| i.to_string())
                    .ok_or_else(|| format!("{response:?} is neither a choice nor a number from 0 to {}", choices.len() - 1))
            }
            (_, Target::Number) => match response.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(response.to_string()),
                _ => Err(format!("{response:?} is not a finite number")),
            },
            (_, Target::Class) => Ok(response.to_string()),
        }
    }

    /// The sequences of a row that [`Frame::check`] has passed, end to end.
    pub fn ids(&self, tokenizer: &Tokenizer, text: &str, second: Option<&str>, choices: &[String]) -> Result<Vec<u32>, DataError> {
        let first = tokenizer.encode(text)?;
        let mut ids = Vec::new();
        let mut put = |a: &[u32], b: Option<&[u32]>| {
            ids.push(self.start);
            ids.extend(a);
            if let Some(b) = b {
                ids.push(self.delimiter);
                ids.extend(b);
            }
            ids.push(self.extract);
        };
        let second = second.map(|text| tokenizer.encode(text)).transpose()?;
        match self.kind {
            InputShape::Classification | InputShape::Entailment => put(&first, second.as_deref()),
            InputShape::Similarity => {
                let second = second.unwrap_or_default();
                put(&first, Some(&second));
                put(&second, Some(&first));
            }
            InputShape::Choice => {
                for choice in choices {
                    put(&first, Some(&tokenizer.encode(choice)?));
                }
            }
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: InputShape, target: Target) -> (Tokenizer, Frame) {
        let tokenizer = Tokenizer::byte().unwrap().with_special(&MARKS).unwrap();
        let frame = Frame::of(&tokenizer, kind, target).unwrap();
        (tokenizer, frame)
    }

    #[test]
    fn the_four_shapes_stand_as_in_the_paper() {
        let choices = ["b".to_string(), "cc".to_string()];
        let shown = |kind, second| {
            let (tokenizer, frame) = frame(kind, Target::Class);
            let ids = frame.ids(&tokenizer, "a", second, &choices).unwrap();
            tokenizer.decode(&ids, false).unwrap().replace("<|start|>", "[").replace("<|delimiter|>", "/").replace("<|extract|>", "]")
        };
        assert_eq!(shown(InputShape::Classification, None), "[a]");
        assert_eq!(shown(InputShape::Classification, Some("z")), "[a/z]");
        assert_eq!(shown(InputShape::Entailment, Some("z")), "[a/z]");
        assert_eq!(shown(InputShape::Similarity, Some("z")), "[a/z][z/a]");
        assert_eq!(shown(InputShape::Choice, None), "[a/b][a/cc]");
    }

    #[test]
    fn marks_are_new_tokens_behind_all_others_and_ordinary_in_a_text() {
        let plain = Tokenizer::byte().unwrap();
        let (tokenizer, frame) = frame(InputShape::Classification, Target::Class);
        let first = plain.vocab_size() as u32;
        assert_eq!([frame.start, frame.delimiter, frame.extract], [first, first + 1, first + 2]);
        assert_eq!(tokenizer.vocab_size(), plain.vocab_size() + 3);
        assert_eq!(tokenizer.encode("<|extract|>").unwrap(), plain.encode("<|extract|>").unwrap());
        assert_eq!(tokenizer.encode("abc").unwrap(), plain.encode("abc").unwrap());
        let again = tokenizer.clone().with_special(&MARKS).unwrap();
        assert_eq!((again.vocab_size(), again.hash()), (tokenizer.vocab_size(), tokenizer.hash()));
        let dir = tempfile::tempdir().unwrap();
        tokenizer.save(dir.path()).unwrap();
        assert_eq!(Frame::of(&Tokenizer::load(dir.path()).unwrap(), frame.kind, frame.target), Some(frame));
        assert_eq!(Frame::of(&plain, frame.kind, frame.target), None);
    }

    #[test]
    fn what_a_shape_lacks_is_named() {
        let choices = ["x".to_string(), "y".to_string()];
        let (_, choice) = frame(InputShape::Choice, Target::Class);
        assert!(choice.check(None, &choices[..1]).is_err() && choice.check(None, &choices).is_ok());
        assert_eq!(choice.label("1", &choices).as_deref(), Ok("1"));
        assert_eq!(choice.label("y", &choices).as_deref(), Ok("1"));
        assert!(choice.label("2", &choices).is_err());
        let (_, similarity) = frame(InputShape::Similarity, Target::Number);
        assert!(similarity.check(None, &[]).is_err());
        assert!(similarity.label("3.5", &[]).is_ok() && similarity.label("high", &[]).is_err() && similarity.label("NaN", &[]).is_err());
    }
}
