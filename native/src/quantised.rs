//! Products with weights of eight or four bits, for generation on the CPU: see `cpp/quantised.cpp` and `cpp/eights.cpp`.
//!
//! Weights are ggml's q8_0 and q4_0: 32 numbers along a row share a float16 scale. Activations are float32 and are rounded, 32 at a time, to whole numbers of
//! sixteen bits before they are multiplied, p = round(32767 · x / max|x|), or of eight, p = round(127 · x / max|x|), as ggml rounds them. Sums of a block are
//! exact, sums over blocks float32.

use crate::{NativeError, Range};
use std::ffi::c_int;
use std::ptr::null;
use tch::{Device, Kind, Tensor};

/// Numbers that share a scale.
const BLOCK: i64 = 32;

/// Bits of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    /// ggml's q8_0.
    Eight,
    /// ggml's q4_0.
    Four,
    /// ggml's q8_0, and activations of eight bits instead of sixteen: for processors that multiply bytes, see [`multiplies_bytes`].
    EightByEight,
}

impl Bits {
    /// Bytes of a block in ggml's form: the scale and 32 values.
    fn block(self) -> i64 {
        2 + self.values()
    }

    /// Bytes of a block's values.
    fn values(self) -> i64 {
        match self {
            Bits::Eight | Bits::EightByEight => BLOCK,
            Bits::Four => BLOCK / 2,
        }
    }

    /// Rows of W that stand together in memory.
    fn together(self) -> i64 {
        match self {
            Bits::Eight | Bits::Four => 16,
            Bits::EightByEight => 64,
        }
    }

    /// How many loops this processor has for the same product: 1 for plain C++ alone, one more with AVX2 and with AVX-512, or with AVX512-VNNI.
    pub fn ways(self) -> usize {
        // SAFETY: both ask the processor, nothing else.
        let best = unsafe {
            match self {
                Bits::Eight | Bits::Four => rlhf_quantised_best(),
                Bits::EightByEight => rlhf_eights_best(),
            }
        };
        1 + usize::try_from(best).unwrap_or(0)
    }
}

/// Has this processor instructions for products of bytes or of sixteen bits (AVX512-VNNI or AVX2), with which [`Bits::EightByEight`] is fast?
pub fn multiplies_bytes() -> bool {
    Bits::EightByEight.ways() > 1
}

/// A line of the processor's caches.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A matrix `[out, in]` in few bits, in the layout that products read.
#[derive(Debug)]
pub struct Quantised {
    values: Vec<Line>,
    scales: Vec<u16>,
    bits: Bits,
    input: i64,
    output: i64,
}

unsafe extern "C" {
    fn rlhf_quantised_best() -> c_int;
    fn rlhf_quantised_pack(blocks: *const u8, four: c_int, n: i64, k: i64, values: *mut u8, scales: *mut u16);
    fn rlhf_quantised_product(
        values: *const u8,
        scales: *const u16,
        four: c_int,
        n: i64,
        k: i64,
        x: *const f32,
        m: i64,
        bias: *const f32,
        y: *mut f32,
        way: c_int,
        threads: c_int,
    );
    fn rlhf_eights_best() -> c_int;
    fn rlhf_eights_pack(blocks: *const u8, n: i64, k: i64, values: *mut u8, scales: *mut u16);
    fn rlhf_eights_product(w: *const EightsMatrix, x: *const f32, m: i64, bias: *const f32, y: *mut f32, way: c_int, threads: c_int);
}

/// `EightsMatrix` of eights.h.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct EightsMatrix {
    values: *const u8,
    scales: *const u16,
    k: i64,
    n: i64,
}

impl EightsMatrix {
    /// None.
    pub const NONE: EightsMatrix = EightsMatrix { values: null(), scales: null(), k: 0, n: 0 };
}

