//! Which tokens an answer comes from: attribution of its log-likelihood to the embeddings of what stood before.
//!
//! With e_j the embedding of token j and f_i = log p(answer token i | all before it), either
//! - gradient × input: a_ij = Σ_d e_jd · ∂f_i/∂e_jd (arXiv 1312.6034 and after), or
//! - integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365, equation 1): a_ij = Σ_d (e_jd − b_d) · ∫₀¹ ∂f_i/∂e_jd (b + α(e − b)) dα, with the end token's
//!   embedding b for every token as the baseline: a text of end tokens says nothing. Positions stay. They are complete: Σ_j a_ij = f_i(e) − f_i(b).
//!
//! Shapes: T tokens of prompt and answer, A of the answer, S points of the integral.

use model::{Model, ModelError};
use tch::{Device, Kind, Tensor, no_grad};

/// Points that go through the model at a time.
const POINTS: usize = 16;

/// How much of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Gradient × input.
    Gradient,
    /// Integrated gradients with so many points of Gauss and Legendre's rule.
    Integrated {
        /// Points.
        points: usize,
    },
}

/// Attributions of every answer token to every token.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Attribution {
    /// A rows of T values, in nats.
    pub values: Vec<Vec<f64>>,
    /// Log-likelihood of each answer token. `[A]`
    pub log_probs: Vec<f64>,
    /// The same where every embedding is the baseline's, for integrated gradients. `[A]`
    pub baseline: Vec<f64>,
    /// How far a row's sum is from its log-likelihood less the baseline's, at most; 0 for gradient × input.
    pub gap: f64,
}

impl Attribution {
    /// What the whole answer comes from: the sum over its tokens. `[T]`
    pub fn total(&self) -> Vec<f64> {
        let tokens = self.values.first().map_or(0, Vec::len);
        (0..tokens).map(|j| self.values.iter().map(|row| row[j]).sum()).collect()
    }
}

/// Attributes `ids[first..]`, the answer, to all of `ids`. `end` is the token of the baseline; activations must be float32.
pub fn attribute(model: &Model, ids: &[u32], first: usize, end: u32, method: Method) -> Result<Attribution, ModelError> {
    if first == 0 || first >= ids.len() {
        return Err(ModelError::Input(format!("{} tokens with an answer from token {first} on: both must have tokens", ids.len())));
    }
    let input = model.token_embeddings(ids)?; // [T, D]
    let log_probs = numbers(&no_grad(|| answer_log_probs(model, &input.unsqueeze(0), ids, first)).squeeze_dim(0))?;
    let row = |grad: &Tensor, by: &Tensor| numbers(&(grad * by).sum_dim_intlist(-1, false, Kind::Double));
    let answer = ids.len() - first;
    if method == Method::Gradient {
        let point = input.unsqueeze(0).copy().set_requires_grad(true);
        let found = answer_log_probs(model, &point, ids, first);
        let values = (0..answer as i64).map(|i| row(&gradient(&found, i, &point)?.squeeze_dim(0), &input)).collect::<Result<_, _>>()?;
        return Ok(Attribution { values, log_probs, baseline: vec![], gap: 0.0 });
    }
    let Method::Integrated { points } = method else { unreachable!("one of two") };
    let nothing = model.token_embeddings(&vec![end; ids.len()])?;
    if nothing.abs().max().double_value(&[]) == 0.0 {
        let why = "from there RMSNorm jumps, and the integral with it";
        return Err(ModelError::Input(format!("token {end} has an embedding of zeros, as padding has: {why}. Take another baseline")));
    }
    let baseline = numbers(&no_grad(|| answer_log_probs(model, &nothing.unsqueeze(0), ids, first)).squeeze_dim(0))?;
    let way = &input - &nothing;
    let mut means: Vec<Tensor> = (0..answer).map(|_| input.zeros_like()).collect(); // ∫ ∂f_i/∂e, [T, D] each
    for some in gauss_legendre(points.max(1)).chunks(POINTS) {
        let of = |pick: fn(&(f64, f64)) -> f64| {
            let values: Vec<f32> = some.iter().map(|pair| pick(pair) as f32).collect();
            Tensor::from_slice(&values).to_device(model.device()).view([-1, 1, 1])
        };
        let point = (&nothing + of(|p| p.0) * &way).set_requires_grad(true); // [s, T, D]
        let found = answer_log_probs(model, &point, ids, first);
        for (i, mean) in means.iter_mut().enumerate() {
            *mean += (gradient(&found, i as i64, &point)? * of(|p| p.1)).sum_dim_intlist(0, false, Kind::Float);
        }
    }
    let values: Vec<Vec<f64>> = means.iter().map(|mean| row(mean, &way)).collect::<Result<_, _>>()?;
    let sums = values.iter().map(|row| row.iter().sum::<f64>());
    let gap = sums.zip(log_probs.iter().zip(&baseline)).map(|(sum, (at, from))| (sum - (at - from)).abs()).fold(0.0, f64::max);
    Ok(Attribution { values, log_probs, baseline, gap })
}

/// Log-likelihoods of the answer's tokens, `[s, A]`, where the text is given as embeddings `[s, T, D]`.
fn answer_log_probs(model: &Model, embedded: &Tensor, ids: &[u32], first: usize) -> Tensor {
    let (before, answer) = (first as i64 - 1, (ids.len() - first) as i64);
    let states = model.forward_embedded_rows(embedded).narrow(1, before, answer); // each predicts the next token
    let said: Vec<i64> = ids[first..].iter().map(|&id| i64::from(id)).collect();
    let said = Tensor::from_slice(&said).to_device(model.device()).view([1, answer, 1]).expand([embedded.size()[0], answer, 1], false);
    model.logits(&states).log_softmax(-1, Kind::Float).gather(2, &said, false).squeeze_dim(2)
}

/// ∂(Σ over points of f_i)/∂point: the points do not touch one another. Its shape is that of `point`.
fn gradient(found: &Tensor, i: i64, point: &Tensor) -> Result<Tensor, ModelError> {
    let of = found.select(1, i).sum(Kind::Float);
    Ok(Tensor::f_run_backward(&[of], &[point], true, false)?.remove(0))
}

fn numbers(t: &Tensor) -> Result<Vec<f64>, ModelError> {
    Ok(Vec::try_from(t.to_kind(Kind::Double).to_device(Device::Cpu))?)
}

/// Points and weights of Gauss and Legendre's rule on [0, 1]: exact for polynomials up to degree 2n − 1. The roots of the Legendre polynomial, by Newton.
fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let root = |i: usize| {
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..100 {
            let (mut p, mut before) = (1.0, 0.0);
            for k in 1..=n {
                let k = k as f64;
                (p, before) = (((2.0 * k - 1.0) * x * p - (k - 1.0) * before) / k, p);
            }
            slope = n as f64 * (x * p - before) / (x * x - 1.0);
            let step = p / slope;
            x -= step;
            if step.abs() < 1e-15 {
                break;
            }
        }
        (0.5 * (1.0 - x), 1.0 / ((1.0 - x * x) * slope * slope))
    };
    (0..n).map(root).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_exact_for_polynomials_of_its_degree() {
        for n in [1, 2, 5, 32] {
            let rule = gauss_legendre(n);
            for power in 0..2 * n as i32 {
                let sum: f64 = rule.iter().map(|(x, w)| w * x.powi(power)).sum();
                assert!((sum - 1.0 / f64::from(power + 1)).abs() < 1e-13, "{n} points, power {power}: {sum}");
            }
        }
    }
}
