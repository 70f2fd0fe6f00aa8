//! The moments of an optimiser on the disk, whole or in shares.
//!
//! `optim.safetensors` holds all: `NAME.exp_avg` and `NAME.exp_avg_sq`, or whatever moments the parameter has, of its shape, the scalar `NAME.step`, and
//! `skipped`, the counts of skipped steps. Where ranks have shares, rank r of N writes `optim-R-of-N.safetensors` (R = r + 1, five digits each) with its values of the flattened parameter, and in
//! `NAME.place` the number of the first of them and how many the parameter has. Any number of ranks reads either.

use crate::Error;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};

/// What a file has of a parameter beside its moments.
const BESIDE: [&str; 2] = ["step", "place"];

/// Moments of consecutive values of a flattened parameter.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    /// The parameter.
    pub name: &'a str,
    /// Its shape.
    pub shape: Vec<i64>,
    /// Number of the first value.
    pub begin: i64,
    /// How many values each moment has; 0 without moments.
    pub len: i64,
    /// Moments by name.
    pub moments: Vec<(&'static str, Tensor)>,
    /// Steps done, a scalar.
    pub step: Tensor,
}

impl Piece<'_> {
    /// What is there of each parameter of its kind, whatever its place: its first moment, else its steps.
    fn first(&self) -> &'static str {
        self.moments.first().map_or("step", |(name, _)| *name)
    }
}

/// The files of one optimiser.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    path: &'a Path,
    rank: usize,
    size: usize,
}

/// `a/optim.safetensors` to `a/optim-00002-of-00004.safetensors`.
fn share_of(path: &Path, rank: usize, size: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{:05}-of-{size:05}.safetensors", rank + 1))
}

