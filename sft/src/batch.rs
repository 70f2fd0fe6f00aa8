//! Demonstrations as tensors: padded on the right, or several packed into one sequence in which each sees only itself.
//!
//! Shapes: B sequences, T longest of them (inputs, without the last token), N labelled positions.

use data::demos::Demo;
use model::Segments;
use tch::{Device, Tensor};

/// Sequences that go through the model together.
#[derive(Debug)]
pub struct Batch {
    /// Input ids, padded right. `[B, T]`
    pub inputs: Tensor,
    /// Which row each position belongs to, where rows are packed.
    pub segments: Option<Segments>,
    /// Flat positions (row·T + t) whose next token is a target. `[N]`
    pub labelled: Tensor,
    /// Those targets. `[N]`
    pub targets: Tensor,
}

/// Puts rows together until a sequence is full: next-fit over rows sorted by length, longest first, so little is left empty. Each inner list is one
/// sequence; without packing each row is its own.
pub fn sequences(demos: &[Demo], packing: bool, context: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..demos.len()).collect();
    if !packing {
        return order.into_iter().map(|i| vec![i]).collect();
    }
    let inputs = |i: usize| demos[i].ids.len() - 1;
    order.sort_by_key(|&i| (std::cmp::Reverse(inputs(i)), i));
    let mut out: Vec<(usize, Vec<usize>)> = Vec::new();
    for i in order {
        match out.iter_mut().find(|(room, _)| *room >= inputs(i)) {
            Some((room, rows)) => {
                *room -= inputs(i);
                rows.push(i);
            }
            None => out.push((context.saturating_sub(inputs(i)), vec![i])),
        }
    }
    out.into_iter().map(|(_, rows)| rows).collect()
}

/// Labelled positions of these sequences.
pub fn targets(demos: &[Demo], sequences: &[&Vec<usize>]) -> usize {
    sequences.iter().flat_map(|rows| rows.iter()).map(|&i| demos[i].loss[1..].iter().filter(|l| **l).count()).sum()
}

impl Batch {
    /// Rows of `demos`, grouped into sequences. Position t predicts token t+1 where that token is marked; never the next row's first.
    pub fn new(demos: &[Demo], sequences: &[&Vec<usize>], pad: u32, device: Device) -> Batch {
        let length = |rows: &Vec<usize>| rows.iter().map(|&i| demos[i].ids.len() - 1).sum::<usize>();
        let (b, t) = (sequences.len(), sequences.iter().map(|s| length(s)).max().unwrap_or(0).max(1));
        let packed = sequences.iter().any(|s| s.len() > 1);
        let (mut inputs, mut segments) = (vec![i64::from(pad); b * t], vec![0i64; b * t]);
        let (mut labelled, mut targets) = (vec![], vec![]);
        for (row, members) in sequences.iter().enumerate() {
            let mut at = row * t;
            for (n, &i) in members.iter().enumerate() {
                let demo = &demos[i];
                for k in 0..demo.ids.len() - 1 {
                    inputs[at] = i64::from(demo.ids[k]);
                    segments[at] = n as i64 + 1; // 0 is padding
                    if demo.loss[k + 1] {
                        labelled.push(at as i64);
                        targets.push(i64::from(demo.ids[k + 1]));
                    }
                    at += 1;
                }
            }
        }
        let grid = |v: &[i64]| Tensor::from_slice(v).to_device(device).view([b as i64, t as i64]);
        Batch {
            inputs: grid(&inputs),
            segments: packed.then(|| Segments::new(&grid(&segments))),
            labelled: Tensor::from_slice(&labelled).to_device(device),
            targets: Tensor::from_slice(&targets).to_device(device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo(prompt: usize, response: usize, first: u32) -> Demo {
        let n = prompt + response;
        Demo {
            ids: (0..n as u32).map(|i| first + i).collect(),
            loss: (0..n).map(|i| i >= prompt).collect(),
            group: String::new(),
            prompt: String::new(),
            response: String::new(),
        }
    }

    #[test]
    fn only_marked_tokens_are_targets_and_the_last_one_is() {
        let demos = [demo(2, 3, 10), demo(1, 1, 20)];
        let batch = Batch::new(&demos, &[&vec![0], &vec![1]], 0, Device::Cpu);
        assert_eq!(batch.inputs.size(), [2, 4]);
        assert_eq!(Vec::<i64>::try_from(&batch.labelled).unwrap(), [1, 2, 3, 4]);
        assert_eq!(Vec::<i64>::try_from(&batch.targets).unwrap(), [12, 13, 14, 21]);
        assert!(batch.segments.is_none());
        assert_eq!(targets(&demos, &[&vec![0, 1]]), 4);
    }

    #[test]
    fn packing_keeps_every_row_once_and_within_the_context() {
        let demos: Vec<Demo> = (0..20).map(|i| demo(1 + i % 3, 2 + i % 5, 0)).collect();
        let packs = sequences(&demos, true, 12);
        let mut all: Vec<usize> = packs.concat();
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        assert!(packs.iter().all(|p| p.iter().map(|&i| demos[i].ids.len() - 1).sum::<usize>() <= 12));
        assert!(packs.len() < 15);
        assert_eq!(sequences(&demos, false, 12).len(), 20);
    }
}
