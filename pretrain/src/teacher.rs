//! The teacher of a distillation: a network that reads the student's windows and says what it would expect at the predicted places.

use crate::network::{Network, Window};
use crate::setup::load;
use anyhow::{Context, Result, bail, ensure};
use data::config::{Distill, PretrainConfig};
use data::tokenizer::Tokenizer;
use model::lineage::Parent;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor, no_grad};

/// A teacher and how much it counts.
#[derive(Debug)]
pub struct Teacher {
    network: Network,
    how: Distill,
}

/// The teacher's folder, where there is one.
fn folder(how: &Distill) -> Result<Option<PathBuf>> {
    how.on().map(|d| model::resolve(Path::new(&d.teacher))).transpose().with_context(|| format!("distill.teacher = {:?}", how.teacher))
}

/// The teacher as a parent of the student.
pub fn parent(how: &Distill) -> Result<Option<Parent>> {
    Ok(folder(how)?.map(|folder| Parent::new("distill.teacher", &folder)).transpose()?)
}

impl Teacher {
    /// The teacher for this student, in its precision; `None` where there is none.
    pub fn open(c: &PretrainConfig, student: &Network, tokenizer: &Tokenizer, precision: Kind, device: Device) -> Result<Option<Teacher>> {
        let Some(folder) = folder(&c.distill)? else { return Ok(None) };
        let teacher = || -> Result<Teacher> {
            if let Some(gap) = tokenizer.vocabulary_gap(&Tokenizer::load(&folder)?) {
                bail!("teacher and student must share a vocabulary: {gap} (give the student the teacher's: tokenizer.kind = \"file\")");
            }
            let mut network = load(c, &folder, None, tokenizer, device)?;
            network.prepare(precision, 0.0, false);
            let (theirs, ours) = (network.context(), student.context());
            ensure!(theirs >= ours, "the teacher reads {theirs} tokens at most, the student {ours}: take model.context = {theirs} or less");
            let rows = |n: &Network| n.output().weight.size()[0];
            ensure!(rows(&network) == rows(student), "the teacher's head has {} tokens, the student's {}", rows(&network), rows(student));
            Ok(Teacher { network, how: c.distill.clone() })
        };
        teacher().with_context(|| format!("distill.teacher = {:?}", c.distill.teacher)).map(Some)
    }

    /// The teacher's states at the predicted places, `[N, D']`; masks are the student's.
    pub fn states(&self, windows: &[Window], seed: u64, device: Device) -> Tensor {
        no_grad(|| self.network.states(windows, seed, device, false).0)
    }

    /// What the loss reads.
    pub fn says<'a>(&'a self, states: &'a Tensor) -> loss::distill::Teacher<'a> {
        loss::distill::Teacher { states, output: self.network.output(), temperature: self.how.temperature, weight: self.how.weight }
    }

    /// The loss that is learnt, of its two parts.
    pub fn mix(&self, nll: f64, divergence: f64) -> f64 {
        (1.0 - self.how.weight) * nll + self.how.weight * divergence
    }
}
