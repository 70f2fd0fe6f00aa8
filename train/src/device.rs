//! Where tensors live, in which precision they are multiplied, and how many threads work on them.

use crate::Error;
use data::config::{Device as Wanted, Precision};
use tch::{Cuda, Device, Kind};

/// The device that the configuration asks for: of several GPUs the one of this process's number on its machine.
pub fn pick(wanted: Wanted, local_rank: usize) -> Result<Device, Error> {
    let own = || Device::Cuda(local_rank % (Cuda::device_count().max(1) as usize));
    match wanted {
        Wanted::Cpu => Ok(Device::Cpu),
        Wanted::Auto => Ok(if Cuda::is_available() { own() } else { Device::Cpu }),
        Wanted::Cuda if Cuda::is_available() => Ok(own()),
        Wanted::Cuda => Err(Error::NoCuda),
    }
}

/// The precision of activations and products that the configuration asks for.
pub fn precision(wanted: Precision, device: Device) -> Kind {
    match wanted {
        Precision::Float32 => Kind::Float,
        Precision::Bfloat16 => Kind::BFloat16,
        Precision::Auto if device.is_cuda() || native::dense::prefers_bfloat16() => Kind::BFloat16,
        Precision::Auto => Kind::Float,
    }
}

/// Sets libtorch's CPU threads and returns their number; 0 means as many as `OMP_NUM_THREADS` says, else one for each of this process's cores. (torchrun sets
/// the variable to 1 by itself, which is nobody's wish.) The order of a parallel sum, so the last bit of a loss, depends on it.
pub fn set_threads(wanted: usize, cores: usize) -> usize {
    let variable = |name: &str| std::env::var(name).ok();
    let wished = variable("OMP_NUM_THREADS").filter(|_| variable("TORCHELASTIC_RUN_ID").is_none()).and_then(|n| n.trim().parse().ok());
    let threads = if wanted == 0 { wished.filter(|n| *n > 0).unwrap_or(cores) } else { wanted };
    tch::set_num_threads(threads as i32);
    threads
}
