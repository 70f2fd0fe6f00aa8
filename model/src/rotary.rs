//! Rotary positions (arXiv 2104.09864) in transformers' half-split layout: feature i turns with feature i + R/2, R the features that turn.
//!
//! The arithmetic is float32 and in the order of transformers' `modeling_rope_utils.py`, so that far places get the same angles.

use crate::config::{Position, Rope, RopeScaling};
use std::f64::consts::TAU;
use tch::{Device, Kind, Tensor};

/// How long the sequences are whose tables are asked for. Only the kinds that depend on it look.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reach<'a> {
    /// As long as the farthest place of the pass: transformers' rule.
    Pass,
    /// So long is the sequence of each token of the pass.
    Tokens(&'a [i64]),
}

/// Radians a place, `[R/2]`.
#[derive(Debug)]
enum Frequencies {
    Fixed(Tensor),
    /// A base that grows with sequences longer than `original`: `theta · (factor · T / original - (factor - 1))^(R / (R - 2))`.
    Dynamic {
        exponents: Tensor,
        theta: f64,
        factor: f64,
        original: f64,
        power: f64,
    },
    /// One set within `original` places and another beyond.
    Long {
        short: Tensor,
        long: Tensor,
        original: f64,
    },
}

/// What turns queries and keys.
#[derive(Debug)]
pub(crate) struct Rotary {
    frequencies: Frequencies,
    /// Cosine and sine are multiplied by this.
    attention: f64,
    /// Features of a head that turn.
    width: i64,
}

impl Rotary {
    /// Another handle of the same tables.
    pub fn share(&self) -> Rotary {
        let frequencies = match &self.frequencies {
            Frequencies::Fixed(f) => Frequencies::Fixed(f.shallow_clone()),
            &Frequencies::Dynamic { ref exponents, theta, factor, original, power } => {
                Frequencies::Dynamic { exponents: exponents.shallow_clone(), theta, factor, original, power }
            }
            Frequencies::Long { short, long, original } => {
                Frequencies::Long { short: short.shallow_clone(), long: long.shallow_clone(), original: *original }
            }
        };
        Rotary { frequencies, ..*self }
    }

    pub fn new(position: &Position, device: Device) -> Option<Rotary> {
        let Position::Rotary(rope) = position else { return None };
        let (theta, width) = (rope.theta, rope.width as i64);
        let exponents = Tensor::arange_start_step(0, width, 2, (Kind::Float, Device::Cpu)) / width as f64;
        let waves = Tensor::pow_scalar(theta, &exponents); // places a radian, [R/2]
        let divided = |by: &[f64]| (Tensor::from_slice(by).to_kind(Kind::Float) * &waves).reciprocal().to_device(device);
        let plain = waves.reciprocal();
        let fixed = |f: Tensor| Frequencies::Fixed(f.to_device(device));
        let (frequencies, attention) = match &rope.scaling {
            RopeScaling::None => (fixed(plain), 1.0),
            RopeScaling::Linear { factor } => (fixed(plain / *factor), 1.0),
            RopeScaling::Dynamic { factor, original } => {
                let power = width as f64 / (width - 2) as f64;
                let exponents = exponents.to_device(device);
                (Frequencies::Dynamic { exponents, theta, factor: *factor, original: *original, power }, 1.0)
            }
            RopeScaling::Llama3 { factor, low, high, original } => (fixed(llama3(plain, *factor, *low, *high, *original)), 1.0),
            RopeScaling::Yarn { factor, attention, .. } => {
                let stretched = (&waves * *factor).reciprocal();
                let kept: Tensor = 1.0 - yarn_ramp(rope);
                (fixed(stretched * (1.0 - &kept) + plain * &kept), *attention)
            }
            RopeScaling::LongRope { short, long, original, attention } => {
                (Frequencies::Long { short: divided(short), long: divided(long), original: *original }, *attention)
            }
        };
        Some(Rotary { frequencies, attention, width })
    }

