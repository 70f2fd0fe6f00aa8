//! The teacher of a distillation: a frozen network of the student's kind that reads the student's batch and says what it would expect at the learnt places
//! (`loss::distill`).
//!
//! Shapes: N learnt places, D' width of the teacher, V vocabulary.

use anyhow::{Context, Result, bail, ensure};
use data::config::Distill;
use data::tokenizer::Tokenizer;
use loss::distill;
use loss::lm::Output;
use model::{Student, lineage::Parent};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor, no_grad};

/// A network that can teach another of its kind.
pub trait Teach: Student {
    /// The head, `[V, D']`, unsmoothed.
    fn head(&self) -> Output<'_>;
}

/// A teacher and how much it counts.
#[derive(Debug)]
pub struct Teacher<N> {
    network: N,
    how: Distill,
}

fn named(how: &Distill) -> String {
    format!("distill.teacher = {:?}", how.teacher)
}

/// The teacher's folder, where there is one.
fn folder(how: &Distill) -> Result<Option<PathBuf>> {
    how.on().map(|d| model::resolve(Path::new(&d.teacher))).transpose().with_context(|| named(how))
}

/// The teacher as a parent of the student.
pub fn parent(how: &Distill) -> Result<Option<Parent>> {
    Ok(folder(how)?.map(|folder| Parent::new("distill.teacher", &folder)).transpose()?)
}

impl<N: Teach> Teacher<N> {
    /// The teacher for this student, in its precision, as `load` opens the folder; `None` where there is none. One that the student cannot follow is refused.
    pub fn open(
        how: &Distill,
        student: &N,
        tokenizer: &Tokenizer,
        precision: Kind,
        load: impl FnOnce(&Path) -> Result<N>,
    ) -> Result<Option<Teacher<N>>> {
        let Some(folder) = folder(how)? else { return Ok(None) };
        let open = || -> Result<Teacher<N>> {
            if let Some(gap) = tokenizer.vocabulary_gap(&Tokenizer::load(&folder)?) {
                bail!(
                    "teacher and student must share a vocabulary: {gap} (give the student the teacher's tokenizer, such as by tokenizer.kind = \"file\")"
                );
            }
            let mut network = load(&folder)?;
            network.prepare(precision, 0.0, false);
            let (theirs, ours) = (network.context(), student.context());
            ensure!(
                theirs >= ours,
                "the teacher reads {theirs} tokens at most, the student {ours}: give it a student with a context no longer"
            );
            let rows = |n: &N| n.head().weight.size()[0];
            ensure!(rows(&network) == rows(student), "the teacher's head has {} tokens, the student's {}", rows(&network), rows(student));
            Ok(Teacher { network, how: how.clone() })
        };
        open().with_context(|| named(how)).map(Some)
    }

    /// The teacher's states at the learnt places, `[N, D']`: the first of what `read` gives, without gradients.
    pub fn states(&self, read: impl FnOnce(&N) -> (Tensor, Tensor)) -> Tensor {
        no_grad(|| read(&self.network).0)
    }

    /// What the loss reads.
    pub fn says<'a>(&'a self, states: &'a Tensor) -> distill::Teacher<'a> {
        distill::Teacher { states, output: self.network.head(), temperature: self.how.temperature, weight: self.how.weight }
    }

    /// The loss that is learnt, of its two parts.
    pub fn mix(&self, nll: f64, divergence: f64) -> f64 {
        (1.0 - self.how.weight) * nll + self.how.weight * divergence
    }
}
