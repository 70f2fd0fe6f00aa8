//! The processes that train together. A stage asks its [`World`] for its rank and for sums over ranks, and does not care how many there are.
//!
//! One process is the world of size 1: every sum is what it was, every broadcast and barrier returns at once.

mod single;

use single::Single;
use tch::Tensor;

/// Why a collective operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The launcher announced a world that this build cannot join.
    #[error("{variable} announces {size} processes, but this build trains in one: start a single process, or unset {variable}")]
    TooMany {
        /// Environment variable.
        variable: &'static str,
        /// Its value.
        size: usize,
    },
    /// A launcher's variable does not hold a number.
    #[error("{variable} = {value:?} is not a number")]
    NotANumber {
        /// Environment variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The root of a broadcast is outside the world.
    #[error("rank {rank} is outside a world of {size}")]
    NoSuchRank {
        /// Rank asked for.
        rank: usize,
        /// Size of the world.
        size: usize,
    },
}

/// The group of processes that trains one model.
#[derive(Debug)]
pub struct World {
    group: Single,
}

impl World {
    /// This process alone.
    pub fn single() -> World {
        World { group: Single }
    }

    /// The world that the launcher announced (`WORLD_SIZE`, else `SLURM_NTASKS`), or this process alone. A launcher's world that cannot be joined
    /// is an error: several processes that each believe they are alone would write one folder.
    pub fn from_env() -> Result<World, Error> {
        World::from_vars(|name| std::env::var(name).ok())
    }

    fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<World, Error> {
        let found = ["WORLD_SIZE", "SLURM_NTASKS"].into_iter().find_map(|name| Some((name, var(name)?)));
        if let Some((variable, value)) = found {
            let size: usize = value.trim().parse().map_err(|_| Error::NotANumber { variable, value })?;
            // An interactive Slurm allocation announces its tasks to every shell; only processes with a SLURM_PROCID were launched as tasks.
            let launched = variable == "WORLD_SIZE" || var("SLURM_PROCID").is_some();
            if size > 1 && launched {
                return Err(Error::TooMany { variable, size });
            }
        }
        Ok(World::single())
    }

    /// This process's number, 0 to `size() - 1`.
    pub fn rank(&self) -> usize {
        self.group.rank()
    }

    /// Number of processes.
    pub fn size(&self) -> usize {
        self.group.size()
    }

    /// Whether this process writes files and speaks to the user.
    pub fn is_main(&self) -> bool {
        self.rank() == 0
    }

    /// Replaces every tensor by its sum over ranks, in place. All ranks pass equal shapes in equal order.
    pub fn all_reduce_sum(&self, tensors: &mut [Tensor]) -> Result<(), Error> {
        self.group.all_reduce_sum(tensors)
    }

    /// The sum of each number over ranks; for counts and losses, several in one exchange because a small one costs as much as a large one.
    pub fn sum<const N: usize>(&self, values: [f64; N]) -> Result<[f64; N], Error> {
        self.group.sum(values)
    }

    /// Replaces every tensor by that of rank `root`, in place.
    pub fn broadcast(&self, tensors: &mut [Tensor], root: usize) -> Result<(), Error> {
        self.group.broadcast(tensors, root)
    }

    /// Waits until all ranks are here.
    pub fn barrier(&self) -> Result<(), Error> {
        self.group.barrier()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(vars: &[(&str, &str)]) -> Result<World, Error> {
        World::from_vars(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn one_process_is_the_whole_world() {
        let w = world(&[]).unwrap();
        assert_eq!((w.rank(), w.size(), w.is_main()), (0, 1, true));
        let mut t = [Tensor::from_slice(&[1.0, 2.0])];
        w.all_reduce_sum(&mut t).unwrap();
        w.broadcast(&mut t, 0).unwrap();
        w.barrier().unwrap();
        assert_eq!(Vec::<f64>::try_from(&t[0]).unwrap(), [1.0, 2.0]);
        assert_eq!(w.sum([3.0, 4.0]).unwrap(), [3.0, 4.0]);
        assert!(matches!(w.broadcast(&mut t, 1), Err(Error::NoSuchRank { rank: 1, size: 1 })));
    }

    #[test]
    fn a_larger_world_is_refused_not_ignored() {
        assert!(matches!(world(&[("WORLD_SIZE", "2")]), Err(Error::TooMany { size: 2, .. })));
        assert!(matches!(world(&[("SLURM_NTASKS", "4"), ("SLURM_PROCID", "3")]), Err(Error::TooMany { size: 4, .. })));
        assert!(matches!(world(&[("WORLD_SIZE", "two")]), Err(Error::NotANumber { .. })));
        assert!(world(&[("WORLD_SIZE", "1")]).is_ok());
        assert!(world(&[("SLURM_NTASKS", "4")]).is_ok());
    }
}