impl<'a> Store<'a> {
    /// Of the optimiser whose whole state would be in `path`, for one rank of those among which it is shared out.
    pub fn new(path: &'a Path, (rank, size): (usize, usize)) -> Store<'a> {
        Store { path, rank, size }
    }

    /// The files that all these ranks write.
    pub fn files(&self) -> Vec<PathBuf> {
        match self.size {
            1 => vec![self.path.to_owned()],
            n => (0..n).map(|rank| share_of(self.path, rank, n)).collect(),
        }
    }

    /// Writes this rank's pieces into its file, and returns it.
    pub fn save(&self, pieces: &[Piece<'_>], skipped: [u64; 2]) -> Result<PathBuf, Error> {
        let mut tensors = vec![("skipped".to_owned(), Tensor::from_slice(&skipped.map(|n| n as i64)))];
        for p in pieces {
            for (kind, tensor) in p.moments.iter().map(|(kind, tensor)| (*kind, tensor)).chain([("step", &p.step)]) {
                let name = format!("{}.{kind}", p.name);
                let tensor = tensor.f_to_device(Device::Cpu).and_then(|t| t.f_contiguous()).map_err(Error::torch(name.clone()))?;
                tensors.push((name, tensor));
            }
            if self.size > 1 {
                tensors.push((format!("{}.place", p.name), Tensor::from_slice(&[p.begin, p.shape.iter().product()])));
            }
        }
        let path = self.files().swap_remove(self.rank);
        Tensor::write_safetensors(&tensors, &path).map_err(Error::torch(format!("writing {}", path.display())))?;
        Ok(path)
    }

    /// Fills `pieces` from whatever files there are; `names` are all parameters of the optimiser, on all ranks, with the names of their moments. Returns the
    /// counts of skipped steps.
    pub fn load(&self, pieces: &[Piece<'_>], names: &[(&str, &[&str])]) -> Result<[u64; 2], Error> {
        let names: HashMap<&str, &[&str]> = names.iter().copied().collect();
        let mut filled: BTreeMap<&str, Option<i64>> = pieces.iter().map(|p| (p.name, None)).collect();
        let (mut skipped, mut unknown) = ([0; 2], None);
        for path in self.written()? {
            let read = Tensor::read_safetensors(&path).map_err(Error::torch(format!("reading {}", path.display())))?;
            let read: BTreeMap<String, Tensor> = read.into_iter().collect();
            let known = |name: &str| {
                let of = name.rsplit_once('.');
                let has = |(of, kind): (&str, &str)| names.get(of).is_some_and(|moments| BESIDE.contains(&kind) || moments.contains(&kind));
                name == "skipped" || of.is_some_and(has)
            };
            unknown = unknown.or_else(|| read.keys().find(|name| !known(name)).cloned());
            let counts = read.get("skipped").ok_or_else(|| Error::state(&path, "lacks skipped"))?;
            skipped = [0, 1].map(|i| counts.int64_value(&[i]) as u64);
            for piece in pieces {
                if let Some(copied) = fill(piece, &read, &path)? {
                    *filled.entry(piece.name).or_default().get_or_insert_default() += copied;
                }
            }
            if pieces.iter().all(|p| filled[p.name] == Some(p.len)) {
                break; // the same ranks with the same shares: each reads its own file only
            }
        }
        if let Some(p) = pieces.iter().find(|p| filled[p.name] != Some(p.len)) {
            return Err(Error::state(self.path, format!("lacks {}.{}, or a part of it", p.name, p.first())));
        }
        match unknown {
            Some(name) => Err(Error::state(self.path, format!("holds {name}, which this model does not have"))),
            None => Ok(skipped),
        }
    }

    /// The files there are: the whole, or all shares; of as many shares as this optimiser has, this rank's own first.
    fn written(&self) -> Result<Vec<PathBuf>, Error> {
        if self.path.exists() {
            return Ok(vec![self.path.to_owned()]);
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let start = format!("{}-00001-of-", self.path.file_stem().unwrap_or_default().to_string_lossy());
        let size = std::fs::read_dir(folder)
            .map_err(Error::io(self.path))?
            .flatten()
            .find_map(|entry| entry.file_name().to_str()?.strip_prefix(&start)?.strip_suffix(".safetensors")?.parse::<usize>().ok());
        match size {
            Some(size) => Ok((0..size).map(|i| share_of(self.path, (self.rank + i) % size, size)).collect()),
            None => Err(Error::io(self.path)(std::io::ErrorKind::NotFound.into())),
        }
    }
}

/// Copies what a file has of a piece; the number of values copied, or `None` where it has nothing of the parameter.
fn fill(piece: &Piece<'_>, read: &BTreeMap<String, Tensor>, path: &Path) -> Result<Option<i64>, Error> {
    let find = |kind: &str| read.get(&format!("{}.{kind}", piece.name));
    let Some(first) = find(piece.first()) else { return Ok(None) };
    let of = |kind: &str| format!("{}.{kind}", piece.name);
    let copy_step = || {
        let step = find("step").ok_or_else(|| Error::state(path, format!("lacks {}", of("step"))))?;
        piece.step.shallow_clone().f_copy_(step).map_err(Error::torch(of("step")))
    };
    if piece.moments.is_empty() {
        copy_step()?;
        return Ok(Some(0));
    }
    let (begin, fits) = match find("place") {
        Some(place) => (place.int64_value(&[0]), place.int64_value(&[1]) == piece.shape.iter().product::<i64>()),
        None => (0, first.size() == piece.shape),
    };
    if !fits {
        let what = format!("{} has shape {:?}, the parameter {:?}", of(piece.first()), first.size(), piece.shape);
        return Err(Error::state(path, what));
    }
    let (start, end) = (begin.max(piece.begin), (begin + first.numel() as i64).min(piece.begin + piece.len));
    if start >= end && piece.len > 0 {
        return Ok(Some(0));
    }
    for (kind, into) in &piece.moments {
        let from = find(kind).ok_or_else(|| Error::state(path, format!("lacks {}", of(kind))))?;
        let copy = || {
            let (from, into) = (from.f_view([-1])?, into.f_view([-1])?);
            if into.numel() as i64 != piece.len {
                return into.f_view([-1])?.f_copy_(&from); // scales, of whole parameters alone
            }
            into.f_narrow(0, start - piece.begin, end - start)?.f_copy_(&from.f_narrow(0, start - begin, end - start)?)
        };
        copy().map_err(Error::torch(of(kind)))?;
    }
    copy_step()?;
    Ok(Some(end - start))
}
