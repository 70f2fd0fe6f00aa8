//! Where tensors live and how many threads work on them.

use crate::Error;
use data::config::Device as Wanted;
use tch::{Cuda, Device};

/// The device that the configuration asks for.
pub fn pick(wanted: Wanted) -> Result<Device, Error> {
    match wanted {
        Wanted::Cpu => Ok(Device::Cpu),
        Wanted::Auto => Ok(Device::cuda_if_available()),
        Wanted::Cuda if Cuda::is_available() => Ok(Device::Cuda(0)),
        Wanted::Cuda => Err(Error::NoCuda),
    }
}

/// Sets libtorch's CPU threads (0: all cores that this process may use) and returns their number. The order of a parallel sum, so the last bit of a
/// loss, depends on it.
pub fn set_threads(wanted: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = if wanted == 0 { cores() } else { wanted };
    tch::set_num_threads(threads as i32);
    threads
}
