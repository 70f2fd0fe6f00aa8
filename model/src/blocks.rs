//! ggml's ways to store a row of weights, bit for bit: whole numbers of eight or four bits with one scale for each 32 of them.
//!
//! Q8_0: d = max|x| / 127, q = round(x/d). Q4_0: m the number of largest magnitude, d = m / −8, q = min(15, ⌊x/d + 8.5⌋), of which 8 is taken off again.
//! Scales are float16. Source: `ggml-quants.c` (`quantize_row_q8_0_ref`, `quantize_row_q4_0_ref`).

use half::f16;

/// Numbers that share a scale.
pub const BLOCK: usize = 32;

/// How a matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// float32.
    F32,
    /// float16.
    F16,
    /// Eight bits and a scale: 8.5 bits a weight.
    Q8_0,
    /// Four bits and a scale: 4.5 bits a weight.
    Q4_0,
}

impl Format {
    /// All of them, the largest first.
    pub const ALL: [Format; 4] = [Format::F32, Format::F16, Format::Q8_0, Format::Q4_0];

    /// ggml's name, in small letters.
    pub fn name(self) -> &'static str {
        match self {
            Format::F32 => "f32",
            Format::F16 => "f16",
            Format::Q8_0 => "q8_0",
            Format::Q4_0 => "q4_0",
        }
    }

    /// ggml's number of the type.
    pub fn type_id(self) -> u32 {
        match self {
            Format::F32 => 0,
            Format::F16 => 1,
            Format::Q8_0 => 8,
            Format::Q4_0 => 2,
        }
    }

    /// llama.cpp's number of a file whose matrices are mostly so (`general.file_type`).
    pub fn file_type(self) -> u32 {
        match self {
            Format::F32 => 0,
            Format::F16 => 1,
            Format::Q8_0 => 7,
            Format::Q4_0 => 2,
        }
    }

    /// Can rows of this length be stored so?
    pub fn fits(self, row: usize) -> bool {
        matches!(self, Format::F32 | Format::F16) || row.is_multiple_of(BLOCK)
    }

    /// Bytes that `n` numbers take, whole blocks of them.
    pub fn bytes(self, n: usize) -> usize {
        match self {
            Format::F32 => 4 * n,
            Format::F16 => 2 * n,
            Format::Q8_0 => n / BLOCK * (2 + BLOCK),
            Format::Q4_0 => n / BLOCK * (2 + BLOCK / 2),
        }
    }

    /// The bytes of `x`, whose rows must fit.
    pub fn encode(self, x: &[f32]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes(x.len()));
        match self {
            Format::F32 => x.iter().for_each(|v| out.extend(v.to_le_bytes())),
            Format::F16 => x.iter().for_each(|v| out.extend(f16::from_f32(*v).to_le_bytes())),
            Format::Q8_0 => x.chunks_exact(BLOCK).for_each(|block| q8_0(block, &mut out)),
            Format::Q4_0 => x.chunks_exact(BLOCK).for_each(|block| q4_0(block, &mut out)),
        }
        out
    }

    /// The numbers that the bytes stand for.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let scale = |block: &[u8]| f16::from_le_bytes([block[0], block[1]]).to_f32();
        match self {
            Format::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Format::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Format::Q8_0 => bytes
                .chunks_exact(2 + BLOCK)
                .flat_map(|block| {
                    let d = scale(block);
                    block[2..].iter().map(move |&q| d * f32::from(q.cast_signed()))
                })
                .collect(),
            Format::Q4_0 => bytes
                .chunks_exact(2 + BLOCK / 2)
                .flat_map(|block| {
                    let d = scale(block);
                    let low = block[2..].iter().map(|q| q & 15);
                    low.chain(block[2..].iter().map(|q| q >> 4)).map(move |q| d * (f32::from(q) - 8.0))
                })
                .collect(),
        }
    }

    /// What becomes of `x` by being stored.
    pub fn round(self, x: &[f32]) -> Vec<f32> {
        self.decode(&self.encode(x))
    }
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

fn q8_0(block: &[f32], out: &mut Vec<u8>) {
    let d = block.iter().fold(0.0f32, |most, v| most.max(v.abs())) / 127.0;
    let id = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(block.iter().map(|v| ((v * id).round() as i8).cast_unsigned()));
}

fn q4_0(block: &[f32], out: &mut Vec<u8>) {
    let most = block.iter().fold(0.0f32, |most, &v| if v.abs() > most.abs() { v } else { most });
    let d = most / -8.0;
    let id = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    let q = |v: f32| ((v * id + 8.5) as u8).min(15);
    let (low, high) = block.split_at(BLOCK / 2);
    out.extend(low.iter().zip(high).map(|(&a, &b)| q(a) | q(b) << 4));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half a step, and 127 times half a unit in the last place of the scale, which is a float16: a sixteenth of a step.
    #[test]
    fn rounding_is_within_half_a_step_and_sizes_are_as_said() {
        let x: Vec<f32> = (0..96).map(|i| (i as f32 * 0.7).sin() * (1 + i % 5) as f32).collect();
        for format in Format::ALL {
            assert_eq!(format.encode(&x).len(), format.bytes(x.len()));
            for (block, rounded) in x.chunks(BLOCK).zip(format.round(&x).chunks(BLOCK)) {
                let most = block.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                let step = match format {
                    Format::F32 => 0.0,
                    Format::F16 => most / 1024.0,
                    Format::Q8_0 => most / 127.0,
                    Format::Q4_0 => 2.0 * most / 8.0, // +8 is not among the 16 values: the other end of the block may be off by a whole step
                };
                assert!(block.iter().zip(rounded).all(|(a, b)| (a - b).abs() <= 0.57 * step + 1e-9), "{format:?}: {block:?} {rounded:?}");
            }
        }
        assert_eq!(Format::Q4_0.round(&[0.0; 32]), [0.0; 32]);
        assert_eq!(Format::Q8_0.round(&[0.0; 32]), [0.0; 32]);
        assert!(!Format::Q8_0.fits(33) && Format::F16.fits(33));
    }
}
