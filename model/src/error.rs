//! What can go wrong with a model folder or a request.

use data::error::DataError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// An error of this crate. The message says what to do where something can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No model at this path.
    #[error("{path}: no model here: config.json is missing (name a model folder, or a run folder that holds model/)")]
    NoModel {
        /// The path as given.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Weights could not be written.
    #[error("{path}: writing the weights failed: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A JSON file that cannot be parsed, or lacks a field.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why, with line and column.
        source: serde_json::Error,
    },
    /// A value in config.json that is missing, wrong, or means something this network does not do.
    #[error("{path}: {key}: {reason}")]
    Config {
        /// The config.json; empty for a shape that comes from elsewhere.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that is not safetensors.
    #[error("{path}: not a readable safetensors file: {reason}")]
    Weights {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An index of shards that does not fit its shards.
    #[error("{path}: {reason}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Weights as a pickle.
    #[error(
        "{path}: pickled weights are not read, because reading a pickle runs whatever program is in it. Where you trust the file, convert it \
         once: python -c \"from transformers import AutoModelForCausalLM as M; M.from_pretrained('FOLDER').save_pretrained('NEW')\" \
         (AutoModelForSequenceClassification for a reward model)"
    )]
    Pickle {
        /// The file.
        path: PathBuf,
    },
    /// A tensor is missing from the weights.
    #[error("{path}: tensor {name} is missing (found {found} tensors, for example {example}); {}", crate::names::advice(.name))]
    MissingTensor {
        /// The folder.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// Number of tensors there.
        found: usize,
        /// One of them.
        example: String,
    },
    /// A tensor of another shape than config.json says.
    #[error("{path}: tensor {name} has shape {got:?}, config.json asks for {want:?}")]
    Shape {
        /// The folder.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// Its shape.
        got: Vec<i64>,
        /// The shape that the configuration asks for.
        want: Vec<i64>,
    },
    /// A tensor of a data type that is not read.
    #[error("{path}: tensor {name} is {dtype}: only F32, F16, BF16 and F64 weights are read (convert quantised weights first)")]
    Dtype {
        /// The folder.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// Tensors that the network has no place for.
    #[error("{path}: {count} tensors have no place in this network, for example {example}: another architecture than config.json's?")]
    UnknownTensors {
        /// The folder.
        path: PathBuf,
        /// How many.
        count: usize,
        /// One of them.
        example: String,
    },
    /// No memory for what generation remembers.
    #[error(
        "keys and values of {slots} sequences of {columns} tokens take {gib:.1} GiB, which cannot be had: write fewer at a time, or shorter ones"
    )]
    NoRoom {
        /// Sequences at a time.
        slots: i64,
        /// Tokens of each, at most.
        columns: i64,
        /// Their memory.
        gib: f64,
    },
    /// A request that the model cannot serve.
    #[error("{0}")]
    Input(String),
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] tch::TchError),
    /// The native shim refused.
    #[error(transparent)]
    Native(#[from] native::NativeError),
}

/// Whether an error of this crate or of `data` is the user's input (exit code 2); `None` of others.
pub fn is_input(error: &(dyn std::error::Error + 'static)) -> Option<bool> {
    let ours = || error.downcast_ref::<ModelError>().map(ModelError::is_input);
    error.downcast_ref::<DataError>().map(DataError::is_input).or_else(ours)
}

impl ModelError {
    /// True when the user's input is wrong (exit code 2) rather than the machine or this program (exit code 1).
    pub fn is_input(&self) -> bool {
        match self {
            ModelError::Io { source, .. } | ModelError::Write { source, .. } => {
                matches!(source.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied)
            }
            ModelError::Torch(_) | ModelError::Native(_) => false,
            _ => true,
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ModelError {
        let path = path.to_path_buf();
        move |source| ModelError::Io { path, source }
    }

    pub(crate) fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> ModelError {
        let path = path.to_path_buf();
        move |source| ModelError::Json { path, source }
    }
}
