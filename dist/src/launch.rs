//! Who we are, by the variables of whoever started us.
//!
//! - `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR`, `MASTER_PORT`: torchrun, Kubeflow's PyTorchJob, MPI wrappers, `--nproc`.
//! - Slurm's `SLURM_PROCID`, `SLURM_NTASKS`, `SLURM_LOCALID`; the rendezvous is at `MASTER_ADDR` or the first node of the job, and at `MASTER_PORT` or a
//!   port worked out from the job's and the step's number.

use crate::Error;

/// Where torchrun keeps a rendezvous unless told otherwise.
const DEFAULT_PORT: u16 = 29500;

/// A process's place in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Number of this process, from 0.
    pub rank: usize,
    /// Number of processes.
    pub size: usize,
    /// Number of this process on its machine.
    pub local_rank: usize,
    /// Processes on this machine.
    pub local_size: usize,
    /// Cores for each process, where the launcher says so. Whether it binds them to these is a matter of the cluster, so more may be in sight.
    pub cores: Option<usize>,
    /// Host of the rendezvous.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Rank 0 serves the rendezvous; otherwise the launcher does.
    pub serves: bool,
    /// Which start of the same world this is: the launcher's rendezvous may remember earlier ones.
    pub attempt: String,
}

impl Place {
    /// The place that the variables give; `None` for a process on its own.
    pub fn from_vars(var: &dyn Fn(&str) -> Option<String>) -> Result<Option<Place>, Error> {
        let place = if var("RANK").is_some() || var("WORLD_SIZE").is_some() {
            by_launcher(var)?
        } else if var("SLURM_PROCID").is_some() {
            by_slurm(var)?
        } else {
            return Ok(None); // an interactive Slurm allocation announces its tasks to every shell, but only tasks have a SLURM_PROCID
        };
        if place.rank >= place.size {
            return Err(wrong("RANK", place.rank.to_string(), format!("must be below the {} processes of the world", place.size)));
        }
        Ok((place.size > 1).then_some(place))
    }

    /// Cores for this process, of those in sight of it.
    pub(crate) fn share(&self, in_sight: usize) -> usize {
        self.cores.map_or(in_sight / self.local_size, |cores| cores.min(in_sight)).max(1)
    }
}

fn wrong(variable: &'static str, value: String, wanted: String) -> Error {
    Error::Variable { variable, value, wanted }
}

/// A number, if the variable is there.
fn number(var: &dyn Fn(&str) -> Option<String>, name: &'static str) -> Result<Option<usize>, Error> {
    let Some(value) = var(name) else { return Ok(None) };
    value.trim().parse().map(Some).map_err(|_| wrong(name, value, "must be a whole number".into()))
}

fn needed(var: &dyn Fn(&str) -> Option<String>, name: &'static str, of: &str) -> Result<usize, Error> {
    number(var, name)?.ok_or_else(|| wrong(name, String::new(), format!("is missing beside {of}: start all processes by one launcher")))
}

fn port(var: &dyn Fn(&str) -> Option<String>) -> Result<Option<u16>, Error> {
    let Some(port) = number(var, "MASTER_PORT")? else { return Ok(None) };
    u16::try_from(port).map(Some).map_err(|_| wrong("MASTER_PORT", port.to_string(), "must be at most 65535".into()))
}

fn by_launcher(var: &dyn Fn(&str) -> Option<String>) -> Result<Place, Error> {
    let (rank, size) = (needed(var, "RANK", "WORLD_SIZE")?, needed(var, "WORLD_SIZE", "RANK")?);
    let host = match var("MASTER_ADDR") {
        Some(host) => host,
        None if size == 1 => "localhost".into(),
        None => return Err(wrong("MASTER_ADDR", String::new(), "is missing: it names the host of rank 0".into())),
    };
    Ok(Place {
        rank,
        size,
        local_rank: number(var, "LOCAL_RANK")?.unwrap_or(0),
        local_size: number(var, "LOCAL_WORLD_SIZE")?.unwrap_or(1).max(1),
        cores: None,
        host,
        port: port(var)?.unwrap_or(DEFAULT_PORT),
        serves: var("TORCHELASTIC_USE_AGENT_STORE").as_deref() != Some("True"),
        attempt: var("TORCHELASTIC_RESTART_COUNT").unwrap_or_else(|| "0".into()),
    })
}

fn by_slurm(var: &dyn Fn(&str) -> Option<String>) -> Result<Place, Error> {
    let size = match number(var, "SLURM_STEP_NUM_TASKS")? {
        Some(size) => size,
        None => needed(var, "SLURM_NTASKS", "SLURM_PROCID")?,
    };
    let host = var("MASTER_ADDR").or_else(|| first_host(&var("SLURM_STEP_NODELIST").or_else(|| var("SLURM_JOB_NODELIST"))?));
    let host = match host {
        Some(host) => host,
        None if size == 1 => "localhost".into(),
        None => return Err(wrong("SLURM_JOB_NODELIST", String::new(), "names no node: set MASTER_ADDR to the host of rank 0".into())),
    };
    let (job, step) = (number(var, "SLURM_JOB_ID")?.unwrap_or(0), number(var, "SLURM_STEP_ID")?.unwrap_or(0));
    let beside = var("SLURM_STEP_TASKS_PER_NODE").or_else(|| var("SLURM_TASKS_PER_NODE")).and_then(|list| first_number(&list));
    Ok(Place {
        rank: needed(var, "SLURM_PROCID", "SLURM_NTASKS")?,
        size,
        local_rank: number(var, "SLURM_LOCALID")?.unwrap_or(0),
        local_size: beside.unwrap_or(1).max(1),
        cores: number(var, "SLURM_CPUS_PER_TASK")?,
        host,
        port: port(var)?.unwrap_or(20_000 + ((job * 7 + step) % 20_000) as u16),
        serves: true,
        attempt: "0".into(), // a requeued job has a new store
    })
}