    /// Cosine and sine at `positions` `[.., T]`, each `[.., 1, T, R]` so that heads broadcast.
    ///
    /// The kinds that depend on the sequence's length turn every token of a pass by the pass's longest place, as transformers does.
    /// In cached generation each row goes by its own length, and keys stay as they were turned when they were written: the same as
    /// transformers' generation of one row, and not the same as a pass over the finished sequence.
    pub fn tables(&self, positions: &Tensor, reach: Reach<'_>) -> (Tensor, Tensor) {
        let places = positions.to_kind(Kind::Float).unsqueeze(-1); // [.., T, 1]
        let angles = match &self.frequencies {
            Frequencies::Fixed(f) => places * f, // [.., T, R/2]
            Frequencies::Dynamic { exponents, theta, factor, original, power } => {
                let length = lengths(&places, reach).clamp_min(*original);
                let grown: Tensor = length * *factor / *original - (factor - 1.0);
                let base: Tensor = grown.pow_tensor_scalar(*power) * *theta;
                places * base.pow(exponents).reciprocal()
            }
            Frequencies::Long { short, long, original } => {
                let far = lengths(&places, reach).gt(*original);
                places * long.where_self(&far, short)
            }
        };
        let angles = Tensor::cat(&[&angles, &angles], -1).unsqueeze(-3);
        match self.attention {
            1.0 => (angles.cos(), angles.sin()),
            by => (angles.cos() * by, angles.sin() * by),
        }
    }

    /// Features of a head that turn.
    pub fn width(&self) -> i64 {
        self.width
    }

    /// Turns `[B, H, T, C]`: the first R features of each head, all of them in most families.
    pub fn turn(&self, x: &Tensor, (cos, sin): &(Tensor, Tensor)) -> Tensor {
        let c = x.size()[3];
        if self.width == c {
            return turn(x, cos, sin);
        }
        let rest = x.narrow(3, self.width, c - self.width);
        Tensor::cat(&[&turn(&x.narrow(3, 0, self.width), cos, sin), &rest], -1)
    }
}

/// The arithmetic is float32 whatever the precision of `x`: far places need it.
fn turn(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let halves = x.chunk(2, -1);
    let turned = Tensor::cat(&[&halves[1].neg(), &halves[0]], -1);
    (x * cos + turned * sin).to_kind(x.kind())
}

/// Length of the sequences, in a shape that goes with `places` `[.., T, 1]`.
fn lengths(places: &Tensor, reach: Reach<'_>) -> Tensor {
    match reach {
        Reach::Pass => places.max() + 1.0,
        Reach::Tokens(tokens) => Tensor::from_slice(tokens).to_kind(Kind::Float).to_device(places.device()).view_as(places),
    }
}

/// Llama 3.1: short waves stay, long ones are stretched by `factor`, those between are interpolated.
fn llama3(plain: Tensor, factor: f64, low: f64, high: f64, original: f64) -> Tensor {
    let wavelength = (TAU / &plain).to_kind(Kind::Float);
    let stretched = &plain / factor;
    let smooth: Tensor = (original / &wavelength - low) / (high - low);
    let between: Tensor = (1.0 - &smooth) * &stretched + &plain * &smooth;
    let scaled = between.where_self(&wavelength.le(original / low), &stretched);
    plain.where_self(&wavelength.lt(original / high), &scaled)
}

/// 0 where a wavelength is kept, 1 where it is stretched in full, `[R/2]` (arXiv 2309.00071, section 3.2).
fn yarn_ramp(rope: &Rope) -> Tensor {
    let RopeScaling::Yarn { original, beta_fast, beta_slow, truncate, .. } = rope.scaling else { unreachable!("asked for yarn alone") };
    let width = rope.width as f64;
    // The feature whose wave turns so often in the original context.
    let feature = |turns: f64| width * (original / (turns * TAU)).ln() / (2.0 * rope.theta.ln());
    let (low, high) = (feature(beta_fast), feature(beta_slow));
    let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
    let (low, high) = (low.max(0.0), high.min(width - 1.0));
    let high = if low == high { high + 0.001 } else { high };
    let index = Tensor::arange(rope.width as i64 / 2, (Kind::Float, Device::Cpu));
    ((index - low) / (high - low)).clamp(0.0, 1.0)
}
