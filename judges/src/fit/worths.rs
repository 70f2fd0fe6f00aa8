//! The hidden worths, prompt by prompt: their mode by Newton's method and the curvature there.

use super::davidson::verdict;
use super::{Data, Judge, Spread};
use crate::panel::{Index, Panel};

/// Prompts with more answers keep only the diagonal of their covariance: a dense one grows with the square, its inverse with the cube.
const DENSE: usize = 64;
/// Longest Newton step of any worth, in logits.
const STEP: f64 = 2.0;

/// Normal approximation of the worths' posterior. Answers of one prompt stand beside one another.
#[derive(Debug)]
pub(super) struct Worths {
    /// Where each answer stands in `mean`, by the panel's index.
    slot: Vec<u32>,
    /// Prompt of each answer, by the panel's index.
    prompt: Vec<u32>,
    /// Where each prompt's answers begin in `mean`, and its covariance in `cov`.
    begin: Vec<(usize, usize)>,
    mean: Vec<f64>,
    /// n×n by rows, or n variances for a prompt of more than [`DENSE`] answers.
    cov: Vec<f64>,
}

impl Worths {
    pub fn new(panel: &Panel) -> Worths {
        let index = Index::new(panel.prompts(), panel.answers.iter().map(|a| a.prompt));
        let mut slot = vec![0; panel.answers.len()];
        let (mut begin, mut means, mut covs) = (vec![(0, 0)], 0, 0);
        for prompt in 0..index.len() {
            let members = index.of(prompt);
            members.iter().enumerate().for_each(|(i, a)| slot[*a as usize] = (means + i) as u32);
            means += members.len();
            covs += if members.len() > DENSE { members.len() } else { members.len() * members.len() };
            begin.push((means, covs));
        }
        Worths { slot, prompt: panel.answers.iter().map(|a| a.prompt).collect(), begin, mean: vec![0.0; means], cov: vec![0.0; covs] }
    }

    pub fn mean(&self, answer: u32) -> f64 {
        self.mean[self.slot[answer as usize] as usize]
    }

    /// Mean and standard deviation of worth(a) − worth(b); `prior` is σ, for answers that nobody has judged.
    pub fn difference(&self, a: u32, b: u32, prior: f64) -> (f64, f64) {
        let [prompt, other] = [a, b].map(|x| self.prompt[x as usize] as usize);
        let mean = self.mean(a) - self.mean(b);
        if prompt != other || a == b {
            return (mean, if a == b { 0.0 } else { prior * std::f64::consts::SQRT_2 });
        }
        let (first, cov) = self.begin[prompt];
        let n = self.begin[prompt + 1].0 - first;
        let [i, j] = [a, b].map(|x| self.slot[x as usize] as usize - first);
        let variance = if n > DENSE {
            self.cov[cov + i] + self.cov[cov + j]
        } else {
            self.cov[cov + i * n + i] + self.cov[cov + j * n + j] - 2.0 * self.cov[cov + i * n + j]
        };
        (mean, variance.max(0.0).sqrt())
    }

    /// Root of the mean of w² under the posterior: the next σ. Prompts without votes say nothing.
    pub fn spread(&self, data: &Data) -> Option<f64> {
        let (mut sum, mut n) = (0.0, 0usize);
        for prompt in (0..self.begin.len() - 1).filter(|p| !data.by_prompt.index.of(*p).is_empty()) {
            let ((m, c), (m_end, _)) = (self.begin[prompt], self.begin[prompt + 1]);
            let k = m_end - m;
            let variance = |i: usize| self.cov[if k > DENSE { c + i } else { c + i * k + i }];
            sum += (0..k).map(|i| self.mean[m + i].powi(2) + variance(i)).sum::<f64>();
            n += k;
        }
        (n > 0).then(|| (sum / n as f64).sqrt())
    }

    /// Multiplies all worths.
    pub fn scale(&mut self, by: f64) {
        self.mean.iter_mut().for_each(|w| *w *= by);
        self.cov.iter_mut().for_each(|v| *v *= by * by);
    }

    /// `steps` Newton steps of every prompt from where it stands.
    pub fn update(&mut self, data: &Data, judges: &[Judge], spread: &Spread, steps: usize) {
        let parts = data.by_prompt.parts(data.threads, |v| data.work(v));
        let (slot, begin) = (&self.slot, &self.begin);
        let (mut means, mut covs) = (&mut self.mean[..], &mut self.cov[..]);
        std::thread::scope(|scope| {
            for part in parts {
                let ((m, c), (m_end, c_end)) = (begin[part.start], begin[part.end]);
                let (own_mean, rest) = std::mem::take(&mut means).split_at_mut(m_end - m);
                means = rest;
                let (own_cov, rest) = std::mem::take(&mut covs).split_at_mut(c_end - c);
                covs = rest;
                scope.spawn(move || {
                    let mut newton = Newton::default();
                    for prompt in part {
                        let [(first, cov), (end, cov_end)] = [begin[prompt], begin[prompt + 1]];
                        let (mean, cov) = (&mut own_mean[first - m..end - m], &mut own_cov[cov - c..cov_end - c]);
                        let local = |answer: u32| slot[answer as usize] as usize - first;
                        newton.prompt(data, judges, spread, prompt, &local, steps, mean, cov);
                    }
                });
            }
        });
    }
}

