//! The likelihood of one verdict: Bradley-Terry with ties after Davidson, with a judge's own sharpness and readiness to tie.
//!
//! P(a better) ∝ exp(d/2), P(b better) ∝ exp(−d/2), P(tied) ∝ exp(t), where d = β·(worth_a − worth_b). β is the judge's reliability (an
//! inverse temperature), exp(t) is Davidson's ν, the judge's readiness to call a tie (Davidson 1970, doi 10.1080/01621459.1970.10481082).
//! Of verdicts that are no tie it is P(a better) = sigmoid(d): Bradley-Terry. An exponential family in (d, t), so the log-likelihood is
//! concave in the worths for a given β, and in (β, t) for given worths.

/// Probabilities that a is better, that they are tied, that b is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// a is better.
    pub a: f64,
    /// Tied.
    pub tied: f64,
    /// b is better.
    pub b: f64,
}

/// The probabilities at d and ν = exp(t).
pub fn verdict(d: f64, nu: f64) -> Verdict {
    // Beyond 60 nothing changes that anybody could see, and nothing overflows. This is the innermost line of the fit: one exponential.
    let a = (d.clamp(-60.0, 60.0) / 2.0).exp();
    let b = 1.0 / a;
    let all = 1.0 / (a + nu + b);
    Verdict { a: a * all, tied: nu * all, b: b * all }
}

impl Verdict {
    /// Probability of what was said: +1, 0 or −1.
    pub fn of(&self, said: i8) -> f64 {
        match said {
            1 => self.a,
            0 => self.tied,
            _ => self.b,
        }
    }

    /// ∂ log P / ∂d of what was said.
    pub fn slope(&self, said: i8) -> f64 {
        (f64::from(said) - (self.a - self.b)) / 2.0
    }

    /// ∂ log P / ∂t of what was said.
    pub fn tie_slope(&self, said: i8) -> f64 {
        f64::from(said == 0) - self.tied
    }

    /// −∂² log P / ∂d², the same whatever was said.
    pub fn curve(&self) -> f64 {
        let lean = (self.a - self.b) / 2.0;
        (self.a + self.b) / 4.0 - lean * lean
    }

    /// −∂² log P / ∂t².
    pub fn tie_curve(&self) -> f64 {
        self.tied * (1.0 - self.tied)
    }

    /// −∂² log P / ∂d ∂t.
    pub fn cross_curve(&self) -> f64 {
        -self.tied * (self.a - self.b) / 2.0
    }
}

/// Nodes and weights for the mean of a function over a standard normal variable: Gauss-Hermite with 7 points, exact for polynomials up to
/// degree 13 (Abramowitz & Stegun 25.4.46, in probabilists' form).
pub const NORMAL: [(f64, f64); 7] = [
    (-3.750_439_717_725_742, 5.482_688_559_722_18e-4),
    (-2.366_759_410_734_541, 0.030_757_123_967_586_5),
    (-1.154_405_394_739_968, 0.240_123_178_605_012_7),
    (0.0, 0.457_142_857_142_857_1),
    (1.154_405_394_739_968, 0.240_123_178_605_012_7),
    (2.366_759_410_734_541, 0.030_757_123_967_586_5),
    (3.750_439_717_725_742, 5.482_688_559_722_18e-4),
];
