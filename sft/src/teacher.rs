//! The teacher of a distillation: a network that reads the student's rows and says what it would expect at the learnt places.

use crate::network::Network;
use anyhow::{Context, Result, bail, ensure};
use data::config::Distill;
use data::demos::Demo;
use data::tokenizer::Tokenizer;
use model::{HeadKind, Kind, Model, Seq2Seq, lineage::Parent};
use std::path::{Path, PathBuf};
use tch::{Device, Tensor, no_grad};

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
    pub fn open(how: &Distill, student: &Network, tokenizer: &Tokenizer, precision: tch::Kind, device: Device) -> Result<Option<Teacher>> {
        let Some(folder) = folder(how)? else { return Ok(None) };
        Teacher::load(how, &folder, student, tokenizer, precision, device)
            .with_context(|| format!("distill.teacher = {:?}", how.teacher))
            .map(Some)
    }

    fn load(
        how: &Distill,
        folder: &Path,
        student: &Network,
        tokenizer: &Tokenizer,
        precision: tch::Kind,
        device: Device,
    ) -> Result<Teacher> {
        if let Some(gap) = tokenizer.vocabulary_gap(&Tokenizer::load(folder)?) {
            bail!("teacher and student must share a vocabulary: {gap} (give the student the teacher's tokenizer)");
        }
        let mut network = match (student, model::kind_of(folder)?) {
            (Network::Decoder(_), Kind::Decoder) => Network::Decoder(Model::load_as(folder, HeadKind::Lm, device)?),
            (Network::Translator(_), Kind::EncoderDecoder) => Network::Translator(Seq2Seq::load(folder, device)?),
            (_, kind) => bail!("a {kind:?} cannot teach this student: both must be decoders, or both encoder-decoders"),
        };
        network.prepare(precision, 0.0, false);
        let (theirs, ours) = (network.context(), student.context());
        ensure!(
            theirs >= ours,
            "the teacher reads {theirs} tokens at most, the student {ours}: give it a student with a context no longer"
        );
        let rows = |n: &Network| n.output(0.0).weight.size()[0];
        ensure!(rows(&network) == rows(student), "the teacher's head has {} tokens, the student's {}", rows(&network), rows(student));
        Ok(Teacher { network, how: how.clone() })
    }

    /// The teacher's states at the learnt places, `[N, D']`.
    pub fn states(&self, demos: &[Demo], sequences: &[&Vec<usize>]) -> Tensor {
        no_grad(|| self.network.states(demos, sequences, false).0)
    }

    /// What the loss reads.
    pub fn says<'a>(&'a self, states: &'a Tensor) -> loss::distill::Teacher<'a> {
        loss::distill::Teacher { states, output: self.network.output(0.0), temperature: self.how.temperature, weight: self.how.weight }
    }

    /// The loss that is learnt, of its two parts.
    pub fn mix(&self, nll: f64, divergence: f64) -> f64 {
        (1.0 - self.how.weight) * nll + self.how.weight * divergence
    }
}