/// The first number of `4(x2),3`.
fn first_number(list: &str) -> Option<usize> {
    list.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The first host of a list as Slurm writes it: `node[07-12,15],login2` gives `node07`.
fn first_host(list: &str) -> Option<String> {
    let end = list.find(['[', ',']).unwrap_or(list.len());
    let (name, rest) = list.split_at(end);
    let host = match rest.strip_prefix('[') {
        Some(numbers) => format!("{name}{}", numbers.split(['-', ',', ']']).next()?),
        None => name.to_owned(),
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(vars: &[(&str, &str)]) -> Result<Option<Place>, Error> {
        Place::from_vars(&|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn launchers_variables() {
        assert_eq!(place(&[]).unwrap(), None);
        assert_eq!(place(&[("RANK", "0"), ("WORLD_SIZE", "1")]).unwrap(), None);
        let vars = [
            ("RANK", "3"),
            ("WORLD_SIZE", "4"),
            ("LOCAL_RANK", "1"),
            ("LOCAL_WORLD_SIZE", "2"),
            ("MASTER_ADDR", "a"),
            ("MASTER_PORT", "7"),
        ];
        let found = place(&vars).unwrap().unwrap();
        assert_eq!((found.rank, found.size, found.local_rank, found.local_size), (3, 4, 1, 2));
        assert_eq!((found.host.as_str(), found.port, found.serves), ("a", 7, true));
        let agent = [&vars[..], &[("TORCHELASTIC_USE_AGENT_STORE", "True"), ("TORCHELASTIC_RESTART_COUNT", "2")]].concat();
        let found = place(&agent).unwrap().unwrap();
        assert_eq!((found.serves, found.attempt.as_str()), (false, "2"));
    }

    #[test]
    fn half_a_launcher_is_an_error_not_a_world_of_one() {
        for (vars, name) in [
            (&[("WORLD_SIZE", "2")][..], "RANK"),
            (&[("RANK", "0")], "WORLD_SIZE"),
            (&[("RANK", "0"), ("WORLD_SIZE", "two"), ("MASTER_ADDR", "a")], "WORLD_SIZE"),
            (&[("RANK", "0"), ("WORLD_SIZE", "2")], "MASTER_ADDR"),
            (&[("RANK", "2"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a")], "RANK"),
            (&[("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a"), ("MASTER_PORT", "70000")], "MASTER_PORT"),
        ] {
            match place(vars) {
                Err(Error::Variable { variable, .. }) => assert_eq!(variable, name),
                other => panic!("{vars:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn slurms_variables() {
        assert_eq!(place(&[("SLURM_NTASKS", "4")]).unwrap(), None, "a shell of an allocation is no task");
        let vars = [
            ("SLURM_PROCID", "3"),
            ("SLURM_NTASKS", "4"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_JOB_NODELIST", "gpu[07-08]"),
            ("SLURM_STEP_TASKS_PER_NODE", "2(x2)"),
            ("SLURM_JOB_ID", "21"),
            ("SLURM_STEP_ID", "2"),
        ];
        let found = place(&vars).unwrap().unwrap();
        assert_eq!((found.rank, found.size, found.local_rank, found.local_size), (3, 4, 1, 2));
        assert_eq!((found.host.as_str(), found.port, found.serves), ("gpu07", 20_149, true));
        let bound = [&vars[..], &[("SLURM_CPUS_PER_TASK", "8"), ("MASTER_ADDR", "10.0.0.1")]].concat();
        let found = place(&bound).unwrap().unwrap();
        assert_eq!((found.local_size, found.cores, found.host.as_str()), (2, Some(8), "10.0.0.1"));
        // Of 16 cores in sight each task takes its 8, of 4 (bound or not) no more than these; without a word of Slurm's they share.
        assert_eq!([16, 4].map(|in_sight| found.share(in_sight)), [8, 4]);
        assert_eq!([16, 1].map(|in_sight| Place { cores: None, ..found.clone() }.share(in_sight)), [8, 1]);
    }

    #[test]
    fn lists_of_hosts() {
        let first = |list| first_host(list);
        assert_eq!(first("a").as_deref(), Some("a"));
        assert_eq!(first("a,b").as_deref(), Some("a"));
        assert_eq!(first("a[3]").as_deref(), Some("a3"));
        assert_eq!(first("n-[08-12,15],login2").as_deref(), Some("n-08"));
        assert_eq!(first(""), None);
    }
}
