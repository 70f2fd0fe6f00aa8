//! A config.json under reading.

use super::Activation;
use crate::error::ModelError;
use serde_json::{Map, Value};
use std::path::Path;

/// A config.json under reading: every complaint names file and key.
pub(crate) struct Reader<'a> {
    pub raw: &'a Map<String, Value>,
    pub path: &'a Path,
}

impl Reader<'_> {
    pub fn fail<T>(&self, key: &str, reason: impl Into<String>) -> Result<T, ModelError> {
        Err(ModelError::Config { path: self.path.to_path_buf(), key: key.into(), reason: reason.into() })
    }

    /// The value, with JSON's null as absent.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.raw.get(key).filter(|v| !v.is_null())
    }

    pub fn size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        match self.get(key).map(Value::as_u64) {
            None => Ok(None),
            Some(Some(n)) => Ok(Some(n as usize)),
            Some(None) => self.fail(key, format!("{} is not a whole number", self.raw[key])),
        }
    }

    pub fn need(&self, key: &str) -> Result<usize, ModelError> {
        match self.size(key)? {
            Some(n) => Ok(n),
            None => self.fail(key, "is missing"),
        }
    }

    pub fn number_or_null(&self, key: &str) -> Result<Option<f64>, ModelError> {
        match self.get(key).map(Value::as_f64) {
            None => Ok(None),
            Some(Some(x)) => Ok(Some(x)),
            Some(None) => self.fail(key, format!("{} is not a number", self.raw[key])),
        }
    }

    pub fn number(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        Ok(self.number_or_null(key)?.unwrap_or(default))
    }

    pub fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(key).map(Value::as_bool) {
            None => Ok(default),
            Some(Some(x)) => Ok(x),
            Some(None) => self.fail(key, format!("{} is neither true nor false", self.raw[key])),
        }
    }

    /// One token id, or a list of them.
    pub fn tokens(&self, key: &str) -> Result<Vec<u32>, ModelError> {
        let one = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        let ids = match self.get(key) {
            None => Some(vec![]),
            Some(Value::Array(list)) => list.iter().map(one).collect(),
            Some(v) => one(v).map(|id| vec![id]),
        };
        ids.map_or_else(|| self.fail(key, format!("{} is no token id", self.raw[key])), Ok)
    }

    /// Names of the classes in the order of their numbers; `None` where `architectures` names no classifier.
    pub fn classes(&self) -> Result<Option<Vec<String>>, ModelError> {
        let architecture = self.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str).unwrap_or_default();
        if !architecture.ends_with("ForSequenceClassification") {
            return Ok(None);
        }
        let Some(names) = self.get("id2label").and_then(Value::as_object) else {
            let n = self.size("num_labels")?.unwrap_or(2); // transformers' own default
            return Ok(Some((0..n).map(|i| format!("LABEL_{i}")).collect()));
        };
        let name = |i: usize| names.get(&i.to_string()).and_then(Value::as_str).map(str::to_string);
        match (0..names.len()).map(name).collect::<Option<Vec<String>>>() {
            Some(classes) => Ok(Some(classes)),
            None => self.fail("id2label", "must name the classes 0, 1, 2 and so on"),
        }
    }

    /// Refuses a classifier whose outputs transformers does not take for the logits of one class among several.
    pub fn single_label(&self) -> Result<(), ModelError> {
        match self.get("problem_type") {
            Some(kind) if *kind != "single_label_classification" => {
                self.fail("problem_type", format!("{kind} is not built in: \"single_label_classification\" is"))
            }
            _ => Ok(()),
        }
    }

    pub fn activation(&self, key: &str, default: &str) -> Result<Activation, ModelError> {
        match self.get(key).and_then(Value::as_str).unwrap_or(default) {
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate" => Ok(Activation::GeluTanh),
            "gelu" | "gelu_python" => Ok(Activation::Gelu),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            other => self.fail(key, format!("{other:?} is not built in: gelu_new, gelu, relu or silu are")),
        }
    }
}