/// Room for one prompt's gradient and curvature.
#[derive(Default)]
struct Newton {
    gradient: Vec<f64>,
    curve: Vec<f64>,
    /// The votes' pairs: local places, verdict, β, ν, weight.
    pairs: Vec<(u32, u32, i8, f64, f64, f64)>,
}

impl Newton {
    #[allow(clippy::too_many_arguments)]
    fn prompt(
        &mut self,
        data: &Data,
        judges: &[Judge],
        spread: &Spread,
        prompt: usize,
        local: &dyn Fn(u32) -> usize,
        steps: usize,
        mean: &mut [f64],
        cov: &mut [f64],
    ) {
        self.pairs.clear();
        for at in data.by_prompt.of(prompt) {
            let vote = &data.panel.votes[at as usize];
            let (beta, tie) = judges.get(vote.judge as usize).map_or((1.0, spread.tie), |j| (j.beta, j.tie));
            let nu = tie.exp();
            let (told, weight) = (data.panel.told(vote), data.weight(at));
            let pair = |(i, j, said): (usize, usize, i8)| (local(told[i]) as u32, local(told[j]) as u32, said, beta, nu, weight);
            self.pairs.extend(data.panel.pairs(vote).map(pair));
        }
        let n = mean.len();
        let dense = n <= DENSE;
        let precision = 1.0 / (spread.worth * spread.worth);
        for _ in 0..if dense { steps } else { 10 * steps } {
            self.gradient.clear();
            self.gradient.extend(mean.iter().map(|w| -w * precision));
            self.curve.clear();
            self.curve.resize(if dense { n * n } else { n }, 0.0);
            let step = if dense { n + 1 } else { 1 };
            self.curve.iter_mut().step_by(step).for_each(|c| *c = precision);
            for &(i, j, said, beta, nu, weight) in &self.pairs {
                let (i, j) = (i as usize, j as usize);
                let v = verdict(beta * (mean[i] - mean[j]), nu);
                let (g, h) = (weight * beta * v.slope(said), weight * beta * beta * v.curve());
                self.gradient[i] += g;
                self.gradient[j] -= g;
                self.curve[i * step] += h;
                self.curve[j * step] += h;
                if dense {
                    self.curve[i * n + j] -= h;
                    self.curve[j * n + i] -= h;
                }
            }
            if dense {
                invert(&mut self.curve, n);
                cov.copy_from_slice(&self.curve);
                let steps: Vec<f64> = cov.chunks_exact(n).map(|row| row.iter().zip(&self.gradient).map(|(c, g)| c * g).sum()).collect();
                let longest = steps.iter().fold(0.0f64, |m, s| m.max(s.abs()));
                let scale = if longest > STEP { STEP / longest } else { 1.0 };
                mean.iter_mut().zip(&steps).for_each(|(w, s)| *w += s * scale);
            } else {
                // The curvature of a sum of pairs is at most twice its diagonal: dividing by that never goes too far.
                for (i, w) in mean.iter_mut().enumerate() {
                    cov[i] = 1.0 / self.curve[i];
                    *w += (self.gradient[i] / (2.0 * self.curve[i] - precision)).clamp(-STEP, STEP);
                }
            }
        }
    }
}

/// Inverse of a symmetric positive definite matrix in place, by Gauss-Jordan without pivoting (its pivots are all positive).
fn invert(a: &mut [f64], n: usize) {
    for p in 0..n {
        let pivot = 1.0 / a[p * n + p];
        a[p * n + p] = 1.0;
        (0..n).for_each(|j| a[p * n + j] *= pivot);
        for i in (0..n).filter(|i| *i != p) {
            let factor = a[i * n + p];
            a[i * n + p] = 0.0;
            (0..n).for_each(|j| a[i * n + j] -= factor * a[p * n + j]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::invert;

    #[test]
    fn an_inverse_is_one() {
        let a = [4.0, -1.0, 0.5, -1.0, 3.0, -0.7, 0.5, -0.7, 2.0];
        let mut b = a;
        invert(&mut b, 3);
        for i in 0..3 {
            for j in 0..3 {
                let dot: f64 = (0..3).map(|k| a[i * 3 + k] * b[k * 3 + j]).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12, "{i} {j}: {dot}");
            }
        }
    }
}
