//! Adapter folders in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`, whose tensors are named `base_model.model.MODULE.lora_A.weight`.

use crate::config::Family;
use crate::error::ModelError;
use crate::files::{self, WeightFiles};
use crate::lora::{Adapters, module_of};
use crate::model::{HeadKind, Model, Parameter};
use crate::names::{self, Names};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";
/// Ways to begin that leave the base as it is. By all others (`pissa`, `olora`, `loftq` and the like) PEFT takes from the base what the adapter begins with.
const PLAIN_INITS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

/// What is read of `adapter_config.json`.
#[derive(Debug, Deserialize)]
struct PeftConfig {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    use_rslora: bool,
    /// The rest: some of it would change the arithmetic.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// The adapter folder that a name means: itself, or the one in a model folder, or in a run folder's.
pub fn resolve_adapter(path: &Path) -> Result<PathBuf, ModelError> {
    let places = [path.to_path_buf(), path.join("adapter"), path.join("model/adapter")];
    let found = places.into_iter().find(|p| p.join(CONFIG).is_file());
    found.ok_or_else(|| ModelError::Config {
        path: path.to_path_buf(),
        key: CONFIG.into(),
        reason: "is missing: no adapter here, nor in adapter/ or model/adapter/".into(),
    })
}

/// An adapter folder that is being read.
pub(crate) struct AdapterFiles {
    path: PathBuf,
    config: PeftConfig,
    files: WeightFiles,
}

/// Opens an adapter folder; refuses kinds of adapters that are not plain LoRA.
pub(crate) fn open(folder: &Path) -> Result<AdapterFiles, ModelError> {
    let path = folder.join(CONFIG);
    let text = std::fs::read_to_string(&path).map_err(ModelError::io(&path))?;
    let config: PeftConfig = serde_json::from_str(&text).map_err(ModelError::json(&path))?;
    let files = AdapterFiles { files: WeightFiles::open_file(folder, WEIGHTS)?, path, config };
    files.check()?;
    Ok(files)
}

impl AdapterFiles {
    pub fn wrong(&self, reason: String) -> ModelError {
        ModelError::Config { path: self.path.clone(), key: "adapter".into(), reason }
    }

    fn check(&self) -> Result<(), ModelError> {
        let c = &self.config;
        let refuse = |key: &str, value: String| {
            let reason = format!("{value}: only plain LoRA is read; merge the adapter with PEFT (merge_and_unload)");
            Err(ModelError::Config { path: self.path.clone(), key: key.into(), reason })
        };
        if c.peft_type != "LORA" {
            return refuse("peft_type", c.peft_type.clone());
        }
        if c.r == 0 {
            return refuse("r", "0".into());
        }
        let is_off = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::String(text) => text == "none",
            _ => false,
        };
        let special = ["bias", "use_dora", "use_qalora", "use_bdlora", "lora_bias", "rank_pattern", "alpha_pattern", "layer_replication"];
        let special = special.iter().chain(&["alora_invocation_tokens", "target_parameters", "trainable_token_indices", "velora_config"]);
        let special = special.chain(&["monteclora_config", "kasa_config", "arrow_config"]);
        for key in special {
            if let Some(value) = c.rest.get(*key).filter(|v| !is_off(v)) {
                return refuse(key, value.to_string());
            }
        }
        match c.rest.get("init_lora_weights") {
            Some(Value::String(how)) if !PLAIN_INITS.iter().any(|plain| how.eq_ignore_ascii_case(plain)) => {
                refuse("init_lora_weights", format!("{how:?}"))
            }
            _ => Ok(()),
        }
    }

    /// The adapters among these modules.
    pub fn adapters(&self, modules: &[String]) -> Result<Adapters, ModelError> {
        let c = &self.config;
        let has = |module: &&String| self.files.has(&format!("{PREFIX}{module}.lora_A.weight"));
        let targets: Vec<String> = modules.iter().filter(has).cloned().collect();
        if targets.is_empty() {
            return Err(self.wrong("no tensor of it belongs to a map of this model: another architecture?".into()));
        }
        let (rank, alpha, dropout) = (c.r, c.lora_alpha, c.lora_dropout);
        Ok(Adapters { rank, alpha, dropout, targets: short(targets, modules), by_root: c.use_rslora, saved: vec![] })
    }

