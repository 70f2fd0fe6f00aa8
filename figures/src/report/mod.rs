//! The report of a whole pipeline or of one run: reads what each stage wrote, computes what needs computing, writes `report.json` and a page.
//! Numbers come from the runs only; what is not there is reported as missing.

mod charts;
pub mod facts;
pub mod heatmap;
pub mod html;
mod notes;
mod read;
mod run_page;
mod samples;
pub mod svg;
mod terminal;
pub mod token_rewards;
pub mod tokens;

pub use read::{Alarm, StageRun, read_run, stage_of};
pub use run_page::write_run;
pub use samples::{Comparison, SideBySide};

use polars::prelude::PolarsError;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Why a report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The operating system refused.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// "read" or "write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No stage left anything in the folder.
    #[error("{}: no run in this folder: it should hold pretrain, sft, reward or ppo, each with metrics.jsonl or summary.json", .path.display())]
    NoRuns {
        /// The folder.
        path: PathBuf,
    },
    /// The folder is not a run's.
    #[error("{}: no run in this folder: it should hold metrics.jsonl or summary.json (a whole pipeline is reported with --runs)", .path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// A file of a run is not what it should be.
    #[error("{}, line {line}: not a JSON object: {detail}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// 1-based line.
        line: usize,
        /// The parser's words.
        detail: String,
    },
    /// A table could not be computed.
    #[error("computing the report")]
    Table(#[from] PolarsError),
}

impl ReportError {
    /// True when what was given is wrong (exit code 2) rather than this program or the machine.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            ReportError::NoRuns { .. } | ReportError::NoRun { .. } | ReportError::Damaged { .. } | ReportError::Io { action: "read", .. }
        )
    }
}

/// A pipeline's report, or that of one run.
#[derive(Debug)]
pub struct Report {
    /// Name of the recipe (the folder's) or of the run.
    pub recipe: String,
    /// What becomes `report.json`: `recipe`, `status` per stage, and one object a stage that left anything.
    pub json: Map<String, Value>,
    /// What each stage left, in the order of the pipeline.
    pub stages: Vec<StageRun>,
    /// Per PPO run, its answers beside the SFT model's.
    pub comparisons: BTreeMap<String, Comparison>,
}

impl Report {
    /// Reads `runs/<recipe>` and computes.
    pub fn build(runs: &Path) -> Result<Report, ReportError> {
        let recipe = runs.canonicalize().ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned())).unwrap_or_default();
        Report::of(recipe, read::read_runs(runs)?)
    }

    /// Reads one run folder and computes.
    pub fn build_run(dir: &Path) -> Result<Report, ReportError> {
        let run = read::read_run(dir)?;
        Report::of(run.name.clone(), vec![run])
    }

    fn of(recipe: String, stages: Vec<StageRun>) -> Result<Report, ReportError> {
        let mut json = Map::new();
        json.insert("recipe".into(), json!(recipe));
        json.insert("status".into(), stages.iter().map(|s| (s.name.clone(), json!(s.status()))).collect::<Map<_, _>>().into());
        let mut comparisons = BTreeMap::new();
        for stage in stages.iter().filter(|s| s.is_present()) {
            let mut object = stage.summary.clone().unwrap_or_default();
            if let Some(metrics) = &stage.metrics {
                for (key, value) in facts::from_metrics(metrics)? {
                    object.entry(key).or_insert(value); // what the stage itself said stands
                }
            }
            if let (Some(rows), "ppo") = (&stage.samples, stage.stage) {
                let comparison = samples::compare(rows)?;
                for (key, value) in comparison.keys.clone() {
                    object.entry(key).or_insert(value);
                }
                object.insert("samples".into(), json!(samples::spread(&comparison.side_by_side, 3)));
                comparisons.insert(stage.name.clone(), comparison);
            }
            let notes: Vec<&String> = stage.notes.iter().chain(comparisons.get(&stage.name).into_iter().flat_map(|c| &c.notes)).collect();
            if !notes.is_empty() {
                object.insert("notes".into(), json!(notes));
            }
            json.insert(stage.name.clone(), Value::Object(object));
        }
        Ok(Report { recipe, json, stages, comparisons })
    }

    /// What a person reads in the terminal.
    pub fn table(&self) -> String {
        terminal::render(self)
    }

    /// A page that needs nothing but itself.
    pub fn html(&self) -> Result<String, ReportError> {
        html::render(self)
    }

    /// Writes `report.json` and `report.html` beside the runs, each by one rename, and returns their paths.
    pub fn write(&self, runs: &Path) -> Result<[PathBuf; 2], ReportError> {
        let mut text = serde_json::to_string_pretty(&self.json).unwrap_or_default(); // a map of JSON values always prints
        text.push('\n');
        let paths = [runs.join("report.json"), runs.join("report.html")];
        for (path, content) in paths.iter().zip([text, self.html()?]) {
            replace(path, &content)?;
        }
        Ok(paths)
    }
}

/// Writes a file by one rename.
pub fn replace(path: &Path, content: &str) -> Result<(), ReportError> {
    let part = path.with_extension("part");
    let written = std::fs::write(&part, content).and_then(|()| std::fs::rename(&part, path));
    written.map_err(|source| ReportError::Io { action: "write", path: path.to_path_buf(), source })
}
