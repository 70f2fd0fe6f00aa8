//! Rotary positions in config.json: `rope_parameters` (transformers 5), or `rope_scaling` with `rope_theta` beside it (transformers 4).
//! The kinds and their defaults are those of transformers' `modeling_rope_utils.py`.

use super::reader::Reader;
use super::{Family, Position};
use crate::error::ModelError;
use serde_json::{Map, Value};

/// Rotation of queries and keys (arXiv 2104.09864).
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the wavelengths.
    pub theta: f64,
    /// Features of each head that turn, the first ones; the others pass as they are.
    pub width: usize,
    /// How wavelengths are stretched to a longer context than the one first trained on.
    pub scaling: RopeScaling,
}

/// Stretching of rotary wavelengths.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// None.
    None,
    /// All wavelengths by one factor (arXiv 2306.15595).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// A base that grows with the sequence once it is longer than `original` ("NTK-aware").
    Dynamic {
        /// Contexts that the base stretches to.
        factor: f64,
        /// Context in tokens before the stretching.
        original: f64,
    },
    /// Long wavelengths are stretched, short ones kept, by a ramp between two numbers of turns (arXiv 2309.00071).
    Yarn {
        /// Long wavelengths are stretched by this.
        factor: f64,
        /// Context in tokens before the stretching.
        original: f64,
        /// Cosine and sine are multiplied by this.
        attention: f64,
        /// Wavelengths that turn more often in the original context are kept.
        beta_fast: f64,
        /// Wavelengths that turn less often are stretched in full.
        beta_slow: f64,
        /// The ramp's ends are whole features.
        truncate: bool,
    },
    /// Llama 3.1's: like yarn, with a ramp in the inverse wavelength.
    Llama3 {
        /// Long wavelengths are stretched by this.
        factor: f64,
        /// Wavelengths above `original / low` are long.
        low: f64,
        /// Wavelengths below `original / high` stay as they are.
        high: f64,
        /// Context in tokens before the stretching.
        original: f64,
    },
    /// A factor for each wavelength, one list for sequences within `original` and another beyond it (arXiv 2402.13753).
    LongRope {
        /// Factors within the original context.
        short: Vec<f64>,
        /// Factors beyond.
        long: Vec<f64>,
        /// Context in tokens before the stretching.
        original: f64,
        /// Cosine and sine are multiplied by this.
        attention: f64,
    },
}

impl Rope {
    /// Refuses widths that cannot be.
    pub(super) fn check(&self) -> Result<(), String> {
        let half = self.width / 2;
        if self.width == 0 || !self.width.is_multiple_of(2) {
            return Err(format!("{} features of a head turn: rotation takes them in pairs", self.width));
        }
        match &self.scaling {
            RopeScaling::Dynamic { .. } if half == 1 => Err("rope_type \"dynamic\" needs more than two features that turn".into()),
            RopeScaling::LongRope { short, long, .. } if short.len() != half || long.len() != half => {
                Err(format!("short_factor has {} numbers and long_factor {}, a head has {half} wavelengths", short.len(), long.len()))
            }
            _ => Ok(()),
        }
    }
}

