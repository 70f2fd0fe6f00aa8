//! Where tensors live, in which precision they are multiplied, and how many threads work on them.

use crate::Error;
use data::config::{Device as Wanted, Precision};
use tch::{Cuda, Device, Kind};

/// The device that the configuration asks for.
pub fn pick(wanted: Wanted) -> Result<Device, Error> {
    match wanted {
        Wanted::Cpu => Ok(Device::Cpu),
        Wanted::Auto => Ok(Device::cuda_if_available()),
        Wanted::Cuda if Cuda::is_available() => Ok(Device::Cuda(0)),
        Wanted::Cuda => Err(Error::NoCuda),
    }
}

/// The precision of activations and products that the configuration asks for.
pub fn precision(wanted: Precision, device: Device) -> Kind {
    match wanted {
        Precision::Float32 => Kind::Float,
        Precision::Bfloat16 => Kind::BFloat16,
        Precision::Auto if device.is_cuda() || multiplies_bfloat16() => Kind::BFloat16,
        Precision::Auto => Kind::Float,
    }
}

/// Whether this CPU has instructions for products of bfloat16: without them they are slower than float32's. AMX never comes without AVX512-BF16.
fn multiplies_bfloat16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Sets libtorch's CPU threads (0: all cores that this process may use) and returns their number. The order of a parallel sum, so the last bit of a
/// loss, depends on it.
pub fn set_threads(wanted: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = if wanted == 0 { cores() } else { wanted };
    tch::set_num_threads(threads as i32);
    threads
}