    /// A tensor of an adapter.
    pub fn take(&mut self, name: &str, shape: &[i64], device: Device) -> Result<Tensor, ModelError> {
        self.files.take(&format!("{PREFIX}{name}"), shape, device)
    }

    /// The value of a parameter that goes with the adapter, if there is one.
    pub fn saved(&mut self, p: &Parameter, device: Device) -> Result<Option<Tensor>, ModelError> {
        let name = format!("{PREFIX}{}", p.name);
        if self.files.has(&name) { self.files.take(&name, &p.tensor.size(), device).map(Some) } else { Ok(None) }
    }

    /// The module of an output matrix that goes with the adapter of a model where that is the embedding, `[V, D]` like `tied`, if there is one. PEFT takes the
    /// two apart unless both go with it: one without the other, or another, is refused.
    pub fn tied_head(&mut self, family: Family, tied: &Tensor) -> Result<Option<String>, ModelError> {
        let names = Names::of(family);
        let prefixed = |name: &str| format!("{PREFIX}{name}");
        let embedding = Some(prefixed(names.embedding)).filter(|name| self.files.has(name));
        let head = names::aliases(names.head).find(|name| self.files.has(&prefixed(name)));
        let (size, device) = (tied.size(), tied.device());
        let same = match (embedding, head) {
            (None, None) => return Ok(None),
            (Some(embedding), Some(head)) => {
                let embedding = self.files.take(&embedding, &size, device)?;
                embedding.equal(&self.files.take(&prefixed(head), &size, device)?)
            }
            _ => false,
        };
        if same {
            return Ok(head.map(|name| module_of(name).to_owned()));
        }
        let reason = "PEFT unties the output matrix here: merge the adapter with PEFT (merge_and_unload)".to_owned();
        Err(ModelError::Config { path: self.path.clone(), key: "modules_to_save".into(), reason })
    }

    /// Complains of tensors that nobody took.
    pub fn finish(self) -> Result<(), ModelError> {
        // A head that this model does without.
        self.files.finish(|name| name.ends_with(".score.weight"))
    }
}

/// The last parts of the names alone, where they mean the same modules.
fn short(targets: Vec<String>, modules: &[String]) -> Vec<String> {
    let last = |name: &String| name.rsplit('.').next().unwrap_or(name).to_owned();
    let mut short: Vec<String> = targets.iter().map(last).collect();
    short.sort_unstable();
    short.dedup();
    let meant = modules.iter().filter(|m| short.contains(&last(m))).count();
    if meant == targets.len() { short } else { targets }
}

/// Writes an adapter folder.
pub(crate) fn write(model: &Model, adapters: &Adapters, folder: &Path, base: &Path) -> Result<(), ModelError> {
    std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
    let scalar = model.head() == HeadKind::Scalar;
    let saved = if adapters.saved.is_empty() { Value::Null } else { json!(adapters.saved) };
    let config = json!({
        "peft_type": "LORA",
        "task_type": if scalar { "SEQ_CLS" } else { "CAUSAL_LM" },
        "base_model_name_or_path": base.display().to_string(),
        "r": adapters.rank,
        "lora_alpha": adapters.alpha,
        "lora_dropout": adapters.dropout,
        "use_rslora": adapters.by_root,
        "target_modules": adapters.targets,
        "modules_to_save": saved,
        "fan_in_fan_out": model.config().family == Family::Gpt2,
        "bias": "none",
        "inference_mode": true,
        "init_lora_weights": true,
    });
    files::write_json(&folder.join(CONFIG), &config)?;
    let prefixed = |p: Parameter| Parameter { name: format!("{PREFIX}{}", p.name), ..p };
    let tied = names::aliases(Names::of(model.config().family).head).filter(|_| !scalar && model.config().tied);
    let tied = tied.map(|name| Parameter { name: name.into(), tensor: model.head_weight().shallow_clone(), decay: true, unit: 0 });
    let saved = model.parameters().into_iter().chain(tied).filter(|p| adapters.saved.iter().any(|module| module == module_of(&p.name)));
    let all: Vec<Parameter> = model.adapter_tensors().into_iter().chain(saved).map(prefixed).collect();
    files::write_tensors(folder, WEIGHTS, &all, CONFIG)
}