impl Quantised {
    /// Of ggml's bytes, row after row and in each row block after block.
    pub fn new(bits: Bits, blocks: &[u8], output: i64, input: i64) -> Result<Quantised, NativeError> {
        if output < 1 || input < 1 || input % BLOCK != 0 {
            return Err(wrong("weight", format!("[{output}, {input}]: rows of a multiple of {BLOCK} numbers are wanted")));
        }
        let want = output * (input / BLOCK) * bits.block();
        if blocks.len() as i64 != want {
            return Err(wrong("weight", format!("{} bytes instead of {want}", blocks.len())));
        }
        let scale_count = (output + bits.together() - 1) / bits.together() * bits.together() * (input / BLOCK);
        let lines = (scale_count * bits.values() / 64) as usize; // what stands together is whole lines
        let mut values = vec![Line([0; 64]); lines];
        let mut scales = vec![0u16; scale_count as usize];
        let (from, to, scales_to) = (blocks.as_ptr(), values.as_mut_ptr().cast(), scales.as_mut_ptr());
        // SAFETY: `blocks` holds `output` rows of `input / 32` blocks; `values` and `scales` have room for the rows rounded up to those that stand together, and are zero.
        unsafe {
            match bits {
                Bits::Eight => rlhf_quantised_pack(from, 0, output, input, to, scales_to),
                Bits::Four => rlhf_quantised_pack(from, 1, output, input, to, scales_to),
                Bits::EightByEight => rlhf_eights_pack(from, output, input, to, scales_to),
            }
        }
        Ok(Quantised { values, scales, bits, input, output })
    }

    /// Features in and out.
    pub fn sizes(&self) -> (i64, i64) {
        (self.input, self.output)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.values.len() * size_of::<Line>() + self.scales.len() * size_of::<u16>()
    }

    /// y = x·Wᵀ + b: x `[N, in]` float32 on the CPU to `[N, out]`, fresh memory. There is no gradient. A row of y depends on its row of x alone: not on the
    /// others and not on the number of threads.
    pub fn linear(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, NativeError> {
        self.linear_by(self.bits.ways() - 1, x, bias)
    }

    /// As [`crate::decode`] reads it; `None` for other bits than [`Bits::EightByEight`].
    pub(crate) fn eights(&self) -> Option<EightsMatrix> {
        let matrix = EightsMatrix { values: self.values.as_ptr().cast(), scales: self.scales.as_ptr(), k: self.input, n: self.output };
        (self.bits == Bits::EightByEight).then_some(matrix)
    }

    /// Bits of weights, and of activations.
    pub fn bits(&self) -> Bits {
        self.bits
    }

    /// The same by one of the [`Bits::ways`], 0 for plain C++. They differ in the rounding of sums over blocks.
    pub fn linear_by(&self, way: usize, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, NativeError> {
        let size = x.size();
        if size.len() != 2 || size[1] != self.input || x.kind() != Kind::Float || x.device() != Device::Cpu {
            let detail = format!("{size:?} of {:?} instead of [N, {}] of float32 on the CPU", x.kind(), self.input);
            return Err(wrong("x", detail));
        }
        if x.requires_grad() {
            return Err(wrong("x", "asks for a gradient, which weights in few bits do not give".into()));
        }
        if let Some(b) = bias
            && (b.size() != [self.output] || b.kind() != Kind::Float || b.device() != Device::Cpu || !b.is_contiguous())
        {
            return Err(wrong("bias", format!("{:?} of {:?} instead of [{}] of contiguous float32", b.size(), b.kind(), self.output)));
        }
        if way >= self.bits.ways() {
            return Err(wrong("way", format!("{way}: this processor has {}", self.bits.ways())));
        }
        let x = x.contiguous();
        let y = Tensor::empty([size[0], self.output], (Kind::Float, Device::Cpu));
        if size[0] == 0 {
            return Ok(y);
        }
        let _call = Range::operator(c"rlhf::quantised");
        let (from, to, threads) = (x.data_ptr().cast_const().cast(), y.data_ptr().cast(), tch::get_num_threads());
        let bias = bias.map_or(null(), |b| b.data_ptr().cast_const().cast());
        let (values, scales, four) = (self.values.as_ptr().cast(), self.scales.as_ptr(), c_int::from(self.bits == Bits::Four));
        // SAFETY: shapes, types and layouts were checked; `y` is fresh memory of [N, out]; the processor has the instructions of `way`.
        unsafe {
            match self.eights() {
                Some(matrix) => rlhf_eights_product(&matrix, from, size[0], bias, to, way as c_int, threads),
                None => {
                    rlhf_quantised_product(values, scales, four, self.output, self.input, from, size[0], bias, to, way as c_int, threads)
                }
            }
        }
        Ok(y)
    }
}

fn wrong(what: &'static str, detail: String) -> NativeError {
    NativeError::Argument { what, detail }
}
