//! How the tokens of a pass fall into sequences, so that many of any length go through the network end to end, without padding.
//!
//! Linear maps and norms look at single tokens and need not know; attention and positions do.

use std::cell::OnceCell;
use tch::{Device, Tensor};

/// Tokens `[N]` in groups. A group is a sequence that stands alone, followed by any number of branches that each continue it: several answers to one
/// prompt share the prompt's computation. A token sees its own branch up to itself and what the branch continues.
#[derive(Debug)]
pub struct Segments {
    /// The first token of each segment, and N.
    starts: Vec<i64>,
    /// The first segment of each group, and the number of segments.
    bounds: Vec<i64>,
    /// Place of each token in its sequence, `[N]`.
    positions: Tensor,
    /// B and T where the groups are B single segments of T tokens.
    rows: Option<(i64, i64)>,
    /// Made when first asked for.
    padded: OnceCell<Padded>,
}

/// Each segment with what it continues as a row of its own, padded on the right.
#[derive(Debug)]
pub(crate) struct Padded {
    /// Rows.
    pub rows: i64,
    /// Length of the longest.
    pub time: i64,
    /// The token at each place, `[rows · time]`.
    pub tokens: Tensor,
    /// Where each token stands, `[N]`.
    pub places: Tensor,
}

impl Segments {
    /// `rows` sequences of `time` tokens each.
    pub fn from_rows(rows: i64, time: i64, device: Device) -> Segments {
        let positions = Tensor::arange(time, (tch::Kind::Int64, device)).repeat([rows]);
        Segments {
            starts: (0..=rows).map(|i| i * time).collect(),
            bounds: (0..=rows).collect(),
            positions,
            rows: Some((rows, time)),
            padded: OnceCell::new(),
        }
    }

    /// Groups of segments by their lengths: the first stands alone, the others continue it. None may be empty.
    pub fn from_groups(groups: &[Vec<usize>], device: Device) -> Segments {
        assert!(groups.iter().all(|g| !g.is_empty() && !g.contains(&0)), "a group has segments, and a segment tokens");
        let (mut starts, mut bounds, mut positions) = (vec![0], vec![0], Vec::new());
        for group in groups {
            for (i, &length) in group.iter().enumerate() {
                let first = if i == 0 { 0 } else { group[0] };
                positions.extend((first..first + length).map(|place| place as i64));
                starts.push(positions.len() as i64);
            }
            bounds.push(starts.len() as i64 - 1);
        }
        let positions = Tensor::from_slice(&positions).to_device(device);
        let time = groups.first().map_or(0, |g| g[0]);
        let alike = groups.iter().all(|g| g.len() == 1 && g[0] == time);
        Segments { starts, bounds, positions, rows: alike.then_some((groups.len() as i64, time as i64)), padded: OnceCell::new() }
    }

    /// From each row's documents, by length, for ids `[B, time]`; a row's lengths add up to `time` or less, the rest is padding.
    pub fn from_lengths(rows: &[Vec<usize>], time: usize, device: Device) -> Segments {
        let mut groups = Vec::new();
        for lengths in rows {
            groups.extend(lengths.iter().map(|&n| vec![n]));
            let rest = time - lengths.iter().sum::<usize>();
            groups.extend((rest > 0).then(|| vec![rest]));
        }
        Segments::from_groups(&groups, device)
    }

    /// Another handle of the same.
    pub(crate) fn share(&self) -> Segments {
        let padded = |p: &Padded| Padded { tokens: p.tokens.shallow_clone(), places: p.places.shallow_clone(), ..*p };
        Segments {
            starts: self.starts.clone(),
            bounds: self.bounds.clone(),
            positions: self.positions.shallow_clone(),
            rows: self.rows,
            padded: self.padded.get().map(padded).map_or_else(OnceCell::new, OnceCell::from),
        }
    }

    /// Number of tokens.
    pub fn tokens(&self) -> i64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// B and T where all sequences are equally long and nothing is shared.
    pub(crate) fn rows(&self) -> Option<(i64, i64)> {
        self.rows
    }

    pub(crate) fn positions(&self) -> &Tensor {
        &self.positions
    }

    /// `bounds` and `starts`, as the kernel reads them.
    pub(crate) fn tensors(&self) -> (Tensor, Tensor) {
        (Tensor::from_slice(&self.bounds), Tensor::from_slice(&self.starts))
    }

    /// As rows, for operators that know no segments.
    pub(crate) fn padded(&self) -> &Padded {
        self.padded.get_or_init(|| {
            let span = |s: i64| self.starts[s as usize]..self.starts[s as usize + 1];
            let sequence = |group: &[i64], s: i64| if s == group[0] { (0..0, span(s)) } else { (span(group[0]), span(s)) };
            let sequences: Vec<_> = self.bounds.windows(2).flat_map(|g| (g[0]..g[1]).map(move |s| sequence(g, s))).collect();
            let length = |r: &std::ops::Range<i64>| r.end - r.start;
            let (rows, time) = (sequences.len(), sequences.iter().map(|(a, b)| length(a) + length(b)).max().unwrap_or(0) as usize);
            let (mut tokens, mut places) = (vec![0i64; rows * time], vec![0i64; self.tokens() as usize]);
            for (row, (before, own)) in sequences.into_iter().enumerate() {
                let skip = length(&before);
                for (i, token) in before.chain(own).enumerate() {
                    let place = row * time + i;
                    tokens[place] = token;
                    if i as i64 >= skip {
                        places[token as usize] = place as i64;
                    }
                }
            }
            let to = |v: &[i64]| Tensor::from_slice(v).to_device(self.positions.device());
            Padded { rows: rows as i64, time: time as i64, tokens: to(&tokens), places: to(&places) }
        })
    }
}
