//! Learning from a teacher's distribution (Hinton et al. 2015, arXiv 1503.02531, section 2).
//!
//! With logits z of the student and t of the teacher, temperature T and weight w, a position's loss is
//!   (1−w)·nll + w·T²·KL(softmax(t/T) ‖ softmax(z/T)),
//! nll smoothed as the student's [`Output`] says. T² keeps the size of the gradient, w·T·(softmax(z/T) − softmax(t/T)), much the same at all T.

use crate::lm::{self, IGNORE, Output};
use tch::{Kind, Tensor};

/// What the teacher has to say.
#[derive(Debug, Clone, Copy)]
pub struct Teacher<'a> {
    /// Its states at the student's positions. `[N, D']`
    pub states: &'a Tensor,
    /// Its head, `[V, D']`; smoothing is not read.
    pub output: Output<'a>,
    /// T.
    pub temperature: f64,
    /// w.
    pub weight: f64,
}

/// Sums over the valid positions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// Negative log-likelihood of what is right, in nats.
    pub nll: f64,
    /// T²·KL from the teacher's distribution, in nats; 0 without a teacher.
    pub divergence: f64,
}

/// [`lm::chunked`] with a teacher, or without. A chunk's logits of both live together, no more. The scalar's backward pass gives the gradient of the mixed loss.
pub fn chunked(
    hidden: &Tensor,
    output: Output<'_>,
    teacher: Option<Teacher<'_>>,
    targets: &Tensor,
    scale: f64,
    chunk: i64,
) -> (Sums, Tensor) {
    let Some(t) = teacher else {
        let (nll, rest) = lm::chunked(hidden, output, targets, scale, chunk);
        return (Sums { nll, divergence: 0.0 }, rest);
    };
    debug_assert_eq!(t.states.size()[0], hidden.size()[0]);
    let states = t.states.detach();
    let weight = t.output.weight.detach().to_kind(states.kind());
    let bias = t.output.bias.map(|b| b.detach().to_kind(states.kind()));
    let mut divergence = 0.0;
    let (nll, rest) = lm::chunked_by(hidden, output, chunk, |logits, start| {
        let rows = logits.size()[0];
        let targets = targets.narrow(0, start, rows);
        let theirs = states.narrow(0, start, rows).linear(&weight, bias.as_ref()); // [n, V]
        let log_softmax = |x: &Tensor| (x.to_kind(Kind::Float) / t.temperature).log_softmax(-1, Kind::Float);
        let (log_p, log_q) = (log_softmax(&theirs), log_softmax(logits));
        let valid = targets.ne(IGNORE).unsqueeze(1); // [n, 1]
        let p = log_p.exp();
        let sum = (&p * (log_p - &log_q) * &valid).sum(Kind::Double).double_value(&[]);
        divergence += sum * t.temperature * t.temperature;
        let softened = (log_q.exp() - p) * valid * (scale * t.weight * t.temperature);
        let nll = lm::smoothed_gradient_in_place(logits, &targets, scale * (1.0 - t.weight), output.smoothing);
        let _ = logits.g_add_(&softened.to_kind(logits.kind()));
        nll
    });
    (Sums { nll, divergence }, rest)
}