/// Rotary positions of a family, and the longest sequence they are made for.
pub(super) fn read(r: &Reader<'_>, family: Family, head_dim: usize, positions: usize) -> Result<(Position, usize), ModelError> {
    let empty = Map::new();
    // transformers lets the old name win where both are there.
    let (key, rope) = ["rope_scaling", "rope_parameters"]
        .into_iter()
        .find_map(|k| r.get(k).and_then(Value::as_object).filter(|o| !o.is_empty()).map(|o| (k, o)))
        .unwrap_or(("rope_parameters", &empty));
    let inner = Reader { raw: rope, path: r.path };
    let neox = family == Family::GptNeoX;
    // The first of the places where a number may stand.
    let first = |inside: &str, outside: &[&str], default: f64| -> Result<f64, ModelError> {
        let mut found = inner.number_or_null(inside)?;
        for key in outside {
            found = if found.is_some() { found } else { r.number_or_null(key)? };
        }
        Ok(found.unwrap_or(default))
    };
    let theta = first("rope_theta", if neox { &["rotary_emb_base", "rope_theta"] } else { &["rope_theta"] }, 10000.0)?;
    let part = if neox {
        first("partial_rotary_factor", &["rotary_pct", "partial_rotary_factor"], 0.25)?
    } else {
        first("partial_rotary_factor", &["partial_rotary_factor"], 1.0)?
    };
    if !(part > 0.0 && part <= 1.0) || (!neox && part != 1.0) {
        return r.fail("partial_rotary_factor", format!("{part}: only gpt_neox turns a part of a head, a number in (0, 1]"));
    }
    let scaling = scaling(r, &inner, key, positions as f64)?;
    let context = match scaling {
        // Sequences beyond `max_position_embeddings` are what this kind is for: within it, nothing is stretched.
        RopeScaling::Dynamic { factor, original } => (factor.max(1.0) * original) as usize,
        _ => positions,
    };
    Ok((Position::Rotary(Rope { theta, width: (head_dim as f64 * part) as usize, scaling }), context))
}

fn scaling(r: &Reader<'_>, inner: &Reader<'_>, key: &str, positions: f64) -> Result<RopeScaling, ModelError> {
    let kind = ["rope_type", "type"].iter().find_map(|k| inner.get(k).and_then(Value::as_str)).unwrap_or("default");
    let number = |name: &str| match inner.number_or_null(name)? {
        Some(x) if x > 0.0 => Ok(x),
        Some(x) => r.fail(key, format!("rope_type {kind:?}: {name} is {x}, not above 0")),
        None => r.fail(key, format!("rope_type {kind:?} needs {name}")),
    };
    // A number beside `rope_parameters` wins over the one in it, and the whole context stands in for both.
    let original =
        || match (r.number_or_null("original_max_position_embeddings")?, inner.number_or_null("original_max_position_embeddings")?) {
            (Some(n), _) | (None, Some(n)) => Ok::<f64, ModelError>(n),
            (None, None) => Ok(positions),
        };
    let stretch = |original: f64| Ok::<f64, ModelError>(inner.number_or_null("factor")?.unwrap_or(positions / original));
    Ok(match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: number("factor")? },
        "dynamic" => RopeScaling::Dynamic { factor: number("factor")?, original: positions },
        "yarn" => {
            let original = original()?;
            let factor = stretch(original)?;
            let scale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
            let usual = match (inner.number("mscale", 0.0)?, inner.number("mscale_all_dim", 0.0)?) {
                (m, all) if m != 0.0 && all != 0.0 => scale(m) / scale(all),
                _ => scale(1.0),
            };
            let or = |name: &str, usual: f64| inner.number(name, usual).map(|x| if x == 0.0 { usual } else { x });
            RopeScaling::Yarn {
                factor,
                original,
                attention: inner.number("attention_factor", usual)?,
                beta_fast: or("beta_fast", 32.0)?,
                beta_slow: or("beta_slow", 1.0)?,
                truncate: inner.flag("truncate", true)?,
            }
        }
        "llama3" => RopeScaling::Llama3 {
            factor: number("factor")?,
            low: number("low_freq_factor")?,
            high: number("high_freq_factor")?,
            original: original()?,
        },
        "longrope" => {
            let original = original()?;
            let factor = stretch(original)?;
            let usual = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
            let list = |name: &str| {
                let list =
                    inner.get(name).and_then(Value::as_array).and_then(|l| l.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
                list.map_or_else(|| r.fail(key, format!("rope_type \"longrope\" needs {name}, a list of numbers")), Ok)
            };
            let (short, long) = (list("short_factor")?, list("long_factor")?);
            RopeScaling::LongRope { short, long, original, attention: inner.number("attention_factor", usual)? }
        }
        other => {
            let known = "default, linear, dynamic, yarn, llama3 and longrope";
            return r.fail(key, format!("rope_type {other:?} is not built in: {known} are"));
        }
    })
}
