//! Products with weights of eight or four bits, for generation on the CPU: see `cpp/quantised.cpp`.
//!
//! Weights are ggml's q8_0 and q4_0: 32 numbers along a row share a float16 scale. Activations are float32 and are rounded, 32 at a time, to whole numbers of
//! sixteen bits before they are multiplied: p = round(32767 · x / max|x|). Sums of a block are exact, sums over blocks float32.

use crate::{NativeError, Range};
use std::ffi::c_int;
use std::ptr::null;
use tch::{Device, Kind, Tensor};

/// Numbers that share a scale.
const BLOCK: i64 = 32;
/// Rows that stand together in memory.
const ROWS: i64 = 16;

/// Bits of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    /// ggml's q8_0.
    Eight,
    /// ggml's q4_0.
    Four,
}

impl Bits {
    /// Bytes of a block in ggml's form: the scale and 32 values.
    fn block(self) -> i64 {
        2 + self.values()
    }

    /// Bytes of a block's values.
    fn values(self) -> i64 {
        match self {
            Bits::Eight => BLOCK,
            Bits::Four => BLOCK / 2,
        }
    }
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
}

/// How many loops this processor has for the same product: 1 for plain C++ alone, 2 with AVX2, 3 with AVX-512.
pub fn ways() -> usize {
    // SAFETY: asks the processor, nothing else.
    1 + usize::try_from(unsafe { rlhf_quantised_best() }).unwrap_or(0)
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
        let groups = (output + ROWS - 1) / ROWS * (input / BLOCK);
        let lines = (groups * ROWS * bits.values() / 64) as usize; // a group's values are whole lines
        let mut values = vec![Line([0; 64]); lines];
        let mut scales = vec![0u16; (groups * ROWS) as usize];
        let four = c_int::from(bits == Bits::Four);
        // SAFETY: `blocks` holds `output` rows of `input / 32` blocks; `values` and `scales` have room for the rows rounded up to sixteen, and are zero.
        unsafe { rlhf_quantised_pack(blocks.as_ptr(), four, output, input, values.as_mut_ptr().cast(), scales.as_mut_ptr()) };
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
        self.linear_by(ways() - 1, x, bias)
    }

    /// The same by one of the [`ways`], 0 for plain C++. They differ in the rounding of sums over blocks.
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
        if way >= ways() {
            return Err(wrong("way", format!("{way}: this processor has {}", ways())));
        }
        let x = x.contiguous();
        let y = Tensor::empty([size[0], self.output], (Kind::Float, Device::Cpu));
        if size[0] == 0 {
            return Ok(y);
        }
        let _call = Range::operator(c"rlhf::quantised");
        // SAFETY: shapes, types and layouts were checked; `y` is fresh memory of [N, out]; the processor has the instructions of `way`.
        unsafe {
            rlhf_quantised_product(
                self.values.as_ptr().cast(),
                self.scales.as_ptr(),
                c_int::from(self.bits == Bits::Four),
                self.output,
                self.input,
                x.data_ptr().cast_const().cast(),
                size[0],
                bias.map_or(null(), |b| b.data_ptr().cast_const().cast()),
                y.data_ptr().cast(),
                way as c_int,
                tch::get_num_threads(),
            );
        }
        Ok(y)
    }
}

fn wrong(what: &'static str, detail: String) -> NativeError {
    NativeError::Argument { what, detail }
}
